"""The machine's matrix rate: the same dense product through every library at hand, the best of them the ceiling."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, Protocol

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper

GEMM_SHAPE: Final = (4096, 768, 3072)
"""Rows, inner size and columns: the base model's first feed-forward product for a full-length text."""

REPEATS: Final = 2
"""Runs of one product each time that it is asked for; the faster one counts, since a ceiling is what is possible."""

Product = Callable[[], object]


class Products(Protocol):
    """What measures the machine's matrix rate."""

    def measure(self) -> dict[str, dict[str, float]]:
        """Return operations a second by precision and library."""


class Ceilings:
    """Dense products of one shape, ready to run.

    fp32: torch (oneDNN or MKL), ONNX Runtime's ``MatMul`` with a constant weight as in the graph, and
    numpy's BLAS. int8: ONNX Runtime's ``MatMulInteger`` (uint8 rows, int8 constant weight, int32 sums), which is
    what the quantized graph runs, and torch's ``_int_mm`` (int8 by int8).

    Args:
        threads: for torch and ONNX Runtime; numpy's BLAS takes what its environment says.
        shape: rows, inner size, columns.
    """

    def __init__(self, threads: int, shape: tuple[int, int, int]) -> None:
        torch.set_num_threads(threads)
        rows, inner, columns = shape
        self._operations = 2.0 * rows * inner * columns
        generator = np.random.default_rng(0)
        left = generator.standard_normal((rows, inner), dtype=np.float32)
        right = generator.standard_normal((inner, columns), dtype=np.float32)
        self._products: dict[str, dict[str, Product]] = {
            "fp32": {
                "torch": _torch_product(left, right),
                "onnxruntime MatMul": _session_product("MatMul", left, right, threads),
                "numpy": lambda: left @ right,
            },
            "int8": _int8_products(generator, shape, threads),
        }

    def measure(self) -> dict[str, dict[str, float]]:
        """Return operations a second by precision and library, each timed now."""
        return {
            precision: {name: self._operations / _fastest(product) for name, product in products.items()}
            for precision, products in self._products.items()
        }


def gemm_rate(shape: tuple[int, int, int] = GEMM_SHAPE) -> float:
    """Return GFLOP/s of a dense fp32 product through torch, as a neighbour in time to compare with."""
    rows, inner, columns = shape
    left, right = torch.randn(rows, inner), torch.randn(inner, columns)
    return 2 * rows * inner * columns / _fastest(lambda: left @ right) / 1e9


def ceiling_precision(precision: str) -> str:
    """Return which products bound a graph of ``precision``; fp16 on a CPU is computed in fp32."""
    return "int8" if precision == "int8" else "fp32"


def _torch_product(left: np.ndarray[Any, Any], right: np.ndarray[Any, Any]) -> Product:
    a, b = torch.from_numpy(left), torch.from_numpy(right)
    return lambda: a @ b


def _int8_products(generator: np.random.Generator, shape: tuple[int, int, int], threads: int) -> dict[str, Product]:
    rows, inner, columns = shape
    left = generator.integers(0, 255, (rows, inner), dtype=np.uint8)
    right = generator.integers(-127, 127, (inner, columns), dtype=np.int8)
    a, b = torch.from_numpy(left.astype(np.int8)), torch.from_numpy(right)
    return {
        "onnxruntime MatMulInteger": _session_product("MatMulInteger", left, right, threads),
        "torch _int_mm": lambda: torch._int_mm(a, b),
    }


def _session_product(operator: str, left: np.ndarray[Any, Any], right: np.ndarray[Any, Any], threads: int) -> Product:
    """Return a run of one node whose second operand is a constant, so that it is packed once as weights are."""
    given = helper.np_dtype_to_tensor_dtype(left.dtype)
    made = TensorProto.INT32 if operator == "MatMulInteger" else given
    graph = helper.make_graph(
        [helper.make_node(operator, ["left", "right"], ["product"])],
        "product",
        [helper.make_tensor_value_info("left", given, left.shape)],
        [helper.make_tensor_value_info("product", made, (left.shape[0], right.shape[1]))],
        [numpy_helper.from_array(right, "right")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(["product"], {"left": left})


def _fastest(product: Product) -> float:
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        product()
        times.append(time.perf_counter() - started)
    return min(times)
