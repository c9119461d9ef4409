"""The decision: a pure function of case, policy and guidance. Same input, same bytes.

``python -m handlers.core.policy`` replays recorded cases, explains one, and renders the policy as a page.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from handlers.core.directory import Directory, ShownLine
from handlers.core.policy_case import Case
from handlers.core.policy_model import ACTIONS, RANK, THIRD_PARTY, Action, Done, Policy, Reason, Status, Tier
from handlers.core.policy_reading import Finding, Outcome, Reading, Situation, highest, read
from handlers.core.policy_rules import (
    FLAG_RULES,
    GATES,
    LINE_RULES,
    TIER_RULES,
    UNCERTAINTY_RULES,
    actions_of,
)
from handlers.core.selfhelp import Catalogue
from handlers.core.sentences import Sentence, Sentences


@dataclass(frozen=True, slots=True)
class Guidance:
    """What a decision may put before the person: crisis lines, things to do, and sentences that say why."""

    directory: Directory
    catalogue: Catalogue
    sentences: Sentences


@dataclass(frozen=True, slots=True)
class ActionDecision:
    """What is to become of one action.

    Attributes:
        action: of the tier, added by a flag or uncertainty, or ``help_link``, which ends every offer of self-help and
            stands in for one that is not made.
        status, reason: ``reason`` is there where the action is suppressed or deferred.
        not_before, not_after: RFC 3339, where it is deferred; ``not_after`` is the end of its consent, if it has one.
        items: ids in the self-help catalogue, where ``offer_self_help`` is planned.
        url: of ``help_link``.
    """

    action: Done
    status: Status
    reason: Reason | None = None
    not_before: str | None = None
    not_after: str | None = None
    items: tuple[str, ...] | None = None
    url: str | None = None

    def fields(self) -> dict[str, Any]:
        """Return the action as JSON fields; ``items`` and ``url`` only where they apply."""
        fields: dict[str, Any] = {
            "action": self.action,
            "status": self.status,
            "reason": self.reason,
            "not_before": self.not_before,
            "not_after": self.not_after,
        }
        if self.items is not None:
            fields["items"] = list(self.items)
        if self.url is not None:
            fields["url"] = self.url
        return fields


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision. No field can hold a text.

    Attributes:
        id: of the case.
        tier: the response that is called for; never a statement about the person.
        actions: in order.
        lines: crisis lines to show, in order.
        rules_fired: ids of ``policy_rules``, in its order.
        uncertainty, flags: ids of the rules that say what is not known, and what to tell the person.
        active: labels that are active; to be handed back as ``context.active`` with the next entry.
        care_until: RFC 3339, until when crisis lines are shown; to be handed back as ``context.care_until``.
        because: sentences that tell the person why something is shown; without score, label or tier.
    """

    id: str | None
    tier: Tier
    actions: tuple[ActionDecision, ...]
    lines: tuple[ShownLine, ...]
    rules_fired: tuple[str, ...]
    uncertainty: tuple[str, ...]
    flags: tuple[str, ...]
    active: tuple[str, ...]
    care_until: str | None = None
    because: tuple[Sentence, ...] = ()

    def fields(self) -> dict[str, Any]:
        """Return the decision as JSON fields."""
        return {
            "id": self.id,
            "tier": self.tier,
            "actions": [action.fields() for action in self.actions],
            "lines": [line.model_dump(mode="json") for line in self.lines],
            "rules_fired": list(self.rules_fired),
            "uncertainty": list(self.uncertainty),
            "flags": list(self.flags),
            "active": list(self.active),
            "care_until": self.care_until,
            "because": [sentence.model_dump(mode="json") for sentence in self.because],
        }

    def encode(self) -> str:
        """Return the decision as one line of JSON; the same decision is always the same line, in ASCII."""
        return json.dumps(self.fields(), allow_nan=False)


@dataclass(frozen=True, slots=True)
class Fired:
    """A rule that applied, to what, and why in words. ``outcome`` is there for gates."""

    rule: str
    why: str
    action: Action | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """A decision and how it came about.

    ``tier_before`` is what the rules found before models were capped at their ``max_tier``, ``readers_tier`` what the
    models call for on this entry's own scores.
    """

    decision: Decision
    reading: Reading
    findings: tuple[Finding, ...]
    tier_before: Tier
    readers_tier: Tier
    uncertainty: tuple[Fired, ...]
    flags: tuple[Fired, ...]
    gates: tuple[Fired, ...]
    lines: tuple[Fired, ...]


