from __future__ import annotations

import io
import json
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from export.errors import ExportRefused
from export.manifests import save_manifest
from export.progress import Progress
from export.tensorrt import (
    HALF_PRODUCTS,
    BuildOptions,
    check_source,
    choose_package,
    creation_flags,
    export_tensorrt,
)
from handlers.core.errors import StartupError
from handlers.core.profiles import plan_profiles
from handlers.runtime.bundle import Bundle, read_bundle, verify_bundle
from handlers.runtime.tensorrt import Gpu
from tests.checkpoints import Tiny
from tests.unit.conftest import copy_folder
from tests.unit.export.builders import BuilderFlag, DataType, FakePackage, MemoryPoolType

H200 = Gpu("NVIDIA H200", "9.0")
OPTIONS = BuildOptions(package="tensorrt", token_budget=600, max_batch=8)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> FakePackage:
    """A TensorRT beside an H200."""
    return install(monkeypatch, FakePackage())


def install(monkeypatch: pytest.MonkeyPatch, package: FakePackage, gpu: Gpu | None = H200) -> FakePackage:
    monkeypatch.setattr("export.tensorrt.visible_gpu", lambda: gpu)
    monkeypatch.setattr("export.tensorrt.load_package", lambda name: package)
    return package


@pytest.fixture
def source(tiny: Tiny, tmp_path: Path) -> Bundle:
    """An ONNX bundle of the test's own."""
    return read_bundle(copy_folder(tiny.bundle, tmp_path / "onnx"))


def build(source: Bundle, folder: Path, force: bool = False, **changes: Any) -> tuple[Bundle, str]:
    """Export, and return what was said too."""
    said = io.StringIO()
    options = BuildOptions(**(vars(OPTIONS) | changes))
    return export_tensorrt(source, folder, options, Progress(said), force), said.getvalue()


def test_the_bundle_is_complete_and_waits_for_its_gate(source: Bundle, package: FakePackage, tmp_path: Path) -> None:
    bundle, _ = build(source, tmp_path / "engine")
    manifest, original = bundle.manifest, source.manifest

    assert read_bundle(tmp_path / "engine").manifest == manifest
    assert (manifest.runtime, manifest.precision, manifest.parity, manifest.quality) == ("tensorrt", "fp32", None, None)
    assert (manifest.labels, manifest.smoke, manifest.revision) == (original.labels, original.smoke, original.revision)
    assert set(manifest.files) == {path.name for path in bundle.folder.iterdir()} - {"bundle.json"}
    assert set(original.files) - set(manifest.files) == {"model.onnx", "model.onnx.data", "parity.json", "parity.md"}
    assert set(manifest.files) - set(original.files) == {"model.engine"}
    assert bundle.open_tokenizer().tokenize("hello").tokens == 5
    with pytest.raises(StartupError, match="the parity gate has not run on this bundle: python -m export parity"):
        verify_bundle(bundle)


def test_the_manifest_says_what_the_engine_is_bound_to(source: Bundle, package: FakePackage, tmp_path: Path) -> None:
    engine = build(source, tmp_path / "engine")[0].manifest.engine

    assert engine is not None
    assert (engine.package, engine.version) == ("tensorrt", "10.13.0.35")
    assert (engine.compute_capability, engine.gpu) == ("9.0", "NVIDIA H200")
    assert engine.profiles == plan_profiles(256, 600, 8)
    assert engine.source_sha256 == source.graph_sha256


