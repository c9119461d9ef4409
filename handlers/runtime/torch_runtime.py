"""The torch runtime: the reference beside the compiled engines, and the one where none of them can be had."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from handlers.core.errors import StartupError
from handlers.core.profiles import GRAPH_BATCHES, GRAPH_TOKENS, Shape, choose_graph, plan_graphs, plan_profiles
from handlers.core.settings import Device
from handlers.runtime import Logits, RuntimeDescription, TokenIds, warm_up
from handlers.runtime.cores import available_cores
from handlers.runtime.torch_longformer import TorchLongformer, TorchSpec

SPEC_KEY: Final = "lantern"
"""Key of the ``TorchSpec`` in the header of ``model.safetensors``."""

LONE_LENGTHS: Final = (1536, 2048, 3072, 4096)
"""Lengths at which a lone text is kept as a CUDA graph besides the shapes of ``plan_graphs``: started one by
one, the kernels of twelve layers take about as long to launch as they run on 4,096 tokens."""


@dataclass(frozen=True)
class _Recording:
    """A CUDA graph of one shape with what it reads and writes.

    Attributes:
        staged: pinned int64 ``(2, batch, length)`` on the host, ids and mask.
        inputs: the same on the device.
        logits: float32 ``(batch, labels)`` on the device.
    """

    graph: torch.cuda.CUDAGraph
    staged: Tensor
    inputs: Tensor
    logits: Tensor


class TorchRuntime:
    """Weights of a torch bundle on the CPU or a CUDA device.

    Args:
        graph: path of ``model.safetensors``, which holds tensors and a header, and no code.
        device: ``cpu``, ``cuda``, or ``auto`` for a GPU where there is one.
        threads: threads within one operator; 0 means every core that this process may use.
        special_id: a valid token id, for warm-up inputs.
        max_length: tokens that one input may have; no CUDA graph is longer.

    Raises:
        StartupError: the device is not there, or the file does not load.
    """

    def __init__(
        self, graph: Path, device: Device = "auto", threads: int = 0, special_id: int = 0, max_length: int = 4096
    ) -> None:
        self._device = _choose_device(device)
        self._threads = threads or available_cores()
        self._special_id = special_id
        self._max_length = max_length
        self._recordings: dict[Shape, _Recording] = {}
        self._busy = threading.Lock()  # a recording has one set of inputs
        torch.set_num_threads(self._threads)
        # Partial sums of a product stay in fp32: the default lets them overflow in fp16.
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
        self._model = load_model(graph, self._device)

    def prepare(self, lengths: Sequence[int]) -> None:
        """See ``Runtime.prepare``; on CUDA the common small shapes are recorded as graphs too."""
        if self._device == "cuda":
            for shape in graph_shapes(self._max_length):
                self._recordings[shape] = self._record(shape)
        warm_up(self, lengths, self._special_id)

    def run(self, input_ids: TokenIds, attention_mask: TokenIds) -> Logits:
        """See ``Runtime.run``."""
        with torch.inference_mode():
            kept = choose_graph(list(self._recordings), (input_ids.shape[0], input_ids.shape[1]))
            if kept is not None:
                return self._replay(self._recordings[kept], input_ids, attention_mask)
            ids, mask = self._to_device(input_ids), self._to_device(attention_mask)
            logits = self._model(ids, mask, padded=not bool(attention_mask.all()))
            return cast(Logits, logits.cpu().numpy())

    def describe(self) -> RuntimeDescription:
        """See ``Runtime.describe``."""
        return RuntimeDescription(name="torch", device=self._device, threads=self._threads)

    def _to_device(self, values: TokenIds) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(values))
        if self._device == "cpu":
            return tensor
        return tensor.pin_memory().to(self._device, non_blocking=True)

    def _replay(self, recording: _Recording, input_ids: TokenIds, attention_mask: TokenIds) -> Logits:
        """Lay a batch over the recording's inputs, the rest of them masked, and run it."""
        with self._busy:
            stage(recording.staged.numpy(), input_ids, attention_mask, self._special_id)
            recording.inputs.copy_(recording.staged, non_blocking=True)
            recording.graph.replay()
            return cast(Logits, recording.logits[: len(input_ids)].cpu().numpy())

    @torch.inference_mode()
    def _record(self, shape: Shape) -> _Recording:
        staged = torch.full((2, *shape), 1, dtype=torch.int64).pin_memory()
        staged[0] = self._special_id
        inputs = staged.to(self._device)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # what a first run allocates and chooses must not be recorded
            self._model(inputs[0], inputs[1], padded=True)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        pool = next((recording.graph.pool() for recording in self._recordings.values()), None)
        with torch.cuda.graph(graph, pool=pool):
            logits = self._model(inputs[0], inputs[1], padded=True)
        return _Recording(graph, staged, inputs, logits)


def graph_shapes(max_length: int) -> list[Shape]:
    """Return the shapes that are kept as CUDA graphs: those of the TensorRT runtime, and longer lone texts."""
    small = plan_graphs(plan_profiles(max_length, GRAPH_TOKENS, max(GRAPH_BATCHES)))
    return [*small, *((1, length) for length in LONE_LENGTHS if length <= max_length)]


def stage(staged: TokenIds, input_ids: TokenIds, attention_mask: TokenIds, special_id: int) -> None:
    """Lay a batch into ``staged`` ``(2, rows, tokens)``, ids and mask; the rest becomes texts of one token."""
    batch, length = input_ids.shape
    staged[0] = special_id
    staged[1] = 0
    staged[1, :, 0] = 1  # a row without a single token would have nothing to attend to
    staged[0, :batch, :length] = input_ids
    staged[1, :batch, :length] = attention_mask


def load_model(graph: Path, device: str) -> TorchLongformer:
    """Read ``model.safetensors`` to ``device``.

    Raises:
        StartupError: it is missing, no such file, or its attention does not run on ``device``.
    """
    try:
        with safe_open(str(graph), framework="pt", device=device) as file:
            spec = TorchSpec.model_validate_json((file.metadata() or {}).get(SPEC_KEY, ""))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        model = TorchLongformer(spec, weights)
    except ValidationError:
        raise StartupError(f"{graph}: its header has no valid {SPEC_KEY!r} entry: export the bundle again") from None
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise StartupError(f"{graph}: torch cannot load it: {error}") from error
    if spec.attention == "windowed" and device != "cuda":
        raise StartupError(
            f"{graph} was exported with --attention windowed, which runs on CUDA alone: "
            "export it with --attention blocks, or serve with DEVICE=cuda"
        )
    return model


def _choose_device(device: Device) -> str:
    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise StartupError(
            "device cuda was asked for, but torch sees no CUDA device: "
            "install requirements/gpu.txt on a machine with one, or set DEVICE=cpu"
        )
    return "cuda" if has_cuda and device != "cpu" else "cpu"
