"""Texts of an exact number of tokens: a third chat, a third journals, a third whole histories."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from transformers import PreTrainedTokenizerFast

from benchmarks.errors import BenchmarkError

SPACE: Final = "Ġ"
"""How a byte-level vocabulary writes the space before a word."""

MIN_WORDS: Final = 100
"""Below this a vocabulary is too poor for texts that differ."""


@dataclass(frozen=True)
class LengthClass:
    """Lengths ``first`` to ``last`` in tokens, special tokens included, all equally likely."""

    name: str
    first: int
    last: int


CLASSES: Final = (
    LengthClass("chat", 10, 60),
    LengthClass("journal", 150, 1500),
    LengthClass("history", 1500, 4096),
)
SHORT: Final = CLASSES[0].name
"""The class whose wait beside the long ones is judged."""


@dataclass(frozen=True)
class Text:
    """One request: its class, its length in tokens (special tokens included) and what is sent."""

    kind: str
    tokens: int
    text: str


class TextWriter:
    """Writes texts of everyday words that are one token each, so that a length is exact by construction.

    Args:
        tokenizer: byte-level, as the checkpoints of ``python -m export`` have it; it also counts every text that is
            written, so a wrong length is an error and never a wrong figure.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._special = tokenizer.num_special_tokens_to_add()
        self._words = _single_token_words(tokenizer)

    def write(self, tokens: int, generator: random.Random) -> str:
        """Return a text of ``tokens`` tokens, special tokens included.

        Raises:
            BenchmarkError: the tokenizer counts otherwise.
        """
        text = " ".join(generator.choices(self._words, k=tokens - self._special))
        counted = len(self._tokenizer(text)["input_ids"])
        if counted != tokens:
            raise BenchmarkError(f"a text of {tokens} tokens was to be written, but the tokenizer counts {counted}")
        return text


def build_workload(
    write: Callable[[int, random.Random], str], count: int, seed: int, classes: Sequence[LengthClass] = CLASSES
) -> tuple[Text, ...]:
    """Return ``count`` texts, as many of each class, shuffled; the same for the same seed.

    Lengths are spread evenly over each class (one drawn from each of equal parts of its range), so that few texts
    already stand for the whole class.

    Raises:
        BenchmarkError: ``count`` does not divide by the number of classes.
    """
    if count < len(classes) or count % len(classes):
        raise BenchmarkError(f"{count} texts do not divide into {len(classes)} classes of length; take a multiple")
    generator = random.Random(seed)
    each = count // len(classes)
    lengths = [(kind.name, tokens) for kind in classes for tokens in _spread(kind, each, generator)]
    generator.shuffle(lengths)
    return tuple(Text(name, tokens, write(tokens, generator)) for name, tokens in lengths)


def _spread(kind: LengthClass, count: int, generator: random.Random) -> list[int]:
    width = (kind.last - kind.first + 1) / count
    return [kind.first + int(width * (part + generator.random())) for part in range(count)]


def _single_token_words(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """Return words that are one token both at the start of a text and after a space, in a stable order."""
    vocabulary = tokenizer.get_vocab()
    words = sorted(
        word
        for token in vocabulary
        if token.startswith(SPACE) and (word := token[1:]).isascii() and word.isalpha() and word.islower()
        if len(word) > 1 and word in vocabulary
    )
    if len(words) < MIN_WORDS:
        raise BenchmarkError(f"the tokenizer has only {len(words)} whole words in its vocabulary; is it byte-level?")
    return words
