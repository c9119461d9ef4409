"""What TensorRT and CUDA are told: engine, contexts, memory, streams and graphs, through torch's bindings of CUDA.

torch comes with TorchServe's worker and already owns the device's context, so no second binding is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import torch
from torch import Tensor

from handlers.core.errors import StartupError
from handlers.core.manifest import Manifest, ProfileRecord
from handlers.core.profiles import Shape, buffer_tokens
from handlers.core.settings import Settings
from handlers.runtime.tensorrt import (
    EngineFault,
    Gpu,
    HostBuffers,
    TensorRtRuntime,
    check_gpu,
    check_package,
    check_settings,
    load_package,
)

INPUTS: Final = ("input_ids", "attention_mask")
OUTPUT: Final = "logits"


def open_tensorrt(manifest: Manifest, path: Path, settings: Settings) -> TensorRtRuntime:
    """Load the engine at ``path`` onto the GPU of this process.

    Raises:
        StartupError: the settings, the package, its version, the GPU or the file is not what the engine needs.
    """
    record = check_settings(manifest, settings)
    package = load_package(record.package)
    check_package(record, package.__version__)
    check_gpu(record, find_gpu())
    engine = CudaEngine(package, path, record.profiles, len(manifest.labels))
    return TensorRtRuntime(engine, record.profiles, manifest.special_tokens, len(manifest.labels))


def visible_gpu() -> Gpu | None:
    """Return the GPU that this process uses; ``None`` where torch sees none."""
    if not torch.cuda.is_available():
        return None
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    return Gpu(properties.name, f"{properties.major}.{properties.minor}")


def find_gpu() -> Gpu:
    """Return the GPU that this process uses.

    Raises:
        StartupError: there is none, or this torch was built without CUDA.
    """
    gpu = visible_gpu()
    if gpu is not None:
        return gpu
    if torch.version.cuda is None:
        raise StartupError(
            "a TensorRT engine needs a GPU, but this torch was built without CUDA: install requirements/gpu.txt"
        )
    raise StartupError(
        "a TensorRT engine needs a GPU, and none is visible here: check nvidia-smi and "
        "CUDA_VISIBLE_DEVICES, or serve an ONNX bundle with RUNTIME=onnx"
    )


def make_log(package: Any) -> Any:
    """Return a logger for TensorRT that keeps the lines of its errors, in order, in ``errors``."""

    class Log(package.ILogger):  # type: ignore[misc]  # a class of a module that is chosen at run time
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (package.ILogger.Severity.ERROR, package.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(" ".join(message.split()))

    return Log()


@dataclass(frozen=True)
class _Kept:
    """A shape's own context and, but for TensorRT-RTX, the CUDA graph that was captured from it."""

    context: Any
    graph: torch.cuda.CUDAGraph | None


