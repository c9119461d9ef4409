"""Texts and calls of a workload: seeded, and as many tokens long as the workload asks for.

Lengths are counted with the served bundle's own tokenizer where it is at hand, and are then exact. Where only an
address is known, words are counted instead, at the ratio that one answer of the server has shown; answers report
``input.tokens``, so results always hold the lengths that really were.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

import numpy as np

from benchmarks.load.workload import Bin, Texts, Workload, WorkloadError, mean_tokens
from handlers.core.schema import OverLength

_T = TypeVar("_T")

ROOT: Final = Path(__file__).resolve().parents[2]
POOL: Final = 1000
"""Calls that are made before the first one is sent; traffic draws from them again and again."""

POOL_TOKENS: Final = 600_000
"""Long texts make a smaller pool: it is made anew at every start."""

FILLER: Final = "a"
"""A word of one token, wherever it stands."""

MAX_BODY_BYTES: Final = 6_000_000
"""TorchServe takes 6.55 MB; a workload beyond this cannot be sent."""

_WORDS = (
    "the a my our this that some every another today yesterday tomorrow morning evening night week month year "
    "I we she he they you it and but so because while after before until when where though "
    "was were is are feel felt think thought know knew want wanted need needed try tried went go came come made make "
    "took take said say told tell asked ask found find left leave kept keep began begin seemed seem looked look "
    "work home school garden kitchen train street park river shop office doctor friend sister brother mother father "
    "neighbour teacher colleague dog cat tea coffee bread soup letter phone call message book song film walk sleep "
    "dream rain sun wind snow light noise quiet tired happy calm worried busy slow early late small large good bad "
    "better worse old new warm cold heavy easy hard long short full empty alone together again always never often "
    "sometimes really almost only still already perhaps maybe just not very too about around over under through into "
    "with without for from to of in on at by up down out off away back there here all many few more most much little"
)
WORDS: Final = tuple(_WORDS.split())


class Counter(Protocol):
    """Counts a text's tokens, without ``<s>`` and ``</s>``."""

    def __call__(self, text: str) -> int:
        """Return the tokens of ``text``."""


@dataclass(frozen=True)
class Call:
    """One request to be: its texts, its planned length over all texts, and whether it is wrong on purpose."""

    protocol: str
    texts: tuple[str, ...]
    tokens: int
    over_length: OverLength
    wrong: bool = False


def words_counter(tokens_per_word: float) -> Counter:
    """Return a counter for when there is no tokenizer: words times a ratio that was measured."""
    return lambda text: round(len(text.split()) * tokens_per_word)


