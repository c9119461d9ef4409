"""The texts that every server gets: exact in tokens, of every class alike, and the same for the same seed."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.errors import BenchmarkError
from benchmarks.peers.workload import CLASSES, TextWriter, build_workload
from export.checkpoint import load_tokenizer
from export.random_base import SMALL

TOKENIZER = load_tokenizer(SMALL)
WRITER = TextWriter(TOKENIZER)


@settings(derandomize=True, deadline=None, max_examples=10)
@given(tokens=st.integers(3, 4096), seed=st.integers(0, 9))
def test_a_text_has_exactly_the_tokens_that_were_asked_for(tokens: int, seed: int) -> None:
    text = WRITER.write(tokens, random.Random(seed))

    assert len(TOKENIZER(text)["input_ids"]) == tokens


def test_every_class_has_as_many_texts_within_its_bounds() -> None:
    texts = build_workload(WRITER.write, 12, seed=5)

    assert Counter(text.kind for text in texts) == {"chat": 4, "journal": 4, "history": 4}
    bounds = {kind.name: (kind.first, kind.last) for kind in CLASSES}
    assert all(bounds[text.kind][0] <= text.tokens <= bounds[text.kind][1] for text in texts)
    assert all(len(TOKENIZER(text.text)["input_ids"]) == text.tokens for text in texts)


def test_lengths_are_spread_over_the_whole_class() -> None:
    histories = sorted(text.tokens for text in build_workload(lambda *_: "", 12, seed=5) if text.kind == "history")

    quarter = (4096 - 1500 + 1) / 4
    assert [int((tokens - 1500) / quarter) for tokens in histories] == [0, 1, 2, 3]


def test_the_same_seed_gives_the_same_texts_in_the_same_order_and_another_gives_others() -> None:
    first, again, other = (build_workload(WRITER.write, 6, seed) for seed in (1, 1, 2))

    assert first == again
    assert [text.text for text in first] != [text.text for text in other]
    assert [text.kind for text in build_workload(lambda *_: "", 30, 1)] != sorted(["chat", "journal", "history"] * 10)


def test_a_count_that_does_not_divide_into_the_classes_is_refused() -> None:
    with pytest.raises(BenchmarkError, match="10 texts do not divide into 3 classes"):
        build_workload(WRITER.write, 10, seed=1)


def test_a_tokenizer_that_counts_otherwise_is_an_error_and_no_wrong_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = TextWriter(TOKENIZER)
    monkeypatch.setattr(writer, "_words", ["unquestionablyxyz"])

    with pytest.raises(BenchmarkError, match="a text of 5 tokens was to be written, but the tokenizer counts"):
        writer.write(5, random.Random(0))
