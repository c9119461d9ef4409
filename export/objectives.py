"""What a threshold is chosen for: ``max_f1``, ``recall>=R``, ``precision>=P`` or ``cost:fp=A,fn=B``.

An objective says which cuts of a label's scores are allowed and ranks them. Where several are
equally good, ``choose`` takes the lowest threshold of a risk label and the highest of
``neutral``: the one that overlooks less.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
import numpy.typing as npt

from export.errors import ExportRefused

Floats = npt.NDArray[np.float64]

GRAMMAR: Final = "max_f1, recall>=R, precision>=P (R and P above 0 and below 1) or cost:fp=A,fn=B (above 0)"

_NUMBER: Final = r"(\d+(?:\.\d+)?)"
_RECALL: Final = re.compile(rf"recall>={_NUMBER}")
_PRECISION: Final = re.compile(rf"precision>={_NUMBER}")
_COST: Final = re.compile(rf"cost:fp={_NUMBER},fn={_NUMBER}")


@dataclass(frozen=True)
class Cuts:
    """Every way to cut a label's scores in two: positive is a score of at least ``scores[i]``.

    Attributes:
        scores: distinct scores, falling, ``(cuts,)``.
        tp, fp, fn: true positives, false positives and false negatives of each cut, ``(cuts,)``.
    """

    scores: Floats
    tp: Floats
    fp: Floats
    fn: Floats

    @property
    def precision(self) -> Floats:
        """Share of what a cut calls positive that is; every cut calls something positive."""
        return self.tp / (self.tp + self.fp)

    @property
    def recall(self) -> Floats:
        """Share of the positives that a cut finds."""
        return self.tp / (self.tp + self.fn)

    @property
    def f1(self) -> Floats:
        """Harmonic mean of precision and recall."""
        return 2 * self.tp / (2 * self.tp + self.fp + self.fn)


class Objective(ABC):
    """One objective; ``str()`` gives it in the grammar of the command line."""

    kind: str

    @property
    def positives_needed(self) -> tuple[int, str]:
        """The fewest positives that make the claim possible, and the arithmetic behind it."""
        return 1, "one"

    @abstractmethod
    def allowed(self, cuts: Cuts) -> npt.NDArray[np.bool_]:
        """Tell which cuts meet the objective at all."""

    @abstractmethod
    def ranks(self, cuts: Cuts) -> tuple[Floats, ...]:
        """Return what to maximise, the first thing first."""

    @abstractmethod
    def refusal(self, cuts: Cuts) -> str:
        """Say why no cut is allowed."""

    def choose(self, cuts: Cuts, prefer_low: bool) -> int | None:
        """Return the index of the best cut, ``None`` where none is allowed.

        Args:
            prefer_low: whether the lower threshold wins among equals.
        """
        best = np.flatnonzero(self.allowed(cuts))
        if not best.size:
            return None
        for rank in self.ranks(cuts):
            best = best[rank[best] == rank[best].max()]
        return int(best[-1] if prefer_low else best[0])


@dataclass(frozen=True)
class MaxF1(Objective):
    """The highest F1."""

    kind = "max_f1"

    def __str__(self) -> str:
        return self.kind

    def allowed(self, cuts: Cuts) -> npt.NDArray[np.bool_]:
        """All."""
        return np.ones(cuts.scores.shape, dtype=bool)

    def ranks(self, cuts: Cuts) -> tuple[Floats, ...]:
        """F1."""
        return (cuts.f1,)

    def refusal(self, cuts: Cuts) -> str:
        """Never needed."""
        raise AssertionError("every cut is allowed")


@dataclass(frozen=True)
class RecallAtLeast(Objective):
    """The highest precision among cuts of a recall of at least ``least``."""

    least: float
    kind = "recall"

    def __str__(self) -> str:
        return f"recall>={self.least:g}"

    @property
    def positives_needed(self) -> tuple[int, str]:
        """So many that one may be missed: with fewer, the claim would mean that all are found."""
        return _one_error(self.least), f"1 / (1 - {self.least:g}), so that one may be missed"

    def allowed(self, cuts: Cuts) -> npt.NDArray[np.bool_]:
        """Those that find enough."""
        return np.asarray(cuts.recall >= self.least)

    def ranks(self, cuts: Cuts) -> tuple[Floats, ...]:
        """Precision."""
        return (cuts.precision,)

    def refusal(self, cuts: Cuts) -> str:
        """Never needed."""
        raise AssertionError("the lowest cut finds all")


@dataclass(frozen=True)
class PrecisionAtLeast(Objective):
    """The highest recall among cuts of a precision of at least ``least``, then the highest precision."""

    least: float
    kind = "precision"

    def __str__(self) -> str:
        return f"precision>={self.least:g}"

    @property
    def positives_needed(self) -> tuple[int, str]:
        """So many that one false alarm may stand beside them."""
        return self._called_positive - 1, f"1 / (1 - {self.least:g}) - 1, so that one false alarm may stand beside them"

    @property
    def _called_positive(self) -> int:
        return _one_error(self.least)

    def allowed(self, cuts: Cuts) -> npt.NDArray[np.bool_]:
        """Those that are precise enough, over so many texts that one false alarm would be allowed."""
        return np.asarray((cuts.precision >= self.least) & (cuts.tp + cuts.fp >= self._called_positive))

    def ranks(self, cuts: Cuts) -> tuple[Floats, ...]:
        """Recall, then precision."""
        return cuts.recall, cuts.precision

    def refusal(self, cuts: Cuts) -> str:
        """Say how far the best cut gets."""
        broad = cuts.precision[cuts.tp + cuts.fp >= self._called_positive]
        best = f"the best is {broad.max():.3f}" if broad.size else "there are fewer"
        return (
            f"no threshold reaches precision {self.least:g} on {self._called_positive} texts or more "
            f"(1 / (1 - {self.least:g}), so that one false alarm is allowed); {best}: ask for less"
        )


@dataclass(frozen=True)
class LeastCost(Objective):
    """The lowest total cost of false alarms (``fp`` each) and of what is overlooked (``fn`` each)."""

    fp: float
    fn: float
    kind = "cost"

    def __str__(self) -> str:
        return f"cost:fp={self.fp:g},fn={self.fn:g}"

    def allowed(self, cuts: Cuts) -> npt.NDArray[np.bool_]:
        """Those that cost no more than never finding anything."""
        return np.asarray(self._cost(cuts.fp, cuts.fn) <= self._cost(0.0, cuts.tp + cuts.fn))

    def ranks(self, cuts: Cuts) -> tuple[Floats, ...]:
        """The cost, turned round."""
        return (-self._cost(cuts.fp, cuts.fn),)

    def refusal(self, cuts: Cuts) -> str:
        """Say that the label would be switched off."""
        return f"with {self} it would be cheapest never to find it: raise fn, or leave the label alone"

    def _cost(self, fp: Floats | float, fn: Floats) -> Floats:
        return np.asarray(np.round(self.fp * fp + self.fn * fn, 9))


def parse_objective(text: str) -> Objective | None:
    """Return the objective that ``text`` states, ``None`` where it is none."""
    text = text.replace(" ", "")
    if text == MaxF1.kind:
        return MaxF1()
    if (found := _RECALL.fullmatch(text)) and 0 < float(found[1]) < 1:
        return RecallAtLeast(float(found[1]))
    if (found := _PRECISION.fullmatch(text)) and 0 < float(found[1]) < 1:
        return PrecisionAtLeast(float(found[1]))
    if (found := _COST.fullmatch(text)) and float(found[1]) > 0 and float(found[2]) > 0:
        return LeastCost(float(found[1]), float(found[2]))
    return None


def parse_objectives(stated: Sequence[str], labels: Sequence[str]) -> dict[str, Objective]:
    """Return the objective of each label: one for all, and ``LABEL:OBJECTIVE`` for one of them.

    Raises:
        ExportRefused: naming the option that is wrong.
    """
    general: Objective | None = None
    own: dict[str, Objective] = {}
    for text in stated:
        objective = parse_objective(text)
        if objective is not None:
            if general is not None:
                raise ExportRefused(f"--objective {text}: there is one for all labels already, {general}")
            general = objective
            continue
        label, objective = _of_label(text, labels)
        if label in own:
            raise ExportRefused(f"--objective {text}: {label} has one already, {own[label]}")
        own[label] = objective
    return {label: own.get(label, general or MaxF1()) for label in labels}


def _of_label(text: str, labels: Sequence[str]) -> tuple[str, Objective]:
    label, separator, rest = text.partition(":")
    objective = parse_objective(rest) if separator else None
    if objective is None:
        raise ExportRefused(f"--objective {text}: expected {GRAMMAR}, alone or after LABEL:")
    if label.strip() not in labels:
        raise ExportRefused(f"--objective {text}: {label.strip()} is none of the labels {', '.join(labels)}")
    return label.strip(), objective


def _one_error(share: float) -> int:
    """Return how many there must be for one error to leave ``share``: ``ceil(1 / (1 - share))``, exactly."""
    return math.ceil(1 / (1 - Fraction(repr(share))))
