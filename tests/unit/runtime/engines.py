"""An engine for tests: the tiny graph in ONNX Runtime, behind flat buffers and profiles as on a device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort

from handlers.core.manifest import ProfileRecord
from handlers.core.profiles import Shape, buffer_tokens, covers
from handlers.runtime.tensorrt import HostBuffers


def open_session(graph: Path) -> ort.InferenceSession:
    """Open a graph on one thread: the tiny one is too small to share out."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


class OrtEngine:
    """Computes what a TensorRT engine would, from what lies in the buffers, and refuses what one would refuse.

    Attributes:
        ran: each run: the profile that it ran in, ``None`` for a kept graph, and its shape.
    """

    def __init__(self, graph: Path, profiles: Sequence[ProfileRecord], labels: int) -> None:
        self._session = open_session(graph)
        self._profiles = profiles
        self._labels = labels
        self._kept: set[Shape] = set()
        self.ran: list[tuple[int | None, Shape]] = []
        tokens, rows = buffer_tokens(profiles), max(profile.most[0] for profile in profiles)
        # Memory that nobody has written holds anything: token ids far out of range, and no logit.
        self._buffers = HostBuffers(
            np.full(tokens, 1 << 40), np.full(tokens, 1 << 40), np.full(rows * labels, np.nan, dtype=np.float32)
        )

    @property
    def buffers(self) -> HostBuffers:
        return self._buffers

    def execute(self, profile: int, shape: Shape) -> None:
        assert covers(self._profiles[profile], shape)
        self.ran.append((profile, shape))
        self._compute(shape)

    def keep(self, profile: int, shape: Shape) -> None:
        assert covers(self._profiles[profile], shape)
        self._compute(shape)
        self._kept.add(shape)

    def replay(self, shape: Shape) -> None:
        assert shape in self._kept
        self.ran.append((None, shape))
        self._compute(shape)

    def _compute(self, shape: Shape) -> None:
        tokens = shape[0] * shape[1]
        inputs = {
            "input_ids": self._buffers.input_ids[:tokens].reshape(shape),
            "attention_mask": self._buffers.attention_mask[:tokens].reshape(shape),
        }
        (logits,) = self._session.run(["logits"], inputs)
        self._buffers.logits[:] = np.nan
        self._buffers.logits[: shape[0] * self._labels] = logits.ravel()
