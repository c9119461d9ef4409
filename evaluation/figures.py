"""Scored rows to the figures of a report. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from evaluation.report import (
    OVERALL,
    BundleFigures,
    Comparison,
    Counts,
    DataReport,
    Difference,
    LabelReport,
    Method,
    OperatingPoints,
    Overall,
    Slice,
    SuiteReport,
    Threshold,
)
from evaluation.resampling import (
    Resampling,
    ratio,
    resampled_decisions,
    resampled_label,
    resampling_units,
    subset,
    with_interval,
)
from evaluation.statistics import (
    METRICS,
    Estimate,
    Flags,
    Floats,
    Observed,
    label_values,
    point_at,
    precision_recall_points,
    reliability_bins,
    score_histogram,
)

Ends = tuple[int, int | None]
"""First and last size of a class of sizes, both inside; ``None``: no end."""

TOKEN_CLASSES: Final[tuple[Ends, ...]] = ((0, 16), (17, 64), (65, 256), (257, 1024), (1025, 4094), (4095, None))
"""Up to 4,094 tokens fit one window of the reference checkpoint."""

WINDOW_CLASSES: Final[tuple[Ends, ...]] = ((1, 1), (2, 2), (3, 4), (5, 8), (9, None))


@dataclass(frozen=True)
class Truth:
    """What a labelled file says, for the labels of the model in order.

    Attributes:
        labels: names, in the order of the logits.
        positive, known: bool ``(n, labels)``.
        groups: of each row, ``None`` where it has none.
    """

    labels: tuple[str, ...]
    positive: Flags
    known: Flags
    groups: tuple[str | None, ...]


@dataclass(frozen=True)
class Scored:
    """What one bundle answers.

    Attributes:
        name: of the bundle in the report.
        logits: before calibration, float64 ``(n, labels)``.
        scores: as served, float64 ``(n, labels)``.
        thresholds: by label.
        tokens, windows: of each text, ``(n,)``.
    """

    name: str
    logits: Floats
    scores: Floats
    thresholds: Mapping[str, Threshold]
    tokens: NDArray[np.intp]
    windows: NDArray[np.intp]


def suite_report(data: DataReport, truth: Truth, scored: Sequence[Scored], method: Method) -> SuiteReport:
    """Put the figures of one labelled file together; the first of ``scored`` is shown in detail."""
    first = scored[0]
    unit_of = resampling_units(np.hstack([first.scores, truth.positive, truth.known]), truth.groups)
    resampling = Resampling(unit_of, method.resamples, method.seed)
    figures = {one.name: _bundle_figures(truth, one, resampling) for one in scored}
    detail = figures[first.name]
    observed = _observe(truth, first)
    return SuiteReport(
        data=data,
        overall=detail.overall,
        labels={
            label: _label_report(rows, first.thresholds[label], detail.labels[label])
            for label, rows in observed.items()
        },
        by_tokens=_slices(observed, first.tokens, TOKEN_CLASSES, resampling),
        by_windows=_slices(observed, first.windows, WINDOW_CLASSES, resampling),
        bundles=figures,
        comparisons=tuple(_comparison(one, other, truth.labels) for one, other in combinations(scored, 2)),
    )


def _observe(truth: Truth, scored: Scored) -> dict[str, Observed]:
    return {
        label: Observed(
            truth.positive[:, column], truth.known[:, column], scored.scores[:, column], scored.thresholds[label].on
        )
        for column, label in enumerate(truth.labels)
    }


# One bundle: every label, and all of them together.


def _bundle_figures(truth: Truth, scored: Scored, resampling: Resampling) -> BundleFigures:
    observed = _observe(truth, scored)
    values = {label: label_values(rows) for label, rows in observed.items()}
    evaluated = {label: rows for label, rows in observed.items() if rows.known.any()}

    def draw(weights: Floats) -> dict[str, Floats]:
        drawn = {label: resampled_label(rows, weights) for label, rows in evaluated.items()}
        each = {f"{label}/{metric}": drawn[label][metric] for label in drawn for metric in METRICS}
        return each | _resampled_overall(evaluated, {label: drawn[label]["f1"] for label in drawn}, weights)

    resampled = resampling.figures(draw)
    return BundleFigures(
        overall={
            name: with_interval(value, resampled[name], resampling.units)
            for name, value in _overall_values(values, evaluated).items()
        },
        labels={
            label: {
                metric: with_interval(value, resampled[f"{label}/{metric}"], resampling.units)
                if label in evaluated
                else value
                for metric, value in values[label].items()
            }
            for label in truth.labels
        },
    )


def _overall_values(
    values: Mapping[str, Mapping[str, Estimate]], evaluated: Mapping[str, Observed]
) -> dict[Overall, Estimate]:
    f1 = {label: values[label]["f1"].value for label in evaluated}
    defined = {label: value for label, value in f1.items() if value is not None}
    right, counted = _all_right(evaluated)
    exact = Estimate(float(right[counted].mean()))
    if not defined:
        none = Estimate(None, note="no label has a positive row")
        return dict(zip(OVERALL, (none, none, exact), strict=True))
    support = [int(evaluated[label].positive.sum()) for label in defined]
    scores = list(defined.values())
    macro, weighted = float(np.mean(scores)), float(np.average(scores, weights=support))
    return dict(zip(OVERALL, (Estimate(macro), Estimate(weighted), exact), strict=True))


def _resampled_overall(
    evaluated: Mapping[str, Observed], f1: Mapping[str, Floats], weights: Floats
) -> dict[str, Floats]:
    support = np.array([weights @ rows.positive for rows in evaluated.values()])
    right, counted = _all_right(evaluated)
    return {
        "macro_f1": _mean_f1(f1, (support > 0).astype(np.float64)),
        "weighted_f1": _mean_f1(f1, support),
        "exact_match": ratio(weights @ right, weights @ counted),
    }


def _mean_f1(f1: Mapping[str, Floats], weights: Floats) -> Floats:
    """Return the weighted mean over labels ``(resamples,)``; F1 may be NaN where ``weights`` are 0."""
    scores = np.array(list(f1.values()))
    return ratio((np.where(weights > 0, scores, 0.0) * weights).sum(axis=0), weights.sum(axis=0))


def _all_right(evaluated: Mapping[str, Observed]) -> tuple[Flags, Flags]:
    """Tell which rows are right in every label that is known of them, and which have one at all."""
    counted: Flags = np.any([rows.known for rows in evaluated.values()], axis=0)
    wrong: Flags = np.any([(rows.decisions != rows.positive) & rows.known for rows in evaluated.values()], axis=0)
    return counted & ~wrong, counted


def _label_report(observed: Observed, threshold: Threshold, metrics: dict[str, Estimate]) -> LabelReport:
    rows = observed.known_rows()
    known, positives = len(rows.positive), int(rows.positive.sum())
    counts = Counts(known, len(observed.known) - known, positives, known - positives, int(rows.decisions.sum()))
    return LabelReport(
        counts=counts,
        threshold=threshold,
        not_evaluated=None if known else "no row says whether the label applies",
        metrics=metrics,
        reliability=reliability_bins(rows.positive, rows.scores) if known else (),
        histogram=score_histogram(rows.positive, rows.scores) if known else None,
        curve=precision_recall_points(rows.positive, rows.scores) if known else (),
        operating=OperatingPoints(
            on=point_at(rows.positive, rows.scores, threshold.on),
            off=point_at(rows.positive, rows.scores, threshold.off) if threshold.off is not None else None,
        ),
    )


# Slices: rows of similar length.


def _slices(
    observed: Mapping[str, Observed], sizes: NDArray[np.intp], classes: Iterable[Ends], resampling: Resampling
) -> tuple[Slice, ...]:
    """Return a slice for each class of ``sizes`` that has rows."""
    members = {ends: (sizes >= ends[0]) & (ends[1] is None or sizes <= ends[1]) for ends in classes}
    return tuple(_slice(observed, rows, ends, resampling) for ends, rows in members.items() if rows.any())


def _slice(observed: Mapping[str, Observed], rows: Flags, ends: Ends, resampling: Resampling) -> Slice:
    taken = {label: label_rows.take(rows) for label, label_rows in observed.items() if label_rows.known.any()}
    values = {label: label_values(one)["f1"] for label, one in taken.items()}
    defined = {label: one for label, one in taken.items() if values[label].value is not None}
    inside = Resampling(subset(resampling.unit_of, rows), resampling.resamples, resampling.seed)
    scores = [value.value for value in values.values() if value.value is not None]
    macro = Estimate(float(np.mean(scores))) if scores else Estimate(None, note="no label has a positive row")
    if defined:
        resampled = inside.figures(lambda weights: _resampled_f1(defined, weights))
        macro = with_interval(macro, resampled["macro_f1"], inside.units)
        values |= {label: with_interval(values[label], resampled[f"{label}/f1"], inside.units) for label in defined}
    return Slice(
        first=ends[0],
        last=ends[1],
        rows=int(rows.sum()),
        positives={label: int(one.positive.sum()) for label, one in taken.items()},
        macro_f1=macro,
        f1=values,
    )


def _resampled_f1(observed: Mapping[str, Observed], weights: Floats) -> dict[str, Floats]:
    f1 = {
        label: resampled_decisions(rows.known_rows(), weights[:, rows.known])["f1"] for label, rows in observed.items()
    }
    defined = ~np.isnan(np.array(list(f1.values())))
    macro = _mean_f1(f1, defined.astype(np.float64))
    return {f"{label}/f1": values for label, values in f1.items()} | {"macro_f1": macro}


# Two bundles.


def _comparison(one: Scored, other: Scored, labels: Sequence[str]) -> Comparison:
    flips = _decisions(one, labels) != _decisions(other, labels)
    delta = np.abs(one.logits - other.logits)
    return Comparison(
        first=one.name,
        second=other.name,
        all_labels=_difference(flips, delta),
        labels={label: _difference(flips[:, column], delta[:, column]) for column, label in enumerate(labels)},
    )


def _decisions(scored: Scored, labels: Sequence[str]) -> Flags:
    decisions: Flags = scored.scores >= np.array([scored.thresholds[label].on for label in labels])
    return decisions


def _difference(flips: Flags, delta: Floats) -> Difference:
    return Difference(flips.size, int(flips.sum()), float(flips.mean()), float(delta.max()), float(delta.mean()))
