"""The default policy, directory and catalogue for tests, and cases in short."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any, Final

import yaml

from handlers.core.directory import Directory, load_directory
from handlers.core.policy import ActionDecision, Decision, Guidance, Trace, trace
from handlers.core.policy_case import Case, parse_case
from handlers.core.policy_model import SCOPES, Policy, load_policy, parse_policy
from handlers.core.selfhelp import Catalogue, load_catalogue
from handlers.core.sentences import Sentences, load_sentences

CONFIG: Final = Path(__file__).parents[3] / "handlers" / "config"
POLICY_FILE: Final = CONFIG / "policy.yaml"
TODAY: Final = date(2026, 3, 1)
NOW: Final = "2026-03-01T14:00:00Z"
LABELS: Final = ("neutral", "depressed", "anxious", "stressed")

POLICY: Final[Policy] = load_policy(POLICY_FILE, LABELS, TODAY).policy
DIRECTORY: Final[Directory] = load_directory(CONFIG / "crisis_lines.yaml")
CATALOGUE: Final[Catalogue] = load_catalogue(CONFIG / "self_help.yaml")
SENTENCES: Final[Sentences] = load_sentences(CONFIG / "sentences.yaml")
GUIDANCE: Final = Guidance(DIRECTORY, CATALOGUE, SENTENCES)

ALL: Final[dict[str, Any]] = dict.fromkeys(SCOPES, True)
"""Every scope granted."""

ADULT: Final[dict[str, Any]] = {
    "now": NOW,
    "country": "GB",
    "language": "en",
    "age_band": "adult",
    "subject": "self",
    "contact_unsafe": False,
}
"""An adult in Great Britain, by day, who writes about themselves and whose contact is safe."""

SIGNATURE: Final = {"by": "A. Reviewer", "role": "clinician", "on": "2026-02-01", "calibration_sha256": "a" * 64}


def policy_with(**changes: Any) -> Policy:
    """Return the default policy with the values at paths changed, such as ``kill_switch=[...]`` or ``overlap__sum=1``.

    A value of ``None`` takes the key out.
    """
    return parse_policy(policy_bytes(**changes), "policy.yaml", None, TODAY).policy


def policy_bytes(**changes: Any) -> bytes:
    """Return the file of ``policy_with``."""
    content: dict[str, Any] = yaml.load(POLICY_FILE.read_bytes(), Loader=yaml.BaseLoader)
    for path, value in changes.items():
        *parents, last = path.split("__")
        section = content
        for parent in parents:
            section = section[parent]
        if value is None:
            del section[last]
        else:
            section[last] = value
    return json.dumps(content).encode()


SIGNED: Final[Policy] = policy_with(
    readers__conditions__max_tier="emergency_contact", readers__conditions__signed=SIGNATURE
)
"""The default policy as one who answers for it has signed it: suicidal ideation may reach the contact."""


def case(signals: dict[str, float | None], consent: dict[str, Any] | None = None, **changes: Any) -> Case:
    """Return a case of entry ``e9``; ``changes`` go into the case where it has such a field, and into its context."""
    top = {name: changes.pop(name) for name in ("id", "entry_id", "expected_signals", "statement") if name in changes}
    fields = {
        "id": "c1",
        "entry_id": "e9",
        "signals": signals,
        "consent": consent or {},
        "context": {**ADULT, **changes},
    }
    return parse_case(json.dumps(fields | top))


def trace_of(one: Case, policy: Policy = POLICY) -> Trace:
    """Decide a case with the packaged directory and catalogue, and keep how."""
    return trace(one, policy, GUIDANCE)


def decision_of(one: Case, policy: Policy = POLICY) -> Decision:
    """Decide a case with the packaged directory and catalogue."""
    return trace_of(one, policy).decision


def action_of(decision: Decision, name: str) -> ActionDecision:
    """Return the one action of this name."""
    (found,) = [action for action in decision.actions if action.action == name]
    return found


def outcomes(decision: Decision) -> dict[str, str]:
    """Return what becomes of each action: its status, and the reason behind a colon."""
    return {
        action.action: action.status if action.reason is None else f"{action.status}: {action.reason}"
        for action in decision.actions
    }


def entry(entry_id: str, at: str, subject: str | None = "self", **scores: float) -> dict[str, Any]:
    """Return an entry of the history, about the writer unless said otherwise."""
    return {"entry_id": entry_id, "at": at, "scores": scores, "subject": subject}


def confirmed(action: str = "alert_contact", by: str = "human", entry_id: str = "e9", at: str = NOW) -> dict[str, Any]:
    """Return the confirmation of an action of entry ``e9``."""
    return {"entry_id": entry_id, "action": action, "by": by, "at": at}
