"""Consent and confirmation, rule by rule: what stands between a score and anybody else hearing of it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from handlers.core.policy_consent import confirmers, consent_state, is_confirmed, scope_of
from handlers.core.policy_model import ACTIONS, SCOPES, Action, Tier
from handlers.core.policy_reading import Outcome, Situation, read
from handlers.core.policy_rules import confirmation, consent
from handlers.core.schema import Confirmation, TimedConsent
from tests.unit.core.policies import ALL, NOW, POLICY, case, decision_of, outcomes, policy_with

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
    return Situation(read(case({SI: 0.95}, given, **changes), POLICY), tier, False, tier)


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
        "without context.now nobody can say whether there still is consent to notify_therapist",
    )


HUMAN = Confirmation(entry_id="e9", by="human")


@pytest.mark.parametrize(
    ("given", "entry_id", "accepted", "confirmed"),
    [
        (HUMAN, "e9", ("human",), True),
        (HUMAN, "e9", ("human", "user"), True),
        (HUMAN, "e9", ("user",), False),
        (HUMAN, "e8", ("human", "user"), False),
        (HUMAN, None, ("human", "user"), False),
        (HUMAN, "e9", (), False),
        (None, "e9", ("human", "user"), False),
        (None, None, ("human", "user"), False),
        (Confirmation(entry_id="e9", by="user"), "e9", ("human", "user"), True),
        (Confirmation(entry_id="e9", by="user"), "e9", ("human",), False),
        (Confirmation(entry_id="e9", by="model"), "e9", ("human", "user"), False),
        (Confirmation(entry_id="None", by="human"), None, ("human",), False),
    ],
)
def test_a_confirmation_is_of_this_entry_and_by_one_who_may(
    given: Confirmation | None, entry_id: str | None, accepted: tuple[Any, ...], confirmed: bool
) -> None:
    assert is_confirmed(given, entry_id, accepted) is confirmed


@pytest.mark.parametrize(
    ("action", "age_band", "who"),
    [
        ("alert_contact", "adult", ("human", "user")),
        ("alert_contact", None, ("human",)),
        ("alert_contact", "minor", ("human",)),
        ("notify_therapist", "adult", ()),
        ("notify_therapist", None, ("human",)),
        ("notify_therapist", "minor", ("human",)),
        ("show_crisis_lines", "minor", ()),
        ("offer_self_help", "minor", ()),
        ("request_human_review", "minor", ()),
    ],
)
def test_who_may_confirm_what(action: Action, age_band: str | None, who: tuple[str, ...]) -> None:
    assert confirmers(POLICY, action, age_band) == who


def test_an_action_that_waits_says_for_whom() -> None:
    unconfirmed = situation(ALL)

    assert confirmation(unconfirmed, "alert_contact") == Outcome(
        "proposed", None, "waits for a confirmation of this entry by human or user"
    )
    assert confirmation(unconfirmed, "notify_therapist") is None
    assert confirmation(situation(ALL, confirmation={"entry_id": "e9", "by": "user"}), "alert_contact") is None


def test_a_confirmation_of_another_entry_confirms_nothing() -> None:
    decision = decision_of(case({SI: 0.95}, ALL, confirmation={"entry_id": "e8", "by": "human"}))

    assert outcomes(decision)["alert_contact"] == "proposed"


def test_an_entry_without_an_id_cannot_be_confirmed() -> None:
    decision = decision_of(case({SI: 0.95}, ALL, entry_id=None, confirmation={"entry_id": "e9", "by": "human"}))

    assert outcomes(decision)["alert_contact"] == "proposed"


def test_nothing_is_proposed_without_consent() -> None:
    given = ALL | {"alert_contact": False}

    assert outcomes(decision_of(case({SI: 0.95}, given)))["alert_contact"] == "suppressed: consent_missing"


def test_a_confirmation_is_no_consent() -> None:
    confirmed = case({SI: 0.95}, {"notify_therapist": True}, confirmation={"entry_id": "e9", "by": "user"})

    assert outcomes(decision_of(confirmed))["alert_contact"] == "suppressed: consent_missing"


def test_a_policy_may_ask_for_a_confirmation_of_a_notice_about_an_adult() -> None:
    policy = policy_with(actions__notify_therapist__confirmed_by={"adult": ["user"], "minor": ["human"]})
    notice = case({SI: 0.55}, ALL)
    by_human = case({SI: 0.55}, ALL, confirmation={"entry_id": "e9", "by": "human"})
    by_user = case({SI: 0.55}, ALL, confirmation={"entry_id": "e9", "by": "user"})

    results = [outcomes(decision_of(one, policy))["notify_therapist"] for one in (notice, by_human, by_user)]

    assert results == ["proposed", "proposed", "planned"]


def test_a_consent_that_cannot_be_checked_does_not_hold_back_the_others() -> None:
    """Else taking it back would let the alert through: less consent would add a disclosure."""
    given = ALL | {"use_history": False, "notify_therapist": {"granted": True, "expires_at": NOW}}
    confirmed = case({SI: 0.95}, given, now=None, confirmation={"entry_id": "e9", "by": "human"})
    decision = decision_of(confirmed)

    assert decision.uncertainty == ("unverified_consent",)
    assert outcomes(decision)["notify_therapist"] == "suppressed: uncertain"
    assert outcomes(decision)["alert_contact"] == "planned"
