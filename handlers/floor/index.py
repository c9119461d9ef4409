"""Finds phrases in a normalised text by their parts: many patterns at once (Aho and Corasick, 1975), in one pass."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, Final, Generic, NamedTuple, TypeVar

import numpy as np
from ahocorasick_rs import AhoCorasick
from numpy.typing import NDArray

from handlers.floor.alternatives import InvalidAlternatives, Part, Phrase, join, required_options, slots, without_empty
from handlers.floor.normalize import PARAGRAPH_END, SENTENCE_END, Flags, Indexes, Normalized, Normalizer
from handlers.floor.phrase_file import Written, WrittenGuard
from handlers.floor.words import MOST_DIFFERENT, MOST_LETTERS, WordPieces, Words

BREAK: Final = "\n\n"
"""Between texts that are normalised together: the end of a paragraph."""

_FREE_LETTERS: Final = MOST_LETTERS + 1
"""From so many letters on, a phrase is known however it is spaced; "kms" is not in "back, my son"."""

_FEW_LETTERS: Final = 6
"""With fewer letters, the rest of a phrase says too little."""


class Match(NamedTuple):
    start: int
    end: int
    owner: int


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
class Edges:
    """Where alone something is looked for, as one byte for each place in a text: before, and after a statement."""

    before: bytes
    after: bytes

    def part(self, begin: int, stop: int) -> Edges:
        """Return those of a part of the text."""
        return Edges(self.before[begin : stop + 2], self.after[begin : stop + 2])


class Index(Generic[_Owner]):
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
        short = {piece for piece in uses if flags[piece] & _START and flags[piece] & _END}
        letters = frozenset(sorted({letter for piece in short for letter in piece.letters})[:MOST_DIFFERENT])
        looked_up = {piece for piece in short if letters.issuperset(piece.letters)}
        ordered = sorted(uses, key=looked_up.__contains__)
        self._searched = len(ordered) - len(looked_up)
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
        self._automaton = AhoCorasick(letters[: self._searched], store_patterns=False)
        self._word_pieces = WordPieces("\n".join(letters[self._searched :]), self._searched)
        self._flag_array = np.frombuffer(self._flags, dtype=np.uint8)
        self._plain_array = np.frombuffer(self._plain, dtype=np.uint64)
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

    def matches(self, text: Normalized, edges: Edges | None = None) -> list[Match]:
        """Return where phrases stand, edges and spaces considered; positions are those of ``text.symbols``.

        Args:
            text: normalised.
            edges: where guards count that stand directly before or after a statement; everywhere, if left out.
        """
        found: dict[Match, None] = {}
        words = Words(text)
        starts, joins, shared = words.starts, words.joins, words.shared
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
        for number, start, end, has_to_fit in self._hits(text, words):
            flags = flags_of[number]
            is_next = flags & _LATER and (is_open[start] or is_open[start + 1])
            if not is_next and not flags & (_FIRST | _WHOLE):
                continue
            if has_to_fit and not words.fit(start, end, plain[number]):
                continue
            if is_next:
                # Where one part ends with the letter that the next one starts with, the two have become one.
                for at in (start, start + 1):
                    if not is_open[at] or not (joins[start] if at == start else shared[start]):
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
                                found[Match(begin, end, self._owner_of[branch])] = None
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
                        found[Match(start, end, self._owner_of[branch])] = None
        return list(found)

    def _hits(self, text: Normalized, words: Words) -> Iterator[tuple[int, int, int, bool]]:
        """Return where pieces stand that may matter, in the order of their ends.

        Returns:
            number, start and end of each, and whether it has words that must fit to letters which words share.
        """
        hits = self._automaton.find_matches_as_indexes(text.string, overlapping=True)
        searched = np.array(hits, dtype=np.int64).reshape(-1, 3).T
        looked_up = self._word_pieces.find(text, words)
        numbers, begins, stops = map(np.concatenate, zip(searched, looked_up, strict=True))
        flags = self._flag_array[numbers]
        matters = np.flatnonzero(self._is_reached(flags, begins, stops, words))
        if not len(matters):
            return zip((), (), (), (), strict=True)
        numbers, begins, stops = numbers[matters], begins[matters], stops[matters]
        # The longer ones first, as a word of one letter may follow what ends with the very same letter.
        order = np.lexsort((begins, stops))
        numbers, begins, stops = numbers[order], begins[order], stops[order]
        fits = (self._plain_array[numbers] != 0) & words.share_within(begins, stops)
        return zip(numbers.tolist(), begins.tolist(), stops.tolist(), fits.tolist(), strict=True)

    def _is_reached(self, flags: NDArray[np.uint8], begins: Indexes, stops: Indexes, words: Words) -> Flags:
        """Return which pieces stand on the edges that they need, beside others that they may belong to."""
        fit = (flags & _START == 0) | words.is_start[begins]
        fit &= (flags & _END == 0) | words.is_end[stops - 1]
        is_first, is_later = fit & (flags & _FIRST != 0), fit & (flags & _LATER != 0)
        # Where the last letter of a part is the first one of the next, the two have become one.
        is_begun = np.zeros(len(words.is_start) + 2, dtype=np.bool_)
        is_begun[begins[is_later]] = True
        is_begun[1:-1] |= is_begun[:-2] & words.is_shared
        goes_on = is_begun[stops]
        is_open = np.zeros(len(words.is_start) + 2, dtype=np.bool_)
        is_open[stops[(is_first | is_later) & goes_on]] = True
        is_open[:-2] |= is_open[1:-1] & words.is_shared
        reached: Flags = (fit & (flags & _WHOLE != 0)) | (is_first & goes_on) | (is_later & is_open[begins])
        return reached

    def _following(self, first: int, number: int, known: dict[tuple[int, int], Sequence[int]]) -> Sequence[int]:
        """Return the uses of a piece as the second part of what begins with the piece ``first``."""
        if (first, number) not in known:
            uses, begin, end = self._uses, self._first_from[first], self._later_from[first]
            later, stop = self._later_from[number], self._from[number + 1]
            # Branches and uses are in order: the fewer ones are looked up among the others.
            if end - begin < stop - later:
                wanted = [branch * _PLACES + 1 for branch in uses[begin:end]]
                known[first, number] = [use for use in wanted if _holds(uses, use, later, stop)]
            else:
                seconds = [use for use in uses[later:stop] if use % _PLACES == 1]
                known[first, number] = [use for use in seconds if _holds(uses, use // _PLACES, begin, end)]
        return known[first, number]

    def _going_on(self, going: Mapping[int, list[int]], number: int) -> list[tuple[int, Sequence[int]]]:
        """Return the uses of a piece that phrases have come to, and where these began."""
        uses, later, stop = self._uses, self._later_from[number], self._from[number + 1]
        if len(going) < stop - later:
            return [(use, begins) for use, begins in going.items() if _holds(uses, use, later, stop)]
        return [(use, going[use]) for use in uses[later:stop] if use in going]

    def _is_free(self, number: int, branch: int) -> bool:
        """Say whether a phrase may stand inside of words: where the language sets no spaces, unless it is Latin."""
        return not self._flags[number] & _ASCII and self._boundaries[self._owner_of[branch]] == "none"

    def _may_start(self, number: int, branch: int, starts: bytes, start: int) -> bool:
        return bool(starts[start] or self._flags[number] & _DIGIT) or self._is_free(number, branch)

    def _may_end(self, number: int, branch: int, words: Words, start: int, end: int) -> bool:
        flags = self._flags[number]
        if not flags & _ASCII:
            boundaries = self._boundaries[self._owner_of[branch]]
            if boundaries == "none" or (boundaries == "start" and not words.ends[end]):
                return boundaries == "none" or self._are_gaps_known(number, branch, words, start, end)
        return bool(words.ends[end]) and self._are_gaps_known(number, branch, words, start, end)

    def _are_gaps_known(self, number: int, branch: int, words: Words, start: int, end: int) -> bool:
        size = end - start
        if size >= _FREE_LETTERS or self._last_of[branch]:  # of several parts, which all end with a word
            return True
        gaps = {gap for gap in range(1, size) if words.starts[start + gap]}
        if not words.ends[end - 1]:
            gaps.discard(size - 1)  # its last letter is the first one of the next word as well
        return all(self._gaps[number] >> gap & 1 for gap in gaps) or len(gaps) == size - 1


_KEPT: Final = frozenset(
    {
        *("_owner_of", "_last_of", "_letters", "_searched", "_gaps", "_plain", "_flags"),
        *("_uses", "_from", "_first_from", "_later_from"),
    }
)
"""What an index keeps when it is compiled."""


def _holds(numbers: Sequence[int], number: int, begin: int, end: int) -> bool:
    """Say whether ``numbers``, in order from ``begin`` to ``end``, hold ``number`` there."""
    place = bisect_left(numbers, number, begin, end)
    return place < end and numbers[place] == number


def _bits(places: Iterable[int]) -> int:
    """Return a number with these bits set; phrases are of few letters, and what lies beyond is not looked at."""
    return sum(1 << place for place in places) & _MASK


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
    whole = normalizer.normalize(BREAK.join(texts))
    begins = np.cumsum([0, *(len(text) + len(BREAK) for text in texts)])
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
