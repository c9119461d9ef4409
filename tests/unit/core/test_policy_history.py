"""Earlier entries: which ones count, on which days, and when somebody may be told on account of them."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from itertools import permutations, product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.core.policy_history import count_on_different_days, cumulative, reached_labels, recent_span
from handlers.core.policy_reading import Finding, read
from tests.unit.core.policies import ALL, NOW, POLICY, SIGNED, case, entry, policy_with

SI = "suicidal_ideation"
DAYS = ["2026-02-20T08:00:00Z", "2026-02-22T08:00:00Z", "2026-02-24T08:00:00Z", "2026-02-26T08:00:00Z"]


def days(*ats: str, **scores: float) -> list[dict[str, Any]]:
    return [entry(f"e{number}", at, **(scores or {"depressed": 0.58})) for number, at in enumerate(ats, start=1)]


def findings(signals: dict[str, float | None], consent: dict[str, Any] = ALL, **changes: Any) -> list[Finding]:
    return list(cumulative(read(case(signals, consent, **changes), POLICY)))


def brute_force(pairs: list[tuple[str, date]]) -> int:
    """Return the most entries that can have a day each, by trying every choice."""
    choices: dict[str, list[date]] = {}
    for name, day in pairs:
        choices.setdefault(name, []).append(day)
    return max((len(set(one)) for one in product(*choices.values())), default=0)


D = [date(2026, 3, day) for day in range(1, 6)]


@pytest.mark.parametrize(
    ("dated", "count"),
    [
        ([], 0),
        ([("a", D[0])], 1),
        ([("a", D[0]), ("a", D[0])], 1),
        ([("a", D[0]), ("a", D[1])], 1),
        ([("a", D[0]), ("b", D[0])], 1),
        ([("a", D[0]), ("b", D[1])], 2),
        ([("a", D[0]), ("a", D[1]), ("b", D[0])], 2),
        ([("a", D[0]), ("b", D[0]), ("b", D[1]), ("c", D[1]), ("c", D[2])], 3),
        ([("a", D[0]), ("b", D[0]), ("b", D[1]), ("c", D[0]), ("c", D[1])], 2),
        ([(None, D[0]), ("a", D[0]), ("a", D[1])], 2),
    ],
)
def test_entries_are_counted_on_different_days(dated: list[tuple[str | None, date]], count: int) -> None:
    assert {count_on_different_days(order) for order in permutations(dated)} == {count}


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(D)), max_size=8))
def test_the_count_is_the_most_that_any_choice_of_days_gives(dated: list[tuple[str, date]]) -> None:
    assert count_on_different_days(dated) == brute_force(sorted(set(dated)))


def test_a_finding_names_the_meaning_the_count_and_all_labels_that_mean_the_same() -> None:
    (found,) = findings({"depressed": 0.58}, history=days(*DAYS[:2]))

    assert (found.rule, found.tier, found.uncapped, found.basis) == (
        "cumulative",
        "professional",
        "professional",
        "history",
    )
    assert found.labels == ("depressed", "depression")
    assert found.why == "depression >= off in 3 entries >= 3 on different days within 14 days"
    assert found.may_disclose is True


def test_every_meaning_is_counted_for_itself() -> None:
    history = days(*DAYS[:3], depressed=0.58, anxious=0.6, bipolar=0.1)
    found = findings({"anxious": 0.58, "bipolar": 0.6}, history=history)

    assert [(one.labels[0], one.may_disclose) for one in found] == [("depressed", False), ("anxious", True)]


def test_a_crisis_label_counts_and_its_tier_is_that_of_the_rule() -> None:
    (found,) = findings({SI: 0.35}, history=days(*DAYS[:2], **{SI: 0.35}))

    assert (found.tier, found.may_disclose) == ("professional", True)


def test_a_reader_caps_what_its_labels_give() -> None:
    policy = policy_with(readers__sentiment__max_tier="self_help", readers__conditions__max_tier="professional")
    reading = read(
        case({"stressed": 0.6, "depressed": 0.6}, ALL, history=days(*DAYS[:2], stressed=0.6, depressed=0.6)), policy
    )

    assert {one.labels: (one.tier, one.uncapped) for one in cumulative(reading)} == {
        ("stressed",): ("self_help", "professional"),
        ("depressed", "depression"): ("professional", "professional"),
    }


@pytest.mark.parametrize(
    ("changes", "consent", "is_told"),
    [
        ({}, ALL, True),
        ({"entry_id": None}, ALL, False),
        ({"host_now": NOW}, ALL, True),
        ({"host_now": "2026-03-01T13:00:00Z"}, ALL, True),
        ({"host_now": "2026-03-06T08:00:01Z"}, ALL, False),
        ({"host_now": "2026-03-06T08:00:00Z"}, ALL, True),
        ({"host_now": "2026-02-21T07:59:59Z"}, ALL, False),
        ({"host_now": "2026-02-21T08:00:00Z"}, ALL, True),
    ],
)
def test_somebody_may_be_told_by_both_clocks_alone(
    changes: dict[str, Any], consent: dict[str, Any], is_told: bool
) -> None:
    (found,) = findings({"depressed": 0.58}, consent, history=days(*DAYS[:2]), **changes)

    assert found.may_disclose is is_told


def test_three_earlier_entries_are_enough_without_the_id_of_this_one() -> None:
    (found,) = findings({"depressed": 0.58}, history=days(*DAYS[:3]), entry_id=None)

    assert (found.may_disclose, found.why[:28]) == (True, "depression >= off in 4 entri")


def test_the_current_entry_has_a_day_of_its_own_and_shares_it() -> None:
    assert findings({"depressed": 0.58}, history=days(DAYS[0], "2026-03-01T08:00:00Z")) == []


def test_the_day_of_the_current_entry_is_that_of_the_persons_own_calendar() -> None:
    history = days("2026-02-28T10:00:00+05:45", DAYS[0])
    (found,) = findings({"depressed": 0.58}, now="2026-03-01T01:00:00+05:45", history=history)

    assert found.may_disclose is True


@pytest.mark.parametrize(
    ("at", "host"),
    [("2026-02-15T14:00:00Z", "2026-03-01T15:00:00Z"), ("2026-03-02T14:00:00Z", "2026-03-01T13:00:00Z")],
)
def test_at_the_bounds_of_the_callers_clock_an_entry_calls_for_help(at: str, host: str) -> None:
    (found,) = findings({"depressed": 0.58}, history=days(at, DAYS[1]), host_now=host)

    assert found.may_disclose is False


def test_entries_after_one_about_somebody_else_still_count() -> None:
    other = entry("e0", DAYS[3], "other", depressed=0.9)
    (found,) = findings({"depressed": 0.58}, history=[other, *days(*DAYS[:2])])

    assert found.may_disclose is True


def test_the_current_entry_takes_a_day_of_its_own_by_either_clock() -> None:
    """By the host's clock it is the day of another entry: two days are too few to tell anybody."""
    history = days("2026-02-27T23:30:00Z", DAYS[0])
    base = {"history": history, "now": "2026-02-28T00:30:00Z"}

    (told,) = findings({"depressed": 0.58}, **base, host_now="2026-02-28T00:31:00Z")
    (held,) = findings({"depressed": 0.58}, **base, host_now="2026-02-27T23:59:00Z")

    assert (told.may_disclose, held.may_disclose) == (True, False)


