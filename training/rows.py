"""What training reads: a text and everything that its source says about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from training.labels import LABELS, RISK_LABELS, UNKNOWN, Targets

EMOTION_CLASSES: Final = ("sadness", "joy", "love", "anger", "fear", "surprise")
"""Classes of stage 1, in the order of the label numbers of the Kaggle "Emotions" data (Saravia et al. 2018, CARER)."""

NOTHING_KNOWN: Final[Targets] = (UNKNOWN,) * len(LABELS)


@dataclass(frozen=True)
class Row:
    """A text and what is known of it.

    Attributes:
        text: as somebody typed it.
        targets: for ``LABELS``.
        emotion: the one of ``EMOTION_CLASSES`` that it expresses, ``None`` where that is not known.
        mentions: for ``RISK_LABELS``: whether the text speaks of them at all, of anybody and at
            any time. Easy to learn, and the first step to who feels what.
        comment_emotions: for the 28 emotions of GoEmotions, in the order of their ids; empty
            where they are not known.
        group: author or thread; the texts of a group stay on one side of a split.
    """

    text: str
    targets: Targets = NOTHING_KNOWN
    emotion: str | None = None
    mentions: tuple[float, ...] = (UNKNOWN,) * len(RISK_LABELS)
    comment_emotions: tuple[float, ...] = ()
    group: str | None = None