def test_an_engine_that_is_compiled_at_load_is_bound_to_no_gpu(
    source: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(monkeypatch, FakePackage("tensorrt_rtx"))
    engine = build(source, tmp_path / "engine", package="tensorrt_rtx")[0].manifest.engine

    assert engine is not None
    assert (engine.package, engine.compute_capability, engine.gpu) == ("tensorrt_rtx", None, None)


def test_the_builder_gets_the_profiles_in_order(source: Bundle, package: FakePackage, tmp_path: Path) -> None:
    bundle, _ = build(source, tmp_path / "engine")
    rows = [[list(shape) for shape in (one.least, one.best, one.most)] for one in plan_profiles(256, 600, 8)]

    assert json.loads(bundle.graph.read_bytes()) == [{"input_ids": row, "attention_mask": row} for row in rows]


def test_the_network_is_strongly_typed_and_its_fp32_products_are_whole(
    source: Bundle, package: FakePackage, tmp_path: Path
) -> None:
    build(source, tmp_path / "engine")

    assert package.creation_flags == [1 << 1]
    assert BuilderFlag.TF32 not in package.configs[0].flags
    assert (package.configs[0].builder_optimization_level, package.configs[0].pools) == (3, {})


def test_options_of_the_builder_reach_it(source: Bundle, package: FakePackage, tmp_path: Path) -> None:
    build(source, tmp_path / "engine", optimization_level=5, workspace_mib=64)

    assert package.configs[0].builder_optimization_level == 5
    assert package.configs[0].pools == {MemoryPoolType.WORKSPACE: 64 << 20}


def test_what_is_up_to_date_is_not_built_again(source: Bundle, package: FakePackage, tmp_path: Path) -> None:
    first, _ = build(source, tmp_path / "engine")
    again, said = build(source, tmp_path / "engine")

    assert (len(package.configs), again, said) == (1, first, f"{tmp_path / 'engine'} is up to date\n")
    build(source, tmp_path / "engine", force=True)
    assert len(package.configs) == 2


@pytest.mark.parametrize("change", ["options", "budget", "version", "gpu", "weights", "engine file"])
def test_what_has_changed_is_built_again(
    source: Bundle, package: FakePackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    bundle, _ = build(source, tmp_path / "engine")
    options: dict[str, Any] = {}
    if change == "options":
        options = {"optimization_level": 1}
    elif change == "budget":
        options = {"token_budget": 512}
    elif change == "version":
        package.__version__ = "11.4.0.106"
    elif change == "gpu":
        monkeypatch.setattr("export.tensorrt.visible_gpu", lambda: Gpu("NVIDIA L4", "8.9"))
    elif change == "weights":
        files = source.manifest.files | {"model.onnx.data": "0" * 64}
        monkeypatch.setattr("export.tensorrt.verify_graph", lambda _: None)
        source = Bundle(source.folder, source.manifest.model_copy(update={"files": files}))
    else:
        bundle.graph.write_bytes(b"broken")
    build(source, bundle.folder, **options)

    assert len(package.configs) == 2


def test_a_gate_that_has_passed_stays_with_an_engine_that_is_up_to_date(
    source: Bundle, package: FakePackage, tmp_path: Path
) -> None:
    bundle, _ = build(source, tmp_path / "engine")
    assert source.manifest.parity is not None
    parity = source.manifest.parity.model_copy(update={"graph_sha256": bundle.manifest.files["model.engine"]})
    save_manifest(bundle.folder, bundle.manifest.model_copy(update={"parity": parity}))

    assert build(source, bundle.folder)[0].manifest.parity == parity


def test_a_calibration_stays_with_the_graph_that_it_was_made_for(
    source: Bundle, package: FakePackage, tmp_path: Path
) -> None:
    changes = {"calibration": "platt", "thresholds": dict.fromkeys(source.manifest.labels, 0.3)}
    calibrated = save_manifest(source.folder, source.manifest.model_copy(update=changes))
    bundle, said = build(calibrated, tmp_path / "engine")

    assert bundle.manifest.calibration == "none"
    assert set(bundle.manifest.thresholds.values()) == {0.5}
    assert "calibration platt stays with" in said


def test_an_fp32_graph_is_said_to_give_an_fp32_engine(source: Bundle, package: FakePackage, tmp_path: Path) -> None:
    said = build(source, tmp_path / "engine")[1]

    assert "the engine will be fp32, as its graph is" in said
    assert "matrix products of the network: 1 in FLOAT" in said


HALVES = (DataType.HALF,) * HALF_PRODUCTS
"""Products of the one layer in fp16 of a checkpoint with two."""


@pytest.mark.parametrize(
    ("precision", "types", "refusal"),
    [
        ("fp16", (DataType.FLOAT, *HALVES[1:]), "the bundle says fp16, but 7 of 8 matrix products are"),
        ("fp16", (DataType.FLOAT,), "the bundle says fp16, but 0 of 1 matrix products are"),
        ("fp32", (DataType.FLOAT, DataType.HALF), "the bundle says fp32, but 1 of 2 matrix products are fp16"),
        ("fp16", (DataType.FLOAT, *HALVES), None),
    ],
)
def test_a_network_multiplies_in_the_precision_that_the_bundle_says(
    source: Bundle, package: FakePackage, tmp_path: Path, precision: str, types: Any, refusal: str | None
) -> None:
    package.types = types
    stated = save_manifest(source.folder, source.manifest.model_copy(update={"precision": precision}))

    if refusal is None:
        assert build(stated, tmp_path / "engine")[0].manifest.precision == "fp16"
    else:
        with pytest.raises(ExportRefused, match=refusal):
            build(stated, tmp_path / "engine")
        assert not (tmp_path / "engine").exists()


def test_a_failed_build_leaves_the_old_bundle_and_gives_tensorrts_reason(
    source: Bundle, package: FakePackage, tmp_path: Path
) -> None:
    old, _ = build(source, tmp_path / "engine")
    package.fails = True

    with pytest.raises(ExportRefused, match="TensorRT builds no engine: no kernel fits"):
        build(source, tmp_path / "engine", force=True)
    verify_files = {path.name: path.read_bytes() for path in old.folder.iterdir()}
    assert read_bundle(old.folder).manifest == old.manifest
    assert set(verify_files) == {*old.manifest.files, "bundle.json"}


class Interrupting(Progress):
    """Presses Ctrl-C when the builder reports a step."""

    def update(self, text: str) -> None:
        signal.raise_signal(signal.SIGINT)


def test_ctrl_c_ends_a_build_at_its_next_step(source: Bundle, package: FakePackage, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        export_tensorrt(source, tmp_path / "engine", OPTIONS, Interrupting(io.StringIO()))
    assert signal.getsignal(signal.SIGINT) is before
    assert not (tmp_path / "engine").exists()


# Timing caches.


def test_a_timing_cache_is_read_and_written(source: Bundle, package: FakePackage, tmp_path: Path) -> None:
    cache = tmp_path / "timing.cache"
    build(source, tmp_path / "engine", timing_cache=cache)
    build(source, tmp_path / "engine", timing_cache=cache, force=True)

    assert [config.timing_cache and config.timing_cache.content for config in package.configs] == [b"", b" more"]
    assert cache.read_bytes() == b" more more"


@pytest.mark.parametrize("content", [b"junk", b"another GPU"])
def test_a_timing_cache_of_another_machine_is_refused_and_left_alone(
    source: Bundle, package: FakePackage, tmp_path: Path, content: bytes
) -> None:
    cache = tmp_path / "timing.cache"
    cache.write_bytes(content)

    with pytest.raises(ExportRefused, match=r"timing\.cache: it is of another GPU or TensorRT version"):
        build(source, tmp_path / "engine", timing_cache=cache)
    assert cache.read_bytes() == content


def test_tensorrt_rtx_has_no_timing_cache(source: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, FakePackage("tensorrt_rtx"), gpu=None)

    with pytest.raises(ExportRefused, match="--timing-cache: tensorrt_rtx times no kernels"):
        build(source, tmp_path / "engine", package="tensorrt_rtx", timing_cache=tmp_path / "timing.cache")


# What is refused before anything is built.


def test_a_bundle_that_its_gate_has_not_passed_is_refused(source: Bundle) -> None:
    unseen = save_manifest(source.folder, source.manifest.model_copy(update={"parity": None}))

    with pytest.raises(ExportRefused, match=r"no engine is built: .*the parity gate has not run on this bundle"):
        check_source(unseen)


def test_a_changed_graph_is_refused(source: Bundle) -> None:
    source.graph.write_bytes(source.graph.read_bytes() + b"\0")

    with pytest.raises(ExportRefused, match=r"no engine is built: .*model\.onnx is not the file"):
        check_source(source)


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"runtime": "torch"}, "is a bundle for torch: give the ONNX bundle"),
        ({"precision": "int8"}, "is quantized for the CPU: build from the fp16 bundle"),
    ],
)
def test_a_bundle_of_another_kind_is_refused(source: Bundle, changes: dict[str, str], refusal: str) -> None:
    with pytest.raises(ExportRefused, match=refusal):
        check_source(Bundle(source.folder, source.manifest.model_copy(update=changes)))


