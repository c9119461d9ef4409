"""Texts that nobody labelled: those of people with some of their words exchanged, for the teacher to judge.

A student learns from them what words mean that its own texts hardly have (Jiao et al. 2020, section 4).
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

_WORD: Final = re.compile(r"[A-Za-z]+(?:'[a-z]+)?")
_WHOLE_WORD: Final = re.compile(r"[a-z]{2,}")
_SHARES: Final = (0.1, 0.25, 0.4)
_DROPPED: Final = 0.03
_RELATED: Final = 0.8
_CHUNK: Final = 512
_SMALL_WORDS: Final = (
    "i im am is are was were be been being the a an to of and or not no never my me it its in on at for with that "
    "this so but do does did dont have has had you he she they we his her their our as if by from than then there "
    "what when who how why which"
)
_KEPT: Final = frozenset(_SMALL_WORDS.split())


class WordChanger:
    """Exchanges words for related ones, and now and then for any word.

    Args:
        vocabulary: word pieces and their rows in ``embeddings``.
        embeddings: float ``(pieces, D)``; words are related whose rows point the same way.
        rng: the only source of randomness.
        related: how many words count as related to each.
    """

    def __init__(
        self, vocabulary: Mapping[str, int], embeddings: Tensor, rng: random.Random, related: int = 15
    ) -> None:
        self._rng = rng
        self._words = sorted(piece for piece in vocabulary if _WHOLE_WORD.fullmatch(piece))
        self._index = {word: index for index, word in enumerate(self._words)}
        rows = embeddings[[vocabulary[word] for word in self._words]].detach()
        self._nearest = _nearest(torch.nn.functional.normalize(rows - rows.mean(dim=0), dim=1), related)

    def changed(self, text: str) -> str:
        """``text`` with a tenth to two fifths of its words exchanged, and few left out; it may mean anything."""
        share = self._rng.choice(_SHARES)
        return _WORD.sub(lambda match: self._word(match[0], share), text)

    def _word(self, word: str, share: float) -> str:
        lower = word.lower()
        if lower in _KEPT or lower not in self._index or self._rng.random() > share:
            return "" if self._rng.random() < _DROPPED else word
        return self._rng.choice(self.related(lower) if self._rng.random() < _RELATED else self._words)

    def related(self, word: str) -> list[str]:
        """The words of the vocabulary that are nearest to ``word``, which is one of them."""
        return [self._words[index] for index in self._nearest[self._index[word]].tolist()]


def _nearest(rows: Tensor, count: int) -> Tensor:
    """The ``count`` nearest other rows of each, int64 ``(N, count)``, for normalized ``rows`` float ``(N, D)``."""
    found = []
    for start in range(0, len(rows), _CHUNK):
        closeness = rows[start : start + _CHUNK] @ rows.T
        closeness.diagonal(start).fill_(-torch.inf)
        found.append(closeness.topk(min(count, len(rows) - 1)).indices)
    return torch.cat(found)
