"""Which guards still turn a statement when punctuation stands between the two."""

from __future__ import annotations

import pytest

from handlers.core.statements import LANGUAGES
from handlers.floor.gaps import Gap, Side, gap_of, is_negation, reach_across
from handlers.floor.normalize import Normalizer
from tests.unit.floor.phrases import entry, floor_of, found

GUARDED = floor_of(
    entry("i want to die"),
    entry("quiero morir"),
    guards={
        "before": ["(no|never)", "dont (think|feel)", "said", "(she|he) told me", "no (it is|) that", "not again"],
        "after": ["laughing", "(he|she) said", "said"],
    },
)


@pytest.mark.parametrize(
    ("gap", "side", "expected"),
    [
        (" ", "before", Gap.NONE),
        ("", "before", Gap.NONE),
        ("' *", "before", Gap.NONE),
        ("-", "before", Gap.NONE),
        (" - ", "before", Gap.BREAK),
        ("–", "before", Gap.BREAK),
        (", ", "before", Gap.BREAK),
        ("; ", "before", Gap.BREAK),
        ("... ", "before", Gap.BREAK),
        ("… ", "before", Gap.BREAK),
        ("\n", "before", Gap.BREAK),
        (") ", "before", Gap.BREAK),
        (" 😭 ", "before", Gap.BREAK),
        ("،", "before", Gap.BREAK),
        ("，", "before", Gap.BREAK),
        ("\u064e ", "before", Gap.NONE),
        (": ", "before", Gap.SPEECH),
        (", “", "before", Gap.SPEECH),
        ("「", "before", Gap.SPEECH),
        (" « ", "before", Gap.SPEECH),
        (" – ", "after", Gap.SPEECH),
        (",” ", "after", Gap.SPEECH),
        (", ", "after", Gap.BREAK),
    ],
)
def test_a_gap_is_known_by_its_punctuation(gap: str, side: Side, expected: Gap) -> None:
    assert gap_of(gap, side) is expected


@pytest.mark.parametrize(
    "text",
    [
        "No, I want to die",
        "no; i want to die",
        "No - I want to die",
        "No — I want to die",
        "No: I want to die",
        '"No", I want to die',
        "No… I want to die",
        "no\nI want to die",
        "No 😭 I want to die",
        "Not again... I want to die",
        "never, I want to die",
        "Yes. No. I want to die",
        "no, no, never, I want to die",
        "I don't feel, I want to die",
        "No, it is that I want to die",
        "No, quiero morir",
        "She said, I want to die",  # or what she said is what they answer to: rather a flag too many
    ],
)
def test_a_negation_that_is_set_apart_does_not_turn_a_statement(text: str) -> None:
    assert found(GUARDED, text)


@pytest.mark.parametrize(
    "text",
    [
        "no quiero morir",
        "*no* quiero morir",
        "I don't think I want to die",
        "It is no that I want to die",
        'She said, "I want to die"',
        "she said: I want to die",
        "said “I want to die”",
        "She told me, I want to die",
        "“I want to die,” said the hero",
        "— I want to die — said the hero",
        "I want to die, he said",
        "I want to die laughing",
    ],
)
def test_a_guard_that_belongs_to_the_statement_turns_it_still(text: str) -> None:
    assert found(GUARDED, text) == []


def test_what_fillers_leave_behind_is_a_gap_as_well() -> None:
    floor = floor_of(entry("i want to die"), guards={"before": ["never"]}, fillers=["honestly"])

    assert found(floor, "never honestly i want to die") == []
    assert found(floor, "never, honestly, i want to die") == ["i want to die"]
    assert found(floor, "never honestly, i want to die") == ["i want to die"]


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("Ich habe nie versucht, mich umzubringen", False),
        ("Er hat gedroht, mich umzubringen", False),
        ("Nie, mich umzubringen", True),
    ],
)
def test_a_comma_that_german_grammar_sets_sets_nothing_apart(text: str, is_found: bool) -> None:
    floor = floor_of(entry("mich umzubringen"), language="de", guards={"before": ["nie", "nie versucht", "gedroht"]})

    assert bool(found(floor, text)) == is_found


@pytest.mark.parametrize(
    ("language", "words", "side", "expected"),
    [
        ("en", ["no"], "before", Gap.NONE),
        ("en", ["no", "never"], "before", Gap.NONE),
        ("es", ["no", "estoy"], "before", Gap.SPEECH),
        ("es", ["dijo"], "before", Gap.SPEECH),
        ("es", ["la", "cancion"], "before", Gap.BREAK),
        ("hi", ["न"], "after", Gap.NONE),
        ("ja", ["と", "思"], "after", Gap.BREAK),
        ("ko", ["라고"], "after", Gap.BREAK),
        ("en", ["so", "i", "would", "never"], "after", Gap.BREAK),
        ("zh", ["妈"], "before", Gap.SPEECH),
        ("zh", ["从来没有想过"], "before", Gap.SPEECH),
        ("zh", ["我的朋友说"], "before", Gap.BREAK),
    ],
)
def test_how_far_a_guard_reaches_depends_on_its_words(
    language: str, words: list[str], side: Side, expected: Gap
) -> None:
    (known,) = (one for one in LANGUAGES if one == language)

    assert reach_across(words, known, side, spaced=language not in ("zh", "ja")) is expected


def test_every_language_has_its_negations() -> None:
    plain = Normalizer()
    for language, word in {
        "en": "not",
        "es": "no",
        "fr": "non",
        "de": "nicht",
        "pt": "não",
        "it": "non",
        "nl": "nee",
        "pl": "nie",
        "zh": "不",
        "ja": "いや",
        "ko": "아니",
        "ar": "لا",
        "hi": "नहीं",
    }.items():
        (known,) = (one for one in LANGUAGES if one == language)
        assert is_negation(plain.normalize(word).string, known), language
