"""TensorRT and CUDA for tests: objects with their methods, over host memory, that refuse what they would refuse.

A context computes with the tiny graph in ONNX Runtime from the addresses that it was given, so that
a wrong address, size or order gives wrong logits or fails.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import torch

from handlers.core.manifest import ProfileRecord
from handlers.core.profiles import Shape
from tests.unit.runtime.engines import open_session

SCRATCH = 4096
"""Bytes of activations that the engine asks for."""


class Strategy(Enum):
    STATIC = 0
    USER_MANAGED = 2


class Specialization(Enum):
    LAZY = 0
    EAGER = 1
    NONE = 2


class GraphStrategy(Enum):
    DISABLED = 0
    WHOLE_GRAPH_CAPTURE = 1


class Severity(Enum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class ILogger:
    Severity = Severity


class Stream:
    """A stream that runs at once, or into a graph while one is captured."""

    def __init__(self) -> None:
        self.cuda_stream = id(self)
        self.graph: Graph | None = None
        STREAMS[self.cuda_stream] = self

    def synchronize(self) -> None:
        assert self.graph is None, "waiting is not allowed while a graph is captured"


STREAMS: dict[int, Stream] = {}


class Graph:
    def __init__(self) -> None:
        self.work: list[Callable[[], None]] = []

    def replay(self) -> None:
        assert self.work
        for work in self.work:
            work()


@contextlib.contextmanager
def capture(graph: Graph, stream: Stream) -> Iterator[None]:
    stream.graph = graph
    yield
    stream.graph = None


class RuntimeConfig:
    def __init__(self) -> None:
        self.strategy = Strategy.STATIC
        self.dynamic_shapes_kernel_specialization_strategy = Specialization.LAZY
        self.cuda_graph_strategy = GraphStrategy.DISABLED

    def set_execution_context_allocation_strategy(self, strategy: Strategy) -> None:
        self.strategy = strategy


class Context:
    """An execution context that wants memory, a profile, addresses and shapes before it runs."""

    def __init__(self, engine: CudaEngineApi, config: RuntimeConfig) -> None:
        self.config = config
        self.profile: int | None = None
        self.captured = False
        self._engine = engine
        self._memory = 0
        self._addresses: dict[str, int] = {}
        self._shapes: dict[str, Shape] = {}

    def set_device_memory(self, memory: int, size: int) -> None:
        assert self.config.strategy is Strategy.USER_MANAGED
        assert memory and size >= self._engine.device_memory_size_v2
        self._memory = memory

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        assert stream_handle in STREAMS and not self.captured
        self.profile = profile_index
        self._shapes.clear()
        return profile_index < self._engine.num_optimization_profiles

    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert not self.captured
        self._addresses[name] = memory
        return True

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        assert self.profile is not None and not self.captured
        least, _, most = self._engine.get_tensor_profile_shape(name, self.profile)
        self._shapes[name] = shape
        return all(low <= size <= high for low, size, high in zip(least, shape, most, strict=True))

    def execute_async_v3(self, stream_handle: int) -> bool:
        stream = STREAMS[stream_handle]
        if self._engine.fault is not None:
            self._engine.log.log(Severity.ERROR, self._engine.fault)
            return False
        assert self._memory and set(self._addresses) == {"input_ids", "attention_mask", "logits"}
        if stream.graph is None:
            self._compute(dict(self._shapes))
            return True
        self.captured = True
        shapes = dict(self._shapes)
        stream.graph.work.append(lambda: self._compute(shapes))
        return True

    def _compute(self, shapes: dict[str, Shape]) -> None:
        inputs = {name: read(self._addresses[name], shape) for name, shape in shapes.items()}
        (logits,) = self._engine.session.run(["logits"], inputs)
        flat = np.ascontiguousarray(logits, dtype=np.float32)
        ctypes.memmove(self._addresses["logits"], flat.ctypes.data, flat.nbytes)


def read(address: int, shape: Shape) -> npt.NDArray[np.int64]:
    values = (ctypes.c_int64 * (shape[0] * shape[1])).from_address(address)
    return np.frombuffer(values, dtype=np.int64).reshape(shape).copy()


class CudaEngineApi:
    """What ``deserialize_cuda_engine`` returns."""

    def __init__(self, session: ort.InferenceSession, profiles: Sequence[ProfileRecord], log: Any) -> None:
        self.session = session
        self.log = log
        self.fault: str | None = None
        self.contexts: list[Context] = []
        self.num_optimization_profiles = len(profiles)
        self.device_memory_size_v2 = SCRATCH
        self._profiles = profiles

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Shape]:
        assert name in ("input_ids", "attention_mask")
        profile = self._profiles[profile_index]
        return [profile.least, profile.best, profile.most]

    def create_runtime_config(self) -> RuntimeConfig:
        return RuntimeConfig()

    def create_execution_context(self, how: Strategy | RuntimeConfig) -> Context:
        config = how if isinstance(how, RuntimeConfig) else RuntimeConfig()
        if isinstance(how, Strategy):
            config.strategy = how
        self.contexts.append(Context(self, config))
        return self.contexts[-1]


class Package:
    """``tensorrt``, or ``tensorrt_rtx`` where ``rtx``; ``engines`` are those that it has loaded."""

    ILogger = ILogger
    ExecutionContextAllocationStrategy = Strategy

    def __init__(self, graph: Path, profiles: Sequence[ProfileRecord], rtx: bool = False) -> None:
        self.__name__ = "tensorrt_rtx" if rtx else "tensorrt"
        self.__version__ = "11.4.0.106"
        self.engines: list[CudaEngineApi] = []
        self._session = open_session(graph)
        self._profiles = profiles
        if rtx:
            self.CudaGraphStrategy = GraphStrategy
            self.DynamicShapesKernelSpecializationStrategy = Specialization

    def Runtime(self, logger: Any) -> SimpleNamespace:  # noqa: N802 - the name of a class of TensorRT
        def deserialize_cuda_engine(serialized_engine: bytes) -> CudaEngineApi | None:
            if not serialized_engine.startswith(b"engine"):
                logger.log(Severity.WARNING, "something else")
                logger.log(Severity.ERROR, "the engine plan file is\n not compatible")
                logger.log(Severity.WARNING, "something else")
                return None
            self.engines.append(CudaEngineApi(self._session, self._profiles, logger))
            return self.engines[-1]

        return SimpleNamespace(deserialize_cuda_engine=deserialize_cuda_engine)


def empty(size: int, dtype: torch.dtype, device: str = "cpu", pin_memory: bool = False) -> torch.Tensor:
    assert pin_memory == (device == "cpu")
    return torch.full((size,), 99, dtype=dtype)


def fake_torch(**changes: Any) -> SimpleNamespace:
    """Return what ``handlers.runtime.tensorrt_cuda`` uses of torch, over host memory."""
    cuda = {
        "Stream": Stream,
        "CUDAGraph": Graph,
        "graph": capture,
        "stream": lambda stream: contextlib.nullcontext(),
        "mem_get_info": lambda: (3 << 30, 80 << 30),
    }
    fields: dict[str, Any] = {
        "empty": empty,
        "empty_like": lambda buffer, device: torch.full_like(buffer, 99),
        "cuda": SimpleNamespace(**cuda),
        "int64": torch.int64,
        "float32": torch.float32,
        "uint8": torch.uint8,
        "OutOfMemoryError": torch.OutOfMemoryError,
    }
    return SimpleNamespace(**(fields | changes))
