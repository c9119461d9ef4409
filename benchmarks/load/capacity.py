"""The capacity from all windows together: where the share of late requests crosses what the SLO allows. Pure.

In a queue the logarithm of the share of late requests is nearly a line over the rate (exactly so for M/M/1, where it
is ``-(mu - rate) * limit``), and close to the 1 % of a p99 a logit is that logarithm. So a logistic curve over the
logarithm of the rate is fitted to the counts of all windows, and the rate at which it crosses is the estimate. Every
window adds to it, those that clearly hold and clearly miss too; single rates with a few late requests would not do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from benchmarks.load.results import Slo, Window
from benchmarks.load.statistics import CONFIDENCE, Floats, Interval, design_effect

TYPICAL_STEEPNESS: Final = 20.0
STEEPNESS_SPREAD: Final = 0.8
STEEPNESS_RANGE: Final = (2.0, 400.0)
"""What is believed of the steepness d logit / d log(rate) before there is data: ``expected_steepness``, within a factor
of five or so. It keeps the fit finite where every rate is all good or all bad, and matters less the more is late."""

OVERLOADED: Final = 0.5
"""A window with this share of late requests, one whose queue grew, and any of a higher rate say only that their rate is
too high: an overloaded queue still grows when its window ends, so how much was late says how long the window was."""

OTHERWISE: Final = 10.0
"""Windows that miss for another reason than late requests count as if this many times the allowed were late."""

FAR: Final = 2.5
"""Rates further from the crossing than this factor are left out: the curve is a line only near it."""

_TINY: Final = 1e-9


@dataclass(frozen=True)
class Estimate:
    """The rate at which the SLO is just held, and the steepness of the curve there."""

    rate: Interval
    steepness: float

    @property
    def precision(self) -> float:
        """Half the interval's width over the estimate."""
        return (self.rate.high - self.rate.low) / 2 / self.rate.value


@dataclass(frozen=True)
class _Counts:
    rates: Floats
    late: Floats
    total: Floats
    effects: Floats
    over: npt.NDArray[np.bool_]


def expected_steepness(saturation: float, limit_s: float, cv: float, allowed: float) -> float:
    """Return the steepness of a queue of this throughput (requests a second) at its capacity.

    In M/G/1 the share over a limit is about ``exp(-2 (mu - rate) limit / (1 + cv^2))`` (Kingman's heavy traffic limit),
    so at the rate where it is ``allowed`` the derivative is ``2 mu limit / (1 + cv^2) + log(allowed)``.
    """
    steepness = 2 * saturation * limit_s / (1 + cv**2) + math.log(allowed)
    return min(max(steepness, 1.5 * STEEPNESS_RANGE[0]), STEEPNESS_RANGE[1] / 1.5)


def estimate_capacity(windows: Sequence[Window], slo: Slo, steepness: float = TYPICAL_STEEPNESS) -> Estimate | None:
    """Fit; ``None`` until there is a rate that holds and one that does not. ``steepness`` is what to expect of it."""
    counts = _counts(windows, slo)
    if len(counts.rates) == 0 or not _crosses(counts, slo.late_share):
        return None
    start = _first_guess(counts, slo.late_share)
    near = _near(counts, start)
    rates = (math.log(counts.rates.min()), math.log(counts.rates.max()))  # never beyond what was measured
    expected = math.log(steepness)
    found = optimize.minimize(
        _loss,
        [math.log(start), expected],
        args=(near, slo.late_share, expected),
        method="Nelder-Mead",
        bounds=(rates, (math.log(STEEPNESS_RANGE[0]), math.log(STEEPNESS_RANGE[1]))),
    )
    log_rate, log_steepness = (float(value) for value in found.x)
    spread = math.sqrt(
        _dispersion(near, log_rate, log_steepness, slo.late_share) * _variance(near, found.x, slo, expected)
    )
    reach = min(_student(len(near.rates)) * spread, math.log(FAR))
    rate = Interval(math.exp(log_rate), math.exp(log_rate - reach), math.exp(log_rate + reach))
    return Estimate(rate, math.exp(log_steepness))


def _student(windows: int) -> float:
    """Return how many standard errors an interval reaches, with two parameters fitted to so many windows."""
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, max(1, windows - 2)))


def _counts(windows: Sequence[Window], slo: Slo) -> _Counts:
    kept = [window for window in windows if window.rate is not None and window.arrived]
    total = np.array([window.arrived for window in kept], dtype=float)
    late = np.array([float((window.latencies > slo.limit_ms).sum()) for window in kept])
    missed = [window.judged.judgement == "missed" and window.judged.late_low <= slo.late_share for window in kept]
    growing = [window.judged.growing or bool(window.stopped) for window in kept]
    late = np.where(missed, np.maximum(late, OTHERWISE * slo.late_share * total), late)
    over = (late >= OVERLOADED * total) | np.array(growing, dtype=bool) | np.array(missed, dtype=bool)
    rates = np.array([window.rate for window in kept], dtype=float)
    over &= ~_contradicted(rates, late <= slo.late_share * total)
    if over.any():
        over |= (rates >= rates[over].min()) & (late > slo.late_share * total)
    return _Counts(rates, late, total, np.array([design_effect(window.latencies) for window in kept]), over)


