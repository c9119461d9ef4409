"""What the rules do where the specification leaves it open, and where they meet."""

from __future__ import annotations

from typing import Any

import pytest

from handlers.core.policy_model import Policy
from handlers.core.policy_rules import FLAG_RULES, GATES, LINE_RULES, TIER_RULES, UNCERTAINTY_RULES
from tests.unit.core.policies import (
    ALL,
    CATALOGUE,
    NOW,
    POLICY,
    SIGNED,
    action_of,
    case,
    confirmed,
    decision_of,
    entry,
    outcomes,
    policy_with,
    trace_of,
)

SI = "suicidal_ideation"
HUMAN = confirmed()
DAYS = ("2026-02-20T08:00:00Z", "2026-02-22T08:00:00Z", "2026-02-24T08:00:00Z")
RULES = [rule for rules in (TIER_RULES, UNCERTAINTY_RULES, FLAG_RULES, GATES, LINE_RULES) for rule in rules]


def test_every_rule_has_an_id_of_its_own_and_words() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)
    assert all(rule.words(POLICY).endswith(".") and "{" not in rule.words(POLICY) for rule in RULES)


# Tiers.


def test_the_highest_tier_counts_and_every_rule_that_applied_is_named() -> None:
    decision = decision_of(case({"depressed": 0.95, "anxious": 0.75, SI: 0.85}), SIGNED)

    assert decision.tier == "emergency_contact"
    assert decision.rules_fired[:5] == ("label_active", "label_acute", "overlap", "crisis_signal", "emergency_signal")
    assert decision.active == ("depressed", "anxious", SI)


def test_a_crisis_label_stays_active_down_to_off_as_well() -> None:
    assert decision_of(case({SI: 0.35}, active=[SI])).tier == "crisis"
    assert decision_of(case({SI: 0.3499}, active=[SI])).tier == "none"
    assert decision_of(case({SI: 0.35})).tier == "none"


def test_an_emergency_has_no_hysteresis() -> None:
    assert decision_of(case({SI: 0.79}, active=[SI]), SIGNED).tier == "crisis"
    assert decision_of(case({SI: 0.80}, active=[SI]), SIGNED).tier == "emergency_contact"


def test_a_label_without_a_score_stays_active_and_nobody_is_told() -> None:
    decision = decision_of(case({"neutral": 0.9}, ALL, active=[SI]))

    assert (decision.tier, decision.active, decision.uncertainty) == ("crisis", (SI,), ("missing_signal",))
    assert outcomes(decision)["notify_therapist"] == "suppressed: uncertain"


def test_a_language_that_is_not_read_clears_no_label() -> None:
    decision = decision_of(case({"depressed": 0.1}, ALL, active=["depressed"], language="fr"))

    assert (decision.tier, decision.active) == ("self_help", ("depressed",))
    assert decision.uncertainty == ("unsupported_language",)


def test_a_crisis_label_counts_in_the_overlap() -> None:
    assert decision_of(case({"depressed": 0.40, SI: 0.36})).tier == "self_help"


def test_neutral_does_not_count_in_the_overlap() -> None:
    assert decision_of(case({"depressed": 0.40, "neutral": 0.60})).tier == "none"


def test_a_sum_is_exact_whatever_the_order() -> None:
    policy = policy_with(overlap={"labels": "3", "each": "0.1", "sum": "0.6"})

    tiers = {
        decision_of(case(dict(zip(names, (0.1, 0.2, 0.3), strict=True))), policy).tier
        for names in (("depressed", "anxious", "stressed"), ("stressed", "anxious", "depressed"))
    }

    assert tiers == {"self_help"}


def test_the_entries_of_the_cumulative_rule_are_of_one_label() -> None:
    history = [entry("e1", DAYS[0], anxious=0.6), entry("e2", DAYS[1], stressed=0.6)]

    assert decision_of(case({"depressed": 0.6}, ALL, history=history)).tier == "none"


