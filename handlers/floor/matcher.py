"""Finds the statements of the phrase files in a text: many patterns at once (Aho and Corasick, 1975), in one pass."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import sys
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar

import numpy as np
from ahocorasick_rs import AhoCorasick

from handlers.core.errors import StartupError
from handlers.core.statements import Statement, StatementKind, StatementLanguage
from handlers.floor.alternatives import (
    InvalidAlternatives,
    Part,
    Phrase,
    join,
    required_options,
    slots,
    without_empty,
    wordings,
)
from handlers.floor.gaps import Gap, Side, denies_something_else, gap_of, reach_across
from handlers.floor.normalize import (
    PARAGRAPH_END,
    SENTENCE_END,
    STAR,
    Fillers,
    Indexes,
    Normalized,
    Normalizer,
    mask_forms,
)
from handlers.floor.phrase_file import (
    Written,
    WrittenGuard,
    WrittenPhrase,
    WrittenPhrases,
    load_phrases,
)

COMPILED: Final = "compiled.pickle"

PHRASES: Final = Path(__file__).with_name("phrases")

_FREE_LETTERS: Final = 8
"""From so many letters on, a phrase is known however it is spaced; "kms" is not in "back, my son"."""

_FEW_LETTERS: Final = 6
"""With fewer letters, the rest of a phrase says too little."""

_COMPARED: Final = 32
"""Up to so many wordings an entry is compared with the others wording by wording."""

_KANA: Final = (0x3041, 0x309F)
"""Code points of hiragana, which katakana are folded to."""
_JAPANESE: Final = 2
"""Kana in a sentence that make it Japanese; one alone is also written in Chinese."""

_BREAK: Final = "\n\n"
"""Between texts that are normalised together: the end of a paragraph."""


class _Match(NamedTuple):
    start: int
    end: int
    owner: int


class _Read(NamedTuple):
    """A match that may have been turned by a guard; the order is that of ``_standing``."""

    start: int
    minus_end: int
    is_turned: bool
    kind: StatementKind
    language: StatementLanguage


class Floor:
    """Finds statements. May be called from any thread.

    Args:
        files: of different languages.

    Raises:
        StartupError: two entries of a file are the same, one is empty, or a counter-example holds a statement; with
            file, line and reason.
    """

    def __init__(self, files: Sequence[WrittenPhrases]) -> None:
        self._normalizer = _normalizer(files)
        phrases = [phrase for file in files for phrase in file.phrases]
        self._phrases = _Index(phrases, self._normalizer)
        self._guards = _Index([guard for file in files for guard in file.guards], self._normalizer)
        for file in files:
            _check_duplicates(file)
            _check_counter_examples(self, file)

    def find(self, text: str) -> tuple[Statement, ...]:
        """Return the statements in ``text``, in their order; of two that overlap, the longer one.

        The time is linear in the length of ``text``, of which nothing is kept.
        """
        normalized = self._normalizer.normalize(text)
        found = self._find(text, normalized)
        if normalized.has_ones:
            found += self._find(text, self._normalizer.normalize(text, ones="l"))
        return tuple(_longest(found))

    def _find(self, written: str, text: Normalized) -> list[Statement]:
        matches = self._phrases.matches(text)
        if not matches:
            return []
        context = _Context(written, text, self._guards, matches)
        read = [
            _Read(start, -end, context.turns(phrase, start, end), phrase.kind, phrase.language)
            for start, end, owner in matches
            for phrase in (self._phrases.owners[owner],)
            if not (phrase.language == "zh" and context.is_japanese(start))
        ]
        return [Statement(*_span(text, one.start, -one.minus_end), one.kind, one.language) for one in _standing(read)]


def _span(text: Normalized, start: int, end: int) -> tuple[int, int]:
    """Return the characters of a match, without the letter of the word beside it where the two share one."""
    begin = int((text.last if text.shared[start] else text.first)[start])
    stop = int((text.first if text.shared[end - 1] else text.last)[end - 1])
    return begin, max(begin, stop) + 1


_Owner = TypeVar("_Owner", bound=Written)
_Result = TypeVar("_Result")


_PLACES: Final = 1024
"""More than a branch has parts: a use of a part is one number, its branch times this and its place."""

_START, _END, _ASCII, _FREE, _DIGIT, _WHOLE, _FIRST, _LATER = (1 << bit for bit in range(8))
"""Of a piece: it counts only where a word starts, or ends; its letters are ASCII; it may stand anywhere where the
language sets no spaces; it begins with a digit; it is a phrase, or phrases begin with it, or go on with it."""

_ANYWHERE, _BEFORE, _AFTER = 0, 1, 2
"""Of a branch: whether it counts anywhere, or directly before or after a statement alone."""

_MASK: Final = 2**64 - 1


@dataclass(slots=True)
class _Edges:
    """Where alone something is looked for, as one byte for each place in a text: before, and after a statement."""

    before: bytes
    after: bytes


class _Index(Generic[_Owner]):
    """Finds phrases by their parts: every part is looked for, and those that follow one another make a phrase.

    What is kept of the pieces are flat arrays: hundreds of thousands of small objects would take most of the memory.

    Args:
        owners: whose phrases they are.
        normalizer: brings parts into the form of texts.

    Raises:
        StartupError: a phrase is empty or more than one sentence, with its line.
    """

    def __init__(self, owners: Sequence[_Owner], normalizer: Normalizer) -> None:
        self.owners = owners
        branches: list[tuple[int, int]] = []  # owner and last place of each
        uses: dict[_Piece, list[int]] = {}
        for owner, pieces in enumerate(_cut(owners, normalizer)):
            for parts in pieces:
                first_use = len(branches) * _PLACES
                branches.append((owner, len(parts) - 1))
                for place, part in enumerate(parts):
                    for piece in part:
                        uses.setdefault(piece, []).append(first_use + place)
        self._owner_of = array("i", [owner for owner, _ in branches])
        self._last_of = array("i", [last for _, last in branches])
        flags = {piece: self._flags_of(piece, some) for piece, some in uses.items()}
        ordered = sorted(uses, key=lambda piece: _is_lone(piece.letters, flags[piece]))
        self._letters = "\n".join(piece.letters for piece in ordered)
        self._flags = bytes(flags[piece] for piece in ordered)
        self._gaps = array("Q", [_bits(piece.gaps) for piece in ordered])
        # Where words of a piece start that share no letter with the word before.
        self._plain = array("Q", [_bits(set(piece.gaps) - set(piece.joints)) for piece in ordered])
        # Of every piece: the branches that it is all of, then those that begin with it, then its uses as a later part.
        self._uses, self._from = array("i"), array("i", [0])
        self._first_from, self._later_from = array("i"), array("i")
        for some in map(uses.__getitem__, ordered):
            firsts = [use // _PLACES for use in some if use % _PLACES == 0]
            self._uses.extend(branch for branch in firsts if not self._last_of[branch])
            self._first_from.append(len(self._uses))
            self._uses.extend(sorted(branch for branch in firsts if self._last_of[branch]))
            self._later_from.append(len(self._uses))
            self._uses.extend(sorted(use for use in some if use % _PLACES))
            self._from.append(len(self._uses))
        self._build()

    def _flags_of(self, piece: _Piece, uses: Sequence[int]) -> int:
        """Say which edges a piece needs, short ones of languages that set spaces both, and what it is."""
        owners = [self.owners[self._owner_of[use // _PLACES]] for use in uses]
        is_latin, is_digit = piece.letters.isascii(), piece.letters[0].isdecimal()
        flags = _ASCII * is_latin | _DIGIT * is_digit
        for use in uses:
            is_first = use % _PLACES == 0
            flags |= (_FIRST if self._last_of[use // _PLACES] else _WHOLE) if is_first else _LATER
        if not is_latin and any(owner.boundaries == "none" for owner in owners):
            return flags | _FREE
        if len(piece.letters) >= _FREE_LETTERS:
            return flags
        needs_end = is_latin or all(owner.boundaries == "both" for owner in owners)
        return flags | _START * (not is_digit) | _END * needs_end

    def _build(self) -> None:
        letters = self._letters.split("\n") if self._letters else []
        # Single letters are nearly everywhere in a text, and mostly within words: they are looked up, not searched for.
        lone = [number for number, flags in enumerate(self._flags) if _is_lone(letters[number], flags)]
        self._lone = {ord(letters[number]): number for number in lone}
        self._automaton = AhoCorasick(letters[: len(letters) - len(lone)], store_patterns=False)
        self._boundaries = [owner.boundaries for owner in self.owners]
        sides = {"before": _BEFORE, "after": _AFTER}
        of_owners = [sides.get(getattr(owner, "place", ""), _ANYWHERE) for owner in self.owners]
        self._sides = bytes(of_owners[owner] for owner in self._owner_of)

    def __getstate__(self) -> tuple[Any, ...]:
        """Return what a compiled floor keeps: everything but the automaton, and of the owners what matching needs."""
        owners = [replace(owner, text="", phrase=Phrase(())) for owner in self.owners]
        return owners, {name: value for name, value in vars(self).items() if name in _KEPT}

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.owners, kept = state
        vars(self).update(kept)
        self._build()

    def matches(self, text: Normalized, edges: _Edges | None = None) -> list[_Match]:
        """Return where phrases stand, edges and spaces considered; positions are those of ``text.symbols``.

        Args:
            text: normalised.
            edges: where guards count that stand directly before or after a statement; everywhere, if left out.
        """
        found: dict[_Match, None] = {}
        words = _Words(text)
        starts, passed, joins, shared = words.starts, words.passed, words.joins, words.shared
        unstarted, unended = words.unstarted, words.unended
        everywhere = b"\1" * (len(starts) + 2)
        before, after = (edges.before, edges.after) if edges else (everywhere, everywhere)
        # Of the parts found so far, by the place where they end: first parts, and the uses of those that may follow
        # later ones, with where the phrases began.
        opened: dict[int, list[tuple[int, int]]] = {}
        begun: dict[int, dict[int, list[int]]] = {}
        follow: dict[tuple[int, int], Sequence[int]] = {}
        is_open = bytearray(len(starts) + 2)
        flags_of, plain, sides, last_of = self._flags, self._plain, self._sides, self._last_of
        # They come in the order of their ends, so that a part is there before the one that follows it.
        for number, start, end in self._hits(text, words):
            flags = flags_of[number]
            if flags & (unstarted[start] | unended[end]):
                continue
            is_next = flags & _LATER and (is_open[start] or is_open[start + 1])
            if not is_next and not flags & (_FIRST | _WHOLE):
                continue
            if plain[number] and passed[start] != passed[end] and not words.fit(start, end, plain[number]):
                continue
            if is_next:
                # Where one part ends with the letter that the next one starts with, the two have become one.
                for at in (start, start + 1):
                    if not is_open[at] or not (joins[start] if at == start else start in shared):
                        continue
                    going: list[tuple[int, Sequence[int]]] = []
                    for first, begin in opened.get(at, ()):
                        for use in self._following(first, number, follow):
                            if self._may_start(first, use // _PLACES, starts, begin) and (
                                sides[use // _PLACES] != _AFTER or after[begin]
                            ):
                                going.append((use, (begin,)))
                    if at in begun:
                        going += self._going_on(begun[at], number)
                    for use, begins in going:
                        branch, place = divmod(use, _PLACES)
                        if place < last_of[branch]:
                            is_open[end] = 1
                            known = begun.setdefault(end, {}).setdefault(use + 1, [])
                            known += [begin for begin in begins if begin not in known]
                            continue
                        side = sides[branch]
                        for begin in begins:
                            is_beside = side == _ANYWHERE or (before[end] if side == _BEFORE else after[begin])
                            if is_beside and self._may_end(number, branch, words, begin, end):
                                found[_Match(begin, end, self._owner_of[branch])] = None
            if flags & _FIRST:
                is_open[end] = 1
                opened.setdefault(end, []).append((number, start))
            if flags & _WHOLE:
                for branch in self._uses[self._from[number] : self._first_from[number]]:
                    side = sides[branch]
                    if (
                        (side == _ANYWHERE or (before[end] if side == _BEFORE else after[start]))
                        and self._may_start(number, branch, starts, start)
                        and self._may_end(number, branch, words, start, end)
                    ):
                        found[_Match(start, end, self._owner_of[branch])] = None
        return list(found)

    def _hits(self, text: Normalized, words: _Words) -> list[tuple[int, int, int]]:
        """Return where pieces stand, in the order of their ends: number, start and end."""
        hits: list[tuple[int, int, int]] = self._automaton.find_matches_as_indexes(text.string, overlapping=True)
        alone = words.alone
        found = zip(alone, map(self._lone.get, text.symbols[alone].tolist()), strict=True)
        lone = [(number, at, at + 1) for at, number in found if number is not None]
        if lone:
            hits += lone
            hits.sort(key=_END_OF_HIT)
        return hits

    def _following(self, first: int, number: int, known: dict[tuple[int, int], Sequence[int]]) -> Sequence[int]:
        """Return the uses of a piece as the second part of what begins with the piece ``first``."""
        if (first, number) not in known:
            branches = self._uses[self._first_from[first] : self._later_from[first]]
            wanted: dict[int, list[int]] = {branch * _PLACES + 1: [] for branch in branches}
            known[first, number] = tuple(use for use, _ in self._going_on(wanted, number))
        return known[first, number]

    def _going_on(self, going: Mapping[int, list[int]], number: int) -> list[tuple[int, Sequence[int]]]:
        """Return the uses of a piece that phrases have come to, and where these began."""
        uses, later, stop = self._uses, self._later_from[number], self._from[number + 1]
        if len(going) < stop - later:
            places = ((bisect_left(uses, use, later, stop), use, begins) for use, begins in going.items())
            return [(use, begins) for place, use, begins in places if place < stop and uses[place] == use]
        return [(use, going[use]) for use in uses[later:stop] if use in going]

    def _is_free(self, number: int, branch: int) -> bool:
        """Say whether a phrase may stand inside of words: where the language sets no spaces, unless it is Latin."""
        return not self._flags[number] & _ASCII and self._boundaries[self._owner_of[branch]] == "none"

    def _may_start(self, number: int, branch: int, starts: bytes, start: int) -> bool:
        return bool(starts[start] or self._flags[number] & _DIGIT) or self._is_free(number, branch)

    def _may_end(self, number: int, branch: int, words: _Words, start: int, end: int) -> bool:
        flags = self._flags[number]
        if not flags & _ASCII:
            boundaries = self._boundaries[self._owner_of[branch]]
            if boundaries == "none" or (boundaries == "start" and not words.ends[end]):
                return boundaries == "none" or self._are_gaps_known(number, branch, words, start, end)
        return bool(words.ends[end]) and self._are_gaps_known(number, branch, words, start, end)

    def _are_gaps_known(self, number: int, branch: int, words: _Words, start: int, end: int) -> bool:
        size = end - start
        if size >= _FREE_LETTERS or self._last_of[branch]:  # of several parts, which all end with a word
            return True
        gaps = {gap for gap in range(1, size) if words.starts[start + gap]}
        if not words.ends[end - 1]:
            gaps.discard(size - 1)  # its last letter is the first one of the next word as well
        return all(self._gaps[number] >> gap & 1 for gap in gaps) or len(gaps) == size - 1


_KEPT: Final = frozenset(
    {"_owner_of", "_last_of", "_letters", "_gaps", "_plain", "_flags", "_uses", "_from", "_first_from", "_later_from"}
)
"""What an index keeps when it is compiled."""


_END_OF_HIT: Final = itemgetter(2)


def _is_lone(letters: str, flags: int) -> bool:
    """Say whether a piece is a word of one letter."""
    return len(letters) == 1 and flags & (_START | _END) == _START | _END


def _bits(places: Iterable[int]) -> int:
    """Return a number with these bits set; phrases are of few letters, and what lies beyond is not looked at."""
    return sum(1 << place for place in places) & _MASK


class _Words:
    """Where the words of a text start and end, and where they share a letter: quick to look up.

    Attributes:
        starts, ends: 1 by place; words end before a place, and so they do before the star of one that could not be
            read.
        unstarted, unended: ``_START`` or ``_END`` where no word starts or ends.
        shared: places of letters that two words share.
        alone: places of letters that are words.
        passed: how many of the shared ones lie before a place.
        joins: whether one word may end right before a place and another one start there, for all that they share.
    """

    def __init__(self, text: Normalized) -> None:
        size = len(text.symbols)
        starred = np.concatenate((text.symbols[1:] == ord(STAR), [False])) if size else text.ends
        padded = np.concatenate((text.shared, [False, False]))
        self.starts = text.starts.tobytes() + b"\0"
        word_ends = text.ends | starred
        self.ends = b"\0" + word_ends.tobytes()
        self.unstarted = (~text.starts).astype(np.uint8).tobytes() + b"\0"
        self.unended = b"\0" + (~word_ends * np.uint8(_END)).tobytes()
        self.alone: list[int] = np.flatnonzero(text.starts & word_ends).tolist()
        self.passed: list[int] = np.concatenate(([0], np.cumsum(text.shared))).tolist()
        ends, starts = np.concatenate(([True], text.ends)), np.concatenate((text.starts, [True]))
        follows = np.concatenate(([False], text.shared))
        self.joins = (~(padded[: size + 1] & ~ends) & ~(follows & ~starts)).tobytes()
        self._in_order: list[int] = np.flatnonzero(text.shared).tolist()
        self.shared = frozenset(self._in_order)

    def fit(self, start: int, end: int, plain: int) -> bool:
        """Say whether words that start at the bits of ``plain`` are those of the text where these share a letter.

        "Is self" is no "I self": its "s" is the end of one word and the beginning of the next.
        """
        for at in self._in_order[self.passed[start] : self.passed[end]]:
            gap = at - start
            if (gap and plain >> gap & 1 and not self.ends[at]) or (
                at + 1 < end and plain >> gap + 1 & 1 and not self.starts[at + 1]
            ):
                return False
        return True


class _Piece(NamedTuple):
    """One wording of a part, normalised.

    Attributes:
        letters: of it.
        gaps: where in it a word starts, apart from its beginning.
        joints: those of them where it shares a letter with the word before.
    """

    letters: str
    gaps: tuple[int, ...]
    joints: tuple[int, ...]


def _cut(owners: Sequence[Written], normalizer: Normalizer) -> Iterator[list[list[list[_Piece]]]]:
    """Yield the branches of every phrase, as parts of normalised wordings; all are normalised at once."""
    cut = [_refusing(written, partial(slots, phrase)) for written, phrase in _without_fillers(owners, normalizer)]
    words = (text for one in cut for branch in one for slot in branch for text in slot)
    letters = {text: _weight(piece) for text, piece in _normalized(normalizer, words).items()}
    for written, branches in zip(owners, cut, strict=True):
        _check_options(written, branches, letters)
    joined = [
        [
            parts
            for branch in one
            for parts in _refusing(written, partial(join, branch, letters, spaced=written.boundaries != "none"))
        ]
        for written, one in zip(owners, cut, strict=True)
    ]
    pieces = _normalized(normalizer, (text for one in joined for branch in one for part in branch for text in part))
    for written, one in zip(owners, joined, strict=True):
        found = [[_pieces(written, part, pieces) for part in branch] for branch in one]
        full = [branch for branch in found if all(branch)]
        if not full:
            raise written.line.refuse(f'"{written.text}" is empty but for fillers and punctuation')
        yield full


def _without_fillers(owners: Sequence[_Owner], normalizer: Normalizer) -> Iterator[tuple[_Owner, Phrase]]:
    """Yield owners and their phrases; those of guards without the options that are nothing but fillers.

    "No (lo|hoy)", where "hoy" is a filler, would otherwise be "no" alone as well, and silence what it was not meant to.
    A phrase keeps them: "(hoy|mañana) será mi último día" has to be found without the filler, which texts lose too.
    """
    guards = [owner.phrase for owner in owners if isinstance(owner, WrittenGuard)]
    pieces = _normalized(normalizer, (text for phrase in guards for text in required_options(phrase)))
    empty = {text for text, piece in pieces.items() if piece is not None and not piece.letters}
    for owner in owners:
        phrase = without_empty(owner.phrase, empty.__contains__) if isinstance(owner, WrittenGuard) else owner.phrase
        if phrase is None:
            raise owner.line.refuse(f'a choice of "{owner.text}" holds nothing but fillers')
        yield owner, phrase


def _check_options(written: Written, branches: Sequence[Sequence[Part]], letters: Mapping[str, int]) -> None:
    """Refuse a phrase of which little is left where an option that is nothing but fillers is left out."""
    if isinstance(written, WrittenGuard):
        return
    for branch in branches:
        fewest = [min(letters[text] for text in slot) for slot in branch]
        for place, slot in enumerate(branch):
            emptied = [text.strip() for text in slot if not letters[text] and any(map(str.isalnum, text))]
            is_required = len(slot) > 1 and all(any(map(str.isalnum, text)) for text in slot)
            if emptied and is_required and sum(fewest) - fewest[place] < _FEW_LETTERS:
                raise written.line.refuse(
                    f'"{emptied[0]}" is a filler, and too little of the phrase is left without it'
                )


def _weight(piece: _Piece | None) -> int:
    """Return how many letters count: an ideograph is as rare in a text as several."""
    return 1 if piece is None else sum(3 if char >= "\u3400" else 1 for char in piece.letters)


def _refusing(written: Written, work: Callable[[], _Result]) -> _Result:
    try:
        return work()
    except InvalidAlternatives as error:
        raise written.line.refuse(str(error)) from None


def _pieces(written: Written, part: Part, pieces: Mapping[str, _Piece | None]) -> list[_Piece]:
    """Return the wordings of a part; those that are empty but for fillers are none."""
    found: dict[_Piece, None] = {}
    for text in part:
        piece = pieces[text]
        if piece is None:
            raise written.line.refuse(f'"{" ".join(text.split())}" is more than one sentence')
        if piece.letters:
            found[piece] = None
    return list(found)


def _normalized(normalizer: Normalizer, texts: Iterable[str]) -> dict[str, _Piece | None]:
    """Normalise different wordings."""
    different = list(dict.fromkeys(texts))
    return dict(zip(different, normalized_pieces(normalizer, different), strict=True))


def normalized_pieces(normalizer: Normalizer, texts: Sequence[str]) -> list[_Piece | None]:
    """Normalise wordings, all at once; ``None`` stands for one of more than one sentence."""
    whole = normalizer.normalize(_BREAK.join(texts))
    begins = np.cumsum([0, *(len(text) + len(_BREAK) for text in texts)])
    owner = np.searchsorted(begins, whole.first, side="right") - 1
    edges = np.searchsorted(owner, np.arange(len(texts) + 1)).tolist()
    string, starts, shared = whole.string, whole.starts.tolist(), whole.shared.tolist()
    pieces: list[_Piece | None] = []
    for begin, end in pairwise(edges):
        letters = string[begin:end].rstrip(SENTENCE_END + PARAGRAPH_END)
        gaps = tuple(place for place in range(1, len(letters)) if starts[begin + place])
        joints = tuple(gap for gap in gaps if shared[begin + gap])
        pieces.append(None if SENTENCE_END in letters else _Piece(letters, gaps, joints))
    return pieces


@dataclass(slots=True)
class _Reach:
    """How far a guard reaches into a sentence: where its first occurrence ends and its last one starts."""

    first_end: int
    last_start: int

    def is_beside(self, start: int, end: int) -> bool:
        """Say whether an occurrence stands outside of ``start`` to ``end``."""
        return self.first_end <= start or self.last_start >= end


class _Context:
    """The guards that stand in a text, by their place: each is looked up once, however many statements there are.

    Args:
        written: the text itself.
        text: the same, normalised.
        index: of the guards.
        matches: the statements that guards may turn.
    """

    def __init__(self, written: str, text: Normalized, index: _Index[WrittenGuard], matches: Sequence[_Match]) -> None:
        self._written, self._text = written, text
        self._starts, self._shared = text.starts.tolist(), text.shared.tolist()
        self._before: dict[int, dict[WrittenGuard, Gap]] = defaultdict(dict)
        self._after: dict[int, dict[WrittenGuard, Gap]] = defaultdict(dict)
        self._sentence: dict[int, dict[WrittenGuard, _Reach]] = defaultdict(dict)
        self._near: dict[int, dict[WrittenGuard, _Reach]] = defaultdict(dict)
        self._gaps: dict[tuple[Side, int], Gap] = {}
        self._sentences: list[int] = np.flatnonzero(text.symbols < ord("0")).tolist()
        is_kana = (text.symbols >= _KANA[0]) & (text.symbols <= _KANA[1])
        self._string = text.string
        self._kana: Indexes = np.concatenate(([0], np.cumsum(is_kana)))
        for start, end, owner in index.matches(text, self._edges(matches)):
            self._note(index.owners[owner], start, end)

    def turns(self, phrase: WrittenPhrase, start: int, end: int) -> bool:
        """Say whether a guard turns the statement from ``start`` to ``end``."""
        if any(guard.turns(phrase) for guard in self._directly(start, end)):
            return True
        sentence = self._sentence_of(start)
        same = self._sentence.get(sentence, {})
        near = [self._near.get(number, {}) for number in self._neighbours(sentence)]
        # Of a letter that the statement shares with the word beside it, that word is outside.
        start, end = start + self._shared[start], end - self._shared[end - 1]
        return any(
            guard.turns(phrase) and reach.is_beside(start, end)
            for reaches in (same, *near)
            for guard, reach in reaches.items()
        )

    def is_japanese(self, start: int) -> bool:
        """Say whether the sentence around ``start`` holds kana: then ideographs in it are Japanese, not Chinese."""
        sentence = self._sentence_of(start)
        begin = self._sentences[sentence - 1] if sentence else 0
        end = self._sentences[sentence] if sentence < len(self._sentences) else len(self._text.symbols)
        return bool(self._kana[end] - self._kana[begin] >= _JAPANESE)

    def _edges(self, matches: Sequence[_Match]) -> _Edges:
        """Return where a guard ends that stands right before one of ``matches``, and starts that stands right after."""
        before, after = bytearray(len(self._shared) + 2), bytearray(len(self._shared) + 2)
        for start, end, _ in matches:
            before[start] = after[end] = 1
            # The last letter of one word and the first one of the next may be one.
            before[start + self._shared[start]] = after[end - self._shared[end - 1]] = 1
        return _Edges(bytes(before), bytes(after))

    def _note(self, guard: WrittenGuard, start: int, end: int) -> None:
        if guard.place in ("before", "after"):
            reached = self._reach_across(guard, start, end)
            if reached is not None:
                guards = self._before[end] if guard.place == "before" else self._after[start]
                guards[guard] = max(reached, guards.get(guard, Gap.NONE))
        else:
            reaches = (self._sentence if guard.place == "sentence" else self._near)[self._sentence_of(start)]
            reach = reaches.setdefault(guard, _Reach(end, start))
            reach.first_end, reach.last_start = min(reach.first_end, end), max(reach.last_start, start)

    def _reach_across(self, guard: WrittenGuard, start: int, end: int) -> Gap | None:
        """Return the widest gap that a guard turns a statement across; ``None`` where it is no guard here."""
        begins = [start, *(place for place in range(start + 1, end) if self._starts[place])]
        edges = zip(begins, [*(place + self._shared[place] for place in begins[1:]), end], strict=True)
        string = self._string
        words = [string[begin:stop] for begin, stop in edges]
        if len(words) > 1 and denies_something_else(words[0], self._between(begins[1]), guard.language):
            return None
        side: Side = "before" if guard.place == "before" else "after"
        return reach_across(words, guard.language, side, spaced=guard.boundaries != "none")

    def _directly(self, start: int, end: int) -> Iterator[WrittenGuard]:
        """Yield guards that stand right beside a statement, and still belong to it."""
        yield from self._reaching("before", self._before.get(start), start)
        yield from self._reaching("after", self._after.get(end), end)
        # Where the last letter of one word and the first one of the next are one.
        if self._shared[start]:
            yield from self._reaching("before", self._before.get(start + 1), start)
        if self._shared[end - 1]:
            yield from self._reaching("after", self._after.get(end - 1), end - 1)

    def _reaching(self, side: Side, guards: dict[WrittenGuard, Gap] | None, edge: int) -> Iterator[WrittenGuard]:
        if guards:
            gap = self._gap(side, edge)
            yield from (guard for guard, reach in guards.items() if reach >= gap)

    def _gap(self, side: Side, edge: int) -> Gap:
        if (side, edge) not in self._gaps:
            self._gaps[side, edge] = gap_of(self._between(edge), side)
        return self._gaps[side, edge]

    def _between(self, edge: int) -> str:
        """Return what is written between the word before ``edge`` and the one that starts there."""
        first, last = self._text.first, self._text.last
        if self._shared[edge]:
            return self._written[int(first[edge]) : int(last[edge]) + 1]
        return self._written[int(last[edge - 1]) + 1 : int(first[edge])]

    def _sentence_of(self, at: int) -> int:
        return bisect_left(self._sentences, at)

    def _neighbours(self, sentence: int) -> Iterator[int]:
        """Yield ``sentence`` and those beside it in its paragraph."""
        yield sentence
        if sentence > 0 and self._is_within_paragraph(sentence - 1):
            yield sentence - 1
        if sentence < len(self._sentences) and self._is_within_paragraph(sentence):
            yield sentence + 1

    def _is_within_paragraph(self, gap: int) -> bool:
        return bool(self._text.symbols[self._sentences[gap]] == ord(SENTENCE_END))


def load_floor(folder: Path = PHRASES) -> Floor:
    """Load every phrase file of ``folder``.

    Raises:
        StartupError: a file is not fit, or there is none; with file, line and reason.
    """
    compiled = _read_compiled() if folder == PHRASES else None
    return compiled or Floor(read_folder(folder))


def compile_floor(folder: Path) -> Path:
    """Load the phrase files of ``folder`` and write them compiled beside them; return where.

    A compiled floor loads in a fraction of the time. Only that of the package itself is ever read, and only while it is
    that of these very files and this code: it is a pickle, which runs what it says, as the package does.

    Raises:
        StartupError: as ``load_floor``.
    """
    path = folder / COMPILED
    compiled = _compiled_of(folder)
    if compiled is None:
        compiled = pickle.dumps(Floor(read_folder(folder)), protocol=5)
    fresh = path.with_name(f"{COMPILED}.{os.getpid()}")
    fresh.write_bytes(_digest(folder) + compiled)
    return fresh.replace(path)


def _read_compiled() -> Floor | None:
    compiled = _compiled_of(PHRASES)
    if compiled is None:
        return None
    floor: Floor = pickle.loads(compiled)
    return floor


def _compiled_of(folder: Path) -> bytes | None:
    """Return the package's compiled floor where it is that of the phrase files of ``folder``."""
    try:
        content = (PHRASES / COMPILED).read_bytes()
    except OSError:
        return None
    digest = _digest(folder)
    return content[len(digest) :] if content.startswith(digest) else None


