"""Phrases with alternatives: ``i (want|wish) to (really|) die`` stands for four wordings.

Wordings multiply with every pair of parentheses, so they are never written out as a whole. A phrase is cut into
branches and a branch into parts, one after the other, each of few wordings: what has to be looked for in a text is
then the sum of the parts' wordings and not their product.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, product
from math import prod
from typing import Final

MAX_CHOICE: Final = 100
"""Wordings of a choice with choices inside; of more, every option becomes a branch of its own."""

MANY: Final = 8
"""A part of more wordings ends where it can."""

MAX_PART: Final = 2_000
MAX_BRANCHES: Final = 4_000
MAX_WORDINGS: Final = 10**12
"""More than this is a slip of the pen."""

MIN_LETTERS: Final = 3
"""Of every part that is not the only one, if possible: shorter ones are everywhere in a text."""

_TOKEN: Final = re.compile(r"[()|]|[^()|]+")


class InvalidAlternatives(ValueError):
    """The parentheses of a phrase do not fit, or it stands for too many phrases."""


@dataclass(frozen=True)
class Phrase:
    """A phrase, read: words and choices, one after the other."""

    items: tuple[str | Choice, ...]

    @cached_property
    def count(self) -> int:
        """How many wordings it stands for, repeated ones included."""
        return prod(item.count for item in self.items if isinstance(item, Choice))

    def wordings(self) -> Iterator[str]:
        """Yield every wording; there may be very many."""
        for parts in product(*map(_wordings_of, self.items)):
            yield "".join(parts)


@dataclass(frozen=True)
class Choice:
    """One of several phrases, any of which may be empty."""

    options: tuple[Phrase, ...]

    @cached_property
    def count(self) -> int:
        """How many wordings it stands for."""
        return sum(option.count for option in self.options)

    @property
    def is_flat(self) -> bool:
        """Whether there are no choices inside, so that its wordings are as many as are written."""
        return self.count == len(self.options)


Part = tuple[str, ...]
"""Wordings, one of which stands in a text."""

Branch = tuple[Part, ...]
"""Parts that follow one another."""


def parse(text: str) -> Phrase:
    """Read a phrase.

    Raises:
        InvalidAlternatives: a parenthesis has no partner, or there are more than ``MAX_WORDINGS``.
    """
    tokens = _TOKEN.findall(text)
    options, end = _options(tokens, 0)
    if end != len(tokens):
        raise InvalidAlternatives("a parenthesis is closed that was not opened")
    phrase = options[0] if len(options) == 1 else Phrase((Choice(tuple(options)),))
    if phrase.count > MAX_WORDINGS:
        raise InvalidAlternatives("it stands for far too many phrases; split it")
    return phrase


def wordings(phrase: Phrase, limit: int) -> list[str]:
    """Return the first ``limit`` wordings, with single spaces between words."""
    return [" ".join(one.split()) for one in islice(phrase.wordings(), limit)]


def required_options(phrase: Phrase) -> Iterator[str]:
    """Yield the wordings of the options of every choice that may not be left out, those of few wordings alone."""
    for item in phrase.items:
        if isinstance(item, Choice):
            is_required = not any(map(_is_written_empty, item.options))
            for option in item.options:
                if is_required and option.count <= MAX_CHOICE:
                    yield from option.wordings()
                yield from required_options(option)


def without_empty(phrase: Phrase, is_empty: Callable[[str], bool]) -> Phrase | None:
    """Return a phrase without the options that are written and yet empty, such as fillers; nothing, if none are left.

    An option that is left empty on purpose, beside others or in them, stays: ``(really|)`` is one that may be left out.
    """
    items: list[str | Choice] = []
    for item in phrase.items:
        if isinstance(item, str):
            items.append(item)
            continue
        is_required = not any(map(_is_written_empty, item.options))
        options = [kept for one in item.options for kept in _options_kept(one, is_empty, is_required=is_required)]
        if not options:
            return None
        items.append(Choice(tuple(options)))
    return Phrase(tuple(items))


def _options_kept(option: Phrase, is_empty: Callable[[str], bool], *, is_required: bool) -> list[Phrase]:
    inner = without_empty(option, is_empty)
    if inner is None or not is_required or inner.count > MAX_CHOICE:
        return [] if inner is None else [inner]
    texts = list(dict.fromkeys(inner.wordings()))
    full = [text for text in texts if not is_empty(text)]
    return [inner] if len(full) == len(texts) else [Phrase((text,)) for text in full]


def _is_written_empty(phrase: Phrase) -> bool:
    """Say whether no wording of a phrase has a letter or digit."""
    return not any(
        any(map(_is_written_full, item.options)) if isinstance(item, Choice) else any(map(str.isalnum, item))
        for item in phrase.items
    )


def _is_written_full(phrase: Phrase) -> bool:
    return not _is_written_empty(phrase)


def slots(phrase: Phrase) -> list[list[Part]]:
    """Cut a phrase into branches of slots: words, and choices of few wordings.

    Raises:
        InvalidAlternatives: it takes more than ``MAX_BRANCHES``.
    """
    found = list(islice(_flat(phrase.items), MAX_BRANCHES + 1))
    if len(found) > MAX_BRANCHES:
        raise InvalidAlternatives(f"it takes more than {MAX_BRANCHES} branches; split it")
    return found


def join(branch: Sequence[Part], letters: Mapping[str, int], *, spaced: bool) -> list[Branch]:
    """Join the slots of a branch into parts; where they are too many, what may be left out makes two branches.

    Args:
        branch: of ``slots``.
        letters: how many letters count in each wording of a slot.
        spaced: whether words are set apart by spaces: then a part ends where a word does.

    Raises:
        InvalidAlternatives: a part takes more than ``MAX_PART`` wordings.
    """
    branch = [tuple(dict.fromkeys(_without_fillers(text, letters) for text in slot)) for slot in branch]
    try:
        return [_join(branch, letters, spaced=spaced)]
    except InvalidAlternatives:
        optional = [place for place, slot in enumerate(branch) if len(slot) > 1 and min(map(len, slot)) == 0]
        if not optional:
            raise
    last = optional[-1]
    there = tuple(text for text in branch[last] if text)
    return [
        parts
        for slot in (there, ("",))
        for parts in join((*branch[:last], slot, *branch[last + 1 :]), letters, spaced=spaced)
    ]


def _without_fillers(text: str, letters: Mapping[str, int]) -> str:
    """Return nothing, or the space at its edges, for a wording of which no letter counts."""
    return text if letters.get(text, 0) or not text.strip() else " " * (text != text.strip())


def _join(branch: Sequence[Part], letters: Mapping[str, int], *, spaced: bool) -> Branch:
    """Join neighbouring slots into parts that are long enough, end with a word, and are of few wordings."""
    fewest = [min(letters.get(text, 0) for text in slot) for slot in branch]
    parts: list[Part] = []
    current: Part = ("",)
    length = 0
    for index, slot in enumerate(branch):
        # Where there would be too many wordings, a part ends although it is short.
        least = 1 if len(current) * len(slot) > MAX_PART else MIN_LETTERS
        may_end = length >= least and (not spaced or _is_edge(current, slot))
        if may_end and len(current) * len(slot) > MANY and sum(fewest[index:]) >= least:
            parts.append(current)
            current, length = ("",), 0
        current = _joined(current, slot)
        length += fewest[index]
    if parts and length < MIN_LETTERS and len(parts[-1]) * len(current) <= MAX_PART:
        current = _joined(parts.pop(), current)
    return (*parts, current)


def _options(tokens: list[str], at: int) -> tuple[list[Phrase], int]:
    """Read from ``at`` to the parenthesis that closes it, or to the end; return where that is."""
    options: list[Phrase] = []
    items: list[str | Choice] = []
    while at < len(tokens) and tokens[at] != ")":
        if tokens[at] == "(":
            inner, at = _options(tokens, at + 1)
            if at == len(tokens):
                raise InvalidAlternatives("a parenthesis is not closed")
            items.append(Choice(tuple(inner)))
        elif tokens[at] == "|":
            options.append(Phrase(tuple(items)))
            items = []
        else:
            items.append(tokens[at])
        at += 1
    return [*options, Phrase(tuple(items))], at


def _wordings_of(item: str | Choice) -> list[str]:
    if isinstance(item, str):
        return [item]
    return list(dict.fromkeys(one for option in item.options for one in option.wordings()))


def _flat(items: tuple[str | Choice, ...]) -> Iterator[list[Part]]:
    """Yield sequences of slots; a choice of too many wordings becomes one sequence for each of its options."""
    for index, item in enumerate(items):
        if isinstance(item, Choice) and item.count > MAX_CHOICE and not item.is_flat:
            for option in item.options:
                yield from _flat((*items[:index], *option.items, *items[index + 1 :]))
            return
    yield [tuple(_wordings_of(item)) for item in items]


def _joined(one: Part, other: Part) -> Part:
    if len(one) * len(other) > MAX_PART:
        raise InvalidAlternatives("too many short alternatives follow one another; split it")
    return tuple(dict.fromkeys(first + second for first in one for second in other))


def _is_edge(one: Part, other: Part) -> bool:
    """Say whether a word ends between the two, whichever wordings stand there."""
    return all(text.endswith(" ") for text in one) or all(text.startswith(" ") for text in other)
