"""The search for the highest arrival rate that holds an SLO. Pure: it talks to a ``Probe``, and time is the probe's.

1. Warm up; one caller alone for the service time; several for the throughput.
2. Bracket: from 70 % of that throughput up or down until one rate holds and a higher one does not.
3. Refine: every further window is measured where the best estimate from all windows (``capacity``) says that the SLO is
   just held, until its confidence interval is within ``precision`` or only the time for the curve is left.
4. What time is left goes into the curve: rates below the capacity, and one above it.

The bracket is a rough one: where the confidence interval of a late share does not lie on one side of what the SLO
allows, the best guess decides, and the refinement looks again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from benchmarks.errors import BenchmarkError
from benchmarks.load.capacity import Estimate, estimate_capacity, expected_steepness
from benchmarks.load.curves import knee, levels_of
from benchmarks.load.results import Judged, Outcome, Purpose, Slo, Verdict, Window
from benchmarks.load.statistics import attainment, requests_to_show
from benchmarks.load.windows import BUSY_CLIENT, judge_windows

FIRST_GUESS: Final = 0.7
UP: Final = 1.35
DOWN: Final = 0.6
LOWEST: Final = 0.03
"""Share of the saturation below which a rate is as good as one caller alone: an SLO missed there is never met."""

LAST_CHANCE: Final = 0.2
"""Share of the saturation that is tried where one caller alone has missed the SLO already."""

ROUNDING: Final = 1e-6

FEW: Final = 8
"""Requests that a window is expected to have, or it is not worth its time."""

NEAR_WINDOWS: Final = 3
"""Windows near the capacity that its estimate must rest on, however sharp it looks."""

SATURATING_USERS: Final = 24
CURVE: Final = (0.5, 0.8, 0.25, 1.2, 0.65)
"""Rates of the curve, as shares of the capacity, in the order in which they are worth measuring."""

SHARP: Final = 0.6
"""Share of the precision that the estimate's own interval has to reach, as intervals of so few windows flatter."""

CURVE_SHARE: Final = 0.2
"""Share of the budget that is kept for the curve."""

MEASURED: Final = 0.8
"""Share of a window that is measured; what comes before lets the queue fill as the rate has it."""

NEAR: Final = 0.08
"""A rate this close to one that was measured is not measured again for the curve."""


class ServerGone(BenchmarkError):
    """The server no longer answers at all; ``windows`` are what it still answered of what was running."""

    def __init__(self, message: str, windows: Sequence[Window] = ()) -> None:
        super().__init__(message)
        self.windows = tuple(windows)


class Probe(Protocol):
    """Puts load on a server and says what came of it."""

    def clock(self) -> float:
        """Seconds, monotone: real ones, or a simulation's."""

    def open_loop(self, rate: float, seconds: float, lead_in: float, purpose: Purpose) -> Window:
        """Let ``rate`` requests a second arrive whatever becomes of them, ``lead_in`` seconds before the measured ones.

        May stop early, with ``stopped`` set, once the window cannot hold the SLO any more. Returns when nothing is in
        flight. Raises ``ServerGone``.
        """

    def closed_loop(self, users: int, seconds: float, purpose: Purpose) -> Window:
        """Keep ``users`` callers busy, each with one request at a time. Raises ``ServerGone``."""


@dataclass(frozen=True)
class SearchSettings:
    """Bounds of a search.

    Attributes:
        budget_s: seconds for everything, the warm-up included.
        precision: half the width of the capacity's confidence interval over the capacity.
        max_rate: never try more, in requests a second.
        rates: of the curve, in place of shares of the capacity; a comparison wants those of its baseline.
    """

    budget_s: float = 330.0
    precision: float = 0.05
    max_rate: float = math.inf
    rates: tuple[float, ...] = ()

    @property
    def longest_s(self) -> float:
        """The longest window, lead-in included."""
        return self.budget_s / 13

    @property
    def shortest_s(self) -> float:
        """The shortest window, lead-in included."""
        return self.budget_s / 30


@dataclass(frozen=True)
class _Service:
    """One caller alone: mean latency in seconds, coefficient of variation, and how the SLO fares."""

    mean_s: float
    cv: float
    judged: Judged


