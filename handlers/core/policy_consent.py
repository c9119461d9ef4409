"""Consent and confirmation: the rules that stand between a score and anybody else hearing of it.

Default deny: an action that needs a scope is planned only with live consent to that very scope, and an action that
needs a confirmation only once somebody who may give it has confirmed this very action of this very entry, within a
day, for one use.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from handlers.core.policy_model import (
    THIRD_PARTY,
    Action,
    Confirmer,
    ConsentState,
    ContactPolicy,
    Reason,
    Scope,
    TherapistPolicy,
)
from handlers.core.policy_reading import Outcome, Reading, Situation
from handlers.core.schema import Confirmation, TimedConsent

CONFIRMATION_LASTS: Final = timedelta(hours=24)
CLOCKS_DIFFER: Final = timedelta(minutes=5)
"""A confirmation that is dated so little ahead was given at a clock that is fast; any other one is not believed."""

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
    "unverified": ("uncertain", "without a clock nobody can say whether there still is consent to"),
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
    """Return the state of the consent to ``scope`` at the time of the decision, by the later of both clocks."""
    return consent_state(getattr(reading.case.consent, scope), reading.later)


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


def consent_end(reading: Reading, action: Action) -> datetime | None:
    """Return when the consent that ``action`` needs ends; ``None`` where no end is set."""
    scope = scope_of(action)
    given = None if scope is None else getattr(reading.case.consent, scope)
    return given.expires_at if isinstance(given, TimedConsent) else None


def confirmation(situation: Situation, action: Action) -> Outcome | None:
    """The action waits until somebody who may confirm it has confirmed it for this very entry.

    Where only a human reviewer may, one is asked; where none can be asked, it does not wait for ever but is suppressed.
    """
    reading = situation.reading
    accepted = confirmers(reading, action)
    if not accepted or is_confirmed(reading, action, accepted):
        return None
    why = f"waits for a confirmation of this action and entry by {' or '.join(accepted)}"
    if accepted != ("human",):
        return Outcome("proposed", None, why)
    if not can_be_reviewed(reading):
        return Outcome("suppressed", "no_reviewer", "only a human reviewer may confirm it, and none can be asked")
    return Outcome("proposed", None, why, waits_for_human=True)


def can_be_reviewed(reading: Reading) -> bool:
    """Say whether a human reviewer can be asked."""
    is_on = "request_human_review" not in reading.policy.kill_switch
    return is_on and scope_state(reading, "human_review") == "live"


def confirmers(reading: Reading, action: Action) -> tuple[Confirmer, ...]:
    """Return who may confirm ``action``; empty where nobody needs to.

    A minor's notices wait for a human reviewer, and so do those of a person whose age is not known.
    """
    needs = getattr(reading.policy.actions, action)
    if not isinstance(needs, TherapistPolicy | ContactPolicy):
        return ()
    if needs_human(reading, action) is not None:
        return ("human",)
    return needs.confirmed_by.adult if reading.case.context.age_band == "adult" else needs.confirmed_by.minor


def needs_human(reading: Reading, action: Action) -> str | None:
    """Return why a human reviewer has to confirm a third-party action, whatever the policy says of adults, or None."""
    context = reading.case.context
    if action not in THIRD_PARTY:
        return None
    if context.language is None and context.locale is None:
        return "the language of the text is not known"
    if any(reading.disagreements()):
        return "the models disagree"
    if action == "alert_contact" and context.subject is None:
        return "whom the text is about is not known"
    if action == "alert_contact" and context.contact_unsafe is None:
        return "whether the contact is safe is not known"
    return None


def is_confirmed(reading: Reading, action: Action, accepted: Sequence[Confirmer]) -> bool:
    """Say whether one of ``accepted`` has confirmed this very action of this very entry, and it still counts."""
    given, entry_id = reading.case.context.confirmation, reading.case.entry_id
    if given is None or entry_id is None:  # no id is never the same id
        return False
    is_this_one = given.entry_id == entry_id and given.action == action and given.by in accepted
    return is_this_one and _is_fresh(reading, given) and not _is_used(reading, given)


def _is_fresh(reading: Reading, given: Confirmation) -> bool:
    """Say whether a confirmation is of the last day, by either clock."""
    if not reading.clocks:
        return False
    earlier, later = reading.clocks[0], reading.clocks[-1]
    return given.at - earlier <= CLOCKS_DIFFER and later - given.at <= CONFIRMATION_LASTS


def _is_used(reading: Reading, given: Confirmation) -> bool:
    """Say whether the action was carried out since: a confirmation is for one use."""
    return any(last.action == given.action and last.at >= given.at for last in reading.case.context.last_actions)