def decide(case: Case, policy: Policy, guidance: Guidance) -> Decision:
    """Decide one case. No clock, no network, no file: whatever is decided follows from the arguments."""
    return trace(case, policy, guidance).decision


def trace(case: Case, policy: Policy, guidance: Guidance) -> Trace:
    """Decide one case and keep how the decision came about."""
    reading = read(case, policy)
    findings = tuple(finding for rule in TIER_RULES for finding in rule.check(reading))
    tier = highest([finding.tier for finding in findings])
    uncertainty = _uncertainty(reading, tier)
    flags = tuple(Fired(rule.id, why) for rule in FLAG_RULES if (why := rule.check(reading)) is not None)
    flagged = tuple(fired.rule for fired in flags)
    situation = Situation(
        reading,
        tier,
        uncertain=bool(uncertainty),
        readers_tier=highest([finding.tier for finding in findings if finding.basis == "entry"]),
        disclosing_tier=highest([one.tier for one in findings if one.basis == "entry" or one.may_disclose]),
        flags=flagged,
    )
    names, gates = _settle(situation, actions_of(policy, tier, flagged, bool(uncertainty)))
    lines = _lines(situation, guidance) if "show_crisis_lines" in names else ()
    line_rules = tuple(
        Fired(rule.id, why) for rule in LINE_RULES if lines and (why := rule.check(case, lines)) is not None
    )
    actions = _actions(names, gates, situation, findings, guidance.catalogue)
    decision = Decision(
        id=case.id,
        tier=tier,
        actions=actions,
        lines=lines,
        rules_fired=_in_order([*findings, *uncertainty, *flags, *gates, *line_rules]),
        uncertainty=tuple(fired.rule for fired in uncertainty),
        flags=flagged,
        active=_active_next(reading),
        care_until=_care_until(reading, flagged),
        because=_because(situation, actions, [*findings], [*uncertainty, *flags], guidance.sentences),
    )
    tier_before = highest([finding.uncapped for finding in findings])
    return Trace(
        decision, reading, findings, tier_before, situation.readers_tier, uncertainty, flags, gates, line_rules
    )


def _settle(situation: Situation, names: tuple[Action, ...]) -> tuple[tuple[Action, ...], tuple[Fired, ...]]:
    """Return the actions and what the gates say of them. What waits for a human reviewer has one asked."""
    told = {name: _first_gate(situation, name) for name in names if name in THIRD_PARTY}
    if any(
        fired is not None and fired.outcome is not None and fired.outcome.waits_for_human for fired in told.values()
    ):
        names = tuple(name for name in ACTIONS if name in (*names, "request_human_review"))
        situation = replace(situation, for_reviewer=True)
    gates = (told[name] if name in told else _first_gate(situation, name) for name in names)
    return names, tuple(fired for fired in gates if fired is not None)


def _uncertainty(reading: Reading, tier: Tier) -> tuple[Fired, ...]:
    return tuple(Fired(rule.id, why) for rule in UNCERTAINTY_RULES if (why := rule.check(reading, tier)) is not None)


def _first_gate(situation: Situation, action: Action) -> Fired | None:
    """Return the first gate that applies to ``action``."""
    for rule in GATES:
        outcome = rule.check(situation, action)
        if outcome is not None:
            return Fired(rule.id, outcome.why, action, outcome)
    return None


_PLANNED = Outcome("planned", None, "nothing holds it back")


def _actions(
    names: Sequence[Action],
    gates: Sequence[Fired],
    situation: Situation,
    findings: Sequence[Finding],
    catalogue: Catalogue,
) -> tuple[ActionDecision, ...]:
    """Settle the actions; every offer of self-help ends with the general help link, which stands in for it too."""
    outcomes = {fired.action: fired.outcome for fired in gates}
    policy = situation.reading.policy
    settled: list[ActionDecision] = []
    for name in names:
        outcome = outcomes.get(name) or _PLANNED
        offered = name == "offer_self_help" and outcome.status == "planned"
        items = _offer(situation.reading, findings, catalogue, "show_crisis_lines" in names) if offered else None
        not_before, not_after = _optional_rfc3339(outcome.not_before), _optional_rfc3339(outcome.not_after)
        settled.append(ActionDecision(name, outcome.status, outcome.reason, not_before, not_after, items))
        if name == "offer_self_help":
            settled.append(ActionDecision("help_link", "planned", url=policy.actions.offer_self_help.help_link))
    return tuple(settled)


