from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import handlers
from handlers.core.directory import AgeBand
from handlers.core.errors import StartupError
from handlers.core.selfhelp import CATALOGUE_NAME, Catalogue, SelfHelpItem, load_catalogue, parse_catalogue

FILE = Path(handlers.__file__).parent / "config" / CATALOGUE_NAME
SHIPPED = load_catalogue(FILE)
RISK_LABELS = ("depressed", "anxious", "stressed", "bipolar")
QUESTIONS = [question.id for question in SHIPPED.checklist]
MORNING = datetime(2026, 3, 1, 9, tzinfo=UTC)
NIGHT = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
MAX_GRADE = 8.0

NEVER = re.compile(
    # No diagnosis, nothing about means or doses, and no promise.
    r"diagnos|disorder|syndrome|clinical|symptom|depression|bipolar|ptsd|patient|you (have|suffer from) (anx|str)"
    r"|suicid|kill|overdose|\bdose|\bpills?\b|medicine|drug|razor|\bcut(ting)? (your|my)|rope|\bgun\b|bridge|jump"
    r"|\bcures?\b|\bheals?\b|guarantee|will (make|help|fix|stop|end|go away)|\balways works|never fails",
    re.IGNORECASE,
)

label_lists = st.lists(st.sampled_from([*RISK_LABELS, "neutral", "unheard_of"]), max_size=6)
ages: st.SearchStrategy[AgeBand | None] = st.sampled_from(["adult", "minor", None])
times = st.one_of(st.none(), st.datetimes())
avoided = st.frozensets(st.sampled_from([*RISK_LABELS, "unheard_of"]))
histories = st.lists(st.sampled_from([*{one.id for one in SHIPPED.items}, "unheard-of"]), max_size=60)
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
    words = {"title": "T", "steps": ["a", "b", "c"], "language": "en", "checked": ["kind", "plain"]}
    fields = {"id": identity, "labels": for_labels, "minutes": 5} | words
    return {key: value for key, value in (fields | changes).items() if value != "(left out)"}


def parse(*items: dict[str, Any], **changes: Any) -> Catalogue:
    questions = [{"id": "kind", "question": "Is it kind?"}, {"id": "plain", "question": "Is it plain?"}]
    content = {
        "schema_version": 1,
        "notice": "n",
        "reviewed": {"by": "b", "on": date(2026, 11, 29), "role": "r"},
        "checklist": questions,
        "checklist_sources": ["https://example.org"],
        "items": list(items),
    } | changes
    return parse_catalogue(yaml.safe_dump(content).encode(), "dir/self_help.yaml")


def ids(items: tuple[SelfHelpItem, ...]) -> list[str]:
    return [chosen.id for chosen in items]


def test_the_shipped_catalogue_has_enough_for_every_risk_label() -> None:
    assert 28 <= len(SHIPPED.items) <= 40
    assert SHIPPED.labels() == tuple(sorted(RISK_LABELS))
    offers = {label: sum(label in one.labels for one in SHIPPED.items) for label in RISK_LABELS}
    # A label of its own has few items, as much that helps others may not help there.
    assert offers.pop("bipolar") >= 5
    assert min(offers.values()) >= 10
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


def test_every_item_was_held_against_every_question_and_the_file_says_by_whom() -> None:
    assert len(QUESTIONS) >= 10
    assert all(sorted(one.checked) == sorted(QUESTIONS) for one in SHIPPED.items)
    assert "not a clinician" in SHIPPED.reviewed.role
    assert len(SHIPPED.checklist_sources) >= 3


def shipped(identity: str) -> SelfHelpItem:
    (found,) = [one for one in SHIPPED.items if one.id == identity]
    return found


@pytest.mark.parametrize("identity", ["wind-down", "plan-something-good", "daylight"])
def test_what_can_lift_a_mood_too_far_is_not_for_bipolar(identity: str) -> None:
    assert "bipolar" in shipped(identity).not_for


@pytest.mark.parametrize("identity", ["put-the-phone-down", "check-the-thought", "write-it-out"])
def test_what_takes_the_phone_or_weighs_thoughts_is_not_offered_beside_lines(identity: str) -> None:
    assert "no_lines" in shipped(identity).when


def test_nothing_offered_beside_lines_takes_the_phone_away() -> None:
    for one in SHIPPED.items:
        if "no_lines" not in one.when:
            assert not re.search(r"phone (away|down|in (a|another) )|without (a|your) phone", words_of(one)), one.id


@pytest.mark.parametrize(
    "identity", ["slow-breathing", "five-senses", "muscle-release", "name-the-feeling", "cold-water", "music"]
)
def test_what_turns_to_the_body_says_to_stop_if_it_feels_worse(identity: str) -> None:
    assert re.search(r"(stop|off)\b.*worse|worse.*(stop|off)\b", " ".join(shipped(identity).steps), re.IGNORECASE)