def test_three_earlier_entries_count_although_the_current_one_is_calm() -> None:
    history = [entry(name, at, depressed=0.55) for name, at in zip(("e1", "e2", "e3"), DAYS, strict=True)]

    assert decision_of(case({"depressed": 0.1}, ALL, history=history)).tier == "professional"
    assert decision_of(case({"depressed": 0.1}, ALL, history=history[:2])).tier == "none"


def test_the_cumulative_rule_counts_no_label_without_a_score_and_not_neutral() -> None:
    history = [entry(name, at, depressed=0.6, neutral=0.9) for name, at in (("e1", DAYS[0]), ("e2", DAYS[1]))]

    unread = decision_of(case({"neutral": 0.9}, ALL, history=history))
    read = decision_of(case({"neutral": 0.9, "depressed": 0.55}, ALL, history=history))

    assert (unread.tier, unread.rules_fired) == ("none", ("no_crisis_reader",))
    assert (read.tier, read.rules_fired[0]) == ("professional", "cumulative")


def test_an_entry_counts_by_any_of_its_records() -> None:
    twice = [
        entry("e1", DAYS[0], depressed=0.2),
        entry("e1", DAYS[1], depressed=0.6),
        entry("e2", DAYS[2], depressed=0.6),
    ]

    assert decision_of(case({"depressed": 0.55}, ALL, history=twice)).tier == "professional"


def test_an_entry_without_an_id_is_one_of_its_own() -> None:
    history = [entry(name, at, depressed=0.6) for name, at in (("e1", DAYS[0]), ("e2", DAYS[1]))]

    assert decision_of(case({"depressed": 0.6}, ALL, entry_id=None, history=history)).tier == "professional"


@pytest.mark.parametrize(("at", "tier"), [("2026-03-02T14:00:00Z", "professional"), ("2026-03-02T14:00:01Z", "none")])
def test_an_entry_that_is_dated_after_now_counts_up_to_a_day_ahead(at: str, tier: str) -> None:
    history = [entry("e1", at, depressed=0.6), entry("e2", DAYS[0], depressed=0.6)]

    assert decision_of(case({"depressed": 0.6}, ALL, history=history)).tier == tier


def test_a_consent_to_history_that_has_expired_is_none() -> None:
    history = [entry(name, at, depressed=0.6) for name, at in (("e1", DAYS[0]), ("e2", DAYS[1]))]
    given = {"use_history": {"granted": True, "expires_at": NOW}}

    assert decision_of(case({"depressed": 0.6}, given, history=history)).tier == "none"


def test_a_model_caps_its_labels_and_the_trace_says_what_it_would_have_been() -> None:
    policy = policy_with(readers__sentiment__max_tier="self_help")
    found = trace_of(case({"depressed": 0.95}), policy)

    assert (found.decision.tier, found.tier_before) == ("self_help", "professional")


def test_a_research_signal_is_never_read() -> None:
    decision = decision_of(case({"history_profile": 0.99, "neutral": 0.9}, ALL, active=["history_profile"]))

    assert (decision.tier, decision.active, decision.uncertainty) == ("none", (), ())


def test_a_research_signal_alone_is_no_score_at_all() -> None:
    assert decision_of(case({"history_profile": 0.99})).uncertainty == ("missing_signal",)


def test_a_signal_that_the_policy_does_not_know_is_flagged() -> None:
    decision = decision_of(case({"rage": 0.99, "neutral": 0.9}))

    assert (decision.tier, decision.flags) == ("none", ("unknown_signal", "no_crisis_reader"))


# Uncertainty.


