"""A case as the rules of the policy see it, and what rules say of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Generic, TypeVar

from handlers.core.directory import language_of
from handlers.core.policy_case import Case, CaseContext
from handlers.core.policy_model import RANK, Action, Basis, LabelPolicy, Policy, Reason, Status, Tier

MAX_CLOCK_SKEW: Final = timedelta(hours=24)
"""Clocks that differ by more than this tell no time, and what is dated further ahead is not believed."""

Check = TypeVar("Check")  # pragma: no mutate


@dataclass(frozen=True, slots=True)  # pragma: no mutate
class Rule(Generic[Check]):
    """A rule: its id in ``rules_fired``, what it does in words (``p`` is the policy), and the function."""

    id: str
    says: str
    check: Check

    def words(self, policy: Policy) -> str:
        """Return what the rule does under ``policy``."""
        return self.says.format(p=policy)


@dataclass(frozen=True, slots=True)  # pragma: no mutate
class Reading:
    """A case as the rules see it.

    Attributes:
        labels: those of the policy that may raise a tier at all, or are neutral; others are never read.
        scores: of these labels; finite, and of a text that the models can read.
        active: risk labels that are active now, in the order of the policy.
        caps: highest tier that each label's reader may reach.
        clocks: the time of the decision as the caller and as the host give it, where they do; the earlier one first.
        meanings: the labels that are not neutral by what they mean, in the order of the policy.
        offs: ``off`` and the meaning of every label that is not neutral.
    """

    case: Case
    policy: Policy
    labels: dict[str, LabelPolicy]
    scores: dict[str, float]
    active: tuple[str, ...]
    caps: dict[str, Tier]
    clocks: tuple[datetime, ...]
    meanings: dict[str, list[str]]
    offs: dict[str, tuple[float, str]]

    @property
    def now(self) -> datetime | None:
        """The time of the decision, with the person's own offset from UTC."""
        return self.case.context.now

    @property
    def later(self) -> datetime | None:
        """The later of both clocks: what ends has ended by it."""
        return self.clocks[-1] if self.clocks else None

    @property
    def earlier(self) -> datetime | None:
        """The earlier of both clocks: what has to be over is over by it."""
        return self.clocks[0] if self.clocks else None

    @property
    def is_skewed(self) -> bool:
        """Whether the two clocks are so far apart that neither tells the time."""
        return bool(self.clocks) and self.clocks[-1] - self.clocks[0] > MAX_CLOCK_SKEW

    @property
    def is_scored(self) -> bool:
        """Whether the writer lets the text be scored."""
        return self.case.context.processing == "full"

    @property
    def is_about_other(self) -> bool:
        """Whether the text is about somebody else."""
        return self.case.context.subject == "other"

    def scores_of(self, kind: str) -> Iterator[tuple[str, LabelPolicy, float]]:
        """Yield every label of a kind that has a score."""
        for name, score in self.scores.items():
            if self.labels[name].kind == kind:
                yield name, self.labels[name], score

    def disagreements(self) -> Iterator[tuple[str, str]]:
        """Yield pairs of labels that mean the same, of which one is on and the other is below ``off``."""
        for names in self.meanings.values():
            scored = [name for name in names if name in self.scores]
            for high in scored:
                if self.scores[high] >= self.labels[high].on:
                    yield from ((high, low) for low in scored if not self.reaches_off(low))

    def reaches_off(self, name: str) -> bool:
        """Say whether this entry's own score of a label is at least ``off``."""
        return name in self.scores and self.scores[name] >= self.labels[name].off


@dataclass(frozen=True, slots=True)  # pragma: no mutate
class Finding:
    """A rule found a reason for a tier. ``tier`` is capped by the reader, ``uncapped`` is not.

    Attributes:
        basis: what it goes back to: this entry's own scores, a state carried over from earlier ones, the history, or
            an explicit statement that the floor found.
        may_disclose: whether it is a ground to tell somebody, where its basis is not this entry's own scores.
    """

    rule: str
    tier: Tier
    uncapped: Tier
    labels: tuple[str, ...]
    why: str
    basis: Basis = "entry"
    may_disclose: bool = False  # pragma: no mutate


