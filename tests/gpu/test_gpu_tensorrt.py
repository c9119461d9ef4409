"""A real engine on a real GPU: built, gated, served, and refused where it does not belong."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from handlers.core.errors import StartupError
from handlers.core.profiles import plan_graphs
from handlers.core.settings import Settings
from handlers.runtime.bundle import Bundle, read_bundle
from handlers.runtime.onnx import OnnxRuntime
from tests.checkpoints import Tiny

RTX_GPUS = {(7, 5), (8, 0), (8, 6), (8, 9), (12, 0), (12, 1)}
"""Compute capabilities that TensorRT-RTX builds for."""


def reason_to_skip(package: str) -> str | None:
    if not torch.cuda.is_available():
        return "no GPU is visible"
    if importlib.util.find_spec(package) is None:
        return f"{package} is not installed"
    if package == "tensorrt_rtx" and torch.cuda.get_device_capability() not in RTX_GPUS:
        return "TensorRT-RTX does not run on this GPU"
    return None


@pytest.fixture(scope="module", params=["tensorrt", "tensorrt_rtx"])
def engine_bundle(request: pytest.FixtureRequest, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny bundle's engine, in fp32 as its graph is."""
    reason = reason_to_skip(request.param)
    if reason is not None:
        pytest.skip(reason)
    from export.progress import Progress
    from export.tensorrt import BuildOptions, export_tensorrt

    options = BuildOptions(request.param, token_budget=600, max_batch=8, optimization_level=0)
    folder = tmp_path_factory.mktemp("gpu") / request.param
    return export_tensorrt(read_bundle(tiny.bundle), folder, options, Progress(io.StringIO()))


SETTINGS = Settings(runtime="tensorrt", device="cuda", token_budget=600)


def batch(rows: int, length: int, seed: int) -> tuple[Any, Any]:
    generator = np.random.default_rng(seed)
    input_ids = generator.integers(5, 260, (rows, length))
    mask = np.ones_like(input_ids)
    for row in range(1, rows):
        real = int(generator.integers(1, length + 1))
        input_ids[row, real:], mask[row, real:] = 1, 0
    return input_ids, mask


def test_logits_are_those_of_the_graph_with_and_without_cuda_graphs(engine_bundle: Bundle, tiny: Tiny) -> None:
    expected = OnnxRuntime(tiny.bundle / "model.onnx", "cpu", threads=1)
    runtime = engine_bundle.open_runtime(SETTINGS)
    assert engine_bundle.manifest.engine is not None
    shapes = [(1, 1), (1, 5), (2, 60), (8, 128), (3, 200), (1, 256), (2, 256), (20, 16), (9, 129)]

    for prepared in (False, True):
        if prepared:
            runtime.prepare([3, 32, 256])
            shapes += plan_graphs(engine_bundle.manifest.engine.profiles)
        for seed, shape in enumerate([*shapes, *reversed(shapes)]):
            inputs = batch(*shape, seed)
            np.testing.assert_allclose(runtime.run(*inputs), expected.run(*inputs), atol=1e-4)


def test_requests_allocate_no_device_memory(engine_bundle: Bundle) -> None:
    runtime = engine_bundle.open_runtime(SETTINGS)
    runtime.prepare([3, 256])
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    for seed, shape in enumerate([(1, 5), (4, 77), (2, 256), (1, 131)]):
        runtime.run(*batch(*shape, seed))

    assert torch.cuda.memory_stats()["allocation.all.allocated"] == before


def test_an_engine_of_another_architecture_is_refused(engine_bundle: Bundle) -> None:
    engine = engine_bundle.manifest.engine
    assert engine is not None
    foreign = engine.model_copy(update={"compute_capability": "3.5", "gpu": "Tesla K40"})
    moved = Bundle(engine_bundle.folder, engine_bundle.manifest.model_copy(update={"engine": foreign}))

    with pytest.raises(StartupError, match=r"built for Tesla K40 \(compute capability 3\.5\), but this GPU is"):
        moved.open_runtime(SETTINGS)


def test_a_file_that_is_no_engine_is_refused(engine_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "model.engine").write_bytes(b"no engine" * 100)

    with pytest.raises(StartupError, match=r"model\.engine: TensorRT cannot load it: "):
        Bundle(tmp_path, engine_bundle.manifest).open_runtime(SETTINGS)
