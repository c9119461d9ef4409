"""What a sample of latencies can and cannot show. Pure; seeds are arguments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]

CONFIDENCE: Final = 0.95
"""Of intervals, and of each bound of a share by itself, as only one of them is asked about at a time."""

BATCHES: Final = 10
"""Parts that a window is cut into to see how much its requests depend on each other."""

MIN_BATCH: Final = 5
"""Requests in a part, below which parts say nothing."""


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence interval, in the unit of the estimate."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Attainment:
    """How many requests missed a limit, and what that shows of the server.

    Attributes:
        over, total: requests over the limit, and all of them.
        share: ``over / total`` with its confidence interval, widened by ``design_effect``.
        design_effect: how many requests count as one, since those of one burst are late together.
    """

    over: int
    total: int
    share: Interval
    design_effect: float


@dataclass(frozen=True)
class Trend:
    """A slope over time, in units a second, and the t interval that says whether it is one."""

    slope: Interval
    points: int


def quantile(values: Sequence[float] | Floats, q: float) -> float:
    """Return the ``q`` quantile as an order statistic that was seen: the smallest value with a share >= ``q`` below or
    at it. No interpolation, so a p99 of 50 requests is their maximum. ``nan`` of nothing."""
    if len(values) == 0:
        return math.nan
    return float(np.quantile(np.asarray(values, dtype=float), q, method="inverted_cdf"))


def attainment(
    late: Sequence[bool] | npt.NDArray[np.bool_], effect: float = 1.0, confidence: float = CONFIDENCE
) -> Attainment:
    """Judge a share of late requests.

    Clopper and Pearson's interval (Biometrika 26, 1934), which holds for small counts and for none at all, on the
    effective sample: requests of one busy period are late together, so counts are divided by the design effect (Kish,
    Survey Sampling, 1965).

    Args:
        late: one flag for each request.
        effect: of these requests, see ``design_effect``.
        confidence: of each bound by itself.
    """
    flags = np.asarray(late, dtype=bool)
    total, over = len(flags), int(flags.sum())
    if total == 0:
        return Attainment(0, 0, Interval(math.nan, 0.0, 1.0), effect)
    low, high = clopper_pearson(over / effect, total / effect, confidence)
    return Attainment(over, total, Interval(over / total, low, high), effect)


def design_effect(values: Sequence[float] | Floats) -> float:
    """Return how many requests of a window count as one: the variance of batch means over that of independent draws.

    From the ranks of all latencies in order of arrival rather than from the few late ones: a window without a late
    request can have been a lucky stretch of a queue that remembers for longer than the window lasts.
    """
    size = len(values) // BATCHES
    if size < MIN_BATCH:
        return 1.0
    ranks = stats.rankdata(np.asarray(values, dtype=float)[: size * BATCHES])
    spread = float(ranks.var())
    if spread == 0:
        return 1.0
    means = ranks.reshape(BATCHES, size).mean(axis=1)
    return max(1.0, float(means.var(ddof=1)) * size / spread)


def clopper_pearson(over: float, total: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return both bounds of a share, each one-sided; counts may be effective, so need not be whole."""
    tail = 1 - confidence
    low = 0.0 if over <= 0 else float(stats.beta.ppf(tail, over, total - over + 1))
    high = 1.0 if over >= total else float(stats.beta.ppf(1 - tail, over + 1, total - over))
    return low, high


def trend(times: Sequence[float] | Floats, values: Sequence[float] | Floats, confidence: float = CONFIDENCE) -> Trend:
    """Fit a line through the means of ``BATCHES`` equal parts of a series.

    The t interval of an ordinary regression through them (``BATCHES`` - 2 degrees of freedom), with the standard error
    widened for what neighbouring parts still have in common: a queue near its limit wanders, and wandering looks like
    a trend (first-order autocorrelation of the residuals; Santer et al., J. Geophys. Res. 105, 2000).
    """
    at, value = np.asarray(times, dtype=float), np.asarray(values, dtype=float)
    if len(at) < BATCHES:
        return Trend(Interval(0.0, -math.inf, math.inf), len(at))
    parts = np.array_split(np.arange(len(at)), BATCHES)
    x = np.array([at[part].mean() for part in parts])
    y = np.array([value[part].mean() for part in parts])
    fit = stats.linregress(x, y)
    slope = float(fit.slope)
    residuals = y - (float(fit.intercept) + slope * x)
    reach = float(stats.t.ppf((1 + confidence) / 2, BATCHES - 2)) * float(fit.stderr) * _inflation(residuals)
    return Trend(Interval(slope, slope - reach, slope + reach), BATCHES)


def _inflation(residuals: Floats) -> float:
    """Return how much autocorrelated residuals widen a standard error, at least 1."""
    power = float((residuals**2).sum())
    if power == 0:
        return 1.0
    correlation = float((residuals[1:] * residuals[:-1]).sum()) / power
    correlation = min(max(correlation, 0.0), 0.9)
    return math.sqrt((1 + correlation) / (1 - correlation))


def bootstrap_quantile(
    groups: Sequence[Floats], q: float, draws: int, seed: int, confidence: float = CONFIDENCE
) -> Interval:
    """Return a quantile over all groups, with a percentile interval from whole groups and blocks within them.

    Windows are drawn with replacement; within each, blocks of consecutive requests are, as neighbours are late
    together (Kuensch, Annals of Statistics 17, 1989). A single window is drawn by its blocks alone.
    """
    values = np.concatenate([np.asarray(group, dtype=float) for group in groups]) if groups else np.empty(0)
    if len(values) == 0:
        return Interval(math.nan, math.nan, math.nan)
    samples = bootstrap_samples(groups, q, draws, seed)
    low, high = np.quantile(samples, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(quantile(values, q), float(low), float(high))


def bootstrap_samples(groups: Sequence[Floats], q: float, draws: int, seed: int) -> Floats:
    """Return the ``q`` quantile of ``draws`` resamples, see ``bootstrap_quantile``."""
    generator = np.random.default_rng(seed)
    kept = [np.asarray(group, dtype=float) for group in groups if len(group)]
    found = np.empty(draws)
    for draw in range(draws):
        chosen = generator.integers(0, len(kept), len(kept))
        found[draw] = quantile(np.concatenate([_blocks(kept[index], generator) for index in chosen]), q)
    return found


def _blocks(values: Floats, generator: np.random.Generator) -> Floats:
    """Resample blocks of consecutive values, about as many values as there were."""
    length = max(1, round(len(values) ** (1 / 3)) * 2)
    count = math.ceil(len(values) / length)
    starts = generator.integers(0, max(1, len(values) - length + 1), count)
    picked: Floats = values[(starts[:, None] + np.arange(length)).clip(max=len(values) - 1).ravel()]
    return picked


def requests_to_show(share: float, confidence: float = CONFIDENCE) -> int:
    """Return how many requests, none of them late, show that at most ``share`` of all are: 299 for 1 % at 95 %.

    One-sided: ``(1 - share) ** n <= 1 - confidence``.
    """
    return math.ceil(math.log(1 - confidence) / math.log(1 - share))