@pytest.mark.parametrize(
    ("signals", "changes", "names"),
    [
        ({}, {}, ("missing_signal",)),
        ({"neutral": 0.9}, {"expected_signals": ["depressed"]}, ("missing_signal",)),
        ({"neutral": 0.9, "depressed": None}, {}, ("non_finite_signal",)),
        ({"neutral": 0.9, "depressed": float("inf")}, {}, ("non_finite_signal",)),
        ({"neutral": 0.9, "rage": None}, {"expected_signals": ["rage"]}, ("non_finite_signal",)),
        ({"neutral": 0.9, "rage": None}, {}, ()),
        ({"neutral": 0.9}, {"tokens": 10}, ("truncated",)),
        ({"neutral": 0.9}, {"tokens": 10, "tokens_scored": 9}, ("truncated",)),
        ({"neutral": 0.9}, {"tokens": 10, "tokens_scored": 10}, ()),
        ({"neutral": 0.9}, {"tokens_scored": 10}, ()),
        ({"neutral": 0.9}, {"language": "EN-gb"}, ()),
        ({"neutral": 0.9}, {"language": None}, ()),
        ({"neutral": 0.9}, {"language": "zh_Hant"}, ("unsupported_language",)),
        ({"neutral": 0.9}, {"faults": ["unsupported_language"]}, ("unsupported_language",)),
        ({"neutral": 0.9}, {"faults": ["model_timeout", "stale_model"]}, ("model_timeout", "stale_model")),
    ],
)
def test_what_is_not_known_is_named(
    signals: dict[str, float | None], changes: dict[str, Any], names: tuple[str, ...]
) -> None:
    decision = decision_of(case(signals, ALL, **changes))

    assert decision.uncertainty == names
    assert ("show_crisis_lines" in outcomes(decision)) == bool(names)


def test_a_stale_model_is_still_read() -> None:
    decision = decision_of(case({SI: 0.95}, ALL, faults=["stale_model"], confirmation=HUMAN), SIGNED)

    assert decision.tier == "emergency_contact"
    assert outcomes(decision) == {
        "show_crisis_lines": "planned",
        "request_human_review": "planned",
        "notify_therapist": "suppressed: uncertain",
        "alert_contact": "suppressed: uncertain",
    }


OFFERED = {"last_actions": [{"action": "offer_self_help", "at": NOW}]}
DONE = {"last_actions": [{"action": "notify_therapist", "at": NOW}]}
HISTORY = {"history": [entry("e1", NOW, depressed=0.6)]}
ENDS = {"granted": True, "expires_at": NOW}


@pytest.mark.parametrize(
    ("signals", "given", "changes", "names"),
    [
        ({"depressed": 0.72}, {"self_help": True}, {}, ()),
        ({"depressed": 0.72}, {"use_history": True}, HISTORY, ("missing_time",)),
        ({"depressed": 0.72}, {"use_history": True}, {}, ()),
        ({"depressed": 0.72}, {}, HISTORY, ()),
        ({"depressed": 0.72}, {"use_history": ENDS}, HISTORY, ("unverified_consent",)),
        ({SI: 0.55}, {"notify_therapist": True}, {}, ("missing_time",)),
        ({SI: 0.55}, {"alert_contact": ENDS}, {}, ("missing_time",)),
        ({SI: 0.55}, {"notify_therapist": ENDS}, {}, ("missing_time", "unverified_consent")),
        ({SI: 0.55}, {"use_history": ENDS}, HISTORY, ("missing_time",)),
        ({"depressed": 0.72}, {}, DONE, ()),
        ({"depressed": 0.72}, {}, OFFERED, ("missing_time",)),
        ({"depressed": 0.72}, {"self_help": ENDS}, {}, ("unverified_consent",)),
        ({"depressed": 0.95}, {}, {}, ("missing_time",)),
    ],
)
def test_a_rule_that_needs_the_time_and_has_none_is_uncertain(
    signals: dict[str, float | None], given: dict[str, Any], changes: dict[str, Any], names: tuple[str, ...]
) -> None:
    decision = decision_of(case(signals, given, now=None, **changes))

    assert decision.uncertainty == names
    assert outcomes(decision).get("notify_therapist") != "planned" or not names


def test_without_the_time_nobody_is_told_anything_with_quiet_hours_or_without() -> None:
    decision = decision_of(case({"depressed": 0.95}, ALL, now=None), policy_with(quiet_hours=None))

    assert decision.uncertainty == ("missing_time",)
    assert outcomes(decision)["notify_therapist"] == "suppressed: uncertain"


# Gates.


