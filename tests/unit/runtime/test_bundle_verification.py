from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from handlers.core.errors import StartupError
from handlers.core.settings import Settings
from handlers.runtime.bundle import Bundle, read_bundle, sha256_file, verify_bundle
from tests.checkpoints import Tiny
from tests.unit.conftest import copy_folder


@pytest.fixture
def own(tiny: Tiny, tmp_path: Path) -> Path:
    """A bundle folder of the test's own."""
    return copy_folder(tiny.bundle, tmp_path / "bundle")


def edit_manifest(folder: Path, **changes: Any) -> Bundle:
    path = folder / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")
    return read_bundle(folder)


def test_an_exported_bundle_is_fit(bundle: Bundle) -> None:
    verify_bundle(bundle)

    assert set(bundle.manifest.files) == {path.name for path in bundle.folder.iterdir()} - {"bundle.json"}


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data", "tokenizer.json", "config.json", "parity.json"])
def test_a_missing_file_is_named(own: Path, name: str) -> None:
    (own / name).unlink()

    with pytest.raises(StartupError, match=f"{name} is missing, but bundle.json lists it"):
        verify_bundle(read_bundle(own))


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data", "tokenizer.json", "parity.json"])
def test_a_single_changed_bit_is_found(own: Path, name: str) -> None:
    content = bytearray((own / name).read_bytes())
    content[len(content) // 2] ^= 1
    (own / name).write_bytes(content)

    with pytest.raises(StartupError, match=f"{name} is not the file that bundle.json lists"):
        verify_bundle(read_bundle(own))


def test_a_bundle_that_the_gate_has_not_seen_is_not_fit(own: Path) -> None:
    with pytest.raises(StartupError, match="the parity gate has not run on this bundle: python -m export parity"):
        verify_bundle(edit_manifest(own, parity=None))


@pytest.mark.parametrize("change", [{"passed": False}, {"graph_sha256": "0" * 64}])
def test_a_bundle_that_has_not_passed_with_this_graph_is_not_fit(own: Path, change: dict[str, Any]) -> None:
    parity = json.loads((own / "bundle.json").read_text(encoding="utf-8"))["parity"]

    with pytest.raises(StartupError, match="the parity gate has not passed this graph"):
        verify_bundle(edit_manifest(own, parity=parity | change))


def test_a_manifest_of_another_schema_version_is_refused(own: Path) -> None:
    with pytest.raises(StartupError, match=r"schema_version: .*; export the bundle again"):
        edit_manifest(own, schema_version=99)


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"bundle\.json is missing: this is not a bundle; make one with"):
        read_bundle(tmp_path)


@pytest.mark.parametrize("runtime", ["tensorrt", "torch"])
def test_another_runtime_than_the_graph_is_for_is_no_silent_fallback(bundle: Bundle, runtime: Any) -> None:
    with pytest.raises(StartupError, match=f"runtime {runtime} was asked for, but the bundle holds a graph for onnx"):
        bundle.open_runtime(Settings(runtime=runtime))


def test_a_runtime_whose_packages_are_missing_names_what_installs_them(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "handlers.runtime.onnx", None)
    with pytest.raises(StartupError, match=r"onnx needs .* not installed: pip install -r requirements/serve\.txt"):
        bundle.open_runtime(Settings())


def test_a_digest_covers_the_whole_file(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")

    assert sha256_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
