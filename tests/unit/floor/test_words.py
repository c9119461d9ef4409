from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from handlers.floor.normalize import Normalizer
from handlers.floor.words import MOST_DIFFERENT, MOST_LETTERS, WordPieces, Words
from tests.unit.floor.phrases import entry, floor_of, found

PLAIN = Normalizer()
PIECES = st.lists(st.text("abcé죽я", min_size=1, max_size=MOST_LETTERS), max_size=30)
TEXTS = st.text("abcdéя죽 .\n*1", max_size=60)


@given(PIECES, TEXTS)
def test_pieces_are_found_from_the_start_of_a_word_to_the_end_of_one(pieces: list[str], text: str) -> None:
    normalized = PLAIN.normalize(text)
    words, string = Words(normalized), normalized.string

    numbers, begins, stops = WordPieces("\n".join(pieces), 7).find(normalized, words)

    assert sorted(zip(numbers.tolist(), begins.tolist(), stops.tolist(), strict=True)) == sorted(
        (7 + number, begin, begin + len(piece))
        for number, piece in enumerate(pieces)
        for begin in range(len(string))
        if string.startswith(piece, begin) and words.starts[begin] and words.ends[begin + len(piece)]
    )


@given(TEXTS)
def test_words_are_those_of_the_text(text: str) -> None:
    normalized = PLAIN.normalize(text)
    words, size = Words(normalized), len(normalized.symbols)
    starts, ends, shared = normalized.starts, normalized.ends, normalized.shared

    assert [bool(one) for one in words.joins] == [
        not (place < size and shared[place] and place and not ends[place - 1])
        and not (place and shared[place - 1] and place < size and not starts[place])
        for place in range(size + 1)
    ]
    begins = np.repeat(np.arange(size + 1), size + 1)
    stops = np.tile(np.arange(size + 1), size + 1)
    kept = begins <= stops
    within = words.share_within(begins[kept], stops[kept])
    pairs = zip(begins[kept], stops[kept], strict=True)
    assert within.tolist() == [bool(shared[begin:stop].any()) for begin, stop in pairs]


def test_pieces_of_more_letters_than_a_key_tells_apart_are_searched_for() -> None:
    letters = [chr(0x561 + number) for number in range(38)] + [chr(0x10D0 + number) for number in range(33)]
    letters += [chr(0x1400 + number) for number in range(1, 300)]
    assert len(letters) > MOST_DIFFERENT
    words = [a + b for a, b in pairwise(letters)]
    floor = floor_of(*(entry(word) for word in words))

    assert found(floor, ", ".join(words)) == words
    assert found(floor, "x".join(words)) == []
