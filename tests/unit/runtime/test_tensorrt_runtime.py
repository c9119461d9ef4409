from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.core.errors import StartupError
from handlers.core.manifest import EngineRecord, Manifest
from handlers.core.profiles import plan_graphs, plan_profiles
from handlers.core.settings import Settings
from handlers.runtime import Runtime, RuntimeDescription, TokenIds
from handlers.runtime.bundle import GRAPH_NAME, Bundle
from handlers.runtime.tensorrt import (
    Gpu,
    TensorRtRuntime,
    check_gpu,
    check_package,
    check_settings,
    load_package,
)
from tests.checkpoints import LABELS, Tiny
from tests.unit.runtime.engines import OrtEngine

PROFILES = plan_profiles(256, 600, 8)
H200 = Gpu("NVIDIA H200", "9.0")


@pytest.fixture(scope="module")
def engine(tiny: Tiny) -> OrtEngine:
    return OrtEngine(tiny.bundle / GRAPH_NAME, PROFILES, len(LABELS))


@pytest.fixture(scope="module")
def cold(engine: OrtEngine, bundle: Bundle) -> TensorRtRuntime:
    """A runtime that nobody has prepared: it has no kept graphs."""
    return TensorRtRuntime(engine, PROFILES, bundle.manifest.special_tokens, len(LABELS))


@pytest.fixture(scope="module")
def warm(engine: OrtEngine, bundle: Bundle) -> TensorRtRuntime:
    runtime = TensorRtRuntime(engine, PROFILES, bundle.manifest.special_tokens, len(LABELS))
    runtime.prepare([3, 200])
    return runtime


def ragged(lengths: list[int], seed: int = 0) -> tuple[TokenIds, TokenIds]:
    """Rows of random tokens, padded to the longest as the executor does."""
    generator = np.random.default_rng(seed)
    input_ids = np.ones((len(lengths), max(lengths)), dtype=np.int64)
    mask = np.zeros_like(input_ids)
    for row, length in enumerate(lengths):
        input_ids[row, :length] = generator.integers(5, 260, length)
        input_ids[row, 0] = 0
        mask[row, :length] = 1
    return input_ids, mask


@given(lengths=st.lists(st.integers(1, 256), min_size=1, max_size=10), seed=st.integers(0, 99), prepared=st.booleans())
def test_logits_are_those_of_the_graph_for_any_batch(
    cold: TensorRtRuntime, warm: TensorRtRuntime, runtime: Runtime, lengths: list[int], seed: int, prepared: bool
) -> None:
    inputs = ragged(lengths, seed)

    np.testing.assert_allclose((warm if prepared else cold).run(*inputs), runtime.run(*inputs), atol=2e-5)


def test_a_common_small_shape_is_replayed_padded(warm: TensorRtRuntime, engine: OrtEngine) -> None:
    engine.ran.clear()
    warm.run(*ragged([5]))
    warm.run(*ragged([10, 90, 30, 5]))

    assert engine.ran == [(None, (1, 16)), (None, (4, 96))]


def test_a_shape_that_would_be_padded_dearly_runs_in_its_own_profile(warm: TensorRtRuntime, engine: OrtEngine) -> None:
    engine.ran.clear()
    warm.run(*ragged([130] * 3))
    warm.run(*ragged([100] * 6))

    assert engine.ran == [(2, (3, 130)), (1, (6, 100))]


def test_nothing_is_replayed_that_was_not_kept(cold: TensorRtRuntime, engine: OrtEngine) -> None:
    engine.ran.clear()
    cold.run(*ragged([16]))

    assert engine.ran == [(0, (1, 16))]


def test_more_rows_than_a_profile_has_are_run_in_turns(
    cold: TensorRtRuntime, engine: OrtEngine, runtime: Runtime
) -> None:
    inputs = ragged([180, 150] * 5)
    engine.ran.clear()
    logits = cold.run(*inputs)

    assert engine.ran == [(2, (4, 180)), (2, (4, 180)), (2, (2, 180))]
    np.testing.assert_allclose(logits, runtime.run(*inputs), atol=2e-5)


def test_an_answer_does_not_change_with_the_next_one(warm: TensorRtRuntime) -> None:
    first = warm.run(*ragged([7, 9]))
    before = first.copy()
    warm.run(*ragged([8, 30], seed=5))

    np.testing.assert_array_equal(first, before)
    assert (first.shape, first.dtype) == ((2, len(LABELS)), np.float32)


def test_a_length_that_the_engine_was_not_built_for_is_refused(warm: TensorRtRuntime) -> None:
    with pytest.raises(
        ValueError, match="an input of 257 tokens is in no profile of the engine: it was built for 1 to 256"
    ):
        warm.run(*ragged([257]))


