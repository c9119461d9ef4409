"""Which GPU a worker uses, where its host has several."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Final

VISIBLE: Final = "CUDA_VISIBLE_DEVICES"
ORDER: Final = "CUDA_DEVICE_ORDER"


def see_one_gpu(gpu: int | None, environment: MutableMapping[str, str]) -> None:
    """Let this process see the GPU that its host has given it, and no other, as its first one.

    To be called before anything initializes CUDA, which reads the variables then.

    Args:
        gpu: its number, counted as ``nvidia-smi`` does; among those of ``CUDA_VISIBLE_DEVICES`` where an operator has
            set it. ``None`` or a negative number: none was given, nothing is changed.
        environment: of this process.
    """
    if gpu is None or gpu < 0:
        return
    chosen = [device for device in environment.get(VISIBLE, "").split(",") if device]
    environment[VISIBLE] = chosen[gpu % len(chosen)] if chosen else str(gpu)
    environment.setdefault(ORDER, "PCI_BUS_ID")