def test_the_source_is_never_replaced(source: Bundle, package: FakePackage) -> None:
    with pytest.raises(ExportRefused, match="it is the bundle to build from"):
        build(source, source.folder)
    assert source.graph.is_file()


def test_tensorrt_without_a_gpu_is_refused_with_what_builds_without_one() -> None:
    with pytest.raises(
        ExportRefused, match=r"tensorrt builds on the GPU that it will serve on, .* --package tensorrt_rtx"
    ):
        choose_package("tensorrt", None)


@pytest.mark.parametrize(
    ("installed", "gpu", "chosen"),
    [
        ({"tensorrt", "tensorrt_rtx"}, H200, "tensorrt"),
        ({"tensorrt", "tensorrt_rtx"}, None, "tensorrt_rtx"),
        ({"tensorrt_rtx"}, H200, "tensorrt_rtx"),
        ({"tensorrt"}, H200, "tensorrt"),
    ],
)
def test_the_package_is_chosen_by_what_is_there(
    monkeypatch: pytest.MonkeyPatch, installed: set[str], gpu: Gpu | None, chosen: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name if name in installed else None)
    monkeypatch.setattr("export.tensorrt.load_package", lambda name: SimpleNamespace(__name__=name))

    assert choose_package("auto", gpu).__name__ == chosen


@pytest.mark.parametrize("gpu", [None, H200])
def test_without_a_package_both_are_named(monkeypatch: pytest.MonkeyPatch, gpu: Gpu | None) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(ExportRefused, match=r"requirements/tensorrt\.txt or .*requirements/tensorrt-rtx\.txt"):
        choose_package("auto", gpu)


# Strong typing in every version.


def test_a_version_that_is_always_strongly_typed_needs_no_flag() -> None:
    later = SimpleNamespace(NetworkDefinitionCreationFlag=SimpleNamespace(), BuilderFlag=SimpleNamespace())

    assert creation_flags(later) == 0


def test_a_version_that_chooses_types_by_itself_is_refused() -> None:
    earlier = SimpleNamespace(
        __name__="tensorrt",
        __version__="8.6.1",
        NetworkDefinitionCreationFlag=SimpleNamespace(EXPLICIT_BATCH=0),
        BuilderFlag=SimpleNamespace(FP16=0),
    )

    with pytest.raises(ExportRefused, match=r"tensorrt 8\.6\.1 has no strongly typed networks: pip install"):
        creation_flags(earlier)
