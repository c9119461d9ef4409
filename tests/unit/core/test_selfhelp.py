from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import handlers
from handlers.core.errors import StartupError
from handlers.core.selfhelp import CATALOGUE_NAME, Catalogue, SelfHelpItem, load_catalogue, parse_catalogue

FILE = Path(handlers.__file__).parent / "config" / CATALOGUE_NAME
CONTENT: dict[str, Any] = yaml.safe_load(FILE.read_bytes())
SHIPPED = load_catalogue(FILE)
RISK_LABELS = ("depressed", "anxious", "stressed")
MAX_GRADE = 8.0

NEVER = re.compile(
    # No diagnosis, nothing about means or doses, and no promise.
    r"diagnos|disorder|syndrome|clinical|symptom|depression|bipolar|ptsd|patient|you (have|suffer from) (anx|str)"
    r"|suicid|kill|overdose|\bdose|\bpills?\b|medicine|drug|razor|\bcut(ting)? (your|my)|rope|\bgun\b|bridge|jump"
    r"|\bcures?\b|\bheals?\b|guarantee|will (make|help|fix|stop|end|go away)|\balways works|never fails",
    re.IGNORECASE,
)

label_lists = st.lists(st.sampled_from([*RISK_LABELS, "neutral", "unheard_of"]), max_size=6)
locales = st.one_of(st.none(), st.sampled_from(["en", "en-GB", "de", "de_AT", "xx"]), st.text())


def words_of(item: SelfHelpItem) -> str:
    return " ".join([f"{item.title}.", *item.steps, item.seek_help or ""])


def count_syllables(word: str) -> int:
    """Count groups of vowels, without a silent final e or ed; at least one. Right for most English words."""
    stem = re.sub(r"(?<=[^aeiouyl])(?:e|es|ed)$", "", word.lower())
    return max(1, len(re.findall(r"[aeiouy]+", stem)))


def reading_grade(text: str) -> float:
    """Return the Flesch–Kincaid grade level: 0.39 words per sentence + 11.8 syllables per word - 15.59.

    Kincaid et al., "Derivation of new readability formulas", Naval Technical Training Command, 1975.
    """
    sentences = [part for part in re.split(r"[.!?]+", text) if re.search(r"\w", part)]
    words = re.findall(r"[A-Za-z]+", text.replace("'", ""))
    syllables = sum(map(count_syllables, words))
    return 0.39 * len(words) / len(sentences) + 11.8 * syllables / len(words) - 15.59


def item(identity: str, for_labels: list[str], **changes: Any) -> dict[str, Any]:
    words = {"title": "T", "steps": ["a", "b", "c"], "language": "en"}
    fields = {"id": identity, "labels": for_labels, "minutes": 5} | words
    return {key: value for key, value in (fields | changes).items() if value != "(left out)"}


def parse(*items: dict[str, Any], **changes: Any) -> Catalogue:
    content = {"schema_version": 1, "notice": "n", "items": list(items)} | changes
    return parse_catalogue(yaml.safe_dump(content).encode(), "dir/self_help.yaml")


def ids(items: tuple[SelfHelpItem, ...]) -> list[str]:
    return [chosen.id for chosen in items]


def test_the_shipped_catalogue_has_enough_for_every_risk_label() -> None:
    assert 28 <= len(SHIPPED.items) <= 40
    assert SHIPPED.labels() == tuple(sorted(RISK_LABELS))
    assert all(sum(label in one.labels for one in SHIPPED.items) >= 10 for label in RISK_LABELS)
    assert {one.language for one in SHIPPED.items} == {"en"}


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("The cat sat on the mat.", -1.45),
        ("The Australian platypus is seemingly a hybrid of a mammal and reptilian creature.", 11.3),
    ],
)
def test_the_reading_grade_is_that_of_the_formula(text: str, grade: float) -> None:
    assert reading_grade(text) == pytest.approx(grade, abs=1.0)


@pytest.mark.parametrize("shipped", SHIPPED.items, ids=lambda one: one.id)
def test_an_item_reads_easily_and_claims_nothing(shipped: SelfHelpItem) -> None:
    text = words_of(shipped)

    assert reading_grade(text) <= MAX_GRADE
    assert NEVER.search(text) is None
    assert all(step.endswith((".", '"', "?")) for step in shipped.steps)


@pytest.mark.parametrize(
    "text",
    [
        "You have anxiety. This exercise heals it.",
        "It will go away.",
        "This is a sign of depression.",
        "Count your pills.",
    ],
)
def test_the_check_of_words_sees_what_must_not_be_said(text: str) -> None:
    assert NEVER.search(text)


