"""Engines behind one protocol of three verbs: prepare, run, describe."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

# From 1.29 on, ONNX Runtime reports models and machine to its maker over the network, and keeps an id of the machine in
# HOME, unless it is told not to before it is loaded. Engines are imported after this line.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

TokenIds = npt.NDArray[np.int64]
Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class RuntimeDescription:
    """What a runtime runs on: its name, the device it really uses and its CPU threads."""

    name: str
    device: str
    threads: int


class Runtime(Protocol):
    """An engine that holds one exported graph."""

    def prepare(self, lengths: Sequence[int]) -> None:
        """Run one input of each length, so that no caller pays for first-time allocations."""

    def run(self, input_ids: TokenIds, attention_mask: TokenIds) -> Logits:
        """Compute logits.

        Args:
            input_ids: int64 ``(batch, length)``, ``<s>`` first.
            attention_mask: int64 ``(batch, length)``, 1 for tokens, then 0 for padding.

        Returns:
            float32 ``(batch, labels)``.
        """

    def describe(self) -> RuntimeDescription:
        """Say what is running, truthfully: the device in use, not the one asked for."""


def warm_up(runtime: Runtime, lengths: Sequence[int], special_id: int) -> None:
    """Run ``runtime`` once at each of ``lengths``, with inputs made of one special token."""
    for length in lengths:
        input_ids = np.full((1, length), special_id, dtype=np.int64)
        runtime.run(input_ids, np.ones_like(input_ids))
