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
from datetime import UTC, datetime, timedelta
from typing import Final

from handlers.core.directory import ShownLine
from handlers.core.policy_case import Case
from handlers.core.policy_consent import confirmation, consent, consent_end, is_confirmed, scope_of, scope_state
from handlers.core.policy_history import cumulative
from handlers.core.policy_model import ACTIONS, RANK, THIRD_PARTY, Action, Basis, LabelPolicy, Policy, QuietHours, Tier
from handlers.core.policy_reading import (
    MAX_CLOCK_SKEW,
    Finding,
    Outcome,
    Reading,
    Rule,
    Situation,
    is_unsupported,
    lower,
)
from handlers.core.schema import LastAction

# 1. What raises a tier. Each rule yields findings; a higher score can only add to them.

TierCheck = Callable[[Reading], Iterator[Finding]]  # pragma: no mutate


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
    """Yield a finding for every active label. One that is only carried over is told with consent to the history."""
    is_told = scope_state(reading, "use_history") == "live"
    for name in reading.active:
        label = reading.labels[name]
        if label.kind == kind:
            score = reading.scores.get(name)
            basis: Basis = "entry" if score is not None and score >= label.on else "carried"
            why = _active_words(name, label, score)
            capped = lower(tier, reading.caps[name])
            yield Finding(rule, capped, tier, (name,), why, basis, is_told and score is not None)


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
    for name, label, score in reading.scores_of(kind):
        if score >= label.acute_on:
            why = f"{name} {score} >= acute_on {label.acute_on}"
            yield Finding(rule, lower(tier, reading.caps[name]), tier, (name,), why)


def overlap(reading: Reading) -> Iterator[Finding]:
    """Several risk labels, none of them active perhaps, give ``self_help`` together.

    Labels that mean the same count once, by the highest score. Crisis labels count as well. The sum is exact
    (``fsum``), so the order of the signals does not matter. Every label that is read may reach ``self_help`` at least,
    so no cap applies.
    """
    rule = reading.policy.overlap
    mixed = {name: score for name, score in _highest_of_each_meaning(reading) if score >= rule.each}
    total = math.fsum(mixed.values())
    if len(mixed) >= rule.labels and total >= rule.sum:
        scores = ", ".join(f"{name} {score}" for name, score in mixed.items())
        why = f"{scores}: each >= {rule.each}, sum {total} >= {rule.sum}"
        yield Finding("overlap", "self_help", "self_help", tuple(mixed), why)


def _highest_of_each_meaning(reading: Reading) -> Iterator[tuple[str, float]]:
    for names in reading.meanings.values():
        scored = [name for name in names if name in reading.scores]
        if scored:
            name = max(scored, key=reading.scores.__getitem__)
            yield name, reading.scores[name]


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
        "{p.overlap.sum}, give self_help. Labels that mean the same count once, by the highest score.",
        overlap,
    ),
    Rule(
        "cumulative",
        "The same meaning at or above off in {p.cumulative.entries} or more entries, on different days within "
        "{p.cumulative.days} days, gives professional. Only with consent to use_history; without it earlier entries "
        "are not looked at. Entries about somebody else, and those dated more than a day ahead, do not count.",
        cumulative,
    ),
    Rule("crisis_signal", "A crisis label that is active gives crisis.", crisis_signal),
    Rule("emergency_signal", "A crisis label at or above its acute_on gives emergency_contact.", emergency_signal),
)


# 2. What is not known. Each rule returns why it applies, or None.

UncertaintyCheck = Callable[[Reading, Tier], str | None]  # pragma: no mutate


def truncated(reading: Reading, _: Tier) -> str | None:
    """Part of the text was not scored. Without ``tokens_scored`` nobody says that the rest was read."""
    tokens, scored = reading.case.context.tokens, reading.case.context.tokens_scored or 0
    is_cut = reading.is_scored and tokens is not None and scored < tokens
    return f"{scored} of {tokens} tokens were scored" if is_cut else None


def missing_signal(reading: Reading, _: Tier) -> str | None:
    """A signal that is expected is not there: one of ``expected_signals``, one that was active, or any at all.

    A label that was active is expected, because its state is carried on without a score, and nobody is told
    anything on the ground of an earlier entry alone.
    """
    if not reading.is_scored:
        return None
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
    is_foreign = reading.is_scored and is_unsupported(reading.case, reading.policy)
    return f"the models read {supported}" if is_foreign else None


