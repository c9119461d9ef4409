"""The run itself: every engine at every length in each round, so that a noisy neighbour hits them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.engine.ceilings import Products
from benchmarks.engine.child import measure_footprint
from benchmarks.engine.contenders import Contender, Run, open_contender, random_inputs
from benchmarks.engine.measurements import FirstRun, Measurements, Rate, Timing, Unmeasured
from benchmarks.engine.timing import repeated_seconds
from benchmarks.errors import BenchmarkError
from handlers.core.errors import LanternError, StartupError

SETTLE_S: Final = 0.05
"""Pause between engines: each lets its threads spin for a moment after a run."""

CHILD_TIMEOUT_S: Final = 600.0

WHOLE_WINDOW: Final = 512
"""``transformers`` pads every text to a multiple of the attention window, which is this in the published models."""


@dataclass(frozen=True)
class Limits:
    """How much is measured.

    Attributes:
        rounds: rounds at most.
        budget_s: seconds after which no further round starts; the first always runs.
        compile_s: seconds of first calls after which ``torch.compile`` is given no new length.
    """

    rounds: int
    budget_s: float
    compile_s: float


@dataclass(frozen=True)
class Case:
    """One thing to time: an engine, opened, at one batch and length."""

    contender: Contender
    run: Run
    tokens: int
    batch: int


Save = Callable[[Measurements], None]
Clock = Callable[[], float]


def run_rounds(
    measurements: Measurements,
    limits: Limits,
    ceilings: Products,
    progress: Callable[[str], None],
    save: Save,
    clock: Clock = time.monotonic,
) -> None:
    """Measure what is missing of ``measurements``, in place; ``save`` is called after each step that ends.

    An interrupt leaves the last saved state valid: the rounds that were complete.
    """
    started = clock()
    _measure_memory(measurements, progress, save)
    opened = _open_all(measurements, progress)
    cases = _warm_up(measurements, opened, limits, progress)
    save(measurements)
    round_s = 0.0
    while measurements.rounds < limits.rounds:
        spent = clock() - started
        if measurements.rounds and spent + round_s > limits.budget_s:
            break
        left = _time_left(limits, measurements.rounds, round_s, spent)
        round_started = clock()
        _run_round(measurements, cases, ceilings, f"of {limits.rounds}{left}", progress)
        round_s = clock() - round_started
        save(measurements)
    measurements.complete = True
    save(measurements)


def _run_round(
    measurements: Measurements, cases: Sequence[Case], ceilings: Products, ahead: str, progress: Callable[[str], None]
) -> None:
    """Time every case once, those of the same shape next to each other, with the dense products beside them."""
    number = measurements.rounds + 1
    for index, (tokens, batch) in enumerate(_shapes(cases)):
        progress(f"{batch} x {tokens} tokens, round {number} {ahead}")
        here = [case for case in cases if (case.tokens, case.batch) == (tokens, batch)]
        _time_cases(measurements, number, _rotate(here, number + index))
        if batch == 1:
            measurements.rates.append(Rate(number, tokens, ceilings.measure()))
    measurements.rounds = number


def _measure_memory(measurements: Measurements, progress: Callable[[str], None], save: Save) -> None:
    setup = measurements.setup
    for contender in setup.contenders:
        for tokens in setup.memory_lengths:
            if measurements.footprint(contender.name, tokens) is not None:
                continue
            if contender.kind == "compile":
                reason = "each process would compile anew, for minutes"
                measurements.leave_out(Unmeasured(contender.name, "memory", None, reason))
                break
            progress(f"memory: {contender.name}, {tokens} tokens")
            try:
                threads = setup.machine["threads"]
                found = measure_footprint(contender, tokens, setup.vocabulary, threads, CHILD_TIMEOUT_S)
            except BenchmarkError as error:
                measurements.leave_out(Unmeasured(contender.name, "memory", None, str(error)))
                break
            measurements.footprints.append(found)
            save(measurements)


def _open_all(measurements: Measurements, progress: Callable[[str], None]) -> list[tuple[Contender, Run]]:
    opened = []
    for contender in measurements.setup.contenders:
        progress(f"loading {contender.name}")
        try:
            opened.append((contender, open_contender(contender, measurements.setup.machine["threads"])))
        except (BenchmarkError, LanternError, StartupError) as error:
            measurements.leave_out(Unmeasured(contender.name, "latency", None, str(error)))
    return opened


def _warm_up(
    measurements: Measurements,
    opened: Sequence[tuple[Contender, Run]],
    limits: Limits,
    progress: Callable[[str], None],
) -> list[Case]:
    """Run every engine at every length once, and return the cases that did."""
    cases: list[Case] = []
    for contender, run in opened:
        spent = 0.0
        for tokens in _compile_order(measurements.setup.lengths):
            if contender.kind == "compile" and spent > limits.compile_s:
                reason = f"first calls at other lengths had taken {spent:.0f} s"
                measurements.leave_out(Unmeasured(contender.name, "latency", tokens, reason))
                continue
            progress(f"first call: {contender.name}, {tokens} tokens")
            case = Case(contender, run, tokens, 1)
            try:
                seconds = _first_call(case, measurements.setup.vocabulary)
            except RuntimeError as error:  # what torch.compile and its compilers raise has no nearer base class
                reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
                measurements.leave_out(Unmeasured(contender.name, "latency", tokens, reason))
                continue
            spent += seconds
            _note_first_run(measurements, FirstRun(contender.name, tokens, seconds))
            cases.append(case)
        cases.extend(_batch_cases(measurements, contender, run))
    return cases


def _compile_order(lengths: Sequence[int]) -> list[int]:
    """Put the lengths from ``WHOLE_WINDOW`` on first: shorter ones are padded to it and share its code."""
    return sorted(lengths, key=lambda tokens: (tokens < WHOLE_WINDOW, tokens))


def _first_call(case: Case, vocabulary: int) -> float:
    """Return the seconds of the first call, and make a second one, since ``torch.compile`` may compile twice."""
    inputs = random_inputs(case.batch, case.tokens, vocabulary)
    started = time.perf_counter()
    case.run(*inputs)
    seconds = time.perf_counter() - started
    if case.contender.kind == "compile":
        case.run(*inputs)
    return seconds


def _note_first_run(measurements: Measurements, first: FirstRun) -> None:
    """Keep the first call of a first session only: a later one finds compiled code on disk."""
    if not any((one.engine, one.tokens) == (first.engine, first.tokens) for one in measurements.first_runs):
        measurements.first_runs.append(first)


def _batch_cases(measurements: Measurements, contender: Contender, run: Run) -> Iterator[Case]:
    if contender.kind != "bundle":
        return
    for tokens in measurements.setup.batch_lengths:
        for batch in measurements.setup.batches:
            if batch > 1:
                yield Case(contender, run, tokens, batch)


def _shapes(cases: Sequence[Case]) -> list[tuple[int, int]]:
    return sorted({(case.tokens, case.batch) for case in cases})


def _rotate(cases: list[Case], by: int) -> list[Case]:
    """Return the cases from another start each time, so that none always follows the same one."""
    start = by % len(cases)
    return cases[start:] + cases[:start]


def _time_cases(measurements: Measurements, number: int, cases: Sequence[Case]) -> None:
    for case in cases:
        inputs = random_inputs(case.batch, case.tokens, measurements.setup.vocabulary)
        time.sleep(SETTLE_S)
        seconds = repeated_seconds(case.run, inputs)
        measurements.timings.append(Timing(number, case.contender.name, case.tokens, case.batch, seconds))


def _time_left(limits: Limits, rounds: int, round_s: float, spent: float) -> str:
    if not round_s:
        return ""
    left = min((limits.rounds - rounds) * round_s, max(limits.budget_s - spent, round_s))
    return f", about {left / 60:.0f} min left" if left >= 90 else f", about {left:.0f} s left"
