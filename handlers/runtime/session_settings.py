"""Settings of an ONNX Runtime session on the CPU, and what each of them was measured to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class SessionSettings:
    """How a session uses threads and memory on the CPU.

    ``python -m benchmarks settings`` measures each of them beside the defaults, in processes of their own; the figures
    below are its (``benchmarks/results/settings-random-longformer-base-fp32.md``: base size, fp32, 2 cores).

    Attributes:
        arena: keep freed activations for the next run instead of giving them back to the allocator of the C
            library. Without it mixed lengths take 1.8 times as long and the peak is 15 % higher.
        shrink_arena: give the arena's free memory back after each run: 360 MB less between runs, 15 % more time.
        memory_pattern: plan the memory of a run from the last one of the same shapes. Lengths differ from call to
            call, so a plan for one shape is of no use to the next, and each plan is kept; no gain but at 16 tokens.
        spinning: let idle threads of an operator wait actively for the next one; no difference to the engine.
        prepacking: store constant matrices in the layout that the products read; up to 1.5 times as long without.
        device_initializers: take weights from the device's allocator outside the arena; no gain.
    """

    arena: bool = True
    shrink_arena: bool = False
    memory_pattern: bool = False
    spinning: bool = True
    prepacking: bool = True
    device_initializers: bool = False

    def entries(self) -> dict[str, str]:
        """Return the settings that ONNX Runtime takes as text (``onnxruntime_session_options_config_keys.h``)."""
        return {
            "session.intra_op.allow_spinning": _flag(self.spinning),
            "session.disable_prepacking": _flag(not self.prepacking),
            "session.use_device_allocator_for_initializers": _flag(self.device_initializers),
        }

    def run_entries(self) -> dict[str, str]:
        """Return the settings of a single run (``onnxruntime_run_options_config_keys.h``)."""
        return {"memory.enable_memory_arena_shrinkage": "cpu:0"} if self.shrink_arena else {}


SERVED_SETTINGS: Final = SessionSettings()


def _flag(value: bool) -> str:
    return "1" if value else "0"