def model_timeout(reading: Reading, _: Tier) -> str | None:
    """The host says that a model did not answer in time."""
    return "a model did not answer in time" if "model_timeout" in reading.case.context.faults else None


def stale_model(reading: Reading, _: Tier) -> str | None:
    """The host says that a model is out of date. Its scores are still read: they may be a reason for help."""
    return "a model is out of date" if "stale_model" in reading.case.context.faults else None


def missing_time(reading: Reading, tier: Tier) -> str | None:
    """A rule needs the time and there is none. Nobody is told anything without it."""
    need = _need_of_time(reading, tier)
    return f"{need} needs context.now" if reading.now is None and need is not None else None


def clock_skew(reading: Reading, tier: Tier) -> str | None:
    """A rule needs the time, and the caller's clock and the host's are more than 24 hours apart."""
    need = _need_of_time(reading, tier)
    return f"{need} needs the time, and two clocks differ" if reading.is_skewed and need is not None else None


def _need_of_time(reading: Reading, tier: Tier) -> str | None:
    """Return what needs the time of the decision.

    A rule needs it only where its answer could matter: the cumulative rule below ``professional``, a cool-down
    where an action of this tier was carried out before, and whatever somebody would be told.
    """
    has_history = reading.is_scored and bool(reading.case.context.history)
    if has_history and RANK[tier] < RANK["professional"] and scope_state(reading, "use_history") == "live":
        return "cumulative"
    actions = reading.policy.tiers.of(tier)
    if any(_may_cool(reading, last, action, tier) for action in actions for last in _last(reading)):
        return "cooldown"
    return next((action for action in actions if action in THIRD_PARTY), None)


def unverified_consent(reading: Reading, tier: Tier) -> str | None:
    """Consent has an end, and without any clock nobody can say whether it is still live: it counts as absent."""
    scopes = [scope for action in reading.policy.tiers.of(tier) if (scope := scope_of(action)) is not None]
    if RANK[tier] < RANK["professional"]:
        scopes.append("use_history")
    unverified = [scope for scope in scopes if scope_state(reading, scope) == "unverified"]
    return f"consent to {', '.join(unverified)} has an end, and there is no context.now" if unverified else None


def _last(reading: Reading) -> tuple[LastAction, ...]:
    return reading.case.context.last_actions


UNCERTAINTY_RULES: Final[tuple[Rule[UncertaintyCheck], ...]] = (
    Rule("truncated", "Part of the text was not scored.", truncated),
    Rule("missing_signal", "A score that is expected is not there.", missing_signal),
    Rule("non_finite_signal", "A score that is expected is not a finite number.", non_finite_signal),
    Rule("unsupported_language", "The text is in a language that the models do not read.", unsupported_language),
    Rule("model_timeout", "A model did not answer in time.", model_timeout),
    Rule("stale_model", "A model is out of date.", stale_model),
    Rule("missing_time", "A rule needs the time of the decision, and it was not given.", missing_time),
    Rule(
        "clock_skew",
        "A rule needs the time of the decision, and the caller's clock and the host's are more than 24 hours apart.",
        clock_skew,
    ),
    Rule(
        "unverified_consent",
        "A consent has an end, and the time of the decision was not given: it counts as absent.",
        unverified_consent,
    ),
)

# 3. What the application is told about what it shows. Each rule returns why it applies, or None.

FlagCheck = Callable[[Reading], str | None]  # pragma: no mutate


def explicit_statement(reading: Reading) -> str | None:
    """The text makes an explicit statement; where in it, the caller is told beside the decision."""
    found = reading.case.statement
    return None if found is None else f"kinds: {', '.join(found.kinds)}"


def near_crisis(reading: Reading) -> str | None:
    """A crisis label is between ``off`` and ``on``: lines and a human review, and nothing else on its account."""
    near = [
        f"{name} {score} >= off {label.off}"
        for name, label, score in reading.scores_of("crisis")
        if label.off <= score < label.on
    ]
    return ", ".join(near) or None


def in_care(reading: Reading) -> str | None:
    """An earlier entry was a crisis: lines are shown until ``care_until``, at any tier, and nothing else follows.

    Of two clocks the earlier one counts, and without any the time is not over: lines harm nobody.
    """
    until, earlier = reading.case.context.care_until, reading.earlier
    if until is None or (earlier is not None and earlier >= until):
        return None
    return f"until {until.isoformat()}"