def _contradicted(rates: Floats, good: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the windows whose rate, or a higher one, was fine at another time: something else was in the way."""
    highest_good = float(rates[good].max()) if good.any() else 0.0
    contradicted: npt.NDArray[np.bool_] = rates <= highest_good
    return contradicted


def _crosses(counts: _Counts, allowed: float) -> bool:
    missed = counts.late > allowed * counts.total
    return bool(missed.any() and not missed.all())


def _first_guess(counts: _Counts, allowed: float) -> float:
    """Return a rate between the highest that mostly held and the lowest that mostly did not."""
    late = counts.late > allowed * counts.total
    missed, held = counts.rates[late].min(), counts.rates[~late].max()
    return math.sqrt(float(missed) * float(held))


def _near(counts: _Counts, rate: float) -> _Counts:
    """Keep the rates near ``rate``, in effective counts.

    One design effect for all of them: windows with a burst of late requests show more dependence than lucky ones, and
    each by its own would weigh the bad news less.
    """
    kept = (counts.rates > rate / FAR) & (counts.rates < rate * FAR)
    effect = float(counts.effects[kept].mean())
    late, total = counts.late[kept] / effect, counts.total[kept] / effect
    return _Counts(counts.rates[kept], late, total, counts.effects[kept], counts.over[kept])


def _shares(rates: Floats, log_rate: float, log_steepness: float, allowed: float) -> Floats:
    logit = math.log(allowed / (1 - allowed)) + math.exp(log_steepness) * (np.log(rates) - log_rate)
    share: Floats = 1 / (1 + np.exp(-np.clip(logit, -40, 40)))
    return share


def _loss(point: Floats, counts: _Counts, allowed: float, expected: float) -> float:
    """Return the binomial deviance over two, of windows that are too high only from below, and the prior's part."""
    share = np.clip(_shares(counts.rates, float(point[0]), float(point[1]), allowed), _TINY, 1 - _TINY)
    seen = np.clip(counts.late / counts.total, _TINY, 1 - _TINY)
    divergence = counts.total * (seen * np.log(seen / share) + (1 - seen) * np.log((1 - seen) / (1 - share)))
    told = ~counts.over | (share < seen)  # a rate that is too high says nothing against a share that is higher still
    prior = ((float(point[1]) - expected) / STEEPNESS_SPREAD) ** 2 / 2
    return float(divergence[told].sum()) + prior


def _dispersion(counts: _Counts, log_rate: float, log_steepness: float, allowed: float) -> float:
    """Return how much more windows scatter than independent requests would: Pearson's chi-square over its degrees of
    freedom, at least 1 (McCullagh and Nelder, Generalized Linear Models, 1989, section 4.5)."""
    share = np.clip(_shares(counts.rates, log_rate, log_steepness, allowed), _TINY, 1 - _TINY)
    expected = counts.total * share
    told = (expected >= 0.5) & ~counts.over  # where nothing was expected, chi-square has no scale
    degrees = int(told.sum()) - 2
    if degrees < 1:
        return 1.0
    residuals = (counts.late - expected)[told] ** 2 / (expected * (1 - share))[told]
    return max(1.0, float(residuals.sum()) / degrees)


def _variance(counts: _Counts, point: Floats, slo: Slo, expected: float) -> float:
    """Return the variance of the logarithm of the rate: from the inverse of the Hessian, by finite differences."""
    steps = np.array([1e-3, 1e-2])
    hessian = np.empty((2, 2))
    for row in range(2):
        for column in range(2):
            signs = [(a, b) for a in (1, -1) for b in (1, -1)]
            moved = [_moved(point, steps, row, a, column, b) for a, b in signs]
            corners = [_loss(corner, counts, slo.late_share, expected) for corner in moved]
            change = sum(a * b * corner for (a, b), corner in zip(signs, corners, strict=True))
            hessian[row, column] = change / (4 * steps[row] * steps[column])
    inverse = np.linalg.pinv(hessian)
    return max(float(inverse[0, 0]), 1e-8)


def _moved(point: Floats, steps: Floats, row: int, first: int, column: int, second: int) -> Floats:
    moved = np.array(point, dtype=float)
    moved[row] += first * steps[row]
    moved[column] += second * steps[column]
    return moved