@pytest.mark.parametrize("identity", ["eat-and-drink", "simple-routine"])
def test_what_speaks_of_food_says_where_help_is(identity: str) -> None:
    assert re.search(r"eat.*doctor", shipped(identity).seek_help or "")


def test_no_item_repeats_a_thought_that_speaks_for_dying_or_names_a_boss_to_a_child() -> None:
    for one in SHIPPED.items:
        assert "better off" not in words_of(one)
        assert one.age == "adult" or "boss" not in words_of(one)


@pytest.mark.parametrize("label", RISK_LABELS)
def test_a_minor_is_first_told_of_an_adult_to_turn_to(label: str) -> None:
    assert SHIPPED.pick([label], "en", 1, age_band="minor")[0].id == "tell-an-adult"
    assert SHIPPED.pick([label], "en", 1)[0].id != "tell-an-adult"


def test_an_item_for_minors_names_an_adult() -> None:
    for_minors = [one for one in SHIPPED.items if one.age == "minor"]

    assert "tell-an-adult" in [one.id for one in for_minors]
    assert all("adult" in words_of(one) for one in for_minors)


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


def test_what_was_not_offered_comes_first_and_then_what_was_offered_longest_ago() -> None:
    catalogue = parse(*(item(name, ["d"]) for name in "abcd"))

    assert ids(catalogue.pick(["d"], None, 2, offered=["a"])) == ["b", "c"]
    assert ids(catalogue.pick(["d"], None, 4, offered=["a", "c", "a", "b", "c"])) == ["d", "b", "c", "a"]
    assert ids(catalogue.pick(["d"], None, 4, offered=["x", "d"])) == ["a", "b", "c", "d"]


def test_an_item_that_is_not_for_a_label_of_the_writer_is_never_offered() -> None:
    catalogue = parse(item("a", ["d"], not_for=["b"]), item("b", ["s"], not_for=["b"]), item("c", ["s"]))

    assert ids(catalogue.pick(["d"], None, 3)) == ["a"]
    # Nothing is left for the label, so all labels take their turn, and still without it.
    assert ids(catalogue.pick(["d"], None, 3, avoid=["b"])) == ["c"]


@pytest.mark.parametrize(
    ("age", "offered"),
    [("adult", ["all", "grown"]), ("minor", ["young", "all"]), (None, ["all", "young"])],
)
def test_an_item_is_for_its_age_and_an_unknown_age_may_be_a_child_s(age: AgeBand | None, offered: list[str]) -> None:
    catalogue = parse(item("all", ["d"]), item("grown", ["d"], age="adult"), item("young", ["d"], age="minor"))

    assert ids(catalogue.pick(["d"], None, 3, age_band=age)) == offered


@pytest.mark.parametrize(
    ("clock", "offered"),
    [
        (None, ["day", "evening"]),
        ("05:59", ["evening"]),
        ("06:00", ["day"]),
        ("17:59", ["day"]),
        ("18:00", ["evening"]),
        ("00:00", ["evening"]),
    ],
)
def test_an_item_has_its_time_of_day_by_the_reader_s_clock(clock: str | None, offered: list[str]) -> None:
    catalogue = parse(item("day", ["d"], when=["day"]), item("evening", ["d"], when=["evening"]))
    at = None if clock is None else datetime.fromisoformat(f"2026-03-01T{clock}")

    assert ids(catalogue.pick(["d"], None, 2, at=at)) == offered


def test_all_conditions_of_an_item_must_hold() -> None:
    catalogue = parse(item("any", ["d"]), item("both", ["d"], when=["no_lines", "day"]))

    assert ids(catalogue.pick(["d"], None, 2, at=MORNING)) == ["any", "both"]
    assert ids(catalogue.pick(["d"], None, 2, at=MORNING, lines_shown=True)) == ["any"]
    assert ids(catalogue.pick(["d"], None, 2, at=NIGHT)) == ["any"]


def eligible(
    labels: Collection[str], avoid: Collection[str], age: AgeBand | None, lines: bool, at: datetime | None
) -> set[str]:
    """Say again, by the words of the specification, which items may be offered."""
    allowed = [
        one
        for one in SHIPPED.items
        if not set(one.not_for) & set(avoid)
        and one.age in {"adult": ("all", "adult"), "minor": ("all", "minor"), None: ("all", "minor")}[age]
        and not (lines and "no_lines" in one.when)
        and (at is None or ("evening" if 6 <= at.hour < 18 else "day") not in one.when)
    ]
    found = {one.id for one in allowed if set(one.labels) & set(labels)}
    return found or {one.id for one in allowed}


