"""The ways people type: no capitals, no apostrophes, slips of the finger."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Final

_CONTRACTIONS: Final = (
    ("I'm", "I am"),
    ("don't", "do not"),
    ("can't", "cannot"),
    ("I've", "I have"),
    ("n't ", " not "),
)
_LONG_WORD: Final = re.compile(r"[A-Za-z]{5,}")


@dataclass(frozen=True)
class NoiseRates:
    """Probability of each change, for a text; ``typo`` is for each word of five letters or more."""

    expand: float = 0.1
    lower: float = 0.15
    apostrophe: float = 0.12
    curly: float = 0.1
    typo_text: float = 0.1
    typo: float = 0.08


def noisy(text: str, rng: random.Random, rates: NoiseRates | None = None) -> str:
    """Rewrite ``text`` as somebody else might have typed it; the meaning stays."""
    rates = rates or NoiseRates()
    if rng.random() < rates.expand:
        text = _expanded(text)
    if rng.random() < rates.lower:
        text = text.lower()
    if rng.random() < rates.apostrophe:
        text = text.replace("'", "")
    elif rng.random() < rates.curly:
        text = text.replace("'", "\u2019")
    if rng.random() < rates.typo_text:
        text = _LONG_WORD.sub(lambda match: _slip(match[0], rng) if rng.random() < rates.typo else match[0], text)
    return text


def _expanded(text: str) -> str:
    for short, full in _CONTRACTIONS:
        text = text.replace(short, full)
    return text


def _slip(word: str, rng: random.Random) -> str:
    """``word`` with two inner letters swapped, or one left out."""
    at = rng.randrange(1, len(word) - 2)
    if rng.random() < 0.5:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return word[:at] + word[at + 1 :]
