"""Figures of one label: scikit-learn's, and what it lacks (equal-mass bins, intervals of shares).

Everything here is pure and depends on the rows, not on their order. Arrays have one value for each
row: ``positive`` bool, ``scores`` float64 from 0 to 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    precision_recall_curve,
    precision_recall_fscore_support,
    roc_auc_score,
)

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

METRICS: Final = ("precision", "recall", "f1", "auroc", "auprc", "brier", "ece")
"""The figures of a label, in the order that they are shown."""

MAX_BINS: Final = 15
ROWS_PER_BIN: Final = 20
"""A bin of fewer rows says nothing about a share, so fewer rows make fewer bins."""

HISTOGRAM_BINS: Final = 20
CURVE_POINTS: Final = 101
NORMAL_95: Final = 1.959963984540054
"""Standard normal quantile of 0.975."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; ``value`` is ``None`` where it is not defined, and ``note`` says why.

    The bounds are ``None`` where there is no interval; ``note`` says why then too.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    note: str | None = None


@dataclass(frozen=True)
class Observed:
    """One label of a set: what is true, what was served.

    Attributes:
        positive: whether the label applies; false where that is not known.
        known: whether it is known. Unknown rows enter no figure of the label.
        scores: the served scores.
        threshold: the served threshold; a decision is ``score >= threshold``.
    """

    positive: Flags
    known: Flags
    scores: Floats
    threshold: float

    @property
    def decisions(self) -> Flags:
        """What is served as positive, known or not."""
        return self.scores >= self.threshold

    def take(self, rows: NDArray[np.intp] | Flags) -> Observed:
        """Return the label over some rows."""
        return Observed(self.positive[rows], self.known[rows], self.scores[rows], self.threshold)

    def known_rows(self) -> Observed:
        """Return the label over the rows where it is known."""
        return self.take(self.known)


@dataclass(frozen=True)
class ReliabilityBin:
    """Rows of similar score: their mean score, and the share of them that is positive with its 95 % interval."""

    count: int
    mean_score: float
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Histogram:
    """Counts of scores between ``edges``, by truth."""

    edges: tuple[float, ...]
    negatives: tuple[int, ...]
    positives: tuple[int, ...]


@dataclass(frozen=True)
class CurvePoint:
    """Precision and recall where everything from ``threshold`` on is called positive."""

    threshold: float
    precision: float
    recall: float


def label_values(observed: Observed) -> dict[str, Estimate]:
    """Return every metric of a label without its interval, an undefined one with the reason.

    Precision, recall and F1 are those of the decisions; AUROC, AUPRC (average precision) and Brier
    score those of the scores; ECE as ``calibration_error``.
    """
    rows = observed.known_rows()
    values: dict[str, Estimate] = {}
    for metric in METRICS:
        reason = why_undefined(metric, rows)
        values[metric] = Estimate(None, note=reason) if reason else Estimate(_value(metric, rows))
    return values


def why_undefined(metric: str, rows: Observed) -> str | None:
    """Say why ``metric`` is not defined over ``rows`` (all known), or return ``None``."""
    if not len(rows.positive):
        return "no row says whether the label applies"
    if metric in ("brier", "ece"):
        return None
    if not rows.positive.any():
        return "only negatives"
    if metric in ("auroc", "auprc") and rows.positive.all():
        return "only positives"
    if metric == "precision" and not rows.decisions.any():
        return "no score reaches the threshold"
    return None


def _value(metric: str, rows: Observed) -> float:
    with sklearn.config_context(assume_finite=True):
        match metric:
            case "auroc":
                return float(roc_auc_score(rows.positive, rows.scores))
            case "auprc":
                return float(average_precision_score(rows.positive, rows.scores))
            case "brier":
                return float(brier_score_loss(rows.positive, rows.scores))
            case "ece":
                return float(calibration_error(rows.positive, rows.scores, np.ones((1, len(rows.scores))))[0])
        scored = precision_recall_fscore_support(rows.positive, rows.decisions, average="binary", zero_division=0.0)
        return float(scored[("precision", "recall", "f1").index(metric)])