@dataclass(frozen=True, slots=True)  # pragma: no mutate
class Situation:
    """What the gates see: the reading, what was found, and whether the decision as a whole is uncertain.

    Attributes:
        readers_tier: what the models find on this entry's own scores, without the floor, history and carried states.
        disclosing_tier: the same with history and carried states where they may be told.
        flags: of the decision.
        for_reviewer: whether an action waits for a human reviewer, who is then asked whenever that was last done.
    """

    reading: Reading
    tier: Tier
    uncertain: bool
    readers_tier: Tier
    disclosing_tier: Tier
    flags: tuple[str, ...]
    for_reviewer: bool = False  # pragma: no mutate

    @property
    def ground(self) -> Tier:
        """The highest tier on whose account somebody may be told: beside a statement, by this entry's scores alone."""
        return self.readers_tier if self.reading.case.statement is not None else self.disclosing_tier

    def is_grounded(self, action: Action) -> bool:
        """Say whether there is a ground for ``action`` beside the floor and what may not be told."""
        return action in self.reading.policy.tiers.of(self.ground)

    def tier_of(self, action: Action) -> Tier:
        """Return the tier whose cool-down and quiet hours hold for ``action``: that which calls for it."""
        return self.ground if self.is_grounded(action) else self.tier


@dataclass(frozen=True, slots=True)  # pragma: no mutate
class Outcome:
    """What a gate decided of an action, and why in words.

    Attributes:
        not_before, not_after: of an action that is deferred; ``not_after`` is the end of its consent.
        waits_for_human: it is proposed, and a human reviewer alone can confirm it.
    """

    status: Status
    reason: Reason | None
    why: str
    not_before: datetime | None = None  # pragma: no mutate
    not_after: datetime | None = None  # pragma: no mutate
    waits_for_human: bool = False  # pragma: no mutate


def read(case: Case, policy: Policy) -> Reading:
    """Return the case as the rules see it."""
    caps = policy.caps(case.context.unsigned)
    labels = {name: label for name, label in policy.labels.items() if caps[name] != "none"}
    is_scored = case.context.processing == "full"
    scores = _finite_scores(case, labels) if is_scored and not is_unsupported(case, policy) else {}
    before = case.context.active if is_scored else ()
    active = tuple(
        name
        for name, label in labels.items()
        if label.kind != "neutral" and is_active(label, scores.get(name), name in before)
    )
    offs = {name: (label.off, label.means or name) for name, label in labels.items() if label.kind != "neutral"}
    return Reading(case, policy, labels, scores, active, caps, _clocks(case.context), _meanings(labels), offs)


def _clocks(context: CaseContext) -> tuple[datetime, ...]:
    return tuple(sorted(clock for clock in (context.now, context.host_now) if clock is not None))


def _meanings(labels: dict[str, LabelPolicy]) -> dict[str, list[str]]:
    meanings: dict[str, list[str]] = {}
    for name, label in labels.items():
        if label.kind != "neutral":
            meanings.setdefault(label.means or name, []).append(name)
    return meanings


def _finite_scores(case: Case, labels: dict[str, LabelPolicy]) -> dict[str, float]:
    given = ((name, case.signals.get(name)) for name in labels)
    return {name: score for name, score in given if score is not None and math.isfinite(score)}


def is_unsupported(case: Case, policy: Policy) -> bool:
    """Say whether the text is in a language that the models do not read.

    Where the language of the text cannot be told, that of the person's locale counts. Where neither is known, the
    scores are read, and nobody is told anything unless a human confirms it.
    """
    context = case.context
    language = context.language if context.language is not None else context.locale
    return "unsupported_language" in context.faults or (
        language is not None and language_of(language) not in policy.languages
    )


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
