"""Logits to calibrated scores and labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from handlers.core.errors import NON_FINITE_SCORES, LanternError
from handlers.core.schema import LabelScore

NEUTRAL: Final = "neutral"
"""The label that says that nothing was found; every other label is a risk label."""

DEFAULT_THRESHOLD: Final = 0.5
"""Decision threshold of a label that has not been calibrated."""


@dataclass(frozen=True)
class LabelRule:
    """How one label's logit becomes an answer.

    Attributes:
        name: of the label.
        threshold: calibrated score from which the label is positive.
        scale, offset: the calibrated score is ``sigmoid(scale * logit + offset)``; ``scale`` is positive.
        off: calibrated score below which a label that was active is so no longer; ``None`` without a calibration.
    """

    name: str
    threshold: float = DEFAULT_THRESHOLD
    scale: float = 1.0
    offset: float = 0.0
    off: float | None = None

    def score(self, logit: float) -> float:
        """Return the calibrated score of ``logit``, from 0 to 1."""
        return sigmoid(self.scale * logit + self.offset)

    @property
    def uncalibrated_threshold(self) -> float:
        """The threshold on ``sigmoid(logit)``: what the uncalibrated score must reach for a positive answer."""
        return sigmoid((_logit(self.threshold) - self.offset) / self.scale)


def sigmoid(logit: float) -> float:
    """Return ``1 / (1 + exp(-logit))`` without overflow."""
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    grown = math.exp(logit)
    return grown / (1.0 + grown)


def _logit(score: float) -> float:
    """Return the inverse of ``sigmoid``; infinite at 0 and 1."""
    if score in (0.0, 1.0):
        return math.inf if score else -math.inf
    return math.log(score) - math.log1p(-score)


def combine_windows(windows: Sequence[Sequence[float]], rules: Sequence[LabelRule]) -> list[float]:
    """Combine the logits of a text's windows, label by label.

    A risk label takes the maximum, so that one acute window is never averaged away, and
    ``neutral`` the minimum. The sigmoid is monotone, so this is also the rule for scores.

    Args:
        windows: logits, one row of ``len(rules)`` for each window.

    Raises:
        LanternError: ``non_finite_scores`` where a logit is NaN or infinite, or missing.
    """
    for row in windows:
        if len(row) != len(rules) or not all(math.isfinite(logit) for logit in row):
            raise LanternError(NON_FINITE_SCORES, "a score of the model is not a finite number; none is returned")
    columns = zip(*windows, strict=True)
    return [min(column) if rule.name == NEUTRAL else max(column) for rule, column in zip(rules, columns, strict=True)]


def score_labels(logits: Sequence[float], rules: Sequence[LabelRule], with_logits: bool) -> tuple[LabelScore, ...]:
    """Turn combined logits into label answers, in the order of the model's labels."""
    return tuple(_score(logit, rule, with_logits) for logit, rule in zip(logits, rules, strict=True))


def _score(logit: float, rule: LabelRule, with_logits: bool) -> LabelScore:
    score = rule.score(logit)
    return LabelScore(
        name=rule.name,
        score=score,
        threshold=rule.threshold,
        positive=score >= rule.threshold,
        logit=logit if with_logits else None,
    )
