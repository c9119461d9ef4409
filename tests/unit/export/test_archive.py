from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import pytest
import yaml

import handlers
from export.archive import ArchiveOptions, build_archive
from export.errors import ExportRefused
from handlers.core.settings import parse_settings
from handlers.runtime.bundle import Bundle
from tests.checkpoints import Tiny

PACKAGE = Path(handlers.__file__).parent
OPTIONS = ArchiveOptions("sentiment", "1.0", {"runtime": "onnx", "device": "cpu"})


@pytest.fixture(scope="module")
def packed(tiny: Tiny) -> dict[str, bytes]:
    """The content of the archive by name."""
    with zipfile.ZipFile(tiny.archive) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_handlers_package_travels_whole_and_unchanged(packed: dict[str, bytes]) -> None:
    expected = {
        path.relative_to(PACKAGE.parent).as_posix(): path.read_bytes()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != "torchserve_entry.py"
    }

    assert {name: content for name, content in packed.items() if name.startswith("handlers/")} == expected


def test_the_entry_lies_at_the_root(packed: dict[str, bytes]) -> None:
    assert packed["torchserve_entry.py"] == (PACKAGE / "torchserve_entry.py").read_bytes()
    assert "handlers/torchserve_entry.py" not in packed


def test_the_bundle_travels_whole(packed: dict[str, bytes], tiny: Tiny) -> None:
    expected = {f"bundle/{path.name}": path.read_bytes() for path in tiny.bundle.iterdir()}

    assert {name: content for name, content in packed.items() if name.startswith("bundle/")} == expected


def test_nothing_else_travels(packed: dict[str, bytes]) -> None:
    others = {name for name in packed if not name.startswith(("handlers/", "bundle/"))}

    assert others == {"torchserve_entry.py", "model-config.yaml", "MAR-INF/MANIFEST.json"}


def test_the_manifest_names_entry_version_and_configuration(packed: dict[str, bytes]) -> None:
    model = json.loads(packed["MAR-INF/MANIFEST.json"])["model"]

    assert model == {
        "modelName": "sentiment",
        "modelVersion": "1.0",
        "handler": "torchserve_entry.py",
        "configFile": "model-config.yaml",
    }


def test_the_configuration_is_the_shipped_one_with_the_options_of_the_command(packed: dict[str, bytes]) -> None:
    config = yaml.safe_load(packed["model-config.yaml"])
    shipped = yaml.safe_load((PACKAGE / "config" / "model-config.yaml").read_text(encoding="utf-8"))

    assert config == shipped | {"lantern": shipped["lantern"] | {"device": "cpu"}}
    assert parse_settings(config["lantern"]).device == "cpu"


def test_weights_are_stored_uncompressed(tiny: Tiny) -> None:
    with zipfile.ZipFile(tiny.archive) as archive:
        assert archive.getinfo("bundle/model.onnx.data").compress_type == zipfile.ZIP_STORED


def test_packing_again_replaces_the_archive_and_leaves_nothing_else(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "sentiment.mar"
    path.write_bytes(b"an older archive")
    digest = tmp_path / "sentiment.mar.sha256"
    digest.write_text("that of the older archive")

    assert build_archive(bundle, tmp_path, OPTIONS) == path
    assert zipfile.is_zipfile(path)
    assert digest.read_text() == f"{hashlib.sha256(path.read_bytes()).hexdigest()}  sentiment.mar\n"
    assert set(tmp_path.iterdir()) == {path, digest}


def test_an_unverified_bundle_is_refused_and_the_old_archive_stays(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "sentiment.mar"
    path.write_bytes(b"an older archive")
    unverified = Bundle(bundle.folder, bundle.manifest.model_copy(update={"parity": None}))

    with pytest.raises(ExportRefused, match=r"no archive is made: .* the parity gate has not run"):
        build_archive(unverified, tmp_path, OPTIONS)
    assert path.read_bytes() == b"an older archive"


def test_a_setting_that_the_handler_would_refuse_is_refused_here(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(ExportRefused, match=r"lantern\.device"):
        build_archive(bundle, tmp_path, ArchiveOptions("sentiment", "1.0", {"device": "tpu"}))
    assert list(tmp_path.iterdir()) == []


def test_name_and_version_are_the_operators(bundle: Bundle, tmp_path: Path) -> None:
    path = build_archive(bundle, tmp_path / "new" / "store", ArchiveOptions("mood", "2.1", {}))

    with zipfile.ZipFile(path) as archive:
        model = json.loads(archive.read("MAR-INF/MANIFEST.json"))["model"]
    assert (path.name, model["modelName"], model["modelVersion"]) == ("mood.mar", "mood", "2.1")


def test_a_policy_that_the_server_would_refuse_is_refused_here(bundle: Bundle, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("tiers: nonsense\n", encoding="utf-8")
    options = ArchiveOptions("sentiment", "1.0", {**OPTIONS.settings, "policy": str(policy)})
    with pytest.raises(ExportRefused, match=r"policy\.yaml"):
        build_archive(bundle, tmp_path / "store", options)
    assert not list((tmp_path / "store").iterdir())


def test_a_policy_that_only_the_server_has_is_left_to_it(bundle: Bundle, tmp_path: Path) -> None:
    options = ArchiveOptions("sentiment", "1.0", {**OPTIONS.settings, "policy": "/mounted/later/policy.yaml"})
    archive = build_archive(bundle, tmp_path, options)
    with zipfile.ZipFile(archive) as packed:
        assert "/mounted/later/policy.yaml" in packed.read("model-config.yaml").decode()


def test_a_relative_path_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    options = ArchiveOptions("sentiment", "1.0", {**OPTIONS.settings, "records": "decisions.jsonl"})
    with pytest.raises(ExportRefused, match=r"lantern\.records: .*absolute"):
        build_archive(bundle, tmp_path, options)