def bin_count(rows: int) -> int:
    """Return the number of equal-mass bins for so many rows: 15, or as many as get 20 rows, at least 1."""
    return max(1, min(MAX_BINS, rows // ROWS_PER_BIN))


def calibration_error(positive: Flags, scores: Floats, weights: Floats) -> Floats:
    """Return the expected calibration error over equal-mass bins, for each row of ``weights``.

    The mean over bins, weighted by their mass, of ``|mean score - share of positives|``. Equal mass
    rather than equal width after Nixon et al. 2019, "Measuring Calibration in Deep Learning".

    Args:
        positive, scores: ``(n,)``.
        weights: how often each row counts, ``(resamples, n)``; no row of it is all zero.
    """
    values, value_of = np.unique(scores, return_inverse=True)
    gap = _sum_by_value(weights * (scores - positive), value_of, len(values))
    mass = _sum_by_value(weights, value_of, len(values))
    bins = bin_count(len(scores))
    cells = _equal_mass_bins(mass, bins) + bins * np.arange(len(weights))[:, None]
    gaps = np.bincount(cells.ravel(), gap.ravel(), minlength=bins * len(weights)).reshape(len(weights), bins)
    error: Floats = np.abs(gaps).sum(axis=1) / mass.sum(axis=1)
    return error


def _sum_by_value(table: Floats, value_of: NDArray[np.intp], values: int) -> Floats:
    """Sum the columns of ``table`` ``(resamples, n)`` that share a score: ``(resamples, values)``, scores ascending."""
    order = np.argsort(value_of, kind="stable")
    starts = np.searchsorted(value_of[order], np.arange(values))
    sums: Floats = np.add.reduceat(table[:, order], starts, axis=1)
    return sums


def _equal_mass_bins(mass: Floats, bins: int) -> NDArray[np.intp]:
    """Return the bin of each score by its middle rank, so that equal scores share one: ``(resamples, values)``."""
    middle = np.cumsum(mass, axis=1) - mass / 2
    ranks = middle / mass.sum(axis=1, keepdims=True)
    bin_of: NDArray[np.intp] = np.minimum((ranks * bins).astype(np.intp), bins - 1)
    return bin_of


def reliability_bins(positive: Flags, scores: Floats) -> tuple[ReliabilityBin, ...]:
    """Return the equal-mass bins that ``calibration_error`` is the mean gap of, lowest scores first."""
    values, value_of = np.unique(scores, return_inverse=True)
    mass = np.bincount(value_of, minlength=len(values)).astype(np.float64)
    bin_of = _equal_mass_bins(mass[None, :], bin_count(len(scores)))[0][value_of]
    return tuple(_reliability_bin(positive[bin_of == bin_], scores[bin_of == bin_]) for bin_ in np.unique(bin_of))


def _reliability_bin(positive: Flags, scores: Floats) -> ReliabilityBin:
    low, high = wilson_interval(int(positive.sum()), len(positive))
    return ReliabilityBin(len(positive), float(scores.mean()), float(positive.mean()), low, high)


def wilson_interval(hits: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927), which behaves where few or no rows hit.

    Raises:
        ValueError: ``total`` is not positive.
    """
    if total <= 0:
        raise ValueError("a share of nothing has no interval")
    share, square = hits / total, NORMAL_95**2
    centre = (share + square / (2 * total)) / (1 + square / total)
    half = NORMAL_95 / (1 + square / total) * math.sqrt(share * (1 - share) / total + square / (4 * total**2))
    return min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))


def score_histogram(positive: Flags, scores: Floats) -> Histogram:
    """Return the counts of scores in 20 bins of equal width, by truth."""
    edges = np.linspace(0.0, 1.0, HISTOGRAM_BINS + 1)
    negatives, _ = np.histogram(scores[~positive], edges)
    positives, _ = np.histogram(scores[positive], edges)
    return Histogram(tuple(edges.tolist()), tuple(negatives.tolist()), tuple(positives.tolist()))


def precision_recall_points(positive: Flags, scores: Floats) -> tuple[CurvePoint, ...]:
    """Return the precision-recall curve, thinned to one point for each hundredth of recall; recall rises.

    Empty where the curve is not defined: all positive, or none.
    """
    if positive.all() or not positive.any():
        return ()
    precision, recall, thresholds = precision_recall_curve(positive, scores)
    precision, recall, thresholds = precision[-2::-1], recall[-2::-1], thresholds[::-1]
    at = np.unique(np.searchsorted(recall, np.linspace(0.0, 1.0, CURVE_POINTS)))
    return tuple(CurvePoint(float(thresholds[i]), float(precision[i]), float(recall[i])) for i in at)


def point_at(positive: Flags, scores: Floats, threshold: float) -> CurvePoint | None:
    """Return precision and recall at ``threshold``, ``None`` where one of them is not defined."""
    called = scores >= threshold
    hits = int((called & positive).sum())
    if not called.any() or not positive.any():
        return None
    return CurvePoint(threshold, hits / int(called.sum()), hits / int(positive.sum()))
