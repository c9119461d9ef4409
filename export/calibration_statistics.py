"""The statistics of one label's calibration: scaling, threshold, and how sure both are."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix_at_thresholds, precision_recall_fscore_support

from export.errors import ExportRefused
from export.objectives import Cuts, Floats, Objective
from handlers.core.calibration import CalibratedLabel, Intervals, Method
from handlers.core.scores import NEUTRAL, LabelRule

INTERVAL: Final = (0.025, 0.975)
"""Quantiles of the bootstrap percentile intervals: 95 %."""

DIGITS: Final = 6
"""Of reported shares; thresholds, scales and offsets are never cut where that would change a decision."""

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Sample:
    """Texts whose truth about one label is known.

    Attributes:
        logits: uncalibrated, ``(texts,)``.
        targets: whether the label holds, ``(texts,)``.
        groups: name of each text's group; texts of a group are drawn together.
    """

    logits: Floats
    targets: Bools
    groups: tuple[str, ...]

    @classmethod
    def of(cls, logits: Sequence[float], targets: Sequence[bool], groups: Sequence[str]) -> Sample:
        """Put texts into an order of their own, so that the order of a file changes nothing."""
        rows = sorted(zip(groups, logits, targets, strict=True))
        return cls(
            np.array([logit for _, logit, _ in rows], dtype=np.float64),
            np.array([target for _, _, target in rows], dtype=bool),
            tuple(group for group, _, _ in rows),
        )


@dataclass(frozen=True)
class Precaution:
    """How thresholds are hedged.

    Attributes:
        hysteresis: recall that ``off`` has more than ``on``, at most.
        bootstrap: resamples behind each interval.
        seed: of the resamples.
    """

    hysteresis: float
    bootstrap: int
    seed: int


def calibrate_label(
    label: str, scaling: Sample, threshold: Sample, method: Method, objective: Objective, precaution: Precaution
) -> CalibratedLabel:
    """Scale a label's logits on one sample and choose its thresholds on the other.

    Raises:
        ExportRefused: naming the label, where its scores run against its truth or no threshold
            meets the objective.
    """
    scale, offset = fit_scaling(label, scaling, method)
    rule = LabelRule(label, scale=scale, offset=offset)
    scores = np.array([rule.score(logit) for logit in threshold.logits.tolist()])
    cuts = list_cuts(scores, threshold.targets)
    chosen = objective.choose(cuts, prefer_low=label != NEUTRAL)
    if chosen is None:
        raise ExportRefused(f"{label}: {objective.refusal(cuts)}")
    on = place_threshold(cuts, chosen)
    precision, recall, f1 = _figures(threshold.targets, scores >= on)
    return CalibratedLabel(
        scale=scale,
        offset=offset,
        on=on,
        off=choose_off(cuts, chosen, on, precaution.hysteresis),
        objective=str(objective),
        positives=int(threshold.targets.sum()),
        negatives=int((~threshold.targets).sum()),
        precision=round(precision, DIGITS),
        recall=round(recall, DIGITS),
        f1=round(f1, DIGITS),
        intervals=_intervals(label, threshold, scores, on, objective, precaution),
    )


def fit_scaling(label: str, sample: Sample, method: Method) -> tuple[float, float]:
    """Return scale and offset of the calibrated score ``sigmoid(scale * logit + offset)``.

    ``platt`` fits both by maximum likelihood (Platt 1999), ``temperature`` the scale alone, which
    is 1 / T of Guo et al. 2017. The targets of both are Platt's, ``(P + 1) / (P + 2)`` for
    positives and ``1 / (N + 2)`` for negatives, so that separable data stays finite; with a
    soft target a text counts as positive with that weight and as negative with the rest.

    Raises:
        ExportRefused: every logit is the same, or the scale is not positive.
    """
    if np.ptp(sample.logits) == 0.0:
        raise ExportRefused(f"{label}: every logit of the scaling split is the same, so nothing can be scaled")
    order = np.lexsort((sample.targets, sample.logits))
    logits, targets = sample.logits[order], sample.targets[order]
    positives = int(targets.sum())
    soft = np.where(targets, (positives + 1) / (positives + 2), 1 / (len(targets) - positives + 2))
    model = LogisticRegression(
        C=np.inf, fit_intercept=method == "platt", solver="newton-cholesky", tol=1e-9, max_iter=1000
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            model.fit(
                np.concatenate([logits, logits])[:, None],
                np.repeat([1, 0], len(logits)),
                sample_weight=np.concatenate([soft, 1 - soft]),
            )
        except ConvergenceWarning:
            raise ExportRefused(f"{label}: the {method} scaling does not converge on the scaling split") from None
    scale, offset = float(model.coef_[0, 0]), float(np.ravel(model.intercept_)[0])
    if not scale > 0.0:
        raise ExportRefused(
            f"{label}: its scores run against its truth on the scaling split (scale {scale:.3g}): "
            "check the order of the labels and the file, or name the label in --labels-left-alone"
        )
    return scale, offset


def list_cuts(scores: Floats, targets: Bools, weights: Floats | None = None) -> Cuts:
    """Return every cut of ``scores``, the highest first; texts of weight 0 are not there."""
    _, fp, fn, tp, distinct = confusion_matrix_at_thresholds(targets, scores, sample_weight=weights)
    return Cuts(distinct, tp, fp, fn)


def place_threshold(cuts: Cuts, chosen: int) -> float:
    """Return a threshold for a cut: in the middle between its score and the next lower one.

    There it is as far as can be from flipping by rounding. It is the shortest decimal number
    within the middle half of the gap.
    """
    upper = float(cuts.scores[chosen])
    lower = float(cuts.scores[chosen + 1]) if chosen + 1 < len(cuts.scores) else 0.0
    middle = lower + (upper - lower) / 2
    for digits in range(2, 17):
        short = round(middle, digits)
        if abs(short - middle) <= (upper - lower) / 4 and lower < short <= upper:
            return short
    return middle if lower < middle <= upper else upper


def choose_off(cuts: Cuts, chosen: int, on: float, hysteresis: float) -> float:
    """Return the ``off`` threshold: the highest whose recall is above that of ``on`` by ``hysteresis``.

    Where so much is not left, half of what is left: beyond that, one odd text would decide.
    """
    recall = cuts.recall
    wanted = recall[chosen] + min(hysteresis, (1 - recall[chosen]) / 2)
    return min(on, place_threshold(cuts, int(np.argmax(recall >= wanted))))


def _figures(targets: Bools, decisions: Bools, weights: Floats | None = None) -> tuple[float, float, float]:
    """Return precision, recall and F1; precision is 0 where nothing is positive."""
    precision, recall, f1, _ = precision_recall_fscore_support(
        targets, decisions, average="binary", zero_division=0.0, sample_weight=weights
    )
    return float(precision), float(recall), float(f1)


def _intervals(
    label: str, sample: Sample, scores: Floats, on: float, objective: Objective, precaution: Precaution
) -> Intervals:
    """Bootstrap ``on``, chosen anew in each resample (1 where no threshold meets the objective there), and the
    figures of the ``on`` that was chosen."""
    found = []
    for weights in resamples(sample, precaution.bootstrap, precaution.seed):
        cuts = list_cuts(scores, sample.targets, weights)
        chosen = objective.choose(cuts, prefer_low=label != NEUTRAL)
        again = 1.0 if chosen is None else place_threshold(cuts, chosen)
        found.append((again, *_figures(sample.targets, scores >= on, weights)))
    low, high = np.quantile(np.array(found), INTERVAL, axis=0).round(DIGITS).tolist()
    names = ("on", "precision", "recall", "f1")
    return Intervals(**dict(zip(names, zip(low, high, strict=True), strict=True)))


def resamples(sample: Sample, count: int, seed: int) -> Iterator[Floats]:
    """Yield how often each text is drawn, ``(texts,)``, for ``count`` resamples with replacement.

    Whole groups are drawn, those with a positive text apart from the others, so that no
    resample is without positives.
    """
    generator = np.random.default_rng(seed)
    names, membership = np.unique(np.array(sample.groups), return_inverse=True)
    has_positive = np.zeros(len(names), dtype=bool)
    np.logical_or.at(has_positive, membership, sample.targets)
    strata = [stratum for stratum in (np.flatnonzero(has_positive), np.flatnonzero(~has_positive)) if stratum.size]
    for _ in range(count):
        drawn = np.zeros(len(names))
        for stratum in strata:
            drawn[stratum] = np.bincount(generator.integers(0, stratum.size, stratum.size), minlength=stratum.size)
        yield drawn[membership]
