"""Where the words of a text start and end, and the short pieces of phrases that are looked up at its words.

A search for "to" or "die" finds them inside of other words nearly always. Pieces of so few letters that they count only
from the start of a word to the end of one are most of what a search would find in a calm text, and nearly all of it is
thrown away; they are looked up at the words instead, all at once.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from handlers.floor.normalize import STAR, Codes, Flags, Indexes, Normalized, codes_of

MOST_LETTERS: Final = 7
"""Of a piece that is looked up: its key holds a letter a byte, and one byte stays free."""
MOST_DIFFERENT: Final = 255
"""Letters that pieces may be of, since 0 stands for all others."""

_SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)
"""Multiplied with, keys that are alike differ in their highest bits (Knuth's multiplicative hashing)."""
_SHIFTS: Final = np.array([8 * (7 - last) for last in range(8)], dtype=np.uint64)
"""What is shifted out of eight letters to keep those up to the last one of a piece."""

Keys = NDArray[np.uint64]


class Words:
    """Where the words of a text start and end, and where they share a letter: quick to look up.

    Attributes:
        starts, ends: 1 by place; words end before a place, and so they do before the star of one that could not be
            read.
        joins: whether one word may end right before a place and another one start there, for all that they share.
        shared: 1 by place of letters that two words share.
        is_start, is_end, is_shared: of the symbols; a word ends with one.
    """

    def __init__(self, text: Normalized) -> None:
        self.is_start, self.is_shared = text.starts, text.shared
        is_end = text.ends.copy()
        is_end[:-1] |= text.symbols[1:] == ord(STAR)
        self.is_end: Flags = is_end
        self.starts = text.starts.tobytes() + b"\0"
        self.ends = b"\0" + is_end.tobytes()
        self.shared = text.shared.tobytes() + b"\0\0"
        # Not after a letter that the word before shares, unless a word starts, and not at one, unless a word ends.
        joins = np.ones(len(text.symbols) + 1, dtype=np.bool_)
        joins[1:-1] = (~text.shared[1:] | text.ends[:-1]) & (~text.shared[:-1] | text.starts[1:])
        self.joins = joins.tobytes()
        self._in_order = np.flatnonzero(text.shared)

    def share_within(self, begins: Indexes, stops: Indexes) -> Flags:
        """Return which stretches hold a letter that two words share."""
        if not len(self._in_order):
            return np.zeros(len(begins), dtype=np.bool_)
        within: Flags = np.searchsorted(self._in_order, begins) != np.searchsorted(self._in_order, stops)
        return within

    def fit(self, start: int, end: int, plain: int) -> bool:
        """Say whether words that start at the bits of ``plain`` are those of the text where these share a letter.

        "Is self" is no "I self": its "s" is the end of one word and the beginning of the next.
        """
        at = self.shared.find(1, start, end)
        while at >= 0:
            gap = at - start
            if (gap and plain >> gap & 1 and not self.ends[at]) or (
                at + 1 < end and plain >> gap + 1 & 1 and not self.starts[at + 1]
            ):
                return False
            at = self.shared.find(1, at + 1, end)
        return True


class WordPieces:
    """Pieces that are looked up from the starts of words to the ends of words.

    Args:
        pieces: each of at most ``MOST_LETTERS`` letters, set apart by line ends; numbered by their order.
        first: number of the first one.
    """

    def __init__(self, pieces: str, first: int) -> None:
        codes = codes_of(pieces)
        letters = np.unique(codes[codes != ord("\n")])
        # Of every letter its byte in a key; the last one is that of all letters beyond.
        self._bytes = np.zeros(int(letters[-1]) + 2 if len(letters) else 1, dtype=np.uint8)
        self._bytes[letters] = np.arange(1, len(letters) + 1)
        begins = np.flatnonzero(np.append(True, codes == ord("\n"))) if pieces else np.arange(0)
        sizes = np.diff(begins, append=len(codes) + 1) - 1
        keys = self._eights(self._bytes_of(codes), begins) >> _SHIFTS[sizes - 1]
        # Four buckets for a key, so that most of them are empty; those of one bucket are beside one another.
        bits = max(1, (4 * len(keys)).bit_length())
        self._shift = np.uint64(64 - bits)
        buckets = self._buckets(keys)
        order = np.argsort(buckets, kind="stable")
        self._keys, self._numbers = keys[order], order + first
        self._from = np.searchsorted(buckets[order], np.arange((1 << bits) + 1)).astype(np.int32)

    def find(self, text: Normalized, words: Words) -> tuple[Indexes, Indexes, Indexes]:
        """Return the pieces in ``text``: their numbers, where they begin and where they stop."""
        letters = self._bytes_of(text.symbols)
        begins = np.flatnonzero(words.is_start & (letters > 0))
        keys = self._eights(letters, begins)
        is_last = _windows(words.is_end, np.dtype(np.bool_), (len(words.is_end), 8))[begins]
        is_last[:, MOST_LETTERS:] = False
        stretches = np.flatnonzero(is_last)
        of, last = stretches >> 3, stretches & 7
        keys = keys[of] >> _SHIFTS[last]
        buckets = self._buckets(keys)
        at, stop = self._from[buckets], self._from[buckets + 1]
        left = np.flatnonzero(at < stop)
        at, stop, keys = at[left], stop[left], keys[left]
        places, numbers = [left[:0]], [self._numbers[:0]]
        while len(left):
            same = self._keys[at] == keys
            places.append(left[same])
            numbers.append(self._numbers[at[same]])
            at += 1
            more = at < stop
            at, stop, keys, left = at[more], stop[more], keys[more], left[more]
        found = np.concatenate(places)
        begins = begins[of[found]]
        return np.concatenate(numbers), begins, begins + last[found] + 1

    def _bytes_of(self, codes: Codes) -> NDArray[np.uint8]:
        letters: NDArray[np.uint8] = self._bytes[np.minimum(codes, len(self._bytes) - 1)]
        return letters

    def _eights(self, letters: NDArray[np.uint8], begins: Indexes) -> Keys:
        """Return the eight letters from each of ``begins`` on as one number, the first one highest."""
        return _windows(letters, np.dtype(">u8"), (len(letters),))[begins].astype(np.uint64)

    def _buckets(self, keys: Keys) -> NDArray[np.uint64]:
        buckets: NDArray[np.uint64] = (keys * _SPREAD) >> self._shift
        return buckets


def _windows(values: NDArray[Any], kind: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return a view of eight bytes from each place on; zeros follow the last one."""
    padded = np.concatenate((values, np.zeros(8, dtype=values.dtype)))
    return np.ndarray(shape, kind, padded, strides=(1,) * len(shape))
