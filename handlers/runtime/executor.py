"""Model inputs of any length through a runtime, in sub-batches that waste little."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from handlers.core.errors import DEADLINE_EXCEEDED, LanternError
from handlers.core.lengths import cut_sub_batches
from handlers.runtime import Logits, Runtime
from handlers.runtime.faults import FaultBarrier

Clock = Callable[[], float]
Row = list[float]


@dataclass(frozen=True)
class SubBatch:
    """One run: which inputs it held, their padded tokens, the seconds it took, and when it ended."""

    inputs: tuple[int, ...]
    padded_tokens: int
    seconds: float
    ended: float


@dataclass(frozen=True)
class Execution:
    """What became of a list of inputs: a row of logits or an error for each, and the runs."""

    rows: list[Row | LanternError]
    sub_batches: list[SubBatch]

    def seconds_of(self, inputs: Sequence[int]) -> float:
        """Return the duration of the runs that held any of ``inputs``."""
        wanted = set(inputs)
        return sum(batch.seconds for batch in self.sub_batches if not wanted.isdisjoint(batch.inputs))


def count_padded(batch: Sequence[Sequence[int]]) -> int:
    """Return the padded tokens of a sub-batch: its longest input times its size."""
    return max(len(ids) for ids in batch) * len(batch)


class Executor:
    """Cuts inputs into sub-batches, pads and runs them.

    Args:
        runtime: the engine.
        pad: token id of padding.
        token_budget, max_padding: see ``cut_sub_batches``.
        barrier: keeps a failing input's error from its neighbours.
        clock: seconds from any origin, monotone.
    """

    def __init__(
        self, runtime: Runtime, pad: int, token_budget: int, max_padding: float, barrier: FaultBarrier, clock: Clock
    ) -> None:
        self._runtime = runtime
        self._pad = pad
        self._token_budget = token_budget
        self._max_padding = max_padding
        self._barrier = barrier
        self._clock = clock

    def execute(self, inputs: Sequence[Sequence[int]], deadline: float) -> Execution:
        """Run every input, the short ones first.

        Args:
            inputs: token ids, special tokens included.
            deadline: time of ``clock`` after which nothing more is started; what is left
                becomes ``deadline_exceeded``.
        """
        late = LanternError(DEADLINE_EXCEEDED, "the deadline passed before this text was read; send less at once")
        rows: list[Row | LanternError] = [late] * len(inputs)
        runs: list[SubBatch] = []
        batches = cut_sub_batches([len(ids) for ids in inputs], self._token_budget, self._max_padding)
        for batch in reversed(batches):
            started = self._clock()
            if started >= deadline:
                break
            for index, row in zip(batch, self.run_apart([inputs[i] for i in batch]), strict=True):
                rows[index] = row
            ended = self._clock()
            runs.append(SubBatch(tuple(batch), count_padded([inputs[i] for i in batch]), ended - started, ended))
        return Execution(rows, runs)

    def run_apart(self, batch: Sequence[Sequence[int]]) -> list[Row | LanternError]:
        """Run one sub-batch; if it fails, run its inputs one by one, so that only the guilty one fails.

        It keeps nothing, so that two threads may call it at once where the runtime's own ``run`` allows that.
        """
        rows = self._barrier.attempt(lambda: self._run(batch))
        if not isinstance(rows, LanternError):
            return list(rows)
        if len(batch) == 1:
            return [rows]
        return [row for ids in batch for row in self.run_apart([ids])]

    def _run(self, batch: Sequence[Sequence[int]]) -> list[Row]:
        longest = max(len(ids) for ids in batch)
        input_ids = np.full((len(batch), longest), self._pad, dtype=np.int64)
        attention_mask = np.zeros_like(input_ids)
        for row, ids in enumerate(batch):
            input_ids[row, : len(ids)] = ids
            attention_mask[row, : len(ids)] = 1
        logits: Logits = self._runtime.run(input_ids, attention_mask)
        return [[float(logit) for logit in row] for row, _ in zip(logits, batch, strict=True)]
