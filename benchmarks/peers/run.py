"""The run: rounds over servers, each started, checked, measured and stopped; what is measured is kept at once."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import httpx

from benchmarks.errors import BenchmarkError
from benchmarks.peers.agreement import Reference, check_agreement
from benchmarks.peers.candidates import Candidate, Start, Starter, Workplace
from benchmarks.peers.exchange import Caller, closed_loop
from benchmarks.peers.figures import ServerFailure, ServerRound, contenders, count_round
from benchmarks.peers.process import family_bytes, running
from benchmarks.peers.workload import Text
from export.progress import Progress

START_TIMEOUT_S: Final = 300.0
METRICS_TIMEOUT_S: Final = 10.0
"""Seconds within which the last batch's figures are on the metrics port; they leave after the answer."""

METRICS_SETTLE_S: Final = 1.5
"""Seconds between two looks: longer than measurements gather in the worker (``handlers.relay.PAUSE_S``)."""

_RUN_SECONDS = re.compile(r'^lantern_stage_seconds_sum\{[^}]*stage="run"[^}]*\}\s+(\S+)', re.MULTILINE)
_TEXTS = re.compile(r"^lantern_texts_total\{[^}]*\}\s+(\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Plan:
    """What a run does.

    Attributes:
        warm_up: sent one by one after a start, and compared with the reference before anything is timed.
        texts: of each round.
        clients: requests in flight.
        rounds: at most; after the first one, contenders alone.
        minutes: no further round begins that would not end within them.
    """

    warm_up: tuple[Text, ...]
    texts: tuple[Text, ...]
    clients: int
    rounds: int
    minutes: float


@dataclass(frozen=True)
class Outcome:
    """What has been measured so far."""

    rounds: tuple[ServerRound, ...] = ()
    failures: tuple[ServerFailure, ...] = ()

    def with_round(self, one: ServerRound) -> Outcome:
        """Return this with one more round."""
        return Outcome((*self.rounds, one), self.failures)

    def with_failure(self, one: ServerFailure) -> Outcome:
        """Return this with one more failure."""
        return Outcome(self.rounds, (*self.failures, one))


class Run:
    """Measures servers one at a time; ``outcome`` holds what there is at any moment.

    Args:
        keep: gets the outcome after each server.
        gemm_rate: measures GFLOP/s of a dense fp32 product, now.
    """

    def __init__(
        self,
        plan: Plan,
        reference: Reference,
        keep: Callable[[Outcome], object],
        progress: Progress,
        gemm_rate: Callable[[], float],
    ) -> None:
        self._plan, self._reference, self._keep, self._progress = plan, reference, keep, progress
        self._gemm_rate = gemm_rate
        self._taken: dict[str, float] = {}
        self.outcome = Outcome()

    def run_rounds(self, candidates: Sequence[Candidate], workplace: Workplace) -> Outcome:
        """Measure every candidate in the first round, and those that matter in the others.

        A candidate that cannot be prepared, started, or made to agree is a failure with its reason; the others go on.
        """
        began = time.monotonic()
        starters = self._prepare(candidates, workplace)
        in_play = [candidate for candidate in candidates if candidate.name in starters]
        for number in range(1, self._plan.rounds + 1):
            if number > 1:
                again = contenders(self.outcome.rounds)
                in_play = [candidate for candidate in in_play if candidate.name in again]
                durations = [self._taken[candidate.name] for candidate in in_play]
                if not fits(durations, time.monotonic() - began, self._plan.minutes):
                    self._progress.note(f"round {number} would not end within {self._plan.minutes:g} minutes")
                    break
            for candidate in in_play:
                self._attempt(candidate, starters[candidate.name], number)
        return self.outcome

    def _prepare(self, candidates: Sequence[Candidate], workplace: Workplace) -> dict[str, Starter]:
        starters: dict[str, Starter] = {}
        for candidate in candidates:
            try:
                starters[candidate.name] = candidate.prepare(workplace, self._progress)
            except (BenchmarkError, OSError) as error:
                self._fail(candidate, 1, error)
        return starters

    def _attempt(self, candidate: Candidate, start: Starter, number: int) -> None:
        began = time.monotonic()
        try:
            one = self._measure(candidate, start(), number)
        except (BenchmarkError, OSError) as error:
            self._fail(candidate, number, error)
        else:
            self._progress.note(_line(one))
            self.outcome = self.outcome.with_round(one)
            self._keep(self.outcome)
        self._taken[candidate.name] = time.monotonic() - began

    def _fail(self, candidate: Candidate, number: int, error: Exception) -> None:
        self._progress.note(f"round {number}, {candidate.name}: {error}")
        self.outcome = self.outcome.with_failure(ServerFailure(candidate.name, number, str(error)))
        self._keep(self.outcome)

    def _measure(self, candidate: Candidate, start: Start, number: int) -> ServerRound:
        """Start one server, check its warm-up, time the workload, stop it, and check every answer."""
        plan, label = self._plan, f"round {number}, {candidate.name}"
        dense_gflops = self._gemm_rate()
        caller = Caller(start.url, start.dialect)
        began = time.monotonic()
        self._progress.update(f"{label}: starting")
        try:
            with running(start.launch, caller.is_ready, START_TIMEOUT_S) as server:
                start_s = time.monotonic() - began
                check_agreement([caller.send(text) for text in plan.warm_up], self._reference, candidate.tolerance)
                before = _settled_engine(start)
                sent = closed_loop(
                    caller.send,
                    plan.texts,
                    plan.clients,
                    lambda count: self._progress.update(f"{label}: {count}/{len(plan.texts)} texts"),
                )
                memory = family_bytes(server)
                answered = [one for one in sent if one.failure is None]
                engine_s = _engine_since(start, before, len(answered))
        finally:
            caller.close()
            self._progress.clear()
        wall, seconds, failures = count_round(sent)
        return ServerRound(
            server=candidate.name,
            is_lantern=candidate.is_lantern,
            round=number,
            texts=len(sent),
            answered=len(answered),
            failures=failures,
            wall_s=wall,
            seconds=seconds,
            worst_difference=check_agreement(answered, self._reference, candidate.tolerance),
            start_s=start_s,
            memory_mb=memory / 1e6,
            dense_gflops=dense_gflops,
            engine_s=engine_s,
        )


def fits(durations: Sequence[float], elapsed_s: float, minutes: float) -> bool:
    """Whether a round of servers that took ``durations`` seconds each the last time ends within ``minutes``."""
    return bool(durations) and elapsed_s + sum(durations) <= 60.0 * minutes


def engine_seconds(metrics: str) -> tuple[float, int]:
    """Return seconds of engine runs and texts answered, from Lantern's metrics page; 0 before the first text."""
    run = sum(float(value) for value in _RUN_SECONDS.findall(metrics))
    return run, sum(round(float(value)) for value in _TEXTS.findall(metrics))


def _settled_engine(start: Start) -> tuple[float, int] | None:
    """Return ``engine_seconds`` once two readings agree, as what came before may still be on its way."""
    if start.metrics_url is None:
        return None
    earlier = None
    while (now := _read_engine(start.metrics_url)) != earlier:
        earlier = now
        time.sleep(METRICS_SETTLE_S)
    return now


def _engine_since(start: Start, before: tuple[float, int] | None, texts: int) -> float | None:
    """Return the engine's seconds since ``before``, once the figures of ``texts`` texts are there.

    Raises:
        BenchmarkError: they do not come; half of them would pass for little engine time, and much overhead.
    """
    if start.metrics_url is None or before is None:
        return None
    deadline = time.monotonic() + METRICS_TIMEOUT_S
    while True:
        seconds, counted = _read_engine(start.metrics_url)
        if counted - before[1] >= texts:
            return seconds - before[0]
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{start.metrics_url} counts {counted - before[1]} texts, but {texts} were answered")
        time.sleep(METRICS_SETTLE_S)


def _read_engine(url: str) -> tuple[float, int]:
    try:
        return engine_seconds(httpx.get(url, timeout=METRICS_TIMEOUT_S).text)
    except httpx.TransportError as error:
        raise BenchmarkError(f"{url} does not answer: {type(error).__name__}") from error


def _line(one: ServerRound) -> str:
    failed = f", {one.texts - one.answered} failed" if one.answered < one.texts else ""
    return f"round {one.round}, {one.server}: {one.throughput:.3f} texts/s in {one.wall_s:.0f} s{failed}"