def _digest(folder: Path) -> bytes:
    """Return a digest of the phrase files and of the code that reads them."""
    digest = hashlib.sha256(sys.version.encode())
    for path in (*sorted(folder.glob("*.yaml")), *sorted(Path(__file__).parent.glob("*.py"))):
        digest.update(hashlib.sha256(path.name.encode() + path.read_bytes()).digest())
    return digest.digest()


def read_folder(folder: Path) -> list[WrittenPhrases]:
    """Read every phrase file of ``folder``; the errors are those of ``load_floor``."""
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise StartupError(f"{folder}: holds no phrase file; put LANGUAGE.yaml there")
    files = [load_phrases(path) for path in paths]
    for path, file in zip(paths, files, strict=True):
        if path.stem != file.file.language:
            raise StartupError(f"{path}: line 1: the file of {file.file.language} must be {file.file.language}.yaml")
    return files


def _normalizer(files: Sequence[WrittenPhrases]) -> Normalizer:
    """Return what leaves out the fillers of all languages and reads the masked words of all.

    A filler of one language that is a word in the phrases or guards of another one stays: "no" says nothing in Polish,
    and everything in English. What is left out of a text thus depends on which files are loaded together: a folder with
    fewer files, or one file alone, may leave out more, and find more or less than the same file among all.
    """
    plain = Normalizer()
    own = [_spaced(plain, file.file.fillers, file) for file in files]
    used = [_words(plain, file) for file in files]
    words: set[str] = set()
    parts: set[str] = set()
    masks: dict[str, str] = {}
    for place, file in enumerate(files):
        others = [(own[other], used[other]) for other in range(len(files)) if other != place]
        is_free = file.file.boundaries == "none"
        kept = {one for one in own[place] if not any(_means_something(one, *other, is_free) for other in others)}
        (parts if is_free else words).update(kept)
        for letters in _spaced(plain, file.file.masked, file):
            for form in mask_forms(letters):
                masks[form] = min(masks.get(form, letters), letters, key=lambda one: (len(one), one))
    return Normalizer(Fillers(sorted(words), sorted(parts)) if words or parts else None, masks)


