"""Bootstrap intervals: the same figures over rows drawn again.

A resample is a row of weights, how often each text was drawn, so that a figure over a thousand
resamples is a few products of matrices; ``statistics`` has the figures themselves from
scikit-learn, and the tests hold both against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evaluation.statistics import Estimate, Flags, Floats, Observed, calibration_error

CHUNK: Final = 50
"""Resamples that are worked on at once: a matter of memory only."""

ENOUGH: Final = 0.5
"""Share of the resamples that must define a figure for it to have an interval."""

Draw = Callable[[Floats], Mapping[str, Floats]]
"""Weights ``(resamples, n)`` to named figures, each ``(resamples,)``, NaN where not defined."""


@dataclass(frozen=True)
class Resampling:
    """How to draw: ``unit_of`` names the unit of each row (``(n,)``, from 0); a unit is drawn as a whole."""

    unit_of: NDArray[np.intp]
    resamples: int
    seed: int

    @property
    def units(self) -> int:
        """How many units there are."""
        return int(self.unit_of.max()) + 1

    def weights(self) -> Iterator[Floats]:
        """Yield how often each row was drawn, ``(resamples of a chunk, n)``, the same on every call."""
        generator = np.random.default_rng(self.seed)
        for start in range(0, self.resamples, CHUNK):
            rows = min(CHUNK, self.resamples - start)
            drawn = generator.integers(self.units, size=(rows, self.units))
            cells = drawn + self.units * np.arange(rows)[:, None]
            counts = np.bincount(cells.ravel(), minlength=rows * self.units).reshape(rows, self.units)
            yield counts[:, self.unit_of].astype(np.float64)

    def figures(self, draw: Draw) -> dict[str, Floats]:
        """Return what ``draw`` gives over all resamples, each ``(resamples,)``."""
        chunks = [draw(weights) for weights in self.weights()]
        return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def resampling_units(table: Floats, groups: Sequence[str | None]) -> NDArray[np.intp]:
    """Number the units that are drawn: groups where rows have one, else single rows.

    Rows of one writer or thread are alike, so drawing them one by one would make the intervals too
    narrow. The numbers depend on what the rows hold, not on their order in the file, and so do the
    intervals.

    Args:
        table: all that is known of the rows, ``(n, columns)``.
        groups: of each row, ``None`` for a row by itself.
    """
    keys = [row.tobytes() for row in np.ascontiguousarray(table)]
    members: dict[object, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(row if group is None else group, []).append(row)
    ordered = sorted(members.values(), key=lambda rows: sorted(keys[row] for row in rows))
    unit_of = np.empty(len(keys), dtype=np.intp)
    for unit, rows in enumerate(ordered):
        unit_of[rows] = unit
    return unit_of


def subset(unit_of: NDArray[np.intp], rows: NDArray[np.intp] | Flags) -> NDArray[np.intp]:
    """Return the units of some rows, numbered from 0 again, in the same order."""
    return np.unique(unit_of[rows], return_inverse=True)[1]


def with_interval(estimate: Estimate, resampled: Floats, units: int) -> Estimate:
    """Add the 95 % percentile interval (Efron 1979) to a defined figure.

    Resampling repeats rows, which pushes some figures to one side (ECE rises); where the value
    itself would fall outside, the interval is widened to hold it.
    """
    if estimate.value is None:
        return estimate
    defined = resampled[~np.isnan(resampled)]
    if units < 2:
        return Estimate(estimate.value, note="no interval: there is nothing to resample but one row or group")
    if len(defined) < ENOUGH * len(resampled):
        return Estimate(estimate.value, note="no interval: too few rows")
    low, high = np.percentile(defined, [2.5, 97.5])
    return Estimate(estimate.value, min(float(low), estimate.value), max(float(high), estimate.value))


def resampled_label(observed: Observed, weights: Floats) -> dict[str, Floats]:
    """Return every metric of a label, each ``(resamples,)``, for ``weights`` ``(resamples, n)``."""
    rows, weights = observed.known_rows(), weights[:, observed.known]
    figures = resampled_decisions(rows, weights)
    total = weights.sum(axis=1)
    positives = weights @ rows.positive
    auroc, auprc = _rankings(rows, weights)
    both = (positives > 0) & (positives < total)
    figures["auroc"] = np.where(both, auroc, np.nan)
    figures["auprc"] = np.where(both, auprc, np.nan)
    figures["brier"] = ratio(weights @ (rows.scores - rows.positive) ** 2, total)
    figures["ece"] = np.full(len(weights), np.nan)
    drawn = total > 0
    if drawn.any():
        figures["ece"][drawn] = calibration_error(rows.positive, rows.scores, weights[drawn])
    return figures


def resampled_decisions(rows: Observed, weights: Floats) -> dict[str, Floats]:
    """Return precision, recall and F1 over ``rows``, all known, each ``(resamples,)``."""
    decisions = rows.decisions
    hits, called, there = weights @ (decisions & rows.positive), weights @ decisions, weights @ rows.positive
    any_there = there > 0
    return {
        "precision": np.where(any_there, ratio(hits, called), np.nan),
        "recall": ratio(hits, there),
        "f1": np.where(any_there, ratio(2 * hits, called + there), np.nan),
    }


def _rankings(rows: Observed, weights: Floats) -> tuple[Floats, Floats]:
    """Return AUROC and average precision: sums over distinct scores, highest first."""
    values, value_of = np.unique(-rows.scores, return_inverse=True)
    order = np.argsort(value_of, kind="stable")
    starts = np.searchsorted(value_of[order], np.arange(len(values)))
    hits = np.add.reduceat((weights * rows.positive)[:, order], starts, axis=1)
    misses = np.add.reduceat((weights * ~rows.positive)[:, order], starts, axis=1)
    all_hits, all_misses = np.cumsum(hits, axis=1), np.cumsum(misses, axis=1)
    auroc = ratio((misses * (all_hits - hits / 2)).sum(axis=1), all_hits[:, -1] * all_misses[:, -1])
    precision = np.nan_to_num(ratio(all_hits, all_hits + all_misses))
    return auroc, ratio((hits * precision).sum(axis=1), all_hits[:, -1])


def ratio(above: Floats, below: Floats) -> Floats:
    """Return ``above / below``, NaN where there is nothing to divide by."""
    result: Floats = np.divide(above, below, out=np.full(below.shape, np.nan), where=below > 0)
    return result
