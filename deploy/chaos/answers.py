"""Texts whose answers are known beforehand, so that a wrong answer, or somebody else's, is noticed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from deploy.errors import DeployError
from handlers.core.schema import ClassifyResponse

TOLERANCE: Final = 1e-4
"""Scores of the same text may differ by so much: a sub-batch of other texts is another order of summation."""
_APART: Final = 1e-3

TEXTS: Final = (
    "The bus was late, so I walked home and made some tea.",
    "I keep lying awake before every phone call and my hands shake.",
    "Nothing tastes of anything any more and I stopped answering my friends.",
    "Three deadlines this week, and my boss added a fourth this morning.",
    "We planted beans along the fence and the cat watched from the wall.",
    "What if the letter is bad news again? I cannot open it.",
    "I sat on the edge of the bed for an hour and saw no reason to get up.",
    "Between the night shifts and the children I have not stopped since Monday.",
    "The library has new chairs and I read there until it closed.",
    "My heart races whenever the door opens behind me at work.",
    "Some days are grey all the way through, and today was one of them.",
    "Too many things at once: the car, the rent, the report, my mother.",
    "Today was pretty good, nothing special.",
    "I worry about the exam, then I worry that I worry too much.",
    "It feels as if there is no hope left for somebody like me.",
    "The pressure at work is crushing me and I snap at everyone.",
)
_LONG: Final = (40, 12)
"""Two of the texts are also sent so many times over, as a text of several hundred tokens."""


@dataclass(frozen=True)
class Known:
    """One text, and what every answer for it must say: scores by label, and characters read."""

    text: str
    scores: tuple[tuple[str, float], ...]

    def is_answered_by(self, answer: ClassifyResponse) -> bool:
        """Whether ``answer`` is the answer to this text."""
        given = tuple((label.name, label.score) for label in answer.labels)
        same_labels = [name for name, _ in given] == [name for name, _ in self.scores]
        return (
            same_labels
            and all(abs(one - other) <= TOLERANCE for (_, one), (_, other) in zip(given, self.scores, strict=True))
            and max(window.end_char for window in answer.input.windows) == len(self.text)
        )


def texts() -> list[str]:
    """Return every text that is sent."""
    return [*TEXTS, *(" ".join([text] * times) for text, times in zip(TEXTS, _LONG, strict=False))]


def learn(classify: Callable[[str], ClassifyResponse], asked: Sequence[str]) -> tuple[Known, ...]:
    """Ask for every text once, before anything is broken.

    Raises:
        DeployError: two texts have the same answer, so that one could be taken for the other.
    """
    known = tuple(_known(text, classify(text)) for text in asked)
    for one, other in combinations(known, 2):
        if _distance(one, other) < _APART and len(one.text) == len(other.text):
            raise DeployError("two texts have the same scores and length: a mix-up between them would go unnoticed")
    return known


def _known(text: str, answer: ClassifyResponse) -> Known:
    return Known(text, tuple((label.name, label.score) for label in answer.labels))


def _distance(one: Known, other: Known) -> float:
    return max(abs(a - b) for (_, a), (_, b) in zip(one.scores, other.scores, strict=True))
