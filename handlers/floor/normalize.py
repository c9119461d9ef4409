"""One form for texts and phrases: letters alone, however they were typed, with the way back to the text.

Compatibility forms and case are folded (Unicode NFKD and case folding), Latin accents and Arabic vowel marks dropped,
look-alike digits inside words read as letters, repeated letters collapsed, spaces and punctuation left out. What stays
besides letters and digits are the ends of sentences and paragraphs, so that no phrase reaches across one.

Everything is done on arrays of code points, so that a text costs the same per character however long it is, and no
word of it is kept anywhere.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

import numpy as np
from ahocorasick_rs import AhoCorasick
from numpy.typing import NDArray

Codes = NDArray[np.uint32]
Indexes = NDArray[np.int64]
Flags = NDArray[np.bool_]

SENTENCE_END: Final = "\n"
PARAGRAPH_END: Final = "\f"
STAR: Final = "*"
"""A masked letter, as in ``k*ll``, before ``Masks`` has read it."""

_STRONG: Final = "\x01"
"""Ends a sentence whatever follows."""
_SOFT: Final = ","
"""Any punctuation that ends nothing."""
_TABLE_SIZE: Final = 0x20000
"""Code points with a row of their own; those above are rare ideographs, emoji parts and tags."""

_DELETED: Final = frozenset("'’‘‛ʼʻ`´＇′ーـ\u093c")
"""Apostrophes, the long-vowel mark of kana, the Arabic tatweel, the nukta."""
_STRONG_MARKS: Final = frozenset("。！？｡।॥۔")
_KEPT: Final[Mapping[str, str]] = {
    "\n": "\n",
    "\x0b": "\f",
    "\x0c": "\f",
    "\u2028": "\n",
    "\u2029": "\f",
    "\x85": "\n",
    ".": ".",
    "!": "!",
    "?": "?",
    "؟": "?",
    "*": STAR,
    "#": STAR,
    "@": "@",
    "$": "$",
    "|": "|",
    **dict.fromkeys(_STRONG_MARKS, _STRONG),
}
_FOLDED: Final[Mapping[str, str]] = {
    # Letters whose plain form Unicode does not name.
    **{"ł": "l", "ø": "o", "đ": "d", "ı": "i", "æ": "ae", "œ": "oe", "ð": "d", "þ": "th"},
    # Arabic letters that are written for one another; hamza forms lose their hamza as a mark.
    **{"ى": "ي", "ة": "ه", "ی": "ي", "ک": "ك", "ٱ": "ا"},
    # Candrabindu and anusvara.
    "\u0901": "\u0902",
    # Cyrillic letters that stand in for Latin ones.
    **dict(zip("аеорсухіѕј", "aeopcyxisj", strict=True)),
}
_KEPT_MARKS: Final = frozenset("\u3099\u309a")
"""Voicing marks of kana, which make another letter."""

_ASCII_LETTER, _OTHER_LETTER, _DIGIT, _LOOKALIKE, _SPACE, _END_MARK, _MASKED = (1 << bit for bit in range(7))
_LETTER: Final = _ASCII_LETTER | _OTHER_LETTER
_LOOKALIKES: Final[Mapping[str, str]] = {
    "0": "o",
    "3": "e",
    "4": "a",
    "5": "s",
    "7": "t",
    "@": "a",
    "$": "s",
    "1": "i",
    "!": "i",
    "|": "i",
}
_ONES: Final = "1!|"
"""Read as ``i`` or as ``l``."""

_NONE: Final = 0xFFFFFFFE
"""In the place of the symbol of a character that has none; one more, of one that has several."""

Ones = Literal["i", "l"]


@dataclass(frozen=True, slots=True)
class Normalized:
    """A text in its one form; all arrays are of one length.

    Attributes:
        symbols: code points of letters, digits, ``SENTENCE_END`` and ``PARAGRAPH_END``.
        first, last: index in the text of the first and the last character that a symbol stands for.
        starts, ends: whether a word of the text starts or ends with it.
        shared: whether it is the last letter of one word and the first one of the next, alike and so collapsed.
        has_ones: whether look-alikes were read that may be another letter (``Ones``).
    """

    symbols: Codes
    first: Indexes
    last: Indexes
    starts: Flags
    ends: Flags
    shared: Flags
    has_ones: bool

    def part(self, begin: int, stop: int) -> Normalized:
        """Return the symbols from ``begin`` to ``stop``; the characters are still those of the whole text."""
        return Normalized(
            self.symbols[begin:stop],
            self.first[begin:stop],
            self.last[begin:stop],
            self.starts[begin:stop],
            self.ends[begin:stop],
            self.shared[begin:stop],
            self.has_ones,
        )

    @property
    def string(self) -> str:
        """The symbols as a string."""
        return _string(self.symbols)


@dataclass(frozen=True, slots=True)
class _Symbols:
    codes: Codes
    first: Indexes
    last: Indexes

    def at(self, places: Indexes) -> _Symbols:
        return _Symbols(self.codes[places], self.first[places], self.last[places])


class Normalizer:
    """Brings texts into one form.

    Args:
        fillers: finds words that are left out, in words set apart by single spaces; see ``Fillers``.
        masks: words that are read where they are masked, by their masked form.
    """

    def __init__(self, fillers: Fillers | None = None, masks: Mapping[str, str] | None = None) -> None:
        self._fillers, self._masks = fillers, masks or {}

    def normalize(self, text: str, ones: Ones = "i") -> Normalized:
        """Return ``text`` in its one form.

        Args:
            text: any string, unpaired surrogates included.
            ones: what ``1``, ``!`` and ``|`` inside words are read as.
        """
        symbols, has_ones = _read_lookalikes(_fold(text), ones)
        if ((symbols.codes == ord(STAR)) | (symbols.codes == ord("|"))).any():  # signs that are collapsed like letters
            symbols = self._read_masks(_drop_edge_stars(_collapse(symbols)))
        return self._join(_separate(symbols), has_ones)

    def _read_masks(self, symbols: _Symbols) -> _Symbols:
        stars = np.flatnonzero(symbols.codes == ord(STAR))
        if not len(stars) or not self._masks:
            return symbols
        gaps = np.flatnonzero(_classes(symbols.codes) & _LETTER == 0)
        gaps = gaps[symbols.codes[gaps] != ord(STAR)]
        edges = np.concatenate(([-1], gaps, [len(symbols.codes)]))
        words = np.unique(np.searchsorted(edges, stars))
        return _replace(symbols, [(int(edges[word - 1]) + 1, int(edges[word])) for word in words], self._masks)

    def _join(self, symbols: _Symbols, has_ones: bool) -> Normalized:
        """Leave out fillers and spaces, and collapse letters that meet by it."""
        codes = symbols.codes
        is_gap = codes < ord("0")
        starts, ends = ~is_gap, ~is_gap
        starts[1:] &= is_gap[:-1]
        ends[:-1] &= is_gap[1:]
        keep = codes != ord(" ")
        if self._fillers is not None:
            self._fillers.drop(codes, is_gap, keep)
        places = np.flatnonzero(keep)
        codes = codes[places]
        repeated = _repeated(codes)
        starts, ends = starts[places], ends[places]
        shared = np.zeros(len(places), dtype=np.bool_)
        if not len(repeated):
            return Normalized(codes, symbols.first[places], symbols.last[places], starts, ends, shared, has_ones)
        new = np.ones(len(places), dtype=np.bool_)
        new[repeated] = False
        begin = np.flatnonzero(new)
        at = begin[np.searchsorted(begin, repeated, side="right") - 1]
        shared[at[starts[repeated]]] = True
        ends[at[ends[repeated]]] = True
        starts |= shared
        last = symbols.last[places]
        last[at] = last[repeated]
        return Normalized(
            codes[begin], symbols.first[places[begin]], last[begin], starts[begin], ends[begin], shared[begin], has_ones
        )


class Fillers:
    """Words that change nothing, such as "really": found so that they can be left out.

    Args:
        words: as ``Normalizer.normalize`` gives them, words of one filler set apart by single spaces.
        parts: the same of languages that set no spaces: found within words too.
    """

    def __init__(self, words: list[str], parts: list[str]) -> None:
        self._words, self._parts = words, parts
        self._automaton = AhoCorasick([*(f" {word} " for word in words), *parts])

    def __getstate__(self) -> tuple[list[str], list[str]]:
        """Return what it was made of."""
        return self._words, self._parts

    def __setstate__(self, state: tuple[list[str], list[str]]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def drop(self, codes: Codes, is_gap: Flags, keep: Flags) -> None:
        """Take out of ``keep`` which of ``codes`` belong to a filler; none reaches across the end of a sentence."""
        spaced = codes.copy()
        spaced[is_gap] = ord(" ")
        hits = self._automaton.find_matches_as_indexes(f" {_string(spaced)} ", overlapping=True)
        if not hits:
            return
        found = np.array(hits, dtype=np.int64)
        is_word = found[:, 0] < len(self._words)
        # The string has one space more at its beginning; of a word, the spaces around it stay.
        begins, stops = found[:, 1] - 1 + is_word, found[:, 2] - 1 - is_word
        breaks = np.flatnonzero(is_gap & keep)
        is_whole = np.searchsorted(breaks, begins) == np.searchsorted(breaks, stops)  # no sentence ends within it
        begins, sizes = begins[is_whole], (stops - begins)[is_whole]
        # All places of all of them: each one's first, as often as it has letters, and how many came before in it.
        places = np.repeat(begins - np.cumsum(sizes) + sizes, sizes) + np.arange(int(sizes.sum()))
        keep[places[~is_gap[places]]] = False


def mask_forms(word: str) -> list[str]:
    """Return how ``word``, normalised, is masked: letters between the first and the last become one star or two."""
    inner = range(1, len(word) - 1)
    one = {word[:begin] + STAR + word[end:] for begin in inner for end in range(begin + 1, len(word))}
    two = {word[:a] + STAR + word[a + 1 : b] + STAR + word[b + 1 :] for a in inner for b in inner if b > a + 1}
    return sorted(one | two)


def _replace(symbols: _Symbols, words: list[tuple[int, int]], masks: Mapping[str, str]) -> _Symbols:
    """Write the words of ``masks`` in the place of their masked forms; other stars become punctuation."""
    codes, first, last = [], [], []
    done = 0
    for begin, end in words:
        word = masks.get(_string(symbols.codes[begin:end]))
        codes += [symbols.codes[done:begin]]
        first += [symbols.first[done:begin]]
        last += [symbols.last[done:begin]]
        if word is None:
            plain = symbols.codes[begin:end].copy()
            plain[plain == ord(STAR)] = ord(_SOFT)
            codes.append(plain)
            first.append(symbols.first[begin:end])
            last.append(symbols.last[begin:end])
        else:
            codes.append(codes_of(word))
            first.append(np.full(len(word), symbols.first[begin]))
            last.append(np.full(len(word), symbols.last[end - 1]))
        done = end
    codes.append(symbols.codes[done:])
    first.append(symbols.first[done:])
    last.append(symbols.last[done:])
    return _Symbols(np.concatenate(codes), np.concatenate(first), np.concatenate(last))


def _fold(text: str) -> _Symbols:
    table = _table()
    rows = codes_of(text)
    if len(text) and not text.isascii():
        rows = np.minimum(rows, _TABLE_SIZE)
    codes = table.single[rows]
    others = np.flatnonzero(codes >= _NONE)
    if not len(others):
        source = np.arange(len(codes))
    elif (codes[others] == _NONE).all():
        keep = codes != _NONE
        source = np.flatnonzero(keep)
        codes = codes[source]
    else:
        counts = table.counts[rows]
        source = np.repeat(np.arange(len(rows)), counts)
        # Where each character's symbols begin in the pool, less where they begin in the result.
        shift = table.offsets[rows] - (np.cumsum(counts) - counts)
        codes = table.pool[shift[source] + np.arange(len(source))]
    return _Symbols(codes, source, source)


def _read_lookalikes(symbols: _Symbols, ones: Ones) -> tuple[_Symbols, bool]:
    """Read digits and signs that touch letters as the letters that they look like."""
    codes = symbols.codes
    classes = _classes(codes)
    looks = np.flatnonzero(classes & _LOOKALIKE)
    if not len(looks):
        return symbols, False
    before = np.where(looks > 0, classes[looks - 1], 0) & _ASCII_LETTER != 0
    after = classes[np.minimum(looks + 1, len(codes) - 1)] & _ASCII_LETTER != 0  # the last one is no letter itself
    signs = codes[looks]
    is_digit = classes[looks] & _DIGIT != 0
    is_sharp = (signs == ord("@")) | (signs == ord("$"))
    read = np.where(is_sharp, after, before & after)
    read[is_digit] = _touch_letters(codes, classes, looks[is_digit])
    looks, signs = looks[read], signs[read]
    if not len(looks):
        return symbols, False
    letters = _LOOKALIKE_LETTERS[signs]
    is_one = np.isin(signs, codes_of(_ONES))
    letters[is_one] = ord(ones)
    codes = codes.copy()
    codes[looks] = letters
    return _Symbols(codes, symbols.first, symbols.last), bool(is_one.any())


def _touch_letters(codes: Codes, classes: NDArray[np.uint8], places: Indexes) -> Flags:
    """Say of ``places`` whether the unbroken run of letters, digits and stars around each holds an ASCII letter."""
    breaks = np.flatnonzero((classes & (_ASCII_LETTER | _DIGIT) == 0) & (codes != ord(STAR)))
    run = np.searchsorted(breaks, places)
    letters = np.flatnonzero(classes & _ASCII_LETTER)
    edges = np.concatenate(([-1], breaks, [len(codes)]))
    touch: Flags = np.searchsorted(letters, edges[run]) != np.searchsorted(letters, edges[run + 1])
    return touch


def _collapse(symbols: _Symbols) -> _Symbols:
    repeated = _repeated(symbols.codes)
    if not len(repeated):
        return symbols
    new = np.ones(len(symbols.codes), dtype=np.bool_)
    new[repeated] = False
    begin = np.flatnonzero(new)
    return _Symbols(symbols.codes[begin], symbols.first[begin], _last_of(symbols.last, begin))


def _last_of(last: Indexes, begin: Indexes) -> Indexes:
    """Return the last entry of each run that starts at ``begin``; ``last`` never falls."""
    ended: Indexes = last[np.append(begin[1:], len(last)) - 1] if len(begin) else last[:0]
    return ended


def _repeated(codes: Codes) -> Indexes:
    """Return the places of symbols that repeat the letter or star before them."""
    same = np.flatnonzero(codes[1:] == codes[:-1]) + 1
    repeated: Indexes = same[(codes[same] >= ord("a")) | (codes[same] == ord(STAR))]
    return repeated


def _drop_edge_stars(symbols: _Symbols) -> _Symbols:
    """Keep the stars that stand between letters; the others are emphasis or bullets."""
    stars = symbols.codes == ord(STAR)
    if not stars.any():
        return symbols
    letter = _classes(symbols.codes) & _LETTER != 0
    inside = np.concatenate(([False], letter[:-1])) & np.concatenate((letter[1:], [False]))
    codes = np.where(stars & ~inside, np.uint32(ord(_SOFT)), symbols.codes)
    return _Symbols(codes, symbols.first, symbols.last)


def _separate(symbols: _Symbols) -> _Symbols:
    """Put one space, end of sentence or end of paragraph between two words, in the place of all that stands there.

    Repeated letters are collapsed.
    """
    codes = symbols.codes.copy()
    classes = _classes(codes)
    gap = classes & (_LETTER | _DIGIT | _MASKED) == 0
    gaps = np.flatnonzero(gap)
    begins = np.append(True, gaps[1:] != gaps[:-1] + 1)[: len(gaps)]
    marks = np.full(int(np.count_nonzero(begins)), ord(" "), dtype=np.uint32)
    signs = codes[gaps]
    between = np.flatnonzero(signs != ord(" "))
    if len(between):
        signs = signs[between]
        runs = (np.cumsum(begins) - 1)[between]
        marks[runs[_ends_sentence(codes, classes, gaps[between])]] = ord(SENTENCE_END)
        lines = runs[signs == ord("\n")]
        marks[lines[1:][lines[1:] == lines[:-1]]] = ord(PARAGRAPH_END)
        marks[runs[signs == ord("\f")]] = ord(PARAGRAPH_END)
    repeated = _repeated(codes)
    codes[gaps[begins]] = marks
    keep = ~gap
    keep[gaps[begins]] = True
    keep[repeated] = False
    places = np.flatnonzero(keep)
    last = symbols.last[places]
    last[np.searchsorted(places, repeated) - 1] = symbols.last[repeated]
    return _Symbols(codes[places], symbols.first[places], last)


def _ends_sentence(codes: Codes, classes: NDArray[np.uint8], gaps: Indexes) -> Flags:
    """Return which marks at ``gaps`` end a sentence: before a space or the end; dots, where they are no ellipsis."""
    dot = ord(".")
    mark, after, before = codes[gaps], np.minimum(gaps + 1, len(codes) - 1), np.maximum(gaps - 1, 0)
    is_last, is_first = gaps == len(codes) - 1, gaps == 0
    followed = np.where(is_last, np.uint8(_SPACE), classes[after])
    is_alone = ((codes[after] != dot) | is_last) & ((codes[before] != dot) | is_first)
    is_dot = (mark == dot) & is_alone & (followed & _SPACE != 0)
    is_mark = (classes[gaps] & _END_MARK != 0) & (followed & (_SPACE | _OTHER_LETTER) != 0)
    ended: Flags = is_dot | is_mark | (mark == ord(_STRONG))
    return ended


def codes_of(text: str) -> Codes:
    """Return the code points of a string."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def _string(codes: Codes) -> str:
    return codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


