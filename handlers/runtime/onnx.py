"""ONNX Runtime on the CPU or through its CUDA provider."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

import onnxruntime as ort

from handlers.core.errors import StartupError
from handlers.core.settings import Device
from handlers.runtime import Logits, RuntimeDescription, TokenIds, warm_up
from handlers.runtime.cores import available_cores
from handlers.runtime.onnx_cuda import cuda_provider, run_bound
from handlers.runtime.session_settings import SERVED_SETTINGS, SessionSettings

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
        session: threads and memory of the session on the CPU; the default is what measured best.

    Raises:
        StartupError: the device is not there, or the graph does not load.
    """

    def __init__(
        self,
        graph: Path,
        device: Device = "auto",
        threads: int = 0,
        special_id: int = 0,
        session: SessionSettings = SERVED_SETTINGS,
    ) -> None:
        self._device = _choose_device(device)
        self._threads = threads or available_cores()
        self._special_id = special_id
        self._session = _open_session(graph, self._device, self._threads, session)
        self._run_options = _run_options(session)

    def prepare(self, lengths: Sequence[int]) -> None:
        """See ``Runtime.prepare``."""
        warm_up(self, lengths, self._special_id)

    def run(self, input_ids: TokenIds, attention_mask: TokenIds) -> Logits:
        """See ``Runtime.run``."""
        if self._device == "cuda":
            return run_bound(self._session, self._device, input_ids, attention_mask)
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        outputs = self._session.run(["logits"], inputs, self._run_options)
        return cast(Logits, outputs[0])

    def describe(self) -> RuntimeDescription:
        """See ``Runtime.describe``."""
        return RuntimeDescription(name="onnx", device=self._device, threads=self._threads)


def _choose_device(device: Device) -> str:
    has_cuda = _PROVIDERS["cuda"] in ort.get_available_providers()
    if device == "cuda" and not has_cuda:
        raise StartupError(
            "device cuda was asked for, but this ONNX Runtime has no CUDA provider: "
            "install requirements/gpu.txt, or set DEVICE=cpu"
        )
    return "cuda" if has_cuda and device != "cpu" else "cpu"


def _session_options(threads: int, settings: SessionSettings) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_mem_pattern = settings.memory_pattern
    options.enable_cpu_mem_arena = settings.arena
    for key, value in settings.entries().items():
        options.add_session_config_entry(key, value)
    return options


def _run_options(settings: SessionSettings) -> ort.RunOptions:
    options = ort.RunOptions()
    for key, value in settings.run_entries().items():
        options.add_run_config_entry(key, value)
    return options


def _open_session(graph: Path, device: str, threads: int, settings: SessionSettings) -> ort.InferenceSession:
    options = _session_options(threads, settings)
    provider = _PROVIDERS[device]
    on_cpu = device == "cpu"
    providers = [provider if on_cpu else cuda_provider()]
    slower = SLOWER_FUSIONS if on_cpu else []
    try:
        session = ort.InferenceSession(str(graph), options, providers=providers, disabled_optimizers=slower)
    except Exception as error:  # ONNX Runtime's exceptions share no base class but this one
        raise StartupError(f"{graph}: ONNX Runtime cannot load it: {error}") from error
    if provider not in session.get_providers():
        # ONNX Runtime falls back to the CPU without a word when a CUDA library is missing.
        raise StartupError(f"device {device} was asked for, but ONNX Runtime fell back to {session.get_providers()}")
    return session
