"""A queue in virtual time that answers the search's questions: first come, first served, known service times."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from benchmarks.load.arrivals import schedule
from benchmarks.load.results import Purpose, Slo, Window
from benchmarks.load.windows import Frame, Observed, Record, build_window

Draw = Callable[[np.random.Generator, int], "np.ndarray[tuple[int], np.dtype[np.float64]]"]


def exponential(mean_s: float) -> Draw:
    return lambda generator, count: generator.exponential(mean_s, count)


def constant(mean_s: float) -> Draw:
    return lambda generator, count: np.full(count, mean_s)


class SimulatedServer:
    """One server, one queue. ``stalls``: (begin, seconds) in virtual time in which nothing is served.

    ``client_rate``: requests a second that the simulated client manages to send at all.
    """

    def __init__(self, draw: Draw, slo: Slo, seed: int, *, dies_at: float = math.inf, client_s: float = 0.0) -> None:
        self.now = 0.0
        self.numbers = 0
        self._draw = draw
        self._slo = slo
        self._generator = np.random.default_rng(seed)
        self._dies_at = dies_at
        self._client_s = client_s

    def clock(self) -> float:
        return self.now

    def open_loop(self, rate: float, seconds: float, lead_in: float, purpose: Purpose) -> Window:
        self._check()
        whole = lead_in + seconds
        intended = self.now + schedule("poisson", rate, whole, int(self._generator.integers(2**31)))
        started = self._client_starts(intended)
        service = self._draw(self._generator, len(intended))
        finished = fifo(started, service)
        frame = Frame(self._next(), purpose, "open", self.now, lead_in, self.now + lead_in, seconds, rate=rate)
        records = [
            Record(at, began, end, "rest", 100, wire_s=end - began)
            for at, began, end in zip(intended, started, finished, strict=True)
        ]
        grid = np.linspace(self.now, self.now + whole, 400, endpoint=False)
        flight = np.searchsorted(intended, grid, "right") - np.searchsorted(np.sort(finished), grid, "right")
        observed = Observed(in_flight=list(zip(grid.tolist(), flight.tolist(), strict=True)))
        self.now = max(self.now + whole, float(finished.max(initial=0.0)))
        return build_window(frame, records, observed, self._slo)

    def closed_loop(self, users: int, seconds: float, purpose: Purpose) -> Window:
        self._check()
        service = self._draw(self._generator, 200_000)
        ends = self.now + np.cumsum(service)
        ends = ends[ends < self.now + seconds]
        begins = np.concatenate([np.full(min(users, len(ends)), self.now), ends])[: len(ends)]
        records = [
            Record(begin, begin, end, "rest", 100, wire_s=end - begin) for begin, end in zip(begins, ends, strict=True)
        ]
        frame = Frame(self._next(), purpose, "closed", self.now, 0.0, self.now, seconds, users=users)
        self.now += seconds
        return build_window(frame, records, Observed(), self._slo)

    def _client_starts(self, intended: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        """The client needs ``client_s`` of its one thread for each request."""
        return fifo(intended, np.full(len(intended), self._client_s)) if self._client_s else intended

    def _check(self) -> None:
        from benchmarks.load.search import ServerGone

        if self.now >= self._dies_at:
            raise ServerGone("the server ended while it was measured")

    def _next(self) -> int:
        self.numbers += 1
        return self.numbers


def fifo(arrivals: np.ndarray, service: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """Return when each request is done: Lindley's recursion, written with running maxima."""
    done = np.cumsum(service)
    before = np.concatenate([[0.0], done[:-1]])
    return done + np.maximum.accumulate(arrivals - before)
