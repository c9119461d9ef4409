from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from handlers.core.errors import StartupError
from handlers.core.profiles import plan_graphs, plan_profiles
from handlers.runtime import Runtime
from handlers.runtime.bundle import GRAPH_NAME, Bundle
from handlers.runtime.tensorrt import EngineFault, Gpu, TensorRtRuntime
from handlers.runtime.tensorrt_cuda import CudaEngine, find_gpu, make_log, visible_gpu
from tests.checkpoints import LABELS, Tiny
from tests.unit.runtime import cuda
from tests.unit.runtime.test_tensorrt_runtime import PROFILES, ragged

MODULE = "handlers.runtime.tensorrt_cuda.torch"


@pytest.fixture(autouse=True)
def host_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Device memory, streams and graphs of the host."""
    monkeypatch.setattr(MODULE, cuda.fake_torch())


@pytest.fixture
def engine_file(tmp_path: Path) -> Path:
    path = tmp_path / "model.engine"
    path.write_bytes(b"engine")
    return path


def open_package(tiny: Tiny, rtx: bool) -> Any:
    return cuda.Package(tiny.bundle / GRAPH_NAME, PROFILES, rtx)


@pytest.mark.parametrize("rtx", [False, True])
def test_logits_are_those_of_the_graph_before_and_after_graphs_are_kept(
    tiny: Tiny, bundle: Bundle, runtime: Runtime, engine_file: Path, rtx: bool
) -> None:
    engine = CudaEngine(open_package(tiny, rtx), engine_file, PROFILES, len(LABELS))
    served = TensorRtRuntime(engine, PROFILES, bundle.manifest.special_tokens, len(LABELS))
    batches = [[5], [100, 3], [16], [200, 150, 180], [30] * 8, [256], [40, 7, 9], [129] * 9, [100, 3]]

    for seed, lengths in enumerate(batches):
        inputs = ragged(lengths, seed)
        np.testing.assert_allclose(served.run(*inputs), runtime.run(*inputs), atol=2e-5)
    served.prepare([3, 200])
    for seed, lengths in enumerate(batches):
        inputs = ragged(lengths, seed + 50)
        np.testing.assert_allclose(served.run(*inputs), runtime.run(*inputs), atol=2e-5)


def kept_contexts(package: Any) -> list[cuda.Context]:
    (engine,) = package.engines
    return list(engine.contexts[len(PROFILES) :])


def test_every_profile_and_every_kept_graph_has_a_context_of_its_own(
    tiny: Tiny, bundle: Bundle, engine_file: Path
) -> None:
    package = open_package(tiny, rtx=False)
    engine = CudaEngine(package, engine_file, PROFILES, len(LABELS))
    TensorRtRuntime(engine, PROFILES, bundle.manifest.special_tokens, len(LABELS)).prepare([])

    assert [context.profile for context in package.engines[0].contexts[: len(PROFILES)]] == [0, 1, 2]
    assert [context.captured for context in kept_contexts(package)] == [True] * len(plan_graphs(PROFILES))


def test_tensorrt_rtx_compiles_and_captures_the_common_shapes_alone(
    tiny: Tiny, bundle: Bundle, engine_file: Path
) -> None:
    package = open_package(tiny, rtx=True)
    engine = CudaEngine(package, engine_file, PROFILES, len(LABELS))
    TensorRtRuntime(engine, PROFILES, bundle.manifest.special_tokens, len(LABELS)).prepare([])

    def choices(contexts: list[cuda.Context]) -> set[tuple[cuda.Specialization, cuda.GraphStrategy]]:
        return {
            (context.config.dynamic_shapes_kernel_specialization_strategy, context.config.cuda_graph_strategy)
            for context in contexts
        }

    assert choices(package.engines[0].contexts[: len(PROFILES)]) == {
        (cuda.Specialization.NONE, cuda.GraphStrategy.DISABLED)
    }
    assert choices(kept_contexts(package)) == {(cuda.Specialization.LAZY, cuda.GraphStrategy.WHOLE_GRAPH_CAPTURE)}
    assert not any(context.captured for context in kept_contexts(package))


def test_an_engine_that_does_not_load_is_refused_with_tensorrts_reason(tiny: Tiny, tmp_path: Path) -> None:
    path = tmp_path / "model.engine"
    path.write_bytes(b"another")

    with pytest.raises(
        StartupError, match=r"model\.engine: TensorRT cannot load it: the engine plan file is not compat"
    ):
        CudaEngine(open_package(tiny, rtx=False), path, PROFILES, len(LABELS))


def test_an_engine_of_other_profiles_than_the_manifests_is_refused(tiny: Tiny, engine_file: Path) -> None:
    with pytest.raises(StartupError, match="its profiles are not those of the manifest: build the bundle again"):
        CudaEngine(open_package(tiny, rtx=False), engine_file, plan_profiles(256, 600, 7), len(LABELS))


def test_a_shape_that_a_profile_does_not_take_is_a_fault(tiny: Tiny, engine_file: Path) -> None:
    engine = CudaEngine(open_package(tiny, rtx=False), engine_file, PROFILES, len(LABELS))

    with pytest.raises(EngineFault, match=r"TensorRT does not take the shape \(5, 16\)"):
        engine.execute(0, (5, 16))


def test_a_run_that_fails_is_a_fault_with_tensorrts_reason(tiny: Tiny, engine_file: Path) -> None:
    package = open_package(tiny, rtx=False)
    engine = CudaEngine(package, engine_file, PROFILES, len(LABELS))
    engine.buffers.input_ids[:16], engine.buffers.attention_mask[:16] = 5, 1
    engine.execute(0, (1, 16))
    package.engines[0].fault = "an illegal memory access"

    with pytest.raises(EngineFault, match="TensorRT could not run: an illegal memory access"):
        engine.execute(0, (1, 16))


def test_an_engine_that_does_not_run_is_refused_at_start(tiny: Tiny, bundle: Bundle, engine_file: Path) -> None:
    package = open_package(tiny, rtx=False)
    engine = CudaEngine(package, engine_file, PROFILES, len(LABELS))
    package.engines[0].fault = "no kernel image"

    with pytest.raises(StartupError, match="does not run on this GPU: TensorRT could not run: no kernel image"):
        TensorRtRuntime(engine, PROFILES, bundle.manifest.special_tokens, len(LABELS)).prepare([3])


def test_too_little_memory_says_how_much_is_wanted_and_what_wants_less(
    tiny: Tiny, engine_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(buffer: torch.Tensor, device: str) -> torch.Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(MODULE, cuda.fake_torch(empty_like=refuse))

    with pytest.raises(StartupError, match=r"needs 0\.0 GiB for activations and 3\.0 GiB are free: .* --token-budget"):
        CudaEngine(open_package(tiny, rtx=False), engine_file, PROFILES, len(LABELS))


@pytest.mark.parametrize(
    ("version", "reason"), [(None, "this torch was built without CUDA"), ("13.0", "none is visible here")]
)
def test_a_machine_without_a_gpu_is_told_apart_from_a_torch_without_cuda(
    monkeypatch: pytest.MonkeyPatch, version: str | None, reason: str
) -> None:
    blind = cuda.fake_torch(version=type("Version", (), {"cuda": version}))
    blind.cuda.is_available = lambda: False
    monkeypatch.setattr(MODULE, blind)

    assert visible_gpu() is None
    with pytest.raises(StartupError, match=f"a TensorRT engine needs a GPU, .*{reason}"):
        find_gpu()


def test_a_gpu_is_known_by_name_and_compute_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    seeing = cuda.fake_torch()
    seeing.cuda.is_available = lambda: True
    seeing.cuda.current_device = lambda: 1
    properties = {1: type("Properties", (), {"name": "NVIDIA H200", "major": 9, "minor": 0})}
    seeing.cuda.get_device_properties = properties.__getitem__
    monkeypatch.setattr(MODULE, seeing)

    assert find_gpu() == Gpu("NVIDIA H200", "9.0")


# The names that the stand-ins above have must be TensorRT's.


def public(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


def test_tensorrt_has_what_is_used_of_it() -> None:
    package = pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed", exc_type=ImportError)

    assert public(cuda.Context) <= public(package.IExecutionContext)
    assert public(cuda.CudaEngineApi) | {"device_memory_size_v2", "num_optimization_profiles"} <= public(
        package.ICudaEngine
    )
    assert public(cuda.RuntimeConfig) | {
        "dynamic_shapes_kernel_specialization_strategy",
        "cuda_graph_strategy",
    } <= public(package.IRuntimeConfig)
    assert {"deserialize_cuda_engine"} <= public(package.Runtime)
    for kind, name in (
        (cuda.Strategy, "ExecutionContextAllocationStrategy"),
        (cuda.Specialization, "DynamicShapesKernelSpecializationStrategy"),
        (cuda.GraphStrategy, "CudaGraphStrategy"),
        (cuda.Severity, "ILogger"),
    ):
        assert set(kind.__members__) <= set(dir(getattr(package, name)))


def test_tensorrts_logger_takes_our_log() -> None:
    package = pytest.importorskip("tensorrt_rtx", reason="tensorrt_rtx is not installed", exc_type=ImportError)
    log = make_log(package)
    package.Runtime(log)
    log.log(package.ILogger.Severity.ERROR, "two\nlines")
    log.log(package.ILogger.Severity.INFO, "no error")

    assert log.errors[-1] == "two lines"