def test_what_is_switched_off_is_suppressed_and_the_link_stays() -> None:
    policy = policy_with(kill_switch=["offer_self_help", "notify_therapist"])
    decision = decision_of(case({"depressed": 0.95}, ALL), policy)

    assert outcomes(decision) == {
        "show_crisis_lines": "planned",
        "offer_self_help": "suppressed: kill_switch",
        "help_link": "planned",
        "notify_therapist": "suppressed: kill_switch",
    }
    assert action_of(decision, "help_link").url == "https://findahelpline.com"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"subject": "other", "tokens": 9, "contact_unsafe": True}, "third_party_subject"),
        ({"tokens": 9, "contact_unsafe": True}, "uncertain"),
        ({"contact_unsafe": True}, "unsafe_contact"),
    ],
)
def test_the_first_reason_is_given(changes: dict[str, Any], reason: str) -> None:
    assert outcomes(decision_of(case({SI: 0.9}, {}, **changes), SIGNED))["alert_contact"] == f"suppressed: {reason}"


def test_a_text_about_somebody_else_leaves_the_labels_of_the_writer() -> None:
    decision = decision_of(case({SI: 0.9, "depressed": 0.1}, ALL, subject="other", active=["depressed", "neutral"]))

    assert decision.active == ("depressed",)


def test_a_text_about_somebody_else_offers_the_writer_the_link_alone() -> None:
    decision = decision_of(case({"depressed": 0.95}, ALL, subject="other"))

    assert outcomes(decision)["offer_self_help"] == "suppressed: third_party_subject"
    assert outcomes(decision)["help_link"] == "planned"


LAST = [
    ("notify_therapist", "2026-02-28T14:00:01Z", None, "suppressed: cooldown"),
    ("notify_therapist", "2026-02-28T14:00:00Z", None, "planned"),
    ("notify_therapist", "2026-03-01T15:00:00Z", None, "suppressed: cooldown"),
    ("notify_therapist", "2026-03-02T14:00:00Z", None, "suppressed: cooldown"),
    ("notify_therapist", "2026-03-02T14:00:01Z", None, "planned"),
    ("notify_therapist", NOW, "crisis", "suppressed: cooldown"),
    ("notify_therapist", NOW, "emergency_contact", "suppressed: cooldown"),
    ("notify_therapist", NOW, "professional", "planned"),
    ("alert_contact", NOW, None, "planned"),
    ("help_link", NOW, None, "planned"),
]


@pytest.mark.parametrize(("action", "at", "tier", "outcome"), LAST)
def test_what_cools_a_notice_at_crisis_down(action: str, at: str, tier: str | None, outcome: str) -> None:
    last = [{"action": action, "at": at, "tier": tier}]

    assert outcomes(decision_of(case({SI: 0.55}, ALL, last_actions=last)))["notify_therapist"] == outcome


@pytest.mark.parametrize(
    ("at", "outcome"),
    [(NOW, "suppressed: cooldown"), ("2026-03-01T14:00:01Z", "planned"), ("2026-02-28T14:00:00Z", "planned")],
)
def test_an_offer_is_not_held_back_by_a_date_after_now(at: str, outcome: str) -> None:
    last = [{"action": "offer_self_help", "at": at}]

    assert outcomes(decision_of(case({"depressed": 0.72}, ALL, last_actions=last)))["offer_self_help"] == outcome


def test_a_human_review_does_not_cool_down_unless_the_policy_says_so() -> None:
    again = case({SI: 0.55}, ALL, last_actions=[{"action": "request_human_review", "at": NOW}])
    policy = policy_with(actions__request_human_review__cool_down_hours="1")

    assert outcomes(decision_of(again))["request_human_review"] == "planned"
    assert outcomes(decision_of(again, policy))["request_human_review"] == "suppressed: cooldown"


def test_without_the_time_an_offer_is_not_held_back() -> None:
    again = case({"depressed": 0.72}, ALL, now=None, last_actions=[{"action": "offer_self_help", "at": NOW}])

    assert outcomes(decision_of(again))["offer_self_help"] == "planned"
    assert decision_of(again).uncertainty == ("missing_time",)