def _words(normalizer: Normalizer, file: WrittenPhrases) -> set[str]:
    """Return the words of a file's phrases and guards, normalised."""
    written = {word for one in (*file.phrases, *file.guards) for word in re.split(r"[\s()|]+", one.text) if word}
    return {piece.letters for piece in normalized_pieces(normalizer, sorted(written)) if piece}


def _means_something(filler: str, fillers: Sequence[str], words: set[str], is_free: bool) -> bool:
    """Say whether a language that has these fillers and words would lose one of its words with ``filler``."""
    if filler in fillers or not is_free:
        return filler in words and filler not in fillers
    return any(filler in word for word in words)


def _spaced(normalizer: Normalizer, texts: Sequence[str], file: WrittenPhrases) -> list[str]:
    """Return ``texts`` normalised, their words set apart by single spaces."""
    spaced = []
    for text, piece in zip(texts, normalized_pieces(normalizer, texts), strict=True):
        if piece is None or not piece.letters:
            raise file.phrases[0].line.refuse(f'the filler or masked word "{text}" holds no word')
        edges = [0, *piece.gaps, len(piece.letters)]
        spaced.append(" ".join(piece.letters[begin:end] for begin, end in pairwise(edges)))
    return spaced


def _standing(read: list[_Read]) -> Iterator[_Read]:
    """Yield the matches that no guard has turned, and that are no part of a longer one which a guard has turned.

    "Tried to kill myself", long ago and over, is not "kill myself" either.
    """
    reached = 0
    for one in sorted(read):
        if one.is_turned:
            reached = max(reached, -one.minus_end)
        elif -one.minus_end > reached:
            yield one