def _offer(reading: Reading, findings: Sequence[Finding], catalogue: Catalogue, lines_shown: bool) -> tuple[str, ...]:
    """Pick items for what the tier comes from, in the order of the policy; what was offered last comes last."""
    found = {label for finding in findings for label in finding.labels}
    meant = {reading.labels[name].means or name for name in found}
    labels = [name for meaning, names in reading.meanings.items() if meaning in meant for name in names]
    context = reading.case.context
    items = catalogue.pick(
        labels,
        _language(reading.case),
        reading.policy.actions.offer_self_help.items,
        avoid=_holding(reading),
        age_band=context.age_band,
        lines_shown=lines_shown,
        at=context.now,
        offered=_offered(reading.case),
    )
    return tuple(item.id for item in items)


def _holding(reading: Reading) -> frozenset[str]:
    """Return the labels that may hold for the person, with all that mean the same: some items are not for them."""
    near = {name for name in reading.scores if reading.reaches_off(name)}
    held = near.union(reading.active, reading.case.context.active)
    return frozenset(name for names in reading.meanings.values() if held.intersection(names) for name in names)


def _offered(case: Case) -> tuple[str, ...]:
    """Return what was offered before, latest first."""
    offers = [last for last in case.context.last_actions if last.action == "offer_self_help"]
    latest = sorted(offers, key=lambda last: (last.at, last.items), reverse=True)
    return tuple(item for last in latest for item in last.items)


def _language(case: Case) -> str | None:
    """Return the locale or language of the person, for what is shown."""
    return case.context.locale or case.context.language


def _lines(situation: Situation, guidance: Guidance) -> tuple[ShownLine, ...]:
    context = situation.reading.case.context
    return guidance.directory.select(
        context.country,
        _language(situation.reading.case),
        context.age_band,
        None if context.now is None else context.now.date(),
        situation.reading.policy.actions.show_crisis_lines.max_age_days,
        crisis=RANK[situation.tier] >= RANK["crisis"],
    )


def _because(
    situation: Situation,
    actions: Sequence[ActionDecision],
    findings: Sequence[Finding],
    others: Sequence[Fired],
    sentences: Sentences,
) -> tuple[Sentence, ...]:
    """Return why something is shown: what is not known is a reason only where no finding is one for crisis lines.

    Of a text about somebody else the writer is told that, and nothing of what it was found to say.
    """
    if not _is_anything_shown(actions):
        return ()
    if situation.reading.is_about_other:
        rules: tuple[str, ...] = ("third_party_guidance",)
    elif RANK[situation.tier] >= RANK["professional"]:
        rules = _in_order(findings)
    else:
        rules = _in_order([*findings, *others])
    return sentences.of(rules, _language(situation.reading.case))


_SHOWN: Final = ("show_crisis_lines", "offer_self_help", "help_link")


def _is_anything_shown(actions: Sequence[ActionDecision]) -> bool:
    return any(action.action in _SHOWN and action.status == "planned" for action in actions)


def _active_next(reading: Reading) -> tuple[str, ...]:
    """Return the labels that are active from now on.

    A text about somebody else says nothing about the writer, so it leaves the writer's labels as they were:
    otherwise a later entry of their own could be told to somebody on the ground of a friend's state. A text that was
    not scored says nothing either.
    """
    if reading.is_scored and not reading.is_about_other:
        return reading.active
    before = reading.case.context.active
    return tuple(name for name, label in reading.labels.items() if label.kind != "neutral" and name in before)


def _care_until(reading: Reading, flags: Collection[str]) -> str | None:
    """Return until when crisis lines are shown: some days from a crisis of this entry on, else as it was.

    Counted from the later clock; without any clock nothing can be counted.
    """
    context = reading.case.context
    labels = reading.labels
    is_crisis = reading.case.statement is not None or any(
        labels[name].kind == "crisis" and score >= labels[name].on for name, score in reading.scores.items()
    )
    if is_crisis and reading.later is not None:
        return _rfc3339(reading.later + timedelta(days=reading.policy.care.days))
    return _rfc3339(context.care_until) if context.care_until is not None and "in_care" in flags else None


def _in_order(fired: Sequence[Finding | Fired]) -> tuple[str, ...]:
    """Return the ids of the rules that applied, each once, in the order of ``policy_rules``."""
    ids = {one.rule for one in fired}
    return tuple(rule for rule in _RULE_IDS if rule in ids)


_RULE_IDS = tuple(rule.id for rules in (TIER_RULES, UNCERTAINTY_RULES, FLAG_RULES, GATES, LINE_RULES) for rule in rules)


def _optional_rfc3339(time: datetime | None) -> str | None:
    return None if time is None else _rfc3339(time)


def _rfc3339(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


if __name__ == "__main__":
    from handlers.core.policy_cli import main

    sys.exit(main())
