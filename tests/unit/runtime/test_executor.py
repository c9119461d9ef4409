from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.core.errors import TOO_LONG, LanternError
from handlers.core.events import Event, Fault
from handlers.runtime import Logits, Runtime, RuntimeDescription, TokenIds
from handlers.runtime.executor import Executor
from handlers.runtime.faults import FaultBarrier

PAD = 1
POISON = 299
FAULT = RuntimeError("the input was: a secret")


class EchoRuntime:
    """Answers each row with its sum of real tokens and its length; a poisoned token raises or breaks the answer."""

    def __init__(self, raises: Exception | None = None) -> None:
        self.raises = raises
        self.shapes: list[tuple[int, ...]] = []

    def prepare(self, lengths: Sequence[int]) -> None:
        self.shapes += [(1, length) for length in lengths]

    def run(self, input_ids: TokenIds, attention_mask: TokenIds) -> Logits:
        assert input_ids.dtype == attention_mask.dtype == np.int64
        assert (input_ids[attention_mask == 0] == PAD).all()
        self.shapes.append(input_ids.shape)
        logits = np.stack([(input_ids * attention_mask).sum(axis=1), attention_mask.sum(axis=1)], axis=1)
        if (input_ids == POISON).any():
            if self.raises is not None:
                raise self.raises
            return logits[:-1].astype(np.float32)
        return logits.astype(np.float32)

    def describe(self) -> RuntimeDescription:
        return RuntimeDescription("echo", "cpu", 1)


def make_executor(
    runtime: Runtime,
    sink: Callable[[Event], None] = lambda _: None,
    clock: Callable[[], float] = lambda: 0.0,
    budget: int = 40,
    max_padding: float = 0.5,
) -> Executor:
    return Executor(runtime, PAD, budget, max_padding, FaultBarrier(sink), clock)


@given(st.lists(st.lists(st.integers(2, 200), min_size=1, max_size=50), max_size=12))
def test_every_input_gets_its_own_row_in_order(inputs: list[list[int]]) -> None:
    execution = make_executor(EchoRuntime()).execute(inputs, deadline=1.0)

    assert execution.rows == [[float(sum(ids)), float(len(ids))] for ids in inputs]


@settings(max_examples=25)
@given(st.lists(st.integers(1, 100), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_a_row_of_a_padded_sub_batch_equals_the_input_run_alone(
    runtime: Runtime, lengths: list[int], seed: int
) -> None:
    random = np.random.default_rng(seed)
    inputs = [[0, *random.integers(5, 260, length).tolist(), 2] for length in lengths]
    together = make_executor(runtime, budget=400, max_padding=0.9).execute(inputs, deadline=1.0).rows
    apart = [make_executor(runtime).execute([ids], deadline=1.0).rows[0] for ids in inputs]

    np.testing.assert_allclose(together, apart, atol=1e-5, rtol=0)


def test_the_report_of_runs_names_inputs_padded_tokens_and_seconds() -> None:
    ticks = count()
    executor = make_executor(EchoRuntime(), clock=lambda: float(next(ticks)))
    execution = executor.execute([[5] * 30, [5] * 3, [5] * 2], deadline=100.0)

    assert [(set(run.inputs), run.padded_tokens, run.seconds) for run in execution.sub_batches] == [
        ({1, 2}, 6, 1.0),
        ({0}, 30, 1.0),
    ]
    assert execution.seconds_of([1]) == 1.0
    assert execution.seconds_of([0, 2]) == 2.0
    assert execution.seconds_of([]) == 0.0


def test_short_inputs_run_first() -> None:
    runtime = EchoRuntime()
    make_executor(runtime, max_padding=0.1).execute([[5] * 30, [5] * 20, [5] * 3], deadline=1.0)

    assert [length for _, length in runtime.shapes] == [3, 20, 30]


@pytest.mark.parametrize("raises", [FAULT, None], ids=["the runtime raises", "a row is missing"])
def test_only_the_poisoned_input_of_a_sub_batch_fails(raises: Exception | None) -> None:
    inputs = [[5, 6], [POISON, 6], [7, 8]]
    rows = make_executor(EchoRuntime(raises)).execute(inputs, deadline=1.0).rows

    assert (rows[0], rows[2]) == ([11.0, 2.0], [15.0, 2.0])
    assert isinstance(rows[1], LanternError)
    assert rows[1].kind.code == "internal"


def test_a_fault_of_a_runtime_is_reported_without_its_message() -> None:
    events: list[Event] = []
    make_executor(EchoRuntime(FAULT), sink=events.append).execute([[POISON]], deadline=1.0)

    assert [type(event) for event in events] == [Fault]
    assert "secret" not in str(events)
    assert events[0].exception == "RuntimeError"  # type: ignore[union-attr]


def test_an_error_of_the_table_passes_as_it_is() -> None:
    error = LanternError(TOO_LONG, "too long for this engine")
    events: list[Event] = []
    rows = make_executor(EchoRuntime(error), sink=events.append).execute([[POISON], [5]], deadline=1.0).rows

    assert rows == [error, [5.0, 1.0]]
    assert not events


def test_what_the_deadline_leaves_is_answered_as_late_and_nothing_more_is_run() -> None:
    ticks = count()
    runtime = EchoRuntime()
    executor = make_executor(runtime, clock=lambda: float(next(ticks)), max_padding=0.1)
    rows = executor.execute([[5] * 30, [5] * 20, [5] * 3], deadline=2.0).rows

    codes = [row.kind.code if isinstance(row, LanternError) else "scored" for row in rows]
    assert codes == ["deadline_exceeded", "deadline_exceeded", "scored"]
    assert len(runtime.shapes) == 1


def test_no_input_is_no_run() -> None:
    runtime = EchoRuntime()

    assert make_executor(runtime).execute([], deadline=1.0).rows == []
    assert runtime.shapes == []