NIGHT = POLICY
NOON = policy_with(quiet_hours={"start": "12:00", "end": "14:00", "clock": "context.now"})


@pytest.mark.parametrize(
    ("policy", "now", "not_before"),
    [
        (NIGHT, "2026-03-01T21:59:59Z", None),
        (NIGHT, "2026-03-01T22:00:00Z", "2026-03-02T07:00:00Z"),
        (NIGHT, "2026-12-31T23:59:59.999Z", "2027-01-01T07:00:00Z"),
        (NIGHT, "2026-03-01T06:59:59Z", "2026-03-01T07:00:00Z"),
        (NIGHT, "2026-03-01T07:00:00Z", None),
        # The same instant is night in Nepal and afternoon in London.
        (NIGHT, "2026-03-01T17:00:00Z", None),
        (NIGHT, "2026-03-01T22:45:00+05:45", "2026-03-02T07:00:00+05:45"),
        (NOON, "2026-03-01T11:59:59Z", None),
        (NOON, "2026-03-01T12:00:00Z", "2026-03-01T14:00:00Z"),
        (NOON, "2026-03-01T14:00:00Z", None),
    ],
)
def test_quiet_hours_go_by_the_clock_of_now(policy: Policy, now: str, not_before: str | None) -> None:
    notice = action_of(decision_of(case({"depressed": 0.95}, ALL, now=now), policy), "notify_therapist")

    assert notice.status == ("planned" if not_before is None else "deferred")
    assert notice.not_before == not_before


def test_a_minors_notice_waits_for_its_confirmation_before_it_waits_for_the_morning() -> None:
    night = {"now": "2026-03-01T23:30:00Z", "age_band": "minor"}

    unconfirmed = decision_of(case({"depressed": 0.95}, ALL, **night))
    given = confirmed("notify_therapist", at="2026-03-01T23:00:00Z")
    by_human = decision_of(case({"depressed": 0.95}, ALL, **night, confirmation=given))

    assert outcomes(unconfirmed)["notify_therapist"] == "proposed"
    assert outcomes(by_human)["notify_therapist"] == "deferred: quiet_hours"


# What is shown.


def test_an_offer_holds_items_for_the_labels_that_were_found() -> None:
    offered = action_of(decision_of(case({"anxious": 0.72, "depressed": 0.1}, ALL)), "offer_self_help")
    mixed = action_of(decision_of(case({"stressed": 0.40, "anxious": 0.36}, ALL)), "offer_self_help")

    labels = {item.id: set(item.labels) for item in CATALOGUE.items}
    assert offered.items is not None and mixed.items is not None
    assert len(offered.items) == 3
    assert all("anxious" in labels[item] for item in offered.items)
    assert all({"anxious", "stressed"} & labels[item] for item in mixed.items)


def test_the_offer_and_the_lines_are_for_the_reader_not_for_the_text() -> None:
    decision = decision_of(case({SI: 0.55}, ALL, country="BE", language="en", locale="fr-BE"))

    assert decision.lines[0].dial == "0800 32 123"


def test_a_country_that_the_directory_does_not_have_gets_the_international_one() -> None:
    decision = decision_of(case({SI: 0.55}, country="ZZ"))

    assert all(line.dial is None for line in decision.lines)
    assert "international_directory" in decision.rules_fired


def test_an_old_line_is_shown_beside_the_emergency_number() -> None:
    decision = decision_of(case({SI: 0.55}, now="2029-01-01T12:00:00Z"))

    assert {(line.stale, line.emergency) for line in decision.lines} == {(True, "999")}
    assert decision.rules_fired[-1] == "stale_line"


def test_a_minor_in_a_country_without_a_line_for_children_sees_the_others() -> None:
    decision = decision_of(case({SI: 0.55}, country="FR", locale="fr", age_band="minor"))

    assert [line.id for line in decision.lines] == ["fr-3114"]
    assert "child_line_first" not in decision.rules_fired