def pool_size(workload: Workload) -> int:
    """Return how many calls to make: ``POOL``, or fewer long ones."""
    tokens = workload.mean_entries * (mean_tokens(workload.tokens) if workload.tokens else 1000.0)
    return int(min(POOL, max(POOL // 5, POOL_TOKENS / tokens)))


def make_calls(workload: Workload, count: Counter, size: int) -> list[Call]:
    """Make the pool of calls: as many with each length, protocol and number of entries as the workload says.

    Lengths are the workload's quantiles at evenly spaced shares rather than draws, so that a pool has the mixture
    exactly; the order is drawn.

    Raises:
        WorkloadError: the workload cannot be satisfied; the message says what is missing.
    """
    generator = np.random.default_rng(workload.seed)
    entries = _stratified(workload.entries, size, generator)
    protocols = _stratified(workload.protocols, size, generator)
    wrong = _flags(workload.errors, size, generator)
    source = _source(workload, count, generator)
    lengths = _lengths(workload, sum(entries), generator)
    calls, place = [], 0
    for number in range(size):
        mine = lengths[place : place + entries[number]]
        place += entries[number]
        texts = [source(length) for length in mine]
        calls.append(
            Call(
                protocols[number],
                tuple(text for text, _ in texts),
                sum(tokens for _, tokens in texts),
                workload.over_length.option,
                bool(wrong[number]),
            )
        )
    _check_sizes(calls, workload)
    return calls


def draw(calls: Sequence[Call], seed: int) -> Callable[[], Call]:
    """Return a function that draws calls from the pool, independently: long ones may come one after another."""
    generator = np.random.default_rng(seed)
    return lambda: calls[int(generator.integers(len(calls)))]


def _check_sizes(calls: Sequence[Call], workload: Workload) -> None:
    largest = max(sum(len(text.encode()) for text in call.texts) for call in calls)
    if largest > MAX_BODY_BYTES:
        raise WorkloadError(
            f"workload {workload.name}: a request has {largest / 1e6:.1f} MB of text, and the server takes "
            f"{MAX_BODY_BYTES / 1e6:.0f} MB: fewer entries or shorter texts"
        )


def _stratified(weights: dict[_T, float], size: int, generator: np.random.Generator) -> list[_T]:
    """Return ``size`` values in the proportions of ``weights``, in a drawn order."""
    values = list(weights)
    edges = np.cumsum([weights[value] for value in values]) / sum(weights.values())
    shares = generator.permutation((np.arange(size) + 0.5) / size)
    return [values[int(np.searchsorted(edges, share))] for share in shares]


def _flags(share: float, size: int, generator: np.random.Generator) -> list[bool]:
    return _stratified({True: share, False: 1 - share}, size, generator) if share else [False] * size


# Lengths.


def _lengths(workload: Workload, size: int, generator: np.random.Generator) -> list[int | None]:
    """Return a length for each text; ``None`` takes a text of the file as it is."""
    over = _flags(workload.over_length.share, size, generator)
    beyond = Bin(first=workload.over_length.first, last=workload.over_length.last, share=1.0)
    usual = _quantiles(workload.tokens, size, generator) if workload.tokens else [None] * size
    long = iter(_quantiles((beyond,), sum(over), generator))
    return [next(long) if is_over else length for is_over, length in zip(over, usual, strict=True)]


def _quantiles(bins: Sequence[Bin], size: int, generator: np.random.Generator) -> list[int | None]:
    """Return the histogram's quantiles at ``size`` evenly spaced shares, in a drawn order."""
    weights = np.array([each.share for each in bins])
    edges = np.concatenate([[0.0], np.cumsum(weights / weights.sum())])
    shares = generator.permutation((np.arange(size) + 0.5) / max(size, 1))
    found: list[int | None] = []
    for share in shares:
        place = min(int(np.searchsorted(edges, share, "right")) - 1, len(bins) - 1)
        inside = (share - edges[place]) / (edges[place + 1] - edges[place])
        span = bins[place].last - bins[place].first + 1
        found.append(bins[place].first + min(int(inside * span), span - 1))
    return found


# Texts.

_Source = Callable[[int | None], tuple[str, int]]
"""Makes a text of so many tokens and says how many it has."""


def _source(workload: Workload, count: Counter, generator: np.random.Generator) -> _Source:
    composer = _Composer(count)
    if workload.texts is None:
        return _Generated(composer, generator).text
    return _FromFile(read_texts(workload.texts, workload.name), count, composer, generator).text


class _Composer:
    """Cuts running words to a number of tokens.

    Byte-level BPE never joins tokens over a space, so a text's tokens are nearly the sum of its words' own: the sum
    chooses the words, and one count of the whole text corrects what it got wrong.
    """

    def __init__(self, count: Counter) -> None:
        self._count = count
        self._costs: dict[str, int] = {}

    def cost(self, word: str) -> int:
        """Return the tokens of a word within a text."""
        known = self._costs.get(word)
        if known is None:
            known = self._costs[word] = max(1, self._count(f"a {word}") - self._count("a"))
        return known

    def compose(self, words: Sequence[str], tokens: int) -> tuple[str, int]:
        """Return as many of ``words`` as fit, filled up to ``tokens`` tokens, and how many tokens that is.

        Exact with a tokenizer; as near as words come where the counter only estimates.
        """
        costs = np.cumsum([self.cost(word) for word in words])
        kept = list(words[: max(1, int(np.searchsorted(costs, tokens, "right")))])
        kept += [FILLER] * (tokens - int(costs[len(kept) - 1]))
        text, best = " ".join(kept), self._count(" ".join(kept))
        while best > tokens and len(kept) > 1:
            kept.pop()
            text, best = " ".join(kept), self._count(" ".join(kept))
        filled = " ".join([*kept, *[FILLER] * (tokens - best)])
        return (filled, self._count(filled)) if best < tokens else (text, best)


class _Generated:
    """Everyday words, without any meaning that a policy could act on."""

    def __init__(self, composer: _Composer, generator: np.random.Generator) -> None:
        self._composer = composer
        self._generator = generator

    def text(self, tokens: int | None) -> tuple[str, int]:
        """Return a text of ``tokens`` tokens."""
        assert tokens is not None  # a workload without a histogram has a file of texts
        places = self._generator.integers(0, len(WORDS), tokens)
        return self._composer.compose([WORDS[place] for place in places], tokens)


class _FromFile:
    """Texts of a JSON Lines file, as they are or strung together and cut to length."""

    def __init__(
        self, texts: Sequence[str], count: Counter, composer: _Composer, generator: np.random.Generator
    ) -> None:
        self._count = count
        self._composer = composer
        self._generator = generator
        self._texts = texts
        self._words = [word for text in texts for word in text.split()]

    def text(self, tokens: int | None) -> tuple[str, int]:
        """Return a text of the file, or ``tokens`` tokens of the running text from a drawn place on."""
        if tokens is None:
            text = self._texts[int(self._generator.integers(len(self._texts)))]
            return text, self._count(text)
        begin = int(self._generator.integers(len(self._words)))
        words = [self._words[(begin + place) % len(self._words)] for place in range(tokens)]
        return self._composer.compose(words, tokens)


def read_texts(texts: Texts, name: str) -> list[str]:
    """Read the texts of a JSON Lines file.

    Raises:
        WorkloadError: no such file, a line that is no object with the field, or no text at all. No text is quoted.
    """
    path = texts.file if texts.file.is_absolute() else ROOT / texts.file
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise WorkloadError(f"workload {name}: cannot read the texts of {path}: {reason}") from None
    found = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            found.append(_text_of(line, texts.field, f"workload {name}: {path}, line {number}"))
    kept = [text for text in found if text.strip()]
    if not kept:
        raise WorkloadError(f"workload {name}: {path} holds no text in {texts.field!r}")
    return kept


def _text_of(line: str, field: str, where: str) -> str:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    text = row.get(field) if isinstance(row, dict) else None
    if not isinstance(text, str):
        raise WorkloadError(f"{where}: no JSON object with a text in {field!r}")
    return text