def history_cut(reading: Reading) -> str | None:
    """There were more earlier entries than are read: the newest were taken."""
    return "the newest entries were read" if reading.case.context.history_cut else None


def unread_field(reading: Reading) -> str | None:
    """Something that came with the text could not be read and counts as not known."""
    return ", ".join(reading.case.context.unread) or None


def contradiction(reading: Reading) -> str | None:
    """The models disagree: a human reviewer has to confirm what others would be told.

    ``neutral`` being on although a risk label is active is flagged as well, and changes nothing else.
    """
    for high, low in reading.disagreements():
        return f"{high} {reading.scores[high]} >= on, and {low} {reading.scores[low]} < off"
    for name, score in reading.scores.items():
        label = reading.labels[name]
        if label.kind == "neutral" and score >= label.on and reading.active:
            return f"{name} {score} >= on {label.on}, and active: {', '.join(reading.active)}"
    return None


def third_party_guidance(reading: Reading) -> str | None:
    """The text is about somebody else: what is shown is guidance for helping them."""
    return "the text is about somebody else" if reading.is_about_other else None


def unknown_signal(reading: Reading) -> str | None:
    """There are scores or active labels that the policy does not know; nothing is read from them."""
    unknown = {*reading.case.signals, *reading.case.context.active}.difference(reading.policy.labels)
    return f"{len(unknown)} not among the labels" if unknown else None


def unread_help(reading: Reading) -> str | None:
    """What could not be read might have called for crisis lines: they are shown.

    So might a locale where the language of the text cannot be told: it would have said that nothing is read.
    """
    context = reading.case.context
    calls = (*_CALLS_FOR_LINES, "locale") if context.language is None else _CALLS_FOR_LINES
    return ", ".join(name for name in context.unread if name.startswith(calls)) or None


_CALLS_FOR_LINES: Final = ("context.now", "context.care_until", "context.history", "consent.use_history")


def cleared(reading: Reading) -> str | None:
    """A crisis label that was active has fallen below ``off``: lines are shown once more."""
    if reading.is_about_other or not reading.is_scored:
        return None
    before = reading.case.context.active
    fallen = [
        name
        for name, label in reading.labels.items()
        if label.kind == "crisis" and name in before and name not in reading.active
    ]
    return f"no longer active: {', '.join(fallen)}" if fallen else None


def lines_only(reading: Reading) -> str | None:
    """The writer objects to being scored: nothing is, and crisis lines are shown."""
    return None if reading.is_scored else "nothing was scored, as the writer objects to it"


def policy_expired(reading: Reading) -> str | None:
    """The policy is past its ``valid_until``: it helps the person, and tells nobody anything."""
    later, until = reading.later, reading.policy.valid_until
    is_expired = later is not None and later.astimezone(UTC).date() > until
    return f"valid until {until}" if is_expired else None


def last_action_ahead(reading: Reading) -> str | None:
    """A last action is dated more than 24 hours ahead: it is not believed, and does not count for a cool-down."""
    ahead = [last.action for last in _last(reading) if _is_ahead(reading, last)]
    return ", ".join(ahead) or None


def _is_ahead(reading: Reading, last: LastAction) -> bool:
    return reading.later is not None and last.at - reading.later > MAX_CLOCK_SKEW


def no_crisis_reader(reading: Reading) -> str | None:
    """No served model reads suicidal ideation: explicit statements alone are seen."""
    served = {*reading.case.expected_signals, *reading.case.signals}
    has_one = any(label.kind == "crisis" and name in served for name, label in reading.labels.items())
    return None if has_one else "no model that reads suicidal ideation is served"


def unsigned_reader(reading: Reading) -> str | None:
    """A reader of suicidal ideation is not signed for, or for another bundle: it reaches ``crisis`` at most."""
    served = {*reading.case.expected_signals, *reading.case.signals}
    unsigned = [
        name
        for name, reader in reading.policy.readers.items()
        if served.intersection(reader.signals)
        and reading.policy.is_crisis_reader(name)
        and (reader.signed is None or name in reading.case.context.unsigned)
    ]
    return ", ".join(unsigned) or None