def test_preparing_keeps_the_common_shapes_and_runs_every_profile(tiny: Tiny, bundle: Bundle) -> None:
    engine = OrtEngine(tiny.bundle / GRAPH_NAME, PROFILES, len(LABELS))
    runtime = TensorRtRuntime(engine, PROFILES, bundle.manifest.special_tokens, len(LABELS))
    runtime.prepare([3, 256])

    assert engine.ran[: len(PROFILES)] == [(index, profile.best) for index, profile in enumerate(PROFILES)]
    engine.ran.clear()
    for shape in plan_graphs(PROFILES):
        runtime.run(*ragged([shape[1]] * shape[0]))
    assert engine.ran == [(None, shape) for shape in plan_graphs(PROFILES)]


def test_it_says_what_it_is(warm: TensorRtRuntime) -> None:
    assert warm.describe() == RuntimeDescription("tensorrt", "cuda", 1)


# What is checked before anything is loaded.


def record(**changes: Any) -> EngineRecord:
    fields: dict[str, Any] = {
        "package": "tensorrt",
        "version": "11.4.0.106",
        "compute_capability": "9.0",
        "gpu": "NVIDIA H200",
        "source_sha256": "0" * 64,
        "profiles": PROFILES,
    }
    return EngineRecord(**(fields | changes))


def manifest_of(bundle: Bundle, engine: EngineRecord | None) -> Manifest:
    return bundle.manifest.model_copy(update={"runtime": "tensorrt", "engine": engine})


def served(**changes: Any) -> Settings:
    return Settings(**({"runtime": "tensorrt", "token_budget": 600} | changes))


def test_settings_within_the_profiles_are_fit(bundle: Bundle) -> None:
    for settings in (served(), served(token_budget=64, device="cuda")):
        assert check_settings(manifest_of(bundle, record()), settings) == record()


def test_a_budget_beyond_the_profiles_is_refused_with_the_command_that_builds_for_it(bundle: Bundle) -> None:
    with pytest.raises(
        StartupError,
        match=r"token_budget 5000 and max_length 256 lead to 8 x 129 \(batch x length\), .* --token-budget 5000",
    ) as refused:
        check_settings(manifest_of(bundle, record()), served(token_budget=5000))
    assert "python -m export tensorrt --package tensorrt --bundle ONNX_BUNDLE --out DIR" in str(refused.value)


def test_a_model_longer_than_the_profiles_is_refused(bundle: Bundle) -> None:
    manifest = manifest_of(bundle, record(profiles=plan_profiles(200, 600, 8)))

    with pytest.raises(StartupError, match="max_length 256 lead to 2 x 201"):
        check_settings(manifest, served())


def test_an_engine_is_not_run_on_the_cpu(bundle: Bundle) -> None:
    with pytest.raises(StartupError, match="device cpu was asked for, but a TensorRT engine runs on a GPU alone"):
        check_settings(manifest_of(bundle, record()), served(device="cpu"))


def test_a_bundle_for_tensorrt_without_an_engine_is_refused(bundle: Bundle) -> None:
    with pytest.raises(StartupError, match="its manifest has no engine: python -m export tensorrt"):
        check_settings(manifest_of(bundle, None), served())


def test_another_version_than_the_engine_was_built_with_is_refused_naming_both() -> None:
    check_package(record(), "11.4.0.106")
    with pytest.raises(
        StartupError, match=r"built with tensorrt 11\.4\.0\.106, but 10\.13\.0\.35 is installed: .* --package"
    ):
        check_package(record(), "10.13.0.35")


def test_another_architecture_than_the_engine_was_built_for_is_refused_naming_both() -> None:
    check_gpu(record(), H200)
    with pytest.raises(
        StartupError, match=r"for NVIDIA H200 \(compute capability 9\.0\), but this GPU is NVIDIA L4 \(8\.9\): build it"
    ):
        check_gpu(record(), Gpu("NVIDIA L4", "8.9"))


def test_an_engine_that_is_compiled_at_load_is_for_no_architecture_of_its_own() -> None:
    check_gpu(record(package="tensorrt_rtx", compute_capability=None, gpu=None), H200)


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt_rtx"])
def test_a_missing_package_is_named_with_what_installs_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(
        StartupError, match=rf"{name} cannot be imported \(.*\): pip install -r requirements/tensorrt"
    ) as refused:
        load_package(name)
    assert (Path(__file__).parents[3] / str(refused.value).rsplit(" ", 1)[1]).is_file()


def test_a_bundle_opens_its_engine_or_says_what_is_missing(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    engine_bundle = Bundle(bundle.folder, manifest_of(bundle, record()))

    with pytest.raises(StartupError, match="tensorrt cannot be imported"):
        engine_bundle.open_runtime(served())