def _longest(found: list[Statement]) -> Iterator[Statement]:
    """Yield the statements that lie in no other one, in their order."""
    reached = -1
    for statement in sorted(found, key=lambda one: (one.start_char, -one.end_char, one.kind, one.language)):
        if statement.end_char > reached:
            reached = statement.end_char
            yield statement


def _check_duplicates(file: WrittenPhrases) -> None:
    """Refuse an entry that is there already: whose wordings another entry of few wordings has, or is written alike."""
    normalizer = _normalizer([file])
    seen: dict[str, WrittenPhrase] = {}
    for phrase in file.phrases:
        texts = wordings(phrase.phrase, _COMPARED) if phrase.phrase.count <= _COMPARED else []
        pieces = [piece.letters for piece in normalized_pieces(normalizer, texts) if piece] or [phrase.text]
        others = {seen.get(letters) for letters in pieces}
        other = next(iter(others)) if len(others) == 1 else None
        if other is not None:
            raise phrase.line.refuse(f'"{phrase.text}" is there already, in the entry of line {other.line.line}')
        seen.update({letters: phrase for letters in pieces if letters not in seen})


def _check_counter_examples(floor: Floor, file: WrittenPhrases) -> None:
    """Refuse phrases that find a statement in a counter-example of their language. All are read at once."""
    examples = file.counter_examples
    begins = np.cumsum([0, *(len(example.text) + len(_BREAK) for example in examples)])
    for statement in floor.find(_BREAK.join(example.text for example in examples)):
        example = examples[int(np.searchsorted(begins, statement.start_char, side="right")) - 1]
        if statement.language == file.file.language:
            raise example.line.refuse(
                f'the counter-example "{example.text}" is taken for a statement ({statement.kind})'
            )