class Search:
    """One search; ``windows`` holds what was measured so far, whatever becomes of the search.

    Args:
        probe: the server.
        slo: what has to hold.
        settings: bounds.
        say: takes a line about every window.
    """

    def __init__(self, probe: Probe, slo: Slo, settings: SearchSettings, say: Callable[[str], None]) -> None:
        self.windows: list[Window] = []
        self._probe = probe
        self._slo = slo
        self._settings = settings
        self._say = say
        self._began = probe.clock()
        self._low: float | None = None
        self._high: float | None = None
        self._service: _Service | None = None
        self._is_never_met = False
        self._fitted: tuple[int, Estimate | None] = (0, None)

    def run(self) -> Outcome:
        """Search and return what was found; every way to end but Ctrl-C is an outcome."""
        try:
            saturation = self._get_to_know()
            self._bracket(saturation)
            self._refine()
            capacity = self._capacity()
            self._draw_curve(capacity if capacity is not None else saturation)
        except ServerGone as gone:
            self.windows += gone.windows
            return self.outcome("server_died", str(gone))
        except _ClientIsTheLimit as limit:
            return self.outcome("client_limited", str(limit))
        return self._conclude()

    def outcome(self, verdict: Verdict, reason: str) -> Outcome:
        """Return an outcome with everything that is known so far."""
        estimate = self._bracketed_estimate()
        near = self._near_capacity()
        judged = judge_windows(near, self._slo) if near else None
        return Outcome(
            verdict=verdict,
            reason=reason,
            capacity=self._capacity(),
            capacity_low=estimate.rate.low if estimate else None,
            capacity_high=estimate.rate.high if estimate else None,
            lowest_missed=self._high,
            requests_at_capacity=sum(window.arrived for window in near),
            late_share=judged.late_share if judged else None,
            shown_share=judged.late_high if judged else None,
            shown=judged is not None and judged.judgement == "held",
            saturation=self._saturation or None,
            knee=knee(levels_of(self.windows)),
            service_ms=1e3 * self._service.mean_s if self._service else None,
            service_cv=self._service.cv if self._service else None,
            searched_s=round(self._elapsed(), 1),
        )

    # The steps.

    def _get_to_know(self) -> float:
        """Warm up, measure one caller alone, and return a first guess of the highest throughput."""
        budget = self._settings.budget_s
        self._closed(4, 0.045 * budget, "warm-up")
        alone = self._closed(1, 0.045 * budget, "service")
        latencies = alone.latencies / 1e3
        if len(latencies):
            mean = float(latencies.mean())
            cv = float(latencies.std(ddof=1) / mean) if len(latencies) > 1 else 0.0
            self._service = _Service(mean, cv, judge_windows([alone], self._slo))
        crowd = self._closed(SATURATING_USERS, 0.035 * budget, "saturation")
        guess = max(crowd.throughput, alone.throughput)
        if guess <= 0:
            raise ServerGone("no request was answered while the server was alone with a few callers")
        return guess

    def _bracket(self, saturation: float) -> None:
        """Find a rate that holds and one that does not; where one caller alone misses, one low rate is tried."""
        lowest = max(LOWEST * saturation, FEW / (MEASURED * self._settings.longest_s))
        first = LAST_CHANCE if self._misses_alone else FIRST_GUESS
        self._bracket_from(self._on_grid(max(first * saturation, lowest)), lowest)

    def _bracket_from(self, rate: float, lowest: float) -> None:
        while self._has_time(CURVE_SHARE):
            if self._holds(rate):
                self._low = rate
                if rate >= self._settings.max_rate or self._high is not None:
                    return
                rate = self._on_grid(rate * UP)
            else:
                self._high = rate
                if self._low is not None or rate <= lowest or self._misses_alone:
                    self._is_never_met = self._low is None
                    return
                rate = self._on_grid(max(rate * DOWN, lowest))

    @property
    def _misses_alone(self) -> bool:
        return self._service is not None and self._service.judged.judgement == "missed"

    def _refine(self) -> None:
        while self._low is not None and self._high is not None and self._has_time(CURVE_SHARE):
            estimate = self._estimate()
            if estimate is None:
                return
            if estimate.precision <= SHARP * self._settings.precision and len(self._near_capacity()) >= NEAR_WINDOWS:
                return
            if self._has_to_look_again():
                self._look_again(self._high)
                continue
            rate = self._on_grid(estimate.rate.value)
            self._measure(rate, "confirm", longest=True)
            self._raise_if_client(rate)

    def _has_to_look_again(self) -> bool:
        """Whether rates near the estimate hold so easily that the one miss above them may have had another cause."""
        assert self._high is not None
        near = self._near_capacity()
        easily = len(near) >= 2 and judge_windows(near, self._slo).late_share <= self._slo.late_share / 2
        return easily and len(self._at(self._high)) == 1

    def _look_again(self, missed: float) -> None:
        """Measure a rate that missed once more; where it holds now, go on above it."""
        window = self._measure(missed, "search")
        if window.judged.judgement != "missed" and window.judged.late_share <= self._slo.late_share:
            self._low, self._high = missed, None
            self._bracket_from(self._on_grid(missed * UP), lowest=missed)

    def _draw_curve(self, capacity: float) -> None:
        wanted = self._settings.rates or tuple(share * capacity for share in CURVE)
        for rate in wanted:
            is_new = all(abs(rate - known) > NEAR * known for known in self._rates())
            is_new = is_new and rate * MEASURED * self._settings.longest_s >= FEW
            if is_new and rate <= self._settings.max_rate and self._has_time(reserve=0.0, longest=False):
                self._measure(rate, "curve")

    def _conclude(self) -> Outcome:
        if self._is_never_met:
            return self._never_met()
        if self._low is None:
            return self.outcome("out_of_time", "time was up before any rate was seen to hold the SLO; raise --budget")
        if self._high is None and self._low >= self._settings.max_rate:
            return self.outcome("above_range", f"{self._low:.3g}/s hold, and --max-rate forbids to try more")
        if self._high is None:
            reason = f"{self._low:.3g}/s hold, and time was up before a higher rate failed; raise --budget"
            return self.outcome("out_of_time", reason)
        return self.outcome("capacity_found", self._capacity_words())

    def _capacity_words(self) -> str:
        near = self._near_capacity()
        if not near:
            return "between a rate that held and one that did not; time was up before it was measured itself"
        judged = judge_windows(near, self._slo)
        count = sum(window.arrived for window in near)
        share = f"{100 * judged.late_high:.2g} %"
        seen = f"{count:,} requests in {len(near)} windows near it: {100 * judged.late_share:.2g} % late"
        needed = requests_to_show(self._slo.late_share)
        few = f"; a p{100 * self._slo.quantile:g} takes {needed:,} requests to show" if count < needed else ""
        return f"{seen}, and at most {share} with 95 % confidence{few}"

    def _never_met(self) -> Outcome:
        alone = next(window for window in self.windows if window.purpose == "service")
        best = alone.latency
        detail = f": one caller alone has a p99 of {best.p99_ms:,.0f} ms" if best is not None else ""
        return self.outcome("slo_never_met", f"no rate holds {self._slo}{detail}")

    # One rate.

    def _holds(self, rate: float) -> bool:
        """Judge a rate of the bracket; one that seems to miss without being sure gets a second, longer window."""
        self._measure(rate, "search")
        judged = judge_windows(self._at(rate), self._slo)
        if judged.judgement == "undecided" and judged.late_share > self._slo.late_share and self._has_time(CURVE_SHARE):
            self._measure(rate, "search", longest=True)
            judged = judge_windows(self._at(rate), self._slo)
        if judged.judgement == "missed":
            self._raise_if_client(rate)
            return False
        return judged.late_share <= self._slo.late_share

    def _raise_if_client(self, rate: float) -> None:
        missed = [window for window in self._at(rate) if window.judged.judgement == "missed" and window.client.limited]
        if not missed:
            return
        busy = max(window.client.cores for window in missed)
        served = [value > self._slo.limit_ms for window in missed for value in window.columns.wire_ms]
        if busy > BUSY_CLIENT or attainment(served).share.value <= self._slo.late_share:
            late = max(window.client.late_p99_ms for window in missed)
            raise _ClientIsTheLimit(
                f"at {rate:.3g}/s this client was the limit ({busy:.1f} cores busy, starts late by {late:,.0f} ms at "
                "their p99): give it a machine of its own, or several with `locust --worker`"
            )

    def _measure(self, rate: float, purpose: Purpose, longest: bool = False) -> Window:
        seconds = self._settings.longest_s if longest else self._seconds(rate)
        window = self._probe.open_loop(rate, MEASURED * seconds, (1 - MEASURED) * seconds, purpose)
        return self._keep(window)

    def _closed(self, users: int, seconds: float, purpose: Purpose) -> Window:
        return self._keep(self._probe.closed_loop(users, seconds, purpose))

    def _keep(self, window: Window) -> Window:
        self.windows.append(window)
        self._say(f"[{self._elapsed():3.0f} of {self._settings.budget_s:.0f} s] {describe_window(window)}")
        return window

    def _seconds(self, rate: float) -> float:
        """Return the length of a window: long enough to show an SLO that holds easily, within bounds."""
        wanted = 1.2 * requests_to_show(self._slo.late_share) / rate / MEASURED
        return min(max(wanted, self._settings.shortest_s), self._settings.longest_s)

    def _on_grid(self, rate: float) -> float:
        """Round down to a grid of half the precision: windows of nearly the same rate are windows of one rate."""
        step = math.log1p(self._settings.precision / 2)
        return min(math.exp(math.floor(math.log(rate) / step + ROUNDING) * step), self._settings.max_rate)

    # What is known.

    def _capacity(self) -> float | None:
        """Return the best estimate; where the windows at it do not hold the SLO, the highest rate below whose do."""
        estimate = self._bracketed_estimate()
        if estimate is None:
            return self._low
        for rate in [estimate.rate.value, *(each for each in reversed(self._rates()) if each < estimate.rate.value)]:
            windows = self._just_below(rate)
            if not windows or judge_windows(windows, self._slo).late_share <= self._slo.late_share:
                return rate
        return self._low

    def _bracketed_estimate(self) -> Estimate | None:
        return self._estimate() if self._low is not None and self._high is not None else None

    def _estimate(self) -> Estimate | None:
        """Fit all windows so far; once for each of them, as the fit takes a moment."""
        if self._fitted[0] != len(self.windows):
            cv = self._service.cv if self._service else 1.0
            limit_s, allowed = self._slo.limit_ms / 1e3, self._slo.late_share
            steepness = expected_steepness(self._saturation, limit_s, cv, allowed)
            self._fitted = (len(self.windows), estimate_capacity(self.windows, self._slo, steepness))
        return self._fitted[1]

    def _near_capacity(self) -> list[Window]:
        """Return the windows whose rate is the capacity, or below it by no more than the precision."""
        capacity = self._capacity()
        return self._just_below(capacity) if capacity is not None else []

    def _just_below(self, rate: float) -> list[Window]:
        lowest = rate * (1 - self._settings.precision)
        return [each for each in self.windows if each.rate is not None and lowest <= each.rate <= rate * (1 + ROUNDING)]

    def _at(self, rate: float) -> list[Window]:
        return [window for window in self.windows if window.loop == "open" and window.rate == rate]

    def _rates(self) -> Sequence[float]:
        return sorted({window.rate for window in self.windows if window.rate is not None})

    @property
    def _saturation(self) -> float:
        return max((window.throughput for window in self.windows), default=0.0)

    def _elapsed(self) -> float:
        return self._probe.clock() - self._began

    def _has_time(self, reserve: float, longest: bool = True) -> bool:
        """Whether a window, and the wait for its last answers, still fits before the last ``reserve`` of the budget."""
        window = self._settings.longest_s if longest else self._settings.shortest_s
        return self._elapsed() + 1.1 * window <= self._settings.budget_s * (1 - reserve)


def describe_window(window: Window) -> str:
    """Return a window as a line for the terminal."""
    load = f"{window.rate:.3g}/s" if window.rate is not None else f"{window.users} callers, {window.throughput:.3g}/s"
    found = window.latency
    times = f"p50 {found.p50_ms:,.0f} ms, p99 {found.p99_ms:,.0f} ms" if found is not None else "no request"
    verdict = window.judged.judgement if window.rate is not None else ""
    words = [f"{window.purpose:<10} {load}", times, verdict, *window.judged.reasons[: 3 if verdict else 0]]
    return ", ".join(word for word in words if word)


class _ClientIsTheLimit(Exception):
    """The search cannot go on: what it would measure is the client."""