def _classes(codes: Codes) -> NDArray[np.uint8]:
    classes: NDArray[np.uint8] = _CLASSES[np.minimum(codes, 128)]
    return classes


def _class_table() -> NDArray[np.uint8]:
    classes = np.zeros(129, dtype=np.uint8)
    classes[ord("a") : ord("z") + 1] = _ASCII_LETTER
    classes[ord("0") : ord("9") + 1] = _DIGIT
    classes[128] = _OTHER_LETTER
    for sign in _LOOKALIKES:
        classes[ord(sign)] |= _LOOKALIKE
    for sign in " \n\f":
        classes[ord(sign)] |= _SPACE
    for sign in "!?":
        classes[ord(sign)] |= _END_MARK
    classes[ord(STAR)] |= _MASKED
    return classes


_CLASSES: Final = _class_table()
_LOOKALIKE_LETTERS: Final = np.array(
    [ord(_LOOKALIKES.get(chr(code), chr(code))) for code in range(128)], dtype=np.uint32
)


@dataclass(frozen=True, slots=True)
class _Table:
    """The symbols of every character: ``pool[offset : offset + count]``, and ``single`` where it is one."""

    single: Codes
    offsets: Indexes
    counts: Indexes
    pool: Codes


@cache
def _table() -> _Table:
    rows = [_symbols_of(chr(code)) for code in range(_TABLE_SIZE)]
    rows.append("\U0001ffff")  # of every character above: a letter that no phrase holds
    counts = np.array([len(row) for row in rows], dtype=np.int64)
    offsets, pool = np.cumsum(counts) - counts, codes_of("".join(rows))
    single = np.where(counts == 1, pool[np.minimum(offsets, len(pool) - 1)], np.uint32(_NONE))
    single[counts > 1] += 1
    return _Table(single, offsets, counts, pool)


def _symbols_of(char: str) -> str:
    if char in _KEPT:
        return _KEPT[char]
    if char in _DELETED:
        return ""
    if "\u3400" <= char <= "\u9fff":
        return char
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", char).casefold())
    return "".join(_symbol(part) for part in folded)


def _symbol(char: str) -> str:
    if char in _KEPT:
        return _KEPT[char]
    category = unicodedata.category(char)
    if char in _DELETED or category == "Cf" or (category in ("Mn", "Me") and not _is_kept_mark(char)):
        return ""
    if category[0] in "LM":
        return _FOLDED.get(char) or _hiragana(char)
    if category == "Nd":
        return str(unicodedata.decimal(char))
    return " " if category[0] in "ZC" else _SOFT


def _is_kept_mark(char: str) -> bool:
    return char in _KEPT_MARKS or "\u0900" <= char <= "\u097f"


def _hiragana(char: str) -> str:
    return chr(ord(char) - 0x60) if "\u30a1" <= char <= "\u30f6" else char