class CudaEngine:
    """An engine on the current GPU; see ``handlers.runtime.tensorrt.Engine``.

    All contexts share one block of device memory for activations, because they run one after the
    other on one stream. Inputs and logits have one pinned and one device buffer each, as large as
    the largest profile: nothing is allocated once ``keep`` was last called.

    Args:
        package: ``tensorrt`` or ``tensorrt_rtx``.
        path: of ``model.engine``.
        profiles: that the manifest says it has.
        labels: columns of the logits.

    Raises:
        StartupError: TensorRT cannot load it, or its profiles are not those of the manifest.
    """

    def __init__(self, package: ModuleType, path: Path, profiles: Sequence[ProfileRecord], labels: int) -> None:
        self._package = package
        self._labels = labels
        self._log = make_log(package)
        self._stream = torch.cuda.Stream()
        # The runtime must outlive what it has deserialized.
        self._runtime = package.Runtime(self._log)
        self._engine = self._load(path)
        self._check_profiles(path, profiles)
        rows = max(profile.most[0] for profile in profiles)
        self._host = {name: _pinned(buffer_tokens(profiles), torch.int64) for name in INPUTS}
        self._host[OUTPUT] = _pinned(rows * labels, torch.float32)
        self._device, self._activations = self._allocate(path)
        self._contexts = [self._open_context(index, common=False) for index in range(len(profiles))]
        self._bound: dict[int, Shape] = {}
        self._kept: dict[Shape, _Kept] = {}
        self._buffers = HostBuffers(*(self._host[name].numpy() for name in (*INPUTS, OUTPUT)))

    @property
    def buffers(self) -> HostBuffers:
        """See ``Engine.buffers``."""
        return self._buffers

    def execute(self, profile: int, shape: Shape) -> None:
        """See ``Engine.execute``."""
        context = self._contexts[profile]
        if self._bound.get(profile) != shape:
            self._bind(context, shape)
            self._bound[profile] = shape
        self._copy_inputs(shape)
        self._enqueue(context)
        self._fetch_logits(shape)

    def keep(self, profile: int, shape: Shape) -> None:
        """See ``Engine.keep``."""
        # A graph holds the state of its context, which must not change afterwards: so each has its own.
        context = self._open_context(profile, common=True)
        self._bind(context, shape)
        self._copy_inputs(shape)
        self._enqueue(context)  # the first run of a shape does work that must not be captured
        self._fetch_logits(shape)
        self._kept[shape] = _Kept(context, None if self._captures_itself else self._capture(context))

    def replay(self, shape: Shape) -> None:
        """See ``Engine.replay``."""
        kept = self._kept[shape]
        self._copy_inputs(shape)
        if kept.graph is None:
            self._enqueue(kept.context)
        else:
            with torch.cuda.stream(self._stream):
                kept.graph.replay()
        self._fetch_logits(shape)

    @property
    def _captures_itself(self) -> bool:
        """TensorRT-RTX compiles kernels at load and captures them by itself, when they are ready."""
        return hasattr(self._package, "CudaGraphStrategy")

    def _load(self, path: Path) -> Any:
        engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if engine is None:
            raise StartupError(f"{path}: TensorRT cannot load it: {self._last_error()}")
        return engine

    def _check_profiles(self, path: Path, profiles: Sequence[ProfileRecord]) -> None:
        found = [
            tuple(tuple(shape) for shape in self._engine.get_tensor_profile_shape(INPUTS[0], index))
            for index in range(self._engine.num_optimization_profiles)
        ]
        stated = [(profile.least, profile.best, profile.most) for profile in profiles]
        if found != stated:
            raise StartupError(f"{path}: its profiles are not those of the manifest: build the bundle again")

    def _allocate(self, path: Path) -> tuple[dict[str, Tensor], Tensor]:
        """Return the device's buffers, and the memory that activations share."""
        size = max(1, self._engine.device_memory_size_v2)
        try:
            buffers = {name: torch.empty_like(buffer, device="cuda") for name, buffer in self._host.items()}
            return buffers, torch.empty(size, dtype=torch.uint8, device="cuda")
        except torch.OutOfMemoryError:
            free, _ = torch.cuda.mem_get_info()
            raise StartupError(
                f"{path}: the engine needs {size / 2**30:.1f} GiB for activations and {free / 2**30:.1f} GiB are "
                "free: build it with a smaller --token-budget and --max-batch, and serve it with that token_budget"
            ) from None

    def _open_context(self, profile: int, common: bool) -> Any:
        """Create a context in ``profile``, for shapes of any kind or for a ``common`` one."""
        context = self._create_context(common)
        if context is None:
            raise StartupError(f"TensorRT cannot create an execution context: {self._last_error()}")
        context.set_device_memory(self._activations.data_ptr(), self._activations.numel())
        if not context.set_optimization_profile_async(profile, self._stream.cuda_stream):
            raise StartupError(f"TensorRT cannot select optimization profile {profile}: {self._last_error()}")
        for name, buffer in self._device.items():
            context.set_tensor_address(name, buffer.data_ptr())
        self._stream.synchronize()
        return context

    def _create_context(self, common: bool) -> Any:
        strategy = self._package.ExecutionContextAllocationStrategy.USER_MANAGED
        if not self._captures_itself:
            return self._engine.create_execution_context(strategy)
        config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(strategy)
        # Kernels of its own are compiled for each shape that is common; compiling them for every length
        # that comes by would never end.
        specialization = self._package.DynamicShapesKernelSpecializationStrategy
        graphs = self._package.CudaGraphStrategy
        config.dynamic_shapes_kernel_specialization_strategy = specialization.LAZY if common else specialization.NONE
        config.cuda_graph_strategy = graphs.WHOLE_GRAPH_CAPTURE if common else graphs.DISABLED
        return self._engine.create_execution_context(config)

    def _bind(self, context: Any, shape: Shape) -> None:
        for name in INPUTS:
            if not context.set_input_shape(name, shape):
                raise EngineFault(f"TensorRT does not take the shape {shape}: {self._last_error()}")

    def _copy_inputs(self, shape: Shape) -> None:
        tokens = shape[0] * shape[1]
        with torch.cuda.stream(self._stream):
            for name in INPUTS:
                self._device[name][:tokens].copy_(self._host[name][:tokens], non_blocking=True)

    def _enqueue(self, context: Any) -> None:
        if not context.execute_async_v3(self._stream.cuda_stream):
            raise EngineFault(f"TensorRT could not run: {self._last_error()}")

    def _fetch_logits(self, shape: Shape) -> None:
        count = shape[0] * self._labels
        with torch.cuda.stream(self._stream):
            self._host[OUTPUT][:count].copy_(self._device[OUTPUT][:count], non_blocking=True)
        self._stream.synchronize()

    def _capture(self, context: Any) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            self._enqueue(context)
        return graph

    def _last_error(self) -> str:
        return self._log.errors[-1] if self._log.errors else "it gives no reason"


def _pinned(elements: int, dtype: torch.dtype) -> Tensor:
    return torch.empty(elements, dtype=dtype, pin_memory=True)
