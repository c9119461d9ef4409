"""A case as the rules of the policy see it, and what rules say of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Literal, TypeVar

from handlers.core.policy_case import Case
from handlers.core.policy_model import RANK, Action, LabelPolicy, Policy, Tier

Status = Literal["planned", "proposed", "deferred", "suppressed"]
Reason = Literal[
    "consent_missing",
    "consent_expired",
    "cooldown",
    "uncertain",
    "unsafe_contact",
    "third_party_subject",
    "kill_switch",
    "quiet_hours",
    "floor_only",
]

Basis = Literal["entry", "carried", "history", "floor"]

ConsentState = Literal["live", "absent", "expired", "unverified"]
"""``unverified``: it has an end, and the time of the decision is not known."""

Check = TypeVar("Check")


@dataclass(frozen=True, slots=True)
class Rule(Generic[Check]):
    """A rule: its id in ``rules_fired``, what it does in words (``p`` is the policy), and the function."""

    id: str
    says: str
    check: Check

    def words(self, policy: Policy) -> str:
        """Return what the rule does under ``policy``."""
        return self.says.format(p=policy)


@dataclass(frozen=True, slots=True)
class Reading:
    """A case as the rules see it.

    Attributes:
        labels: those of the policy that may raise a tier at all, or are neutral; others are never read.
        scores: of these labels; finite, and of a text that the models can read.
        active: risk labels that are active now, in the order of the policy.
        caps: highest tier that each label's model may reach.
    """

    case: Case
    policy: Policy
    labels: dict[str, LabelPolicy]
    scores: dict[str, float]
    active: tuple[str, ...]
    caps: dict[str, Tier]

    @property
    def now(self) -> datetime | None:
        """The time of the decision."""
        return self.case.context.now

    @property
    def clocks(self) -> tuple[datetime, ...]:
        """The time of the decision as the caller and as the host give it, where they do."""
        context = self.case.context
        return tuple(clock for clock in (context.now, context.host_now) if clock is not None)

    def risk_scores(self) -> Iterator[tuple[str, LabelPolicy, float]]:
        """Yield every label that is not neutral and has a score."""
        for name, score in self.scores.items():
            if self.labels[name].kind != "neutral":
                yield name, self.labels[name], score


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule found a reason for a tier. ``tier`` is capped by the model, ``uncapped`` is not.

    ``basis``: what it goes back to: this entry's own scores, a state carried over from earlier ones, the history, or
    an explicit statement that the floor found.
    """

    rule: str
    tier: Tier
    uncapped: Tier
    labels: tuple[str, ...]
    why: str
    basis: Basis = "entry"


@dataclass(frozen=True, slots=True)
class Situation:
    """What the gates see: the reading, its tier, and whether the decision as a whole is uncertain.

    ``readers_tier``: what the models find on this entry's own scores, without the floor, history and carried states.
    """

    reading: Reading
    tier: Tier
    uncertain: bool
    readers_tier: Tier

    def is_called_by_readers(self, action: Action) -> bool:
        """Say whether the models call for ``action`` by themselves."""
        return action in self.reading.policy.tiers.of(self.readers_tier)

    def tier_of(self, action: Action) -> Tier:
        """Return the tier whose cool-down and quiet hours hold for ``action``.

        Where the floor has raised the tier, an action that the models call for too keeps theirs.
        """
        by_readers = self.reading.case.statement is not None and self.is_called_by_readers(action)
        return self.readers_tier if by_readers else self.tier


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a gate decided of an action, and why in words."""

    status: Status
    reason: Reason | None
    why: str
    not_before: datetime | None = None


def read(case: Case, policy: Policy) -> Reading:
    """Return the case as the rules see it."""
    caps = policy.caps()
    labels = {name: label for name, label in policy.labels.items() if caps[name] != "none"}
    scores = {} if is_unsupported(case, policy) else _finite_scores(case, labels)
    before = case.context.active
    active = tuple(
        name
        for name, label in labels.items()
        if label.kind != "neutral" and is_active(label, scores.get(name), name in before)
    )
    return Reading(case, policy, labels, scores, active, caps)


def _finite_scores(case: Case, labels: dict[str, LabelPolicy]) -> dict[str, float]:
    given = ((name, case.signals.get(name)) for name in labels)
    return {name: score for name, score in given if score is not None and math.isfinite(score)}


def is_unsupported(case: Case, policy: Policy) -> bool:
    """Say whether the text is in a language that the models do not read; one that is not known is not."""
    language = case.context.language
    primary = None if language is None else language.replace("_", "-").split("-")[0].lower()
    return "unsupported_language" in case.context.faults or (primary is not None and primary not in policy.languages)


def is_active(label: LabelPolicy, score: float | None, before: bool) -> bool:
    """Say whether a label is active: from ``on``, or down to ``off`` where it was active before.

    A label without a score stays as it was: nothing shows that it has fallen below ``off``.
    """
    if score is None:
        return before
    return score >= label.on or (before and score >= label.off)


def lower(one: Tier, other: Tier) -> Tier:
    """Return the lower tier."""
    return min(one, other, key=RANK.__getitem__)


def highest(tiers: Sequence[Tier]) -> Tier:
    """Return the highest tier, ``none`` where there is none."""
    return max(tiers, key=RANK.__getitem__, default="none")
