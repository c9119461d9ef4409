"""Bound runs; binding is the same code for every device, so that the CPU shows that it is right."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest

from handlers.runtime.bundle import GRAPH_NAME
from handlers.runtime.onnx_cuda import cuda_provider, run_bound
from tests.checkpoints import Tiny


@pytest.fixture(scope="module")
def session(tiny: Tiny) -> ort.InferenceSession:
    return ort.InferenceSession(str(tiny.bundle / GRAPH_NAME), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (2, 200)])
def test_a_bound_run_gives_the_logits_of_an_ordinary_one(session: ort.InferenceSession, shape: tuple[int, int]) -> None:
    input_ids = np.random.default_rng(0).integers(5, 260, shape)
    mask = np.ones_like(input_ids)
    mask[-1, shape[1] // 2 + 1 :] = 0

    (expected,) = session.run(["logits"], {"input_ids": input_ids, "attention_mask": mask})

    np.testing.assert_array_equal(run_bound(session, "cpu", input_ids, mask), expected)


def test_logits_outlive_the_next_run(session: ort.InferenceSession) -> None:
    first, second = (np.full((2, 9), token, dtype=np.int64) for token in (7, 8))
    logits = run_bound(session, "cpu", first, np.ones_like(first))
    before = logits.copy()
    run_bound(session, "cpu", second, np.ones_like(second))

    np.testing.assert_array_equal(logits, before)


def test_fp32_products_keep_their_digits_on_cuda() -> None:
    name, options = cuda_provider()

    assert name == "CUDAExecutionProvider"
    assert options["use_tf32"] == "0"
    assert all(isinstance(value, str) for value in options.values())
