from __future__ import annotations

from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.floor.alternatives import (
    MAX_PART,
    InvalidAlternatives,
    join,
    parse,
    required_options,
    slots,
    without_empty,
    wordings,
)


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        ("i want to die", ["i want to die"]),
        ("i (want|wish) to die", ["i want to die", "i wish to die"]),
        ("i (really|) want", ["i really want", "i want"]),
        ("(a|b (c|d)) e", ["a e", "b c e", "b d e"]),
        ("suicid(e|al)", ["suicide", "suicidal"]),
        ("(a)", ["a"]),
        ("a b|c", ["a b", "c"]),
        ("(|)", [""]),
    ],
)
def test_a_phrase_stands_for_its_wordings(phrase: str, expected: list[str]) -> None:
    assert wordings(parse(phrase), 100) == expected


@pytest.mark.parametrize(
    ("phrase", "message"),
    [
        ("a (b", "is not closed"),
        ("a b)", "was not opened"),
        ("(a|b)" * 100, "far too many"),
    ],
)
def test_what_does_not_fit_is_refused(phrase: str, message: str) -> None:
    with pytest.raises(InvalidAlternatives, match=message):
        parse(phrase)


def test_short_alternatives_without_end_are_refused() -> None:
    branch = slots(parse("x" + "(a|b|c|d|e|f)" * 12))[0]

    with pytest.raises(InvalidAlternatives, match="split it"):
        join(branch, {text: len(text) for slot in branch for text in slot}, spaced=True)


words = st.sampled_from(["kill", "want to", "die", "my", "a", "self", "living", "of", "ending it"])
choices = st.lists(words | st.just(""), min_size=1, max_size=5).map(lambda some: f"({'|'.join(some)})")
nested = st.tuples(choices, words, choices).map(lambda three: f"({three[0]} {three[1]}|{three[2]})")
phrases = st.lists(words | choices | nested, min_size=1, max_size=6).map(" ".join)


@given(phrases)
def test_parts_stand_for_the_same_wordings(phrase: str) -> None:
    parsed = parse(phrase)
    letters = {text: len(text.replace(" ", "")) for branch in slots(parsed) for slot in branch for text in slot}

    parts = [parts for branch in slots(parsed) for parts in join(branch, letters, spaced=True)]

    rebuilt = {" ".join("".join(one).split()) for branch in parts for one in product(*branch)}
    assert rebuilt == set(wordings(parsed, 10**6))


@given(phrases)
def test_parts_are_few_wordings_and_end_with_a_word(phrase: str) -> None:
    for branch in slots(parse(phrase)):
        letters = {text: len(text.replace(" ", "")) for slot in branch for text in slot}
        for parts in join(branch, letters, spaced=True):
            assert all(len(part) <= MAX_PART for part in parts)
            for one, other in pairwise(parts):
                assert all(text.endswith(" ") for text in one) or all(text.startswith(" ") for text in other)
                assert min(len(text.replace(" ", "")) for text in (*one, *other)) >= 1


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        ("no (well|today)", ["no today"]),
        ("no (well|)", ["no well", "no "]),
        ("no (well|,) more", ["no well more", "no , more"]),
        ("no (well (so|)|today)", ["no well so", "no today"]),
        ("no ((well|more) of|) it", ["no more of it", "no  it"]),
        ("a (b|c)", ["a b", "a c"]),
    ],
)
def test_options_that_are_nothing_but_fillers_can_be_left_out(phrase: str, expected: list[str]) -> None:
    kept = without_empty(parse(phrase), lambda text: text.strip() == "well")

    assert kept is not None
    assert list(kept.wordings()) == expected


def test_of_a_choice_of_fillers_alone_nothing_is_left() -> None:
    assert without_empty(parse("no (well|well)"), lambda text: text == "well") is None
    assert list(required_options(parse("no (well|today (a|)) (b|)"))) == ["well", "today a", "today "]
