"""ONNX Runtime on the CPU or through its CUDA provider."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

import onnxruntime as ort

from handlers.core.errors import StartupError
from handlers.core.settings import Device
from handlers.runtime import Logits, RuntimeDescription, TokenIds, warm_up

SLOWER_FUSIONS: Final = ["SkipLayerNormFusion"]
"""Rewrites of ONNX Runtime that cost time here: its fused addition and layer norm takes several
times as long on the CPU as the two operations by themselves (python -m benchmarks engine)."""

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxRuntime:
    """An exported graph in an ONNX Runtime session.

    Args:
        graph: path of ``model.onnx``.
        device: ``cpu``, ``cuda``, or ``auto`` for a GPU where there is one.
        threads: threads within one operator; 0 means every core that this process may use.
        special_id: a valid token id, for warm-up inputs.

    Raises:
        StartupError: the device is not there, or the graph does not load.
    """

    def __init__(self, graph: Path, device: Device = "auto", threads: int = 0, special_id: int = 0) -> None:
        self._device = _choose_device(device)
        self._threads = threads or available_cores()
        self._special_id = special_id
        self._session = _open_session(graph, self._device, self._threads)

    def prepare(self, lengths: Sequence[int]) -> None:
        """See ``Runtime.prepare``."""
        warm_up(self, lengths, self._special_id)

    def run(self, input_ids: TokenIds, attention_mask: TokenIds) -> Logits:
        """See ``Runtime.run``."""
        outputs = self._session.run(["logits"], {"input_ids": input_ids, "attention_mask": attention_mask})
        return cast(Logits, outputs[0])

    def describe(self) -> RuntimeDescription:
        """See ``Runtime.describe``."""
        return RuntimeDescription(name="onnx", device=self._device, threads=self._threads)


def available_cores() -> int:
    """Return the number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _choose_device(device: Device) -> str:
    has_cuda = _PROVIDERS["cuda"] in ort.get_available_providers()
    if device == "cuda" and not has_cuda:
        raise StartupError(
            "device cuda was asked for, but this ONNX Runtime has no CUDA provider: "
            "install requirements/gpu.txt, or set DEVICE=cpu"
        )
    return "cuda" if has_cuda and device != "cpu" else "cpu"


def _open_session(graph: Path, device: str, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Lengths differ from call to call, so a memory plan for one shape is of no use to the next.
    options.enable_mem_pattern = False
    provider = _PROVIDERS[device]
    try:
        session = ort.InferenceSession(str(graph), options, providers=[provider], disabled_optimizers=SLOWER_FUSIONS)
    except Exception as error:  # ONNX Runtime's exceptions share no base class but this one
        raise StartupError(f"{graph}: ONNX Runtime cannot load it: {error}") from error
    if provider not in session.get_providers():
        # ONNX Runtime falls back to the CPU without a word when a CUDA library is missing.
        raise StartupError(f"device {device} was asked for, but ONNX Runtime fell back to {session.get_providers()}")
    return session
