"""ONNX Runtime's CUDA provider: its options, and runs whose inputs are bound to the device."""

from __future__ import annotations

from typing import Final, cast

import onnxruntime as ort

from handlers.runtime import Logits, TokenIds

CUDA_OPTIONS: Final[dict[str, str]] = {
    "device_id": "0",
    "arena_extend_strategy": "kSameAsRequested",
    "use_tf32": "0",
}
"""Options of the CUDA provider.

``arena_extend_strategy``: lengths differ from call to call, and the default doubles the arena at every
new maximum; this takes what is asked for. ``use_tf32``: on by default, and then an "fp32" product keeps
10 bits of mantissa and the parity gate's 1e-5 cannot hold; an fp16 graph does not care. What is left
alone: ``enable_cuda_graph`` replays one shape at fixed addresses, and shapes differ here; the
``cudnn_conv`` options are for convolutions, of which there are none."""


def cuda_provider() -> tuple[str, dict[str, str]]:
    """Return the CUDA provider with its options, the libraries of the nvidia packages loaded beforehand."""
    ort.preload_dlls()
    return "CUDAExecutionProvider", CUDA_OPTIONS


def run_bound(session: ort.InferenceSession, device: str, input_ids: TokenIds, attention_mask: TokenIds) -> Logits:
    """Run with both inputs copied to ``device`` (``cuda`` or ``cpu``) once, and the logits written to the host.

    Without binding, every node that reads an input on the host would be a copy of its own to place
    and wait for.

    Args:
        session: of a graph with the inputs ``input_ids`` and ``attention_mask``.
        input_ids, attention_mask: int64 ``(batch, length)``.

    Returns:
        float32 ``(batch, labels)``.
    """
    binding = session.io_binding()
    for name, values in (("input_ids", input_ids), ("attention_mask", attention_mask)):
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(values, device, 0))
    binding.bind_output("logits", "cpu")
    session.run_with_iobinding(binding)
    return cast(Logits, binding.get_outputs()[0].numpy())
