from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from handlers.core.errors import StartupError
from handlers.runtime import Runtime, RuntimeDescription
from handlers.runtime.bundle import GRAPH_NAME
from handlers.runtime.cores import available_cores
from handlers.runtime.onnx import OnnxRuntime
from tests.checkpoints import Tiny

NO_CUDA = "CUDAExecutionProvider" not in ort.get_available_providers()


@pytest.mark.skipif(not NO_CUDA, reason="this ONNX Runtime has a CUDA provider")
def test_cuda_without_a_provider_is_an_error_that_says_so(tiny: Tiny) -> None:
    with pytest.raises(StartupError, match=r"device cuda was asked for, .* no CUDA provider: install .*DEVICE=cpu"):
        OnnxRuntime(tiny.bundle / GRAPH_NAME, "cuda")


@pytest.mark.skipif(not NO_CUDA, reason="this ONNX Runtime has a CUDA provider")
def test_auto_without_a_gpu_is_the_cpu_and_says_so(tiny: Tiny) -> None:
    runtime = OnnxRuntime(tiny.bundle / GRAPH_NAME, "auto", threads=1)

    assert runtime.describe() == RuntimeDescription("onnx", "cpu", 1)


def test_no_number_of_threads_is_every_core_of_this_process(tiny: Tiny) -> None:
    assert OnnxRuntime(tiny.bundle / GRAPH_NAME, "cpu").describe().threads == available_cores() >= 1


def test_logits_are_float32_of_batch_and_labels(runtime: Runtime) -> None:
    input_ids = np.full((3, 7), 5, dtype=np.int64)
    logits = runtime.run(input_ids, np.ones_like(input_ids))

    assert (logits.shape, logits.dtype) == ((3, 4), np.float32)


def test_the_same_input_gives_the_same_bits(runtime: Runtime) -> None:
    input_ids = np.arange(5, 205, dtype=np.int64)[None]
    mask = np.ones_like(input_ids)

    np.testing.assert_array_equal(runtime.run(input_ids, mask), runtime.run(input_ids, mask))


def test_every_length_can_be_prepared(runtime: Runtime) -> None:
    runtime.prepare([1, 3, 16, 32, 64, 256])

    with pytest.raises(Exception, match=r"out of (data )?bounds"):
        runtime.prepare([300])  # past the last position: what prepare is given, it runs


@pytest.mark.parametrize("content", [None, b"", b"no graph"])
def test_a_file_that_is_no_graph_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    graph = tmp_path / "model.onnx"
    if content is not None:
        graph.write_bytes(content)

    with pytest.raises(StartupError, match=r"model\.onnx: ONNX Runtime cannot load it"):
        OnnxRuntime(graph, "cpu", threads=1)