FLAG_RULES: Final[tuple[Rule[FlagCheck], ...]] = (
    Rule(
        "explicit_statement",
        "The text states it in so many words: found by phrases, whatever the models read.",
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
    Rule(
        "contradiction",
        "Labels that mean the same disagree, one on and the other below off: only a human reviewer may confirm what "
        "others would be told. Neutral beside an active risk label is flagged too, and changes nothing else.",
        contradiction,
    ),
    Rule(
        "third_party_guidance",
        "The text is about somebody else: where a label is active, lines are shown as guidance for helping them, and "
        "the writer is offered nothing that is meant for that person.",
        third_party_guidance,
    ),
    Rule("unknown_signal", "A score that the policy does not know is not read.", unknown_signal),
    Rule("history_cut", "There were more earlier entries than are read: the newest were taken.", history_cut),
    Rule("unread_field", "A field that could not be read counts as not known; the answer names it.", unread_field),
    Rule(
        "unread_help",
        "The time, the history or the consent to it could not be read, or the locale beside a text whose language "
        "cannot be told, and might have called for crisis lines: they are shown.",
        unread_help,
    ),
    Rule("cleared", "A crisis label is no longer active: lines are shown once more.", cleared),
    Rule("lines_only", "The writer objects to being scored: nothing is, and crisis lines are shown.", lines_only),
    Rule(
        "policy_expired",
        "The policy is past {p.valid_until}: it helps the person, and nobody is told anything.",
        policy_expired,
    ),
    Rule(
        "last_action_ahead",
        "A last action is dated more than 24 hours ahead: it does not count for a cool-down.",
        last_action_ahead,
    ),
    Rule(
        "no_crisis_reader",
        "No served model reads suicidal ideation: of it, explicit statements alone are seen.",
        no_crisis_reader,
    ),
    Rule(
        "unsigned_reader",
        "A reader of suicidal ideation is not signed for, or for another bundle: it reaches crisis at most.",
        unsigned_reader,
    ),
)


# 4. What may be done. Each gate returns the outcome of an action, or None where it lets the action pass.

Gate = Callable[[Situation, Action], Outcome | None]  # pragma: no mutate


def always_shown(_: Situation, action: Action) -> Outcome | None:
    """Crisis lines are shown whatever else holds: they disclose nothing, and no tier withholds help."""
    return Outcome("planned", None, "needs no consent") if action == "show_crisis_lines" else None


def kill_switch(situation: Situation, action: Action) -> Outcome | None:
    """The operator has switched the action off."""
    if action in situation.reading.policy.kill_switch:
        return Outcome("suppressed", "kill_switch", "the policy has switched it off")
    return None


def expired_policy(situation: Situation, action: Action) -> Outcome | None:
    """An expired policy helps the person, and tells nobody anything. A review is help, and stays."""
    if action in THIRD_PARTY and "policy_expired" in situation.flags:
        return Outcome("suppressed", "policy_expired", f"valid until {situation.reading.policy.valid_until}")
    return None


def third_party_subject(situation: Situation, action: Action) -> Outcome | None:
    """Nobody is notified about a text on somebody else, and the writer is offered nothing meant for that person.

    A review stays: it is help for the writer.
    """
    if action in (*THIRD_PARTY, "offer_self_help") and situation.reading.is_about_other:
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

    An action of a lower tier does not count against one of a higher tier, where the caller says which it was. Of two
    clocks the earlier one counts for third parties, and the later one for help. Without the time, a third-party action
    is uncertain, and an offer is not held back. A record dated after the clock holds back third-party actions alone,
    and one dated more than 24 hours ahead nothing. At the very end of the time the cool-down is over. A review of an
    explicit statement has none, and neither has one for an action that waits for a reviewer.
    """
    reading = situation.reading
    if reading.now is None or (action == "request_human_review" and _is_review_due(situation)):
        return None
    clock = reading.clocks[0 if action in THIRD_PARTY else -1]
    span = timedelta(hours=_cool_down_hours(reading.policy, action))
    for last in _last(reading):
        elapsed = clock - last.at
        recent = elapsed < span and (elapsed >= timedelta(0) or action in THIRD_PARTY)
        may_cool = _may_cool(reading, last, action, situation.tier_of(action)) and not _is_ahead(reading, last)
        if recent and may_cool:
            return Outcome("suppressed", "cooldown", f"was carried out {elapsed} ago, cool-down {span}")
    return None


def _is_review_due(situation: Situation) -> bool:
    return situation.for_reviewer or situation.reading.case.statement is not None


def _may_cool(reading: Reading, last: LastAction, action: Action, tier: Tier) -> bool:
    """Say whether ``last`` can hold ``action`` back, whenever it was."""
    same = last.action == action and _cool_down_hours(reading.policy, action) > 0
    return same and (last.tier is None or RANK[last.tier] >= RANK[tier])


def _cool_down_hours(policy: Policy, action: Action) -> float:
    hours: float = getattr(getattr(policy.actions, action), "cool_down_hours", 0.0)
    return hours


def floor_only(situation: Situation, action: Action) -> Outcome | None:
    """The floor alone calls for it: words are no ground to tell anybody, until a human has read them and says so."""
    reading = situation.reading
    if action not in THIRD_PARTY or reading.case.statement is None or situation.is_grounded(action):
        return None
    if is_confirmed(reading, action, ("human",)):
        return None
    return Outcome("suppressed", "floor_only", "no model calls for it, and no human has confirmed it for this entry")


def history_only(situation: Situation, action: Action) -> Outcome | None:
    """Earlier entries alone call for it: they are a ground to tell somebody only with this entry's own score."""
    if action not in THIRD_PARTY or situation.reading.case.statement is not None or situation.is_grounded(action):
        return None
    why = "earlier entries alone call for it, without consent to use_history or a score of this entry at off"
    return Outcome("suppressed", "history_only", why)


def quiet_hours(situation: Situation, action: Action) -> Outcome | None:
    """A notice at ``professional`` waits until the night is over. Crisis is never deferred.

    The time of day is that of either clock at the offset of ``context.now``; so is the end that is returned. A notice
    does not wait beyond the end of its consent.
    """
    reading = situation.reading
    quiet, now = reading.policy.quiet_hours, reading.now
    if action != "notify_therapist" or situation.tier_of(action) != "professional" or quiet is None or now is None:
        return None
    ends = [quiet_until(quiet, clock.astimezone(now.tzinfo)) for clock in reading.clocks]
    end = max((end for end in ends if end is not None), default=None)
    if end is None:
        return None
    until = consent_end(reading, action)
    if until is not None and end >= until:
        return Outcome("suppressed", "consent_expired", f"consent ends at {until.isoformat()}, within the quiet hours")
    return Outcome("deferred", "quiet_hours", f"quiet hours end at {end.isoformat()}", end, until)


def quiet_until(quiet: QuietHours, now: datetime) -> datetime | None:
    """Return when the quiet hours that ``now`` lies in end, at the offset of ``now``; ``None`` outside of them."""
    clock = now.time()
    if quiet.start < quiet.end:  # pragma: no mutate - a policy in which they are the same does not load
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
    Rule("expired_policy", "An expired policy tells nobody anything.", expired_policy),
    Rule(
        "third_party_subject",
        "The text is about somebody else: nobody is notified, and nothing is offered.",
        third_party_subject,
    ),
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
        "history_only",
        "Earlier entries alone tell nobody anything: consent to use_history must be live, and this entry's own score "
        "reach off.",
        history_only,
    ),
    Rule(
        "confirmation",
        "An alert of the contact, and every notice about a minor, is only proposed until this very action of this "
        "entry is confirmed, within a day and for one use. What only a human reviewer may confirm is put before one, "
        "and suppressed where none can be asked. Age, subject, contact safety or language not known, and models that "
        "disagree, ask for a human.",
        confirmation,
    ),
    Rule(
        "quiet_hours",
        "In quiet hours a notice at professional waits until they end, and not beyond the end of its consent.",
        quiet_hours,
    ),
)


SHOW_LINES: Final = frozenset({"in_care", "unread_help", "cleared", "lines_only", "near_crisis"})
"""Flags that show crisis lines at any tier."""


def actions_of(policy: Policy, tier: Tier, flags: Collection[str], unsure: bool) -> tuple[Action, ...]:
    """Return the actions that a decision is about, in order.

    Uncertainty and a score near a crisis add crisis lines and a human review to those of the tier; the time after a
    crisis, what could not be read, and a text about somebody in need add lines alone. Uncertainty also adds the
    third-party actions: what could have been called for is not known, and a decision says that it was held back.
    """
    wanted: set[Action] = set(policy.tiers.of(tier))
    if SHOW_LINES.intersection(flags) or (tier != "none" and "third_party_guidance" in flags):
        wanted.add("show_crisis_lines")
    if "near_crisis" in flags:
        wanted.add("request_human_review")
    if unsure:
        wanted |= {"show_crisis_lines", "request_human_review", *THIRD_PARTY}
    return tuple(action for action in ACTIONS if action in wanted)


# 5. Why these lines. Each rule returns why it applies, or None.

LineCheck = Callable[[Case, Sequence[ShownLine]], str | None]  # pragma: no mutate


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
