"""A labelled sentence, and the sentences that are kept for evaluation and never written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Protocol

from training.probes import all_probes

_WORD: Final = re.compile(r"[a-z0-9]+")
_CLOSE_COPY: Final = 0.8


@dataclass(frozen=True)
class Sentence:
    """A sentence with the labels that its writer expresses, and all that it mentions."""

    text: str
    expressed: frozenset[str]
    mentioned: frozenset[str]
    family: str


class SentenceSource(Protocol):
    """Where an entry's sentences come from."""

    def sentence(self) -> Sentence:
        """Any sentence."""

    def feeling(self, label: str) -> Sentence:
        """A sentence that expresses ``label`` alone."""

    def neutral(self) -> Sentence:
        """A sentence that expresses nothing but may mention anything."""

    def aside(self, labels: frozenset[str]) -> Sentence:
        """A neutral sentence that denies none of ``labels``."""

    def everyday(self) -> Sentence:
        """A sentence about nothing but everyday life."""


def normalized(text: str) -> str:
    """The words of ``text`` alone: lower case, no punctuation, "don't" as "dont"."""
    return " ".join(_WORD.findall(text.lower().replace("'", "").replace("\u2019", "")))


class Reserved:
    """Sentences kept for evaluation: the probes, and close copies of the model card's examples."""

    def __init__(self) -> None:
        probes = all_probes()
        self._exact = frozenset(normalized(probe.text) for probe in probes)
        self._cards = [frozenset(normalized(probe.text).split()) for probe in probes if probe.family == "card"]

    def __contains__(self, text: str) -> bool:
        key = normalized(text)
        words = frozenset(key.split())
        return key in self._exact or any(_overlap(words, card) >= _CLOSE_COPY for card in self._cards)


def _overlap(left: frozenset[str], right: frozenset[str]) -> float:
    """Jaccard similarity of two bags of words."""
    return len(left & right) / len(left | right)
