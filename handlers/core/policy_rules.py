"""The rules of the escalation policy: one small function a rule, and the lists that put them in order.

Where the specification leaves something open, the rule's docstring says how it was decided: towards help for
the person and towards silence for third parties. No rule reads a clock, a file or the text.

A decision walks through the lists in this order:

1. ``TIER_RULES`` find tiers in the signals; the highest one counts, so no rule can lower what another found.
2. ``UNCERTAINTY_RULES`` say what is not known.
3. ``FLAG_RULES`` tell the application something about what it shows.
4. ``GATES`` settle each action of the tier; the first that applies to an action decides it, and an action
   that passes them all is planned.
5. ``LINE_RULES`` say why these crisis lines are shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from handlers.core.directory import ShownLine
from handlers.core.policy_case import Case
from handlers.core.policy_consent import confirmation, consent, is_confirmed_by_human, scope_of, scope_state
from handlers.core.policy_model import ACTIONS, RANK, THIRD_PARTY, Action, LabelPolicy, Policy, QuietHours, Tier
from handlers.core.policy_reading import Basis, Finding, Outcome, Reading, Rule, Situation, is_unsupported, lower
from handlers.core.schema import LastAction

# 1. What raises a tier. Each rule yields findings; a higher score can only add to them.

TierCheck = Callable[[Reading], Iterator[Finding]]


def _find(reading: Reading, rule: str, tier: Tier, label: str, why: str, basis: Basis = "entry") -> Finding:
    return Finding(rule, lower(tier, reading.caps[label]), tier, (label,), why, basis)


def statement_floor(reading: Reading) -> Iterator[Finding]:
    """An explicit statement in the text gives ``crisis``. No cap applies, as no model has read it."""
    found = reading.case.statement
    if found is not None:
        languages = f" ({', '.join(found.languages)})" if found.languages else ""
        yield Finding(
            "statement_floor", "crisis", "crisis", (), f"the text states {', '.join(found.kinds)}{languages}", "floor"
        )


def label_active(reading: Reading) -> Iterator[Finding]:
    """An active risk label gives ``self_help``."""
    yield from _active(reading, "label_active", "risk", "self_help")


def crisis_signal(reading: Reading) -> Iterator[Finding]:
    """An active crisis label gives ``crisis``."""
    yield from _active(reading, "crisis_signal", "crisis", "crisis")


def _active(reading: Reading, rule: str, kind: str, tier: Tier) -> Iterator[Finding]:
    for name in reading.active:
        label = reading.labels[name]
        if label.kind == kind:
            score = reading.scores.get(name)
            basis: Basis = "entry" if score is not None and score >= label.on else "carried"
            yield _find(reading, rule, tier, name, _active_words(name, label, score), basis)


def _active_words(name: str, label: LabelPolicy, score: float | None) -> str:
    if score is None:
        return f"{name} was active, and there is no score that clears it"
    if score >= label.on:
        return f"{name} {score} >= on {label.on}"
    return f"{name} {score} >= off {label.off}, and it was active"


def label_acute(reading: Reading) -> Iterator[Finding]:
    """A risk label at ``acute_on`` gives ``professional``, whatever the other labels and entries say."""
    yield from _acute(reading, "label_acute", "risk", "professional")


def emergency_signal(reading: Reading) -> Iterator[Finding]:
    """A crisis label at ``acute_on`` gives ``emergency_contact``. It has no hysteresis: it is about this entry."""
    yield from _acute(reading, "emergency_signal", "crisis", "emergency_contact")


def _acute(reading: Reading, rule: str, kind: str, tier: Tier) -> Iterator[Finding]:
    for name, label, score in reading.risk_scores():
        if label.kind == kind and score >= label.acute_on:
            yield _find(reading, rule, tier, name, f"{name} {score} >= acute_on {label.acute_on}")


def overlap(reading: Reading) -> Iterator[Finding]:
    """Several risk labels, none of them active perhaps, give ``self_help`` together.

    Crisis labels count as well. The sum is exact (``fsum``), so the order of the signals does not matter. Every
    label that is read may reach ``self_help`` at least, so no cap applies.
    """
    rule = reading.policy.overlap
    mixed = {name: score for name, _, score in reading.risk_scores() if score >= rule.each}
    total = math.fsum(mixed.values())
    if len(mixed) >= rule.labels and total >= rule.sum:
        scores = ", ".join(f"{name} {score}" for name, score in mixed.items())
        why = f"{scores}: each >= {rule.each}, sum {total} >= {rule.sum}"
        yield Finding("overlap", "self_help", "self_help", tuple(mixed), why)


def cumulative(reading: Reading) -> Iterator[Finding]:
    """The same label at least ``off`` in several distinct entries of the last days gives ``professional``.

    Only with live consent to ``use_history``; without it the history is not looked at. The current entry is one of
    those counted, and it need not itself be among those that reach ``off``. An entry counts once, by any of its
    records that qualifies. An entry dated after ``now`` (clocks differ) counts by its distance like one before.
    A current entry without an id counts as one of its own.
    """
    if reading.now is None or scope_state(reading, "use_history") != "live":
        return
    case, rule = reading.case, reading.policy.cumulative
    span = timedelta(days=rule.days)
    recent = [entry for entry in case.context.history if abs(reading.now - entry.at) <= span]
    for name, label in reading.labels.items():
        if label.kind == "neutral":
            continue
        entries: set[str | None] = {entry.entry_id for entry in recent if entry.scores.get(name, -1.0) >= label.off}
        if reading.scores.get(name, -1.0) >= label.off:
            entries.add(case.entry_id)
        if len(entries) >= rule.entries:
            why = f"{name} >= off {label.off} in {len(entries)} entries >= {rule.entries} within {rule.days} days"
            yield _find(reading, "cumulative", "professional", name, why, "history")


TIER_RULES: Final[tuple[Rule[TierCheck], ...]] = (
    Rule(
        "statement_floor",
        "The text says in so many words that the writer wishes to die, means or has tried to end their life, or hurts "
        "themselves: crisis at least, whatever the scores say.",
        statement_floor,
    ),
    Rule("label_active", "A risk label that is active gives self_help.", label_active),
    Rule("label_acute", "A risk label at or above its acute_on gives professional.", label_acute),
    Rule(
        "overlap",
        "{p.overlap.labels} or more risk labels, each at or above {p.overlap.each}, with a sum of at least "
        "{p.overlap.sum}, give self_help.",
        overlap,
    ),
    Rule(
        "cumulative",
        "The same label at or above its off in {p.cumulative.entries} or more different entries within "
        "{p.cumulative.days} days gives professional. Only with consent to use_history; without it earlier entries "
        "are not looked at.",
        cumulative,
    ),
    Rule("crisis_signal", "A crisis label that is active gives crisis.", crisis_signal),
    Rule("emergency_signal", "A crisis label at or above its acute_on gives emergency_contact.", emergency_signal),
)


# 2. What is not known. Each rule returns why it applies, or None.

UncertaintyCheck = Callable[[Reading, Tier], str | None]


def truncated(reading: Reading, _: Tier) -> str | None:
    """Part of the text was not scored. Without ``tokens_scored`` nobody says that the rest was read."""
    tokens, scored = reading.case.context.tokens, reading.case.context.tokens_scored or 0
    return f"{scored} of {tokens} tokens were scored" if tokens is not None and scored < tokens else None


def missing_signal(reading: Reading, _: Tier) -> str | None:
    """A signal that is expected is not there: one of ``expected_signals``, one that was active, or any at all.

    A label that was active is expected, because its state is carried on without a score, and nobody is told
    anything on the ground of an earlier entry alone.
    """
    given, was_active = reading.case.signals, [name for name in reading.active if name not in reading.case.signals]
    missing = dict.fromkeys(name for name in (*reading.case.expected_signals, *was_active) if name not in given)
    if missing:
        return f"no score for {', '.join(missing)}"
    return None if any(name in given for name in reading.labels) else "no score that the policy reads"


def non_finite_signal(reading: Reading, _: Tier) -> str | None:
    """A signal that the policy reads, or that is expected, is there and is no number."""
    read_or_expected = {*reading.labels, *reading.case.expected_signals}
    odd = [
        name
        for name, score in reading.case.signals.items()
        if name in read_or_expected and (score is None or not math.isfinite(score))
    ]
    return f"not a finite number: {', '.join(sorted(odd))}" if odd else None


def unsupported_language(reading: Reading, _: Tier) -> str | None:
    """The models do not read the language of the text, so its scores are ignored; labels stay as they were."""
    supported = ", ".join(reading.policy.languages)
    return f"the models read {supported}" if is_unsupported(reading.case, reading.policy) else None


def model_timeout(reading: Reading, _: Tier) -> str | None:
    """The host says that a model did not answer in time."""
    return "a model did not answer in time" if "model_timeout" in reading.case.context.faults else None


def stale_model(reading: Reading, _: Tier) -> str | None:
    """The host says that a model is out of date. Its scores are still read: they may be a reason for help."""
    return "a model is out of date" if "stale_model" in reading.case.context.faults else None


def missing_time(reading: Reading, tier: Tier) -> str | None:
    """A rule needs the time and there is none.

    A rule needs it only where its answer could matter: the cumulative rule below ``professional``, a cool-down
    where an action of this tier was carried out before, quiet hours where a notice would be sent.
    """
    if reading.now is not None:
        return None
    context = reading.case.context
    if RANK[tier] < RANK["professional"] and scope_state(reading, "use_history") == "live" and context.history:
        return "cumulative needs context.now"
    if any(
        _may_cool(reading, last, action, tier) for action in _tier_actions(reading, tier) for last in _last(reading)
    ):
        return "cooldown needs context.now"
    if tier == "professional" and _would_notify(reading) and reading.policy.quiet_hours is not None:
        return "quiet_hours needs context.now"
    return None


def unverified_consent(reading: Reading, tier: Tier) -> str | None:
    """Consent has an end, and without the time nobody can say whether it is still live.

    The consent counts as absent. Unlike every other uncertainty this one does not suppress the other third-party
    actions: otherwise taking that consent back would let them through, and less consent must never add a disclosure.
    """
    scopes = [scope for action in _tier_actions(reading, tier) if (scope := scope_of(action)) is not None]
    if RANK[tier] < RANK["professional"]:
        scopes.append("use_history")
    unverified = [scope for scope in scopes if scope_state(reading, scope) == "unverified"]
    return f"consent to {', '.join(unverified)} has an end, and there is no context.now" if unverified else None


def _tier_actions(reading: Reading, tier: Tier) -> tuple[Action, ...]:
    return reading.policy.tiers.of(tier)


def _last(reading: Reading) -> tuple[LastAction, ...]:
    return reading.case.context.last_actions


def _would_notify(reading: Reading) -> bool:
    return (
        "notify_therapist" in reading.policy.tiers.professional and scope_state(reading, "notify_therapist") == "live"
    )


UNCERTAINTY_RULES: Final[tuple[Rule[UncertaintyCheck], ...]] = (
    Rule("truncated", "Part of the text was not scored.", truncated),
    Rule("missing_signal", "A score that is expected is not there.", missing_signal),
    Rule("non_finite_signal", "A score that is expected is not a finite number.", non_finite_signal),
    Rule("unsupported_language", "The text is in a language that the models do not read.", unsupported_language),
    Rule("model_timeout", "A model did not answer in time.", model_timeout),
    Rule("stale_model", "A model is out of date.", stale_model),
    Rule("missing_time", "A rule needs the time of the decision, and it was not given.", missing_time),
    Rule(
        "unverified_consent",
        "A consent has an end, and the time of the decision was not given: it counts as absent.",
        unverified_consent,
    ),
)

NOT_GLOBAL: Final = frozenset({"unverified_consent"})
"""Uncertainty that does not suppress every third-party action; the rule says why."""


# 3. What the application is told about what it shows. Each rule returns why it applies, or None.

FlagCheck = Callable[[Reading], str | None]


def explicit_statement(reading: Reading) -> str | None:
    """The text makes an explicit statement; where in it, the caller is told beside the decision."""
    found = reading.case.statement
    return None if found is None else f"kinds: {', '.join(found.kinds)}"


def near_crisis(reading: Reading) -> str | None:
    """A crisis label is between ``off`` and ``on``: lines and a human review, and nothing else on its account."""
    near = [
        f"{name} {score} >= off {label.off}"
        for name, label, score in reading.risk_scores()
        if label.kind == "crisis" and label.off <= score < label.on
    ]
    return ", ".join(near) or None


def in_care(reading: Reading) -> str | None:
    """An earlier entry was a crisis: lines are shown until ``care_until``, at any tier, and nothing else follows.

    Of two clocks the earlier one counts, and without any the time is not over: lines harm nobody.
    """
    until = reading.case.context.care_until
    if until is None:
        return None
    clocks = reading.clocks
    return f"until {until.isoformat()}" if not clocks or min(clocks) < until else None


def history_cut(reading: Reading) -> str | None:
    """There were more earlier entries than are read: the newest were taken."""
    return "the newest entries were read" if reading.case.context.history_cut else None


def unread_field(reading: Reading) -> str | None:
    """Something that came with the text could not be read and counts as not known."""
    return ", ".join(reading.case.context.unread) or None


def contradiction(reading: Reading) -> str | None:
    """``neutral`` is on although a risk label is active. It changes nothing else."""
    for name, score in reading.scores.items():
        label = reading.labels[name]
        if label.kind == "neutral" and score >= label.on and reading.active:
            return f"{name} {score} >= on {label.on}, and active: {', '.join(reading.active)}"
    return None


def third_party_guidance(reading: Reading) -> str | None:
    """The text is about somebody else: what is shown is guidance for helping them."""
    return "the text is about somebody else" if reading.case.context.subject == "other" else None


def unknown_signal(reading: Reading) -> str | None:
    """There are scores or active labels that the policy does not know; nothing is read from them."""
    unknown = {*reading.case.signals, *reading.case.context.active}.difference(reading.policy.labels)
    return f"{len(unknown)} not among the labels" if unknown else None


def unread_help(reading: Reading) -> str | None:
    """What could not be read might have called for crisis lines: they are shown."""
    hidden = [name for name in reading.case.context.unread if name.startswith(_CALLS_FOR_LINES)]
    return ", ".join(hidden) or None


_CALLS_FOR_LINES: Final = ("context.now", "context.care_until", "context.history", "consent.use_history")

FLAG_RULES: Final[tuple[Rule[FlagCheck], ...]] = (
    Rule(
        "explicit_statement",
        "The text states it in so many words: found by reviewed phrases, whatever the models read.",
        explicit_statement,
    ),
    Rule(
        "near_crisis",
        "A crisis label is between off and on: crisis lines and a human review, nothing to anybody else.",
        near_crisis,
    ),
    Rule(
        "in_care",
        "An entry of the last {p.care.days} days was a crisis: crisis lines are shown, and nothing else follows.",
        in_care,
    ),
    Rule("contradiction", "Neutral is on although a risk label is active: flagged, and nothing else.", contradiction),
    Rule(
        "third_party_guidance",
        "The text is about somebody else: lines are shown as guidance for helping them.",
        third_party_guidance,
    ),
    Rule("unknown_signal", "A score that the policy does not know is not read.", unknown_signal),
    Rule("history_cut", "There were more earlier entries than are read: the newest were taken.", history_cut),
    Rule("unread_field", "A field that could not be read counts as not known; the answer names it.", unread_field),
    Rule(
        "unread_help",
        "The time, the history or the consent to it could not be read, and might have called for crisis lines: they "
        "are shown.",
        unread_help,
    ),
)


# 4. What may be done. Each gate returns the outcome of an action, or None where it lets the action pass.

Gate = Callable[[Situation, Action], Outcome | None]


def always_shown(_: Situation, action: Action) -> Outcome | None:
    """Crisis lines are shown whatever else holds: they disclose nothing, and no tier withholds help."""
    return Outcome("planned", None, "needs no consent") if action == "show_crisis_lines" else None


def kill_switch(situation: Situation, action: Action) -> Outcome | None:
    """The operator has switched the action off."""
    if action in situation.reading.policy.kill_switch:
        return Outcome("suppressed", "kill_switch", "the policy has switched it off")
    return None


def third_party_subject(situation: Situation, action: Action) -> Outcome | None:
    """Nobody is notified about a text on somebody else. Review and offers stay: they are help for the writer."""
    if action in THIRD_PARTY and situation.reading.case.context.subject == "other":
        return Outcome("suppressed", "third_party_subject", "the text is about somebody else")
    return None


def uncertain(situation: Situation, action: Action) -> Outcome | None:
    """Nobody is notified on the ground of what is not known, a confirmation notwithstanding."""
    if action in THIRD_PARTY and situation.uncertain:
        return Outcome("suppressed", "uncertain", "nobody is told anything while something is not known")
    return None


def unsafe_contact(situation: Situation, action: Action) -> Outcome | None:
    """The contact may be a danger to the person: never alerted, whoever agreed or confirmed."""
    if action == "alert_contact" and situation.reading.case.context.contact_unsafe:
        return Outcome("suppressed", "unsafe_contact", "the contact is marked as unsafe")
    return None


def cooldown(situation: Situation, action: Action) -> Outcome | None:
    """The action was carried out a short while ago.

    An action of a lower tier does not count against one of a higher tier, where the caller says which it was.
    Without the time, a third-party action is uncertain, and an offer is not held back. A record dated after ``now``
    (clocks differ) holds back third-party actions alone. At the very end of the time the cool-down is over. A review
    of an explicit statement has none.
    """
    reading = situation.reading
    if reading.now is None or (action == "request_human_review" and reading.case.statement is not None):
        return None
    span = timedelta(hours=_cool_down_hours(reading.policy, action))
    for last in _last(reading):
        elapsed = reading.now - last.at
        recent = elapsed < span and (elapsed >= timedelta(0) or action in THIRD_PARTY)
        if recent and _may_cool(reading, last, action, situation.tier_of(action)):
            return Outcome("suppressed", "cooldown", f"was carried out {elapsed} ago, cool-down {span}")
    return None


def _may_cool(reading: Reading, last: LastAction, action: Action, tier: Tier) -> bool:
    """Say whether ``last`` can hold ``action`` back, whenever it was."""
    same = last.action == action and _cool_down_hours(reading.policy, action) > 0
    return same and (last.tier is None or RANK[last.tier] >= RANK[tier])


def _cool_down_hours(policy: Policy, action: Action) -> float:
    hours: float = getattr(getattr(policy.actions, action), "cool_down_hours", 0.0)
    return hours


def floor_only(situation: Situation, action: Action) -> Outcome | None:
    """The floor alone calls for it: words are no ground to tell anybody, until a human has read them and says so."""
    case = situation.reading.case
    if action not in THIRD_PARTY or case.statement is None or situation.is_called_by_readers(action):
        return None
    if is_confirmed_by_human(case.context.confirmation, case.entry_id, action):
        return None
    return Outcome("suppressed", "floor_only", "no model calls for it, and no human has confirmed it for this entry")


def quiet_hours(situation: Situation, action: Action) -> Outcome | None:
    """A notice at ``professional`` waits until the night is over. Crisis is never deferred.

    The time of day is that of ``context.now`` at its own offset; so is the end that is returned.
    """
    reading = situation.reading
    quiet = reading.policy.quiet_hours
    if action != "notify_therapist" or situation.tier_of(action) != "professional":
        return None
    if quiet is None or reading.now is None:
        return None
    end = quiet_until(quiet, reading.now)
    return None if end is None else Outcome("deferred", "quiet_hours", f"quiet hours end at {end.isoformat()}", end)


def quiet_until(quiet: QuietHours, now: datetime) -> datetime | None:
    """Return when the quiet hours that ``now`` lies in end, at the offset of ``now``; ``None`` outside of them."""
    clock = now.time()
    if quiet.start < quiet.end:
        return _at(now, quiet, 0) if quiet.start <= clock < quiet.end else None
    if clock >= quiet.start:
        return _at(now, quiet, 1)
    return _at(now, quiet, 0) if clock < quiet.end else None


def _at(now: datetime, quiet: QuietHours, days: int) -> datetime:
    return datetime.combine(now.date() + timedelta(days=days), quiet.end, now.tzinfo)


GATES: Final[tuple[Rule[Gate], ...]] = (
    Rule(
        "always_shown", "Crisis lines need no consent and are never suppressed, deferred or cooled down.", always_shown
    ),
    Rule("kill_switch", "An action that the operator has switched off is suppressed.", kill_switch),
    Rule("third_party_subject", "The text is about somebody else: nobody is notified.", third_party_subject),
    Rule(
        "uncertain",
        "Something is not known: nobody is notified; crisis lines are shown and a human review is requested.",
        uncertain,
    ),
    Rule("unsafe_contact", "A contact that is marked as unsafe is never alerted.", unsafe_contact),
    Rule(
        "consent",
        "An action needs live consent to its own scope. Without it the action is suppressed; an offer of self-help "
        "gives way to the general help link.",
        consent,
    ),
    Rule("cooldown", "An action that was carried out within its cool-down is suppressed.", cooldown),
    Rule(
        "floor_only",
        "An explicit statement alone tells nobody anything: a model must call for the notice as well, or a human "
        "reviewer confirm it for this very entry.",
        floor_only,
    ),
    Rule(
        "confirmation",
        "An alert of the contact, and every notice about a minor, is only proposed until this very entry is confirmed.",
        confirmation,
    ),
    Rule("quiet_hours", "In quiet hours a notice at professional waits until they end.", quiet_hours),
)


def actions_of(
    policy: Policy, tier: Tier, flags: Collection[str], unsure: bool, everything_uncertain: bool
) -> tuple[Action, ...]:
    """Return the actions that a decision is about, in order.

    Uncertainty and a score near a crisis add crisis lines and a human review to those of the tier; the time after a
    crisis, and what could not be read, add lines alone. Uncertainty also adds the third-party actions: what could have
    been called for is not known, and a decision says that it was held back.
    """
    wanted: set[Action] = set(policy.tiers.of(tier))
    if unsure or "near_crisis" in flags:
        wanted |= {"show_crisis_lines", "request_human_review"}
    if "in_care" in flags or "unread_help" in flags:
        wanted.add("show_crisis_lines")
    if everything_uncertain:
        wanted |= set(THIRD_PARTY)
    return tuple(action for action in ACTIONS if action in wanted)


# 5. Why these lines. Each rule returns why it applies, or None.

LineCheck = Callable[[Case, Sequence[ShownLine]], str | None]


def international_directory(case: Case, lines: Sequence[ShownLine]) -> str | None:
    """The country is not known, or has no line: the international directory, never a guessed national number."""
    if case.context.country is None:
        return "the country is not known"
    return None if any(line.dial or line.sms_to for line in lines) else "the directory has no line for the country"


def child_line_first(case: Case, lines: Sequence[ShownLine]) -> str | None:
    """A minor sees a line for children first, where the directory has one."""
    if case.context.age_band == "minor" and lines and lines[0].audience == "children":
        return f"{lines[0].id} is for children"
    return None


def stale_line(_: Case, lines: Sequence[ShownLine]) -> str | None:
    """A line whose verification is old, or of unknown age, is shown with its date beside the emergency number."""
    stale = [line.id for line in lines if line.stale]
    return f"verified too long ago, or when is not known: {', '.join(stale)}" if stale else None


LINE_RULES: Final[tuple[Rule[LineCheck], ...]] = (
    Rule(
        "international_directory",
        "Where the country is not known, the international directory is shown and no national number.",
        international_directory,
    ),
    Rule("child_line_first", "A minor sees a line for children first, where there is one.", child_line_first),
    Rule(
        "stale_line",
        "A line that was verified more than {p.actions.show_crisis_lines.max_age_days} days ago is shown with that "
        "date, beside the emergency number.",
        stale_line,
    ),
)
