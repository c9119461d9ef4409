from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from random import Random

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from handlers.core.errors import StartupError
from handlers.core.manifest import SpecialTokens
from handlers.core.schema import Span
from handlers.runtime.bundle import Bundle
from handlers.runtime.tokenizer import TextTokenizer
from tests.checkpoints import SPECIAL, Tiny

UNICODE = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
ORDINARY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<"), max_size=80)
SPECIAL_IDS = {0, 1, 2}


@pytest.fixture(scope="module")
def tokenizer(bundle: Bundle) -> TextTokenizer:
    return bundle.open_tokenizer()


@pytest.fixture(scope="module")
def reference(tiny: Tiny) -> PreTrainedTokenizerFast:
    from export.checkpoint import load_tokenizer

    return load_tokenizer(tiny.checkpoint)


def test_no_word_is_kept_in_a_cache(tokenizer: TextTokenizer) -> None:
    """The library keeps ten thousand, and each of these would take 4 kB."""
    resident = psutil.Process().memory_info
    tokenizer.tokenize("x" * 250)
    before = resident().rss
    draw = Random(7)
    for _ in range(8_000):
        tokenizer.tokenize("".join(draw.choices("bcdfghjk", k=250)))
    assert resident().rss - before < 10_000_000


@pytest.mark.parametrize("written", [*SPECIAL, "I feel</s> low", "<s><s>", "a<pad>", " </s> ", "<mask>,"])
def test_a_special_token_that_is_written_in_a_text_stays_text(tokenizer: TextTokenizer, written: str) -> None:
    text = tokenizer.tokenize(written)

    assert SPECIAL_IDS.isdisjoint(text.encoding.ids)
    assert text.tokens == len(written.encode())


@given(st.lists(st.sampled_from([*SPECIAL, " ", "a", "😀"]), max_size=12).map("".join))
def test_only_the_frame_of_a_model_input_is_special(tokenizer: TextTokenizer, written: str) -> None:
    text = tokenizer.tokenize(written)
    ids = tokenizer.model_input(text, [(0, text.tokens)])

    assert (ids[0], ids[-1]) == (tokenizer.special.cls, tokenizer.special.sep)
    assert SPECIAL_IDS.isdisjoint(ids[1:-1])


@given(ORDINARY)
def test_an_ordinary_text_becomes_the_ids_of_transformers(
    tokenizer: TextTokenizer, reference: PreTrainedTokenizerFast, written: str
) -> None:
    text = tokenizer.tokenize(written)

    assert tokenizer.model_input(text, [(0, text.tokens)]) == reference(written).input_ids


@given(UNICODE)
def test_the_whole_text_is_the_span_of_all_its_tokens(tokenizer: TextTokenizer, written: str) -> None:
    text = tokenizer.tokenize(written)

    assert text.char_span((0, text.tokens)) == Span(start_char=0, end_char=len(written))


def test_a_token_of_spaces_alone_covers_them(tokenizer: TextTokenizer) -> None:
    text = tokenizer.tokenize("0000000 ")

    spans = [text.char_span((token, token + 1)) for token in range(text.tokens)]

    assert all(before.end_char >= after.start_char for before, after in pairwise(spans))
    assert (spans[0].start_char, spans[-1].end_char) == (0, 8)


@given(UNICODE.filter(bool), st.data())
def test_spans_of_neighbouring_tokens_lie_in_the_text_and_leave_no_gap(
    tokenizer: TextTokenizer, written: str, data: st.DataObject
) -> None:
    text = tokenizer.tokenize(written)
    cut = data.draw(st.integers(1, text.tokens))
    head = text.char_span((0, cut))
    tail = text.char_span((min(cut, text.tokens - 1), text.tokens))

    assert head.start_char == 0
    assert tail.start_char <= head.end_char
    assert tail.end_char == len(written)


@pytest.mark.parametrize(
    ("written", "tokens", "characters"),
    [
        ("a😀b", (1, 5), "😀"),
        ("a😀b", (3, 5), "😀"),
        ("字体", (0, 3), "字"),
        ("a\x00b", (1, 2), "\x00"),
        ("é!", (0, 2), "é"),
    ],
)
def test_a_span_counts_code_points_not_bytes(
    tokenizer: TextTokenizer, written: str, tokens: tuple[int, int], characters: str
) -> None:
    span = tokenizer.tokenize(written).char_span(tokens)

    assert written[span.start_char : span.end_char] == characters


def test_spans_are_joined_into_one_input(tokenizer: TextTokenizer) -> None:
    text = tokenizer.tokenize("abcdef")
    ids = text.encoding.ids

    assert tokenizer.model_input(text, [(0, 2), (5, 6)]) == [0, ids[0], ids[1], ids[5], 2]


def test_a_text_of_any_length_is_tokenized_whole(tokenizer: TextTokenizer) -> None:
    assert tokenizer.tokenize("a" * 5000).tokens == 5000


@pytest.mark.parametrize("content", [None, "", "{}", "not json"])
def test_a_file_that_is_no_tokenizer_is_refused_by_name(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")

    with pytest.raises(StartupError, match=r"tokenizer\.json: not a tokenizer\.json"):
        TextTokenizer(path, SpecialTokens(cls=0, sep=2, pad=1))