@given(label_lists, locales, st.integers(0, 40), avoided, ages, st.booleans(), times, histories)
def test_what_is_picked_is_repeatable_distinct_and_fitting(
    labels: list[str],
    locale: str | None,
    count: int,
    avoid: frozenset[str],
    age: AgeBand | None,
    lines: bool,
    at: datetime | None,
    offered: list[str],
) -> None:
    def pick(count: int, offered: Sequence[str]) -> list[str]:
        return ids(
            SHIPPED.pick(labels, locale, count, avoid=avoid, age_band=age, lines_shown=lines, at=at, offered=offered)
        )

    chosen = pick(count, offered)
    fitting = eligible(labels, avoid, age, lines, at)

    assert chosen == pick(count, offered)
    assert len(chosen) == len(set(chosen)) == min(count, len(fitting))
    assert set(chosen) <= fitting
    assert set(pick(99, offered)) == set(pick(99, [])) == fitting
    assert all(set(avoid).isdisjoint(shipped(name).not_for) for name in chosen)


@given(label_lists, st.integers(4, 40))
def test_every_label_has_its_turn(labels: list[str], count: int) -> None:
    wanted = set(labels) & set(RISK_LABELS) or set(RISK_LABELS)
    chosen = SHIPPED.pick(labels, None, count)

    assert all(any(label in one.labels for one in chosen) for label in wanted)


@given(label_lists, st.integers(1, 5), avoided, ages, st.booleans(), times)
def test_every_item_has_its_turn_when_offers_are_fed_back(
    labels: list[str], count: int, avoid: frozenset[str], age: AgeBand | None, lines: bool, at: datetime | None
) -> None:
    fitting = eligible(labels, avoid, age, lines, at)
    fewest = -(-len(fitting) // count)
    offers: list[list[str]] = []

    for _ in range(2 * fewest):
        offered = [name for offer in reversed(offers) for name in offer]
        chosen = SHIPPED.pick(labels, None, count, avoid=avoid, age_band=age, lines_shown=lines, at=at, offered=offered)
        offers.append(ids(chosen))

    # In the fewest offers that can hold them all, they are all there, from whichever offer one begins.
    for start in range(fewest + 1):
        assert {name for offer in offers[start : start + fewest] for name in offer} == fitting


def test_every_shipped_item_is_offered_to_somebody() -> None:
    readers: list[AgeBand | None] = ["adult", "minor", None]
    reached = {
        one.id
        for age in readers
        for at in (MORNING, NIGHT)
        for label in RISK_LABELS
        for one in SHIPPED.pick([label], "en", 99, age_band=age, at=at)
    }

    assert reached == {one.id for one in SHIPPED.items}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": ["a", "b"]}, "x: steps: Tuple should have at least 3 items"),
        ({"steps": list("abcdefg")}, "x: steps: Tuple should have at most 6 items"),
        ({"steps": ["a", "b", ""]}, "x: steps.2: String should have at least 1 character"),
        ({"labels": []}, "x: labels: Tuple should have at least 1 item"),
        ({"labels": ["d", "d"]}, "x: labels: a label is there twice"),
        ({"not_for": ["d"]}, "x: not_for: d is under labels too"),
        ({"age": "young"}, "x: age: Input should be 'all', 'adult' or 'minor'"),
        ({"when": ["noon"]}, "x: when.0: Input should be 'no_lines', 'day' or 'evening'"),
        ({"when": ["day", "evening"]}, "x: when: it is never day and evening"),
        ({"checked": "(left out)"}, "x: checked: Field required"),
        ({"checked": ["kind"]}, "x: checked: plain is missing; check the item for it"),
        ({"checked": ["kind", "plain", "short"]}, "x: checked: short is not in the checklist"),
        ({"checked": ["kind", "plain", "kind"]}, "x: checked: a question is there twice"),
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


def test_translations_have_the_same_conditions() -> None:
    with pytest.raises(StartupError, match="x: not_for, age and when must be the same in de as elsewhere"):
        parse(item("x", ["d"], not_for=["b"]), item("x", ["d"], language="de"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reviewed": None}, "reviewed: Input should be"),
        ({"reviewed": {"by": "b", "on": "today", "role": "r"}}, "reviewed.on: Input should be a valid date"),
        ({"checklist": []}, "checklist: Tuple should have at least 1 item"),
        ({"checklist": [{"id": "kind", "question": "?"}] * 2}, "checklist: a question is there twice"),
        ({"checklist_sources": []}, "checklist_sources: Tuple should have at least 1 item"),
    ],
)
def test_a_catalogue_without_review_or_checklist_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StartupError) as caught:
        parse(item("x", ["d"]), **changes)

    assert str(caught.value).startswith(f"dir/self_help.yaml: {message}")
