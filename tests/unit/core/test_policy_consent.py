"""Consent and confirmation, rule by rule: what stands between a score and anybody else hearing of it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from handlers.core.policy_consent import (
    can_be_reviewed,
    confirmers,
    consent_end,
    consent_state,
    is_confirmed,
    needs_human,
    scope_of,
    scope_state,
)
from handlers.core.policy_model import ACTIONS, SCOPES, Action, Confirmer, Tier
from handlers.core.policy_reading import Outcome, Situation, read
from handlers.core.policy_rules import confirmation, consent
from handlers.core.schema import TimedConsent
from tests.unit.core.policies import (
    ALL,
    NOW,
    POLICY,
    SIGNED,
    case,
    confirmed,
    decision_of,
    outcomes,
    policy_with,
)

NOON = datetime.fromisoformat("2026-03-01T12:00:00+00:00")
SECOND = timedelta(seconds=1)
SI = "suicidal_ideation"


def timed(end: datetime | None, granted: bool = True) -> TimedConsent:
    return TimedConsent(granted=granted, expires_at=end)


@pytest.mark.parametrize(
    ("given", "now", "state"),
    [
        (True, NOON, "live"),
        (True, None, "live"),
        (False, NOON, "absent"),
        (False, None, "absent"),
        (timed(None), NOON, "live"),
        (timed(None), None, "live"),
        (timed(None, granted=False), NOON, "absent"),
        (timed(NOON + SECOND), NOON, "live"),
        (timed(NOON), NOON, "expired"),
        (timed(NOON - SECOND), NOON, "expired"),
        (timed(NOON + SECOND), None, "unverified"),
        (timed(NOON + SECOND, granted=False), NOON, "absent"),
        (timed(NOON - SECOND, granted=False), NOON, "absent"),
        (timed(NOON - SECOND, granted=False), None, "absent"),
        # The same instant at another offset.
        (timed(NOON.astimezone(timezone(timedelta(hours=5)))), NOON, "expired"),
        (timed((NOON + SECOND).astimezone(timezone(timedelta(hours=-5)))), NOON, "live"),
    ],
)
def test_the_state_of_a_consent(given: bool | TimedConsent, now: datetime | None, state: str) -> None:
    assert consent_state(given, now) == state


def test_each_action_needs_its_own_scope_and_crisis_lines_need_none() -> None:
    assert {action: scope_of(action) for action in ACTIONS} == {
        "show_crisis_lines": None,
        "request_human_review": "human_review",
        "offer_self_help": "self_help",
        "notify_therapist": "notify_therapist",
        "alert_contact": "alert_contact",
    }


def situation(given: dict[str, Any], tier: Tier = "emergency_contact", **changes: Any) -> Situation:
    return Situation(read(case({SI: 0.95}, given, **changes), SIGNED), tier, False, tier, tier, ())


@pytest.mark.parametrize("action", [action for action in ACTIONS if scope_of(action) is not None])
def test_an_action_passes_with_its_own_scope_and_with_no_other(action: Action) -> None:
    scope = scope_of(action)
    others = {other: other != scope for other in SCOPES}

    assert consent(situation({str(scope): True}), action) is None
    assert consent(situation(others), action) == Outcome("suppressed", "consent_missing", f"no consent to {scope}")


@pytest.mark.parametrize("given", [{}, ALL])
def test_crisis_lines_pass_with_any_consent_and_with_none(given: dict[str, Any]) -> None:
    assert consent(situation(given), "show_crisis_lines") is None


def test_a_consent_that_has_expired_says_so() -> None:
    given = {"notify_therapist": {"granted": True, "expires_at": NOW}}

    assert consent(situation(given), "notify_therapist") == Outcome(
        "suppressed", "consent_expired", "expired consent to notify_therapist"
    )


def test_a_consent_that_cannot_be_checked_counts_as_absent_and_uncertain() -> None:
    given = {"notify_therapist": {"granted": True, "expires_at": NOW}}

    assert consent(situation(given, now=None), "notify_therapist") == Outcome(
        "suppressed",
        "uncertain",
        "without a clock nobody can say whether there still is consent to notify_therapist",
    )


@pytest.mark.parametrize(
    ("host", "state"),
    [("2026-03-01T14:00:01Z", "live"), (NOW, "live"), ("2026-03-01T14:00:02Z", "expired"), (None, "live")],
)
def test_a_consent_is_tested_against_the_later_of_both_clocks(host: str | None, state: str) -> None:
    ends = {"granted": True, "expires_at": "2026-03-01T14:00:02Z"}

    for now, host_now in ((NOW, host), (host, NOW)):
        one = case({SI: 0.95}, {"notify_therapist": ends}, now=now, host_now=host_now)
        assert scope_state(read(one, POLICY), "notify_therapist") == state


BOTH: tuple[Confirmer, ...] = ("human", "user")


@pytest.mark.parametrize(
    ("given", "entry_id", "accepted", "is_confirming"),
    [
        (confirmed(), "e9", ("human",), True),
        (confirmed(), "e9", BOTH, True),
        (confirmed(), "e9", ("user",), False),
        (confirmed(), "e8", BOTH, False),
        (confirmed(), None, BOTH, False),
        (confirmed(), "e9", (), False),
        (None, "e9", BOTH, False),
        (None, None, BOTH, False),
        (confirmed(by="user"), "e9", BOTH, True),
        (confirmed(by="user"), "e9", ("human",), False),
        (confirmed(by="model"), "e9", BOTH, False),
        (confirmed(entry_id="None"), None, ("human",), False),
        (confirmed("notify_therapist"), "e9", BOTH, False),
        (confirmed(at="2026-02-28T14:00:00Z"), "e9", BOTH, True),
        (confirmed(at="2026-02-28T13:59:59Z"), "e9", BOTH, False),
        (confirmed(at="2026-03-01T14:05:00Z"), "e9", BOTH, True),
        (confirmed(at="2026-03-01T14:05:01Z"), "e9", BOTH, False),
    ],
)
def test_a_confirmation_is_of_this_action_and_entry_of_the_last_day_and_by_one_who_may(
    given: dict[str, Any] | None, entry_id: str | None, accepted: tuple[Confirmer, ...], is_confirming: bool
) -> None:
    reading = read(case({SI: 0.95}, ALL, entry_id=entry_id, confirmation=given), SIGNED)

    assert is_confirmed(reading, "alert_contact", accepted) is is_confirming


@pytest.mark.parametrize(
    ("now", "host", "is_fresh"),
    [
        (NOW, NOW, True),
        (NOW, None, True),
        (None, NOW, True),
        (None, None, False),
        (NOW, "2026-03-02T12:00:01Z", False),
        ("2026-03-02T12:00:01Z", NOW, False),
        (NOW, "2026-03-01T11:55:00Z", True),
        (NOW, "2026-03-01T11:54:59Z", False),
        ("2026-03-01T11:54:59Z", NOW, False),
    ],
)
def test_a_confirmation_is_fresh_by_either_clock(now: str | None, host: str | None, is_fresh: bool) -> None:
    given = confirmed(at="2026-03-01T12:00:00Z")
    reading = read(case({SI: 0.95}, ALL, confirmation=given, now=now, host_now=host), SIGNED)

    assert is_confirmed(reading, "alert_contact", BOTH) is is_fresh


@pytest.mark.parametrize(
    ("action", "at", "is_left"),
    [
        ("alert_contact", "2026-03-01T12:00:00Z", False),
        ("alert_contact", "2026-03-01T13:00:00Z", False),
        ("alert_contact", "2026-03-01T11:59:59Z", True),
        ("notify_therapist", "2026-03-01T13:00:00Z", True),
    ],
)
def test_a_confirmation_is_for_one_use(action: str, at: str, is_left: bool) -> None:
    done = [{"action": action, "at": at}]
    given = confirmed(at="2026-03-01T12:00:00Z")
    reading = read(case({SI: 0.95}, ALL, confirmation=given, last_actions=done), SIGNED)

    assert is_confirmed(reading, "alert_contact", BOTH) is is_left


@pytest.mark.parametrize(
    ("action", "changes", "who"),
    [
        ("alert_contact", {}, BOTH),
        ("alert_contact", {"age_band": None}, ("human",)),
        ("alert_contact", {"age_band": "minor"}, ("human",)),
        ("alert_contact", {"subject": None}, ("human",)),
        ("alert_contact", {"contact_unsafe": None}, ("human",)),
        ("alert_contact", {"contact_unsafe": True}, BOTH),
        ("alert_contact", {"language": None}, ("human",)),
        ("alert_contact", {"language": None, "locale": "en"}, BOTH),
        ("notify_therapist", {}, ()),
        ("notify_therapist", {"subject": None, "contact_unsafe": None}, ()),
        ("notify_therapist", {"age_band": None}, ("human",)),
        ("notify_therapist", {"age_band": "minor"}, ("human",)),
        ("notify_therapist", {"language": None}, ("human",)),
        ("notify_therapist", {"language": None, "locale": "en"}, ()),
        ("show_crisis_lines", {"age_band": "minor", "language": None}, ()),
        ("offer_self_help", {"age_band": "minor", "language": None}, ()),
        ("request_human_review", {"age_band": "minor", "language": None}, ()),
    ],
)
def test_who_may_confirm_what(action: Action, changes: dict[str, Any], who: tuple[str, ...]) -> None:
    assert confirmers(read(case({SI: 0.95}, ALL, **changes), SIGNED), action) == who


@pytest.mark.parametrize(
    ("action", "changes", "why"),
    [
        ("request_human_review", {"language": None}, None),
        ("alert_contact", {}, None),
        ("alert_contact", {"language": None, "subject": None}, "the language of the text is not known"),
        ("alert_contact", {"subject": None, "contact_unsafe": None}, "whom the text is about is not known"),
        ("alert_contact", {"contact_unsafe": None}, "whether the contact is safe is not known"),
        ("notify_therapist", {"subject": None, "contact_unsafe": None}, None),
    ],
)
def test_why_a_human_is_needed(action: Action, changes: dict[str, Any], why: str | None) -> None:
    assert needs_human(read(case({SI: 0.95}, ALL, **changes), SIGNED), action) == why


@pytest.mark.parametrize("action", ["alert_contact", "notify_therapist"])
def test_models_that_disagree_need_a_human(action: Action) -> None:
    reading = read(case({"depressed": 0.70, "depression": 0.5499}, ALL), SIGNED)

    assert needs_human(reading, action) == "the models disagree"
    assert confirmers(reading, action) == ("human",)


@pytest.mark.parametrize(
    ("given", "changes", "can_be"),
    [
        (ALL, {}, True),
        ({}, {}, False),
        (ALL, {"kill_switch": ["request_human_review"]}, False),
        (ALL, {"kill_switch": ["notify_therapist"]}, True),
    ],
)
def test_whether_a_human_can_be_asked(given: dict[str, Any], changes: dict[str, Any], can_be: bool) -> None:
    assert can_be_reviewed(read(case({SI: 0.95}, given), policy_with(**changes))) is can_be


def test_an_action_that_waits_says_for_whom() -> None:
    why = "waits for a confirmation of this action and entry by"

    assert confirmation(situation(ALL), "alert_contact") == Outcome("proposed", None, f"{why} human or user")
    assert confirmation(situation(ALL, subject=None), "alert_contact") == Outcome(
        "proposed", None, f"{why} human", waits_for_human=True
    )
    assert confirmation(situation(ALL), "notify_therapist") is None
    assert confirmation(situation(ALL, confirmation=confirmed(by="user")), "alert_contact") is None


def test_an_action_for_which_nobody_can_be_asked_does_not_wait() -> None:
    unreviewed = situation(ALL | {"human_review": False}, subject=None)

    assert confirmation(unreviewed, "alert_contact") == Outcome(
        "suppressed", "no_reviewer", "only a human reviewer may confirm it, and none can be asked"
    )
    assert confirmation(situation(ALL | {"human_review": False}), "alert_contact") == Outcome(
        "proposed", None, "waits for a confirmation of this action and entry by human or user"
    )


@pytest.mark.parametrize(
    ("given", "action", "end"),
    [
        ({"notify_therapist": {"granted": True, "expires_at": NOW}}, "notify_therapist", NOW),
        ({"notify_therapist": {"granted": True}}, "notify_therapist", None),
        ({"notify_therapist": True}, "notify_therapist", None),
        ({"alert_contact": {"granted": True, "expires_at": NOW}}, "notify_therapist", None),
        (ALL, "show_crisis_lines", None),
    ],
)
def test_when_a_consent_ends(given: dict[str, Any], action: Action, end: str | None) -> None:
    found = consent_end(read(case({SI: 0.95}, given), POLICY), action)

    assert found == (None if end is None else datetime.fromisoformat(end))


def test_a_confirmation_of_another_entry_confirms_nothing() -> None:
    decision = decision_of(case({SI: 0.95}, ALL, confirmation=confirmed(entry_id="e8")), SIGNED)

    assert outcomes(decision)["alert_contact"] == "proposed"


def test_an_entry_without_an_id_cannot_be_confirmed() -> None:
    decision = decision_of(case({SI: 0.95}, ALL, entry_id=None, confirmation=confirmed()), SIGNED)

    assert outcomes(decision)["alert_contact"] == "proposed"


def test_nothing_is_proposed_without_consent() -> None:
    given = ALL | {"alert_contact": False}

    assert outcomes(decision_of(case({SI: 0.95}, given), SIGNED))["alert_contact"] == "suppressed: consent_missing"


def test_a_confirmation_is_no_consent() -> None:
    given = case({SI: 0.95}, {"notify_therapist": True}, confirmation=confirmed(by="user"))

    assert outcomes(decision_of(given, SIGNED))["alert_contact"] == "suppressed: consent_missing"


def test_a_policy_may_ask_for_a_confirmation_of_a_notice_about_an_adult() -> None:
    policy = policy_with(actions__notify_therapist__confirmed_by={"adult": ["user"], "minor": ["human"]})
    notice = case({SI: 0.55}, ALL)
    by_human = case({SI: 0.55}, ALL, confirmation=confirmed("notify_therapist"))
    by_user = case({SI: 0.55}, ALL, confirmation=confirmed("notify_therapist", by="user"))

    results = [outcomes(decision_of(one, policy))["notify_therapist"] for one in (notice, by_human, by_user)]

    assert results == ["proposed", "proposed", "planned"]


def test_without_any_clock_nobody_is_told_anything() -> None:
    given = ALL | {"use_history": False, "notify_therapist": {"granted": True, "expires_at": NOW}}
    decision = decision_of(case({SI: 0.95}, given, now=None, confirmation=confirmed()), SIGNED)

    assert decision.uncertainty == ("missing_time", "unverified_consent")
    assert outcomes(decision)["notify_therapist"] == "suppressed: uncertain"
    assert outcomes(decision)["alert_contact"] == "suppressed: uncertain"
