"""Consent and confirmation: the rules that stand between a score and anybody else hearing of it.

Default deny: an action that needs a scope is planned only with live consent to that very scope, and an action that
needs a confirmation only once somebody who may give it has confirmed this very entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from handlers.core.policy_model import Action, Confirmer, ContactPolicy, Policy, Scope, TherapistPolicy
from handlers.core.policy_reading import ConsentState, Outcome, Reading, Reason, Situation
from handlers.core.schema import Confirmation, TimedConsent

_SCOPES: Final[dict[Action, Scope]] = {
    "request_human_review": "human_review",
    "offer_self_help": "self_help",
    "notify_therapist": "notify_therapist",
    "alert_contact": "alert_contact",
}
"""What each action needs; crisis lines need nothing. A policy file that says otherwise does not load."""

_REFUSALS: Final[dict[ConsentState, tuple[Reason, str]]] = {
    "absent": ("consent_missing", "no consent to"),
    "expired": ("consent_expired", "expired consent to"),
    "unverified": ("uncertain", "without context.now nobody can say whether there still is consent to"),
}


def consent(situation: Situation, action: Action) -> Outcome | None:
    """An action needs live consent to its very scope; consent to another scope is none."""
    scope = scope_of(action)
    if scope is None:
        return None
    state = scope_state(situation.reading, scope)
    if state == "live":
        return None
    reason, why = _REFUSALS[state]
    return Outcome("suppressed", reason, f"{why} {scope}")


def scope_of(action: Action) -> Scope | None:
    """Return the scope that an action needs, ``None`` where it needs none."""
    return _SCOPES.get(action)


def scope_state(reading: Reading, scope: Scope) -> ConsentState:
    """Return the state of the consent to ``scope`` at the time of the decision."""
    return consent_state(getattr(reading.case.consent, scope), reading.now)


def consent_state(given: bool | TimedConsent, now: datetime | None) -> ConsentState:
    """Return the state of a consent at ``now``. At the very end it has expired."""
    if isinstance(given, bool):
        return "live" if given else "absent"
    if not given.granted:
        return "absent"
    if given.expires_at is None:
        return "live"
    if now is None:
        return "unverified"
    return "live" if now < given.expires_at else "expired"


def confirmation(situation: Situation, action: Action) -> Outcome | None:
    """The action waits until somebody who may confirm it has confirmed this very entry.

    A minor's notices wait for a human reviewer, and so do those of a person whose age is not known.
    """
    reading = situation.reading
    accepted = confirmers(reading.policy, action, reading.case.context.age_band)
    if not accepted or is_confirmed(reading.case.context.confirmation, reading.case.entry_id, accepted):
        return None
    return Outcome("proposed", None, f"waits for a confirmation of this entry by {' or '.join(accepted)}")


def confirmers(policy: Policy, action: Action, age_band: str | None) -> tuple[Confirmer, ...]:
    """Return who may confirm ``action``; empty where nobody needs to."""
    needs = getattr(policy.actions, action)
    if not isinstance(needs, TherapistPolicy | ContactPolicy):
        return ()
    return needs.confirmed_by.adult if age_band == "adult" else needs.confirmed_by.minor


def is_confirmed_by_human(given: Confirmation | None, entry_id: str | None, action: Action) -> bool:
    """Say whether a human reviewer has confirmed this very action for this very entry."""
    return is_confirmed(given, entry_id, ("human",)) and given is not None and given.action == action


def is_confirmed(given: Confirmation | None, entry_id: str | None, accepted: Sequence[Confirmer]) -> bool:
    """Say whether ``given`` is about this very entry and by one of ``accepted``. No id is never the same id."""
    return given is not None and entry_id is not None and given.entry_id == entry_id and given.by in accepted
