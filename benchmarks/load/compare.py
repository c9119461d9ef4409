"""Two results side by side: what became better or worse by more than noise. Pure.

Noise is what the windows of each result show: quantiles come from resampled windows and blocks of requests, the
capacity from its own interval. Differences are judged on the logarithm of the ratio, with a level that is shared out
among all of them (Bonferroni), so that a comparison of a result with its like says "no difference" 19 times of 20.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from scipy import stats

from benchmarks.load.curves import Curve, Level, isotonic, levels_of
from benchmarks.load.results import ConfigurationResult, RunResult
from benchmarks.load.statistics import CONFIDENCE, Floats, Interval, bootstrap_samples

QUANTILES: Final = (0.5, 0.95, 0.99)
RATES: Final = (0.25, 0.5, 0.8)
"""Where latencies are compared: shares of the lower capacity, as far as both results were measured there."""

DRAWS: Final = 200
SMALLEST: Final = 0.03
"""A difference of less than this share is no regression, however certain it is."""

Change = Literal["better", "worse", "no difference beyond noise", "not judged"]


@dataclass(frozen=True)
class Difference:
    """One figure in both results; ``ratio`` is the second over the first, with its interval."""

    configuration: str
    figure: str
    first: float
    second: float
    unit: str
    ratio: Interval
    change: Change


@dataclass(frozen=True)
class Comparison:
    """All differences, and why they may not be comparable at all."""

    first: str
    second: str
    cautions: tuple[str, ...]
    differences: tuple[Difference, ...]

    @property
    def worse(self) -> list[Difference]:
        """The regressions."""
        return [each for each in self.differences if each.change == "worse"]

    @property
    def verdict(self) -> str:
        """One line for people."""
        if not self.differences:
            return "nothing to compare: no configuration is in both results"
        better = sum(each.change == "better" for each in self.differences)
        judged = sum(each.change != "not judged" for each in self.differences)
        if self.worse:
            names = ", ".join(f"{each.configuration} {each.figure}".strip() for each in self.worse)
            return f"REGRESSION beyond noise in {len(self.worse)} of {judged} figures: {names}"
        return f"no regression beyond noise in {judged} figures; {better} better"


@dataclass(frozen=True)
class _Figure:
    configuration: str
    name: str
    first: float
    second: float
    unit: str
    more_is_better: bool
    error: float | None
    """Standard error of the logarithm of the ratio; ``None`` where a figure has no error of its own."""


def compare(first: RunResult, second: RunResult, names: tuple[str, str]) -> Comparison:
    """Compare the configurations that both results have, by label; a single one each is compared whatever its label."""
    figures = [figure for pair in _pairs(first, second) for figure in _figures(*pair)]
    judged = sum(figure.error is not None for figure in figures)
    level = 1 - (1 - CONFIDENCE) / max(1, judged)
    reach = float(stats.norm.ppf((1 + level) / 2))
    return Comparison(*names, tuple(_cautions(first, second)), tuple(_difference(each, reach) for each in figures))


def _pairs(first: RunResult, second: RunResult) -> Iterator[tuple[ConfigurationResult, ConfigurationResult]]:
    if len(first.results) == len(second.results) == 1:
        yield first.results[0], second.results[0]
        return
    by_label = {result.configuration.label: result for result in second.results}
    for result in first.results:
        if result.configuration.label in by_label:
            yield result, by_label[result.configuration.label]


def _cautions(first: RunResult, second: RunResult) -> Iterator[str]:
    if first.workload != second.workload:
        yield "the workloads differ, so the figures are of different traffic"
    if first.slo != second.slo:
        yield f"the SLOs differ ({first.slo} and {second.slo}), so the capacities are of different things"
    for name in ("cpu", "cores", "memory_gb"):
        if first.machine.get(name) != second.machine.get(name):
            yield f"the machines differ: {name} {first.machine.get(name)} and {second.machine.get(name)}"
    if first.partial or second.partial:
        yield "one of them was stopped before its end"


def _figures(first: ConfigurationResult, second: ConfigurationResult) -> Iterator[_Figure]:
    label = second.configuration.label
    one, two = first.outcome, second.outcome
    if one.capacity and two.capacity:
        spreads = [_log_spread(outcome.capacity_low, outcome.capacity_high) for outcome in (one, two)]
        error = math.hypot(*spreads) if None not in spreads else None  # type: ignore[arg-type]
        yield _Figure(label, "capacity", one.capacity, two.capacity, "/s", True, error)
    if one.saturation and two.saturation:
        yield _Figure(label, "highest throughput", one.saturation, two.saturation, "/s", True, None)
    yield from _latencies(label, levels_of(first.open_windows()), levels_of(second.open_windows()))


def _log_spread(low: float | None, high: float | None) -> float | None:
    """Return the standard error of a logarithm from its 95 % interval."""
    if not low or not high:
        return None
    return (math.log(high) - math.log(low)) / 2 / float(stats.norm.ppf((1 + CONFIDENCE) / 2))


ENOUGH: Final = 2
"""Requests beyond a quantile that every rate must have for the quantile to have an error worth the name."""


def _latencies(label: str, first: Sequence[Level], second: Sequence[Level]) -> Iterator[_Figure]:
    if not first or not second:
        return
    from_, to = max(first[0].rate, second[0].rate), min(first[-1].rate, second[-1].rate)
    top = min(max((level.rate for level in levels if level.sustained), default=0.0) for levels in (first, second))
    rates = sorted({min(max(share * top, from_), to) for share in RATES}) if from_ <= to and top > 0 else []
    for q in QUANTILES:
        both = [[level for level in levels if len(level.latencies) * (1 - q) >= ENOUGH] for levels in (first, second)]
        if not all(both):
            continue
        curves = [Curve.of(levels, q) for levels in both]
        draws = [_drawn_curves(levels, q, seed) for seed, levels in enumerate(both)]
        for rate in rates:
            values = [curve.at(rate) for curve in curves]
            if values[0] and values[1]:
                error = math.hypot(*(_log_error(curve, draw, rate) for curve, draw in zip(curves, draws, strict=True)))
                yield _Figure(label, f"p{100 * q:g} at {rate:.3g}/s", values[0], values[1], "ms", False, error)


def _drawn_curves(levels: Sequence[Level], q: float, seed: int) -> Floats:
    """Return ``DRAWS`` resampled curves as rows of one value for each level."""
    drawn = [
        bootstrap_samples([window.latencies for window in level.windows], q, DRAWS, seed * 1000 + place)
        for place, level in enumerate(levels)
    ]
    weights = np.array([len(level.latencies) for level in levels], dtype=float)
    return np.array([isotonic(row, weights) for row in np.array(drawn).T])


def _log_error(curve: Curve, drawn: Floats, rate: float) -> float:
    values = [float(np.interp(rate, curve.rates, row)) for row in drawn]
    return float(np.std(np.log(np.maximum(values, 1e-6)), ddof=1))


def _difference(figure: _Figure, reach: float) -> Difference:
    centre = math.log(figure.second / figure.first)
    width = reach * figure.error if figure.error is not None else math.nan
    ratio = Interval(math.exp(centre), math.exp(centre - width), math.exp(centre + width))
    return Difference(
        figure.configuration,
        figure.name,
        figure.first,
        figure.second,
        figure.unit,
        ratio,
        _change(ratio, figure.more_is_better),
    )


def _change(ratio: Interval, more_is_better: bool) -> Change:
    if math.isnan(ratio.low):
        return "not judged"
    if (ratio.low <= 1 <= ratio.high) or abs(ratio.value - 1) < SMALLEST:
        return "no difference beyond noise"
    return "better" if (ratio.value > 1) == more_is_better else "worse"


def comparison_lines(comparison: Comparison) -> list[str]:
    """Return the comparison as a Markdown table with its verdict on top."""
    lines = [f"**{comparison.verdict}**", "", f"A: {comparison.first}", f"B: {comparison.second}", ""]
    lines += [f"- caution: {caution}" for caution in comparison.cautions]
    lines += ["| configuration | figure | A | B | B / A | verdict |", "|---|---|---:|---:|---:|---|"]
    for each in comparison.differences:
        interval = "" if math.isnan(each.ratio.low) else f" ({each.ratio.low:.2f}–{each.ratio.high:.2f})"
        lines.append(
            f"| {each.configuration} | {each.figure} | {each.first:.4g} {each.unit} | {each.second:.4g} {each.unit} "
            f"| {each.ratio.value:.2f}{interval} | {each.change} |"
        )
    return lines