def test_some_items_say_when_to_turn_to_a_person() -> None:
    hints = [one.seek_help for one in SHIPPED.items if one.seek_help]

    assert len(hints) >= 8
    assert all(
        re.search(r"doctor|crisis line|emergency number|help line|talk to someone|someone you trust", h) for h in hints
    )


def test_items_are_spread_over_the_labels_in_their_order() -> None:
    catalogue = parse(item("d1", ["d"]), item("d2", ["d"]), item("a1", ["a"]), item("both", ["a", "d"]))

    assert ids(catalogue.pick(["a", "d"], None, 3)) == ["a1", "d1", "both"]
    assert ids(catalogue.pick(["d", "a"], None, 3)) == ["d1", "a1", "d2"]
    assert ids(catalogue.pick(["d", "d", "x"], None, 2)) == ["d1", "d2"]


def test_an_item_for_two_labels_is_offered_once() -> None:
    catalogue = parse(item("both", ["a", "d"]), item("d1", ["d"]))

    assert ids(catalogue.pick(["a", "d"], None, 5)) == ["both", "d1"]


@pytest.mark.parametrize("labels", [[], ["neutral"], ["suicidal_ideation"]])
def test_labels_without_items_get_some_of_every_label(labels: list[str]) -> None:
    catalogue = parse(item("d1", ["d"]), item("d2", ["d"]), item("a1", ["a"]))

    assert ids(catalogue.pick(labels, "en", 2)) == ["a1", "d1"]


def test_the_reader_s_language_comes_first_and_english_fills_up() -> None:
    catalogue = parse(
        item("one", ["d"]), item("two", ["d"]), item("two", ["d"], language="de"), item("three", ["a"], language="de")
    )

    chosen = catalogue.pick(["d"], "de-AT", 3)

    assert [(one.id, one.language) for one in chosen] == [("two", "de"), ("one", "en")]
    assert {one.language for one in catalogue.pick(["d"], "fr", 3)} == {"en"}
    assert {one.language for one in catalogue.pick(["d", "a"], None, 3)} == {"en"}


def test_a_label_known_in_another_language_only_still_gets_english_items() -> None:
    catalogue = parse(item("one", ["d"]), item("two", ["a"], language="de"))

    assert ids(catalogue.pick(["a"], "fr", 2)) == ["one"]


@given(label_lists, locales, st.integers(0, 40))
def test_what_is_picked_is_repeatable_distinct_and_fitting(labels: list[str], locale: str | None, count: int) -> None:
    chosen = SHIPPED.pick(labels, locale, count)
    wanted = set(labels) & set(RISK_LABELS) or set(RISK_LABELS)
    fitting = [one for one in SHIPPED.items if wanted & set(one.labels)]

    assert chosen == SHIPPED.pick(labels, locale, count)
    assert len(chosen) == len(set(ids(chosen))) == min(count, len(fitting))
    assert all(wanted & set(one.labels) for one in chosen)
    if count >= len(wanted):
        assert all(any(label in one.labels for one in chosen) for label in wanted)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": ["a", "b"]}, "x: steps: Tuple should have at least 3 items"),
        ({"steps": list("abcdefg")}, "x: steps: Tuple should have at most 6 items"),
        ({"steps": ["a", "b", ""]}, "x: steps.2: String should have at least 1 character"),
        ({"labels": []}, "x: labels: Tuple should have at least 1 item"),
        ({"labels": ["d", "d"]}, "x: labels: a label is there twice"),
        ({"minutes": 0}, "x: minutes: Input should be greater than or equal to 1"),
        ({"minutes": "5"}, "x: minutes: Input should be a valid integer"),
        ({"language": "English"}, "x: language: String should match pattern"),
        ({"title": "(left out)"}, "x: title: Field required"),
        ({"colour": "green"}, "x: colour: Extra inputs are not permitted"),
        ({"id": "(left out)"}, "items[0]: id: Field required"),
    ],
)
def test_a_wrong_item_is_refused_by_file_item_and_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StartupError) as caught:
        parse(item("x", ["d"], **changes))

    assert str(caught.value).startswith(f"dir/self_help.yaml: {message}")


def test_an_id_twice_in_one_language_is_refused() -> None:
    with pytest.raises(StartupError, match="x: id: there is another item of this id in the language en"):
        parse(item("x", ["d"]), item("x", ["a"]))


def test_a_catalogue_without_english_is_refused() -> None:
    with pytest.raises(StartupError, match="items: there must be an item in en"):
        parse(item("x", ["d"], language="de"))