def test_entries_that_are_not_said_to_be_about_the_writer_call_for_help_alone() -> None:
    history = [entry("e1", DAYS[0], None, depressed=0.58), entry("e2", DAYS[1], "self", depressed=0.58)]
    (found,) = findings({"depressed": 0.58}, history=history)

    assert found.may_disclose is False


@pytest.mark.parametrize(
    "changes",
    [
        {"now": None},
        {"processing": "lines_only"},
        {"consent": ALL | {"use_history": False}},
        {"subject": "other", "history": days(*DAYS[:2])},
        {"history": days(DAYS[0])},
        {"history": days(DAYS[0], DAYS[0])},
        {"history": days(*DAYS[:2], depressed=0.5499)},
        {"history": days(*DAYS[:2], neutral=0.99)},
        {"history": days(*DAYS[:2], history_profile=0.99)},
    ],
)
def test_what_calls_for_nothing(changes: dict[str, Any]) -> None:
    consent = changes.pop("consent", ALL)

    assert findings({"depressed": 0.58}, consent, **({"history": days(*DAYS[:2])} | changes)) == []


def test_without_a_score_of_this_entry_three_earlier_ones_are_needed() -> None:
    assert findings({"neutral": 0.9}, history=days(*DAYS[:2])) == []
    (found,) = findings({"neutral": 0.9}, history=days(*DAYS[:3]))
    assert found.may_disclose is False


def test_the_span_is_some_days_back_and_a_day_ahead() -> None:
    now = datetime.fromisoformat(NOW)

    assert recent_span(read(case({}), SIGNED), now) == (now - timedelta(days=14), now + timedelta(hours=24))


def test_labels_that_reach_off_are_named_and_neutral_and_research_are_not() -> None:
    reading = read(case({}), POLICY)
    scores = {"neutral": 0.99, "history_profile": 0.99, "rage": 0.99, "depressed": 0.55, "anxious": 0.5499, SI: 0.35}

    assert reached_labels(reading, scores) == ["depressed", SI]
