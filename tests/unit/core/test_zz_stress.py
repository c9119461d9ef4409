"""What must hold for every case and every policy that loads, not just for those of a table."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from handlers.core.policy import Decision, decide
from handlers.core.policy_case import Case, parse_case
from handlers.core.policy_model import RANK, SCOPES, THIRD_PARTY, TIERS, LoadedPolicy, Policy
from handlers.core.policy_reading import read
from handlers.core.policy_replay import decision_digest, recordable
from handlers.core.policy_rules import FLAG_RULES, GATES, TIER_RULES, UNCERTAINTY_RULES
from handlers.core.statements import KINDS as STATEMENT_KINDS
from handlers.core.statements import LANGUAGES as STATEMENT_LANGUAGES
from tests.unit.core.policies import (
    CATALOGUE,
    CONFIG,
    GUIDANCE,
    POLICY,
    SIGNATURE,
    SIGNED,
    decision_of,
    entry,
    policy_with,
)

SI = "suicidal_ideation"
RISKS = ("depressed", "anxious", "stressed", "depression", SI)
READ = ("neutral", *RISKS)

SIGNATURES: dict[str, Any] = {
    "readers__conditions__max_tier": "emergency_contact",
    "readers__conditions__signed": SIGNATURE,
}


def signed_with(**changes: Any) -> Policy:
    return policy_with(**SIGNATURES, **changes)


POLICIES = [
    SIGNED,
    SIGNED,
    POLICY,
    signed_with(kill_switch=["notify_therapist", "offer_self_help"]),
    signed_with(kill_switch=["request_human_review"]),
    signed_with(quiet_hours=None),
    signed_with(quiet_hours={"start": "01:00", "end": "13:00", "clock": "context.now"}, languages=["en", "zh"]),
    signed_with(readers__sentiment__max_tier="self_help"),
    policy_with(readers__conditions__max_tier="professional"),
    signed_with(actions__notify_therapist__confirmed_by={"adult": ["user"], "minor": ["human"]}),
    signed_with(actions__notify_therapist__cool_down_hours="0", actions__request_human_review__cool_down_hours="24"),
    signed_with(actions__alert_contact__cool_down_hours="0"),
    signed_with(valid_until="2026-02-28"),
    SIGNED.calibrated({"depressed": (0.95, 0.2), "anxious": (0.4, 0.4), "depression": (0.3, 0.1)}),
]
policies = st.sampled_from(POLICIES)

EDGES = sorted(
    {0.0, 0.33, 0.35, 0.42, 0.5, 0.55, 0.7, 0.75, 0.8, 0.9, 1.0}
    | {math.nextafter(edge, 0.0) for edge in (0.33, 0.35, 0.42, 0.5, 0.55, 0.7, 0.8, 0.9)}
)
scores = st.sampled_from(EDGES) | st.floats(0.0, 1.0)
odd_scores = scores | st.sampled_from([None, math.nan, math.inf])
clear_signals = st.dictionaries(st.sampled_from(READ), scores, min_size=1, max_size=4)
signals = st.dictionaries(st.sampled_from((*READ, "history_profile", "unheard_of")), odd_scores)
acute = st.fixed_dictionaries({SI: st.sampled_from([0.5, 0.79, 0.8, 1.0])}, optional={"neutral": scores})

DAY = datetime.fromisoformat("2026-03-01T00:00:00+00:00")
CLOCKS = ["00:00:00", "06:59:59", "07:00:00", "12:59:59", "14:00:00", "21:59:59", "22:00:00", "23:30:00"]
clear_nows = st.builds(
    lambda clock, offset: f"2026-03-01T{clock}{offset}",
    st.sampled_from(CLOCKS),
    st.sampled_from(["Z", "+05:45", "-11:00", "+13:00"]),
)
SECOND = timedelta(seconds=1)
AGES = [
    timedelta(0),
    SECOND,
    -SECOND,
    -timedelta(days=20),
    *(span + step for span in (timedelta(hours=24), timedelta(days=14)) for step in (-SECOND, timedelta(0), SECOND)),
]
ages = st.sampled_from(AGES)
MINUTE = timedelta(minutes=1)
IDS = ["e1", "e2", "e3", "e9"]


def at(now: str | None, age: timedelta) -> str:
    """Return the time that is ``age`` before ``now``, or before some day where there is no ``now``."""
    return ((DAY if now is None else datetime.fromisoformat(now)) - age).isoformat()


KINDS = st.sampled_from(["odd", "clear", "acute"])
NOWS = {"odd": st.none() | clear_nows, "clear": clear_nows, "acute": clear_nows}
ENTRY_IDS = st.sampled_from(["e9", "e9", "e9", None])
SIGNALS = {"odd": signals, "clear": clear_signals, "acute": acute}
EXPECTED_SIGNALS = st.lists(st.sampled_from(RISKS), max_size=1)


@st.composite
def case_fields(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a case as JSON fields, with times on the edges of what is compared.

    In one of three anything may be missing or odd. The others are clear, because what is not known suppresses most of
    what there is to see; half of those are acute as well.
    """
    kind = draw(KINDS)
    now = draw(NOWS[kind])
    fields = {
        "id": "c1",
        "entry_id": draw(ENTRY_IDS),
        "signals": draw(SIGNALS[kind]),
        "expected_signals": draw(EXPECTED_SIGNALS) if kind == "odd" else [],
        "consent": draw(consent_of(kind, now)),
        "context": draw(context_of(kind, now)) | ({} if now is None else {"now": now}),
    }
    if (statement := draw(STATEMENTS)) is not None:
        fields["statement"] = statement
    if kind != "odd":  # a label that was active and has no score is not clear
        active = [label for label in fields["context"].get("active", []) if label in fields["signals"]]
        fields["context"]["active"] = active
    return fields


STATEMENTS = (
    st.none()
    | st.none()
    | st.builds(
        lambda kinds, languages: {"kinds": sorted(kinds), "languages": sorted(languages)},
        st.sets(st.sampled_from(STATEMENT_KINDS), min_size=1),
        st.sets(st.sampled_from(STATEMENT_LANGUAGES), max_size=3),
    )
)
UNREAD = st.lists(st.sampled_from(["locale", "country", "context.now", "consent.use_history", "context.history[3]"]))

NEEDED = {
    "odd": (),
    "clear": ("history", "last_actions", "language"),
    "acute": ("confirmation", "last_actions", "language"),
}
"""What of the context is always there, so that there is something to see."""


@cache  # hypothesis takes longer to make a strategy than to draw from it
def consent_of(kind: str, now: str | None) -> st.SearchStrategy[dict[str, Any]]:
    """Return the consents of a case."""
    return _some({scope: consents(now) for scope in SCOPES}, () if kind == "odd" else SCOPES)


@cache
def context_of(kind: str, now: str | None) -> st.SearchStrategy[dict[str, Any]]:
    """Return the contexts of a case, without the time."""
    context = {
        "country": st.sampled_from(["GB", "BE", "ZZ"]),
        "locale": st.sampled_from(["en-GB", "de"]),
        "age_band": st.sampled_from(["adult", "minor"]),
        "history": st.lists(entries(now), max_size=6),
        "last_actions": st.lists(done(now), max_size=2),
        "confirmation": st.builds(
            lambda name, by, action, age: {"entry_id": name, "by": by, "action": action, "at": at(now, age)},
            st.sampled_from(["e9", "e9", "e9", "e1"]),
            st.sampled_from(["human", "user", "human", "user", "x"]),
            st.sampled_from(THIRD_PARTY),
            st.sampled_from([timedelta(0), timedelta(0), timedelta(hours=24), timedelta(hours=25), -5 * MINUTE]),
        ),
        "care_until": ages.map(lambda age: at(now, -age)),
        "active": st.lists(st.sampled_from(READ), max_size=2),
        "contact_unsafe": st.sampled_from([False, False, False, True]),
        "subject": st.sampled_from(["self", "self", "self", "other"]),
        "language": st.sampled_from(["en", "en", "en", "EN-gb"]),
        "host_now": st.sampled_from([timedelta(0), timedelta(0), MINUTE, -MINUTE, timedelta(days=2)]).map(
            lambda age: at(now, age)
        ),
    }
    if kind == "odd":
        context |= {
            "language": st.sampled_from(["en", "EN-gb", "zh", "fr"]),
            "locale": st.sampled_from(["en-GB", "de", "es-ES"]),
            "processing": st.sampled_from(["full", "full", "lines_only"]),
            "unsigned": st.sampled_from([[], [], ["conditions"]]),
            "active": st.lists(st.sampled_from([*READ, "unheard_of"]), max_size=3),
            "tokens": st.sampled_from([10, 4096]),
            "tokens_scored": st.sampled_from([10, 4096]),
            "faults": st.lists(st.sampled_from(["unsupported_language", "model_timeout", "stale_model"]), max_size=1),
        }
    return _some(context, NEEDED[kind])


def _some(fields: dict[str, Any], needed: Sequence[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Return dictionaries of ``fields`` where those that are not needed may be missing."""
    optional = {name: field for name, field in fields.items() if name not in needed}
    return st.fixed_dictionaries({name: fields[name] for name in needed}, optional=optional)


def consents(now: str | None) -> st.SearchStrategy[Any]:
    """Return consents as JSON, most of them live."""
    ends = st.none() | ages.map(lambda age: at(now, age))
    timed = st.builds(
        lambda granted, end: {"granted": granted, "expires_at": end}, st.sampled_from([True, True, False]), ends
    )
    return st.just(True) | st.just(True) | st.booleans() | timed


def entries(now: str | None) -> st.SearchStrategy[Any]:
    """Return entries of a history; few ids and high scores, so that they repeat and add up."""
    high = st.fixed_dictionaries({"depressed": st.sampled_from([0.55, 0.6]), SI: st.sampled_from([0.2, 0.35])})
    given = high | st.dictionaries(st.sampled_from(READ), scores, max_size=3)
    return st.builds(
        lambda name, age, subject, scored: entry(name, at(now, age), subject, **scored),
        st.sampled_from(IDS),
        ages | st.sampled_from([timedelta(days=days) for days in (1, 2, 3)]),
        st.sampled_from(["self", "self", "self", "other", None]),
        given,
    )


def done(now: str | None) -> st.SearchStrategy[Any]:
    """Return actions that were carried out."""
    names = st.sampled_from(["offer_self_help", "request_human_review", "help_link", *THIRD_PARTY])
    return st.builds(
        lambda name, age, tier, items: {"action": name, "at": at(now, age), "tier": tier, "items": items},
        names,
        ages,
        st.sampled_from([None, None, *TIERS]),
        st.lists(st.sampled_from(["slow-breathing", "one-small-thing", "not-in-it"]), max_size=2),
    )


def to_case(fields: dict[str, Any]) -> Case:
    return parse_case(json.dumps(fields))


def planned(decision: Decision) -> set[str]:
    return {action.action for action in decision.actions if action.status == "planned"}


def clocks(fields: dict[str, Any]) -> list[datetime]:
    """Return the clocks of a case in JSON, the earlier one first."""
    given = (fields["context"].get(name) for name in ("now", "host_now"))
    return sorted(datetime.fromisoformat(clock) for clock in given if clock is not None)


def is_live(given: Any, fields: dict[str, Any]) -> bool:
    """Say, for a consent in JSON and by itself, whether it is live by the later of both clocks."""
    if isinstance(given, bool):
        return given
    if given is None or not given["granted"]:
        return False
    end, known = given.get("expires_at"), clocks(fields)
    return end is None or (bool(known) and known[-1] < datetime.fromisoformat(end))


def has_unknown_end(given: Any, fields: dict[str, Any]) -> bool:
    return isinstance(given, dict) and given["granted"] and given.get("expires_at") is not None and not clocks(fields)


def is_confirmed(fields: dict[str, Any], action: str, by: set[str]) -> bool:
    """Say, for a case in JSON and by itself, whether an action of its entry is confirmed by one of ``by``."""
    given, known = fields["context"].get("confirmation"), clocks(fields)
    if given is None or not known or fields["entry_id"] != given["entry_id"]:
        return False
    done_at = [last["at"] for last in fields["context"].get("last_actions", []) if last["action"] == action]
    confirmed_at = datetime.fromisoformat(given["at"])
    fresh = confirmed_at <= known[0] + 5 * MINUTE and confirmed_at >= known[-1] - timedelta(hours=24)
    used = any(datetime.fromisoformat(one) >= confirmed_at for one in done_at)
    return given["action"] == action and given["by"] in by and fresh and not used


def properties(examples: int = 100) -> Any:
    return settings(max_examples=examples * 12, deadline=None)


@properties(200)
@given(case_fields(), policies, st.sets(st.sampled_from(SCOPES), min_size=1))
def test_more_consent_never_removes_help(fields: dict[str, Any], policy: Policy, scopes: set[str]) -> None:
    # A consent whose end nobody can check is an uncertainty of its own, which calls for help; to lift it is no grant.
    assume(not any(has_unknown_end(fields["consent"].get(scope), fields) for scope in scopes))
    more = fields | {"consent": fields["consent"] | dict.fromkeys(scopes, True)}

    before, after = decision_of(to_case(fields), policy), decision_of(to_case(more), policy)

    assert RANK[after.tier] >= RANK[before.tier]
    assert {line.id for line in before.lines} <= {line.id for line in after.lines}
    assert planned(before) - set(THIRD_PARTY) <= planned(after)


@properties(200)
@given(case_fields(), policies, st.sets(st.sampled_from(SCOPES), min_size=1))
def test_less_consent_never_adds_a_disclosure(fields: dict[str, Any], policy: Policy, scopes: set[str]) -> None:
    less = fields | {"consent": fields["consent"] | dict.fromkeys(scopes, False)}

    before, after = decision_of(to_case(fields), policy), decision_of(to_case(less), policy)

    def disclosed(decision: Decision) -> set[tuple[str, str]]:
        return {
            (action.action, action.status)
            for action in decision.actions
            if action.action in (*THIRD_PARTY, "request_human_review") and action.status != "suppressed"
        }

    assert disclosed(after) <= disclosed(before)


@properties(200)
@given(case_fields(), policies, st.sampled_from(RISKS), scores, scores)
def test_raising_a_risk_score_never_lowers_the_tier(
    fields: dict[str, Any], policy: Policy, label: str, one: float, other: float
) -> None:
    low, high = sorted((one, other))

    before, after = (
        decision_of(to_case(fields | {"signals": fields["signals"] | {label: score}}), policy) for score in (low, high)
    )

    assert RANK[after.tier] >= RANK[before.tier]


@properties(250)
@given(case_fields(), policies)
def test_nobody_is_told_anything_without_leave(fields: dict[str, Any], policy: Policy) -> None:
    context, consent = fields["context"], fields["consent"]
    decision = decision_of(to_case(fields), policy)

    is_adult = context.get("age_band") == "adult"  # an age that is not known may be a minor's
    for action in decision.actions:
        if action.action in (*THIRD_PARTY, "request_human_review") and action.status != "suppressed":
            scope = "human_review" if action.action == "request_human_review" else action.action
            assert is_live(consent.get(scope), fields)
            assert action.action not in policy.kill_switch
        if action.action in THIRD_PARTY and action.status != "suppressed":
            assert context.get("subject") != "other"
            assert not decision.uncertainty
            assert "now" in context
            assert "policy_expired" not in decision.flags
        if action.action == "alert_contact" and action.status != "suppressed":
            assert decision.tier == "emergency_contact"
            assert not context.get("contact_unsafe", False)
            is_known = {"subject", "contact_unsafe"} <= set(context) and "language" in context
            by = {"human", "user"} if is_adult and is_known and "contradiction" not in decision.flags else {"human"}
            assert action.status == "proposed" or is_confirmed(fields, "alert_contact", by)
        if action.action == "notify_therapist" and not is_adult and action.status != "suppressed":
            assert (action.status == "proposed") != is_confirmed(fields, "notify_therapist", {"human"})


@properties()
@given(case_fields(), policies, st.data())
def test_an_older_and_calmer_entry_never_lowers_the_tier(
    fields: dict[str, Any], policy: Policy, data: st.DataObject
) -> None:
    history = fields["context"].get("history", [])
    calmest = {label: min([one["scores"].get(label, 0.0) for one in history], default=0.0) for label in RISKS}
    calmer = {label: data.draw(st.floats(0.0, top)) for label, top in calmest.items()}
    older = timedelta(days=data.draw(st.integers(0, 40)))
    added = entry(data.draw(st.sampled_from([*IDS, "e0"])), at(fields["context"].get("now"), older), "self", **calmer)
    longer = fields | {"context": fields["context"] | {"history": [*history, added]}}

    before, after = decision_of(to_case(fields), policy), decision_of(to_case(longer), policy)

    assert RANK[after.tier] >= RANK[before.tier]


@properties()
@given(case_fields(), policies, st.randoms(use_true_random=False))
def test_the_order_of_what_is_given_changes_nothing(fields: dict[str, Any], policy: Policy, random: Any) -> None:
    def shuffled(values: list[Any]) -> list[Any]:
        return random.sample(values, len(values))

    context = {name: shuffled(value) if isinstance(value, list) else value for name, value in fields["context"].items()}
    if "history" in context:  # an entry that is there twice is there once
        context["history"] = shuffled([*context["history"], *context["history"][:3]])
    consent = dict(shuffled(list(fields["consent"].items())))
    other = fields | {
        "signals": dict(shuffled(list(fields["signals"].items()))),
        "context": context,
        "consent": consent,
    }

    assert decision_of(to_case(fields), policy).encode() == decision_of(to_case(other), policy).encode()


@properties(300)
@given(case_fields(), policies)
def test_a_record_alone_gives_the_same_bytes(fields: dict[str, Any], policy: Policy) -> None:
    fields["context"].setdefault("active", []).append("a writer's own words")
    one, loaded = to_case(fields), LoadedPolicy(policy, "0" * 64)
    decision = decision_of(one, policy)

    kept = recordable(one, loaded, GUIDANCE).model_dump(mode="json", exclude_defaults=True)
    again = decide(Case.model_validate_json(json.dumps(kept)), policy, GUIDANCE)

    assert decision_digest(again) == decision_digest(decision)
    assert not any(word in json.dumps(kept) for word in ("words", "e9", "unheard_of", "not-in-it"))


@properties()
@given(case_fields(), policies)
def test_a_replay_gives_the_same_bytes(fields: dict[str, Any], policy: Policy) -> None:
    assert decision_of(to_case(fields), policy).encode() == decision_of(to_case(fields), policy).encode()


def test_another_process_gives_the_same_bytes(tmp_path: Path) -> None:
    signals = {label: 0.4 + index / 100 for index, label in enumerate(RISKS)}
    context = {"language": "fr", "active": list(RISKS), "faults": ["stale_model", "model_timeout"], "tokens": 3}
    line = json.dumps({"signals": signals, "context": context, "consent": {"self_help": True}})
    (tmp_path / "cases.jsonl").write_text(line + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "handlers.core.policy", "--today", "2026-03-01", "--cases"]

    outputs = {
        subprocess.run(
            [*command, str(tmp_path / "cases.jsonl")],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=CONFIG.parents[1],
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert outputs == {(decision_of(parse_case(line)).encode() + "\n").encode()}


@properties()
@given(case_fields(), policies)
def test_a_decision_holds_only_words_of_our_own(fields: dict[str, Any], policy: Policy) -> None:
    canary = "Canary wrote this: tell 555-0199 at once"
    decision = decision_of(to_case(fields | {"text": canary}), policy)

    words = {rule.id for rules in (TIER_RULES, UNCERTAINTY_RULES, GATES, FLAG_RULES) for rule in rules}
    words |= {"international_directory", "child_line_first", "stale_line"}
    assert {*decision.rules_fired, *decision.uncertainty, *decision.flags} <= words
    assert set(decision.active) <= set(RISKS)
    assert {item for action in decision.actions for item in action.items or ()} <= {item.id for item in CATALOGUE.items}
    encoded = decision.encode()
    assert not any(word in encoded for word in ("Canary", "555-0199", "at once"))
    published = (CONFIG / "crisis_lines.yaml").read_text(encoding="utf-8")
    assert all(f'dial: "{line.dial}"' in published for line in decision.lines if line.dial is not None)


@properties()
@given(case_fields(), policies)
def test_without_leave_to_use_it_the_history_is_not_read(fields: dict[str, Any], policy: Policy) -> None:
    assume(not is_live(fields["consent"].get("use_history"), fields))
    without = fields | {"context": {name: value for name, value in fields["context"].items() if name != "history"}}

    assert decision_of(to_case(fields), policy).encode() == decision_of(to_case(without), policy).encode()


@properties()
@given(case_fields(), policies, scores, scores)
def test_neutral_moves_no_tier(fields: dict[str, Any], policy: Policy, one: float, other: float) -> None:
    first, second = (
        decision_of(to_case(fields | {"signals": fields["signals"] | {"neutral": score}}), policy)
        for score in (one, other)
    )

    assert (first.tier, first.actions, first.active) == (second.tier, second.actions, second.active)


@properties(200)
@given(case_fields(), policies)
def test_help_is_there_and_every_refusal_has_its_reason(fields: dict[str, Any], policy: Policy) -> None:
    decision = decision_of(to_case(fields), policy)
    names = [action.action for action in decision.actions]

    assert len(names) == len(set(names))
    assert set(policy.tiers.of(decision.tier)) <= set(names)
    if RANK[decision.tier] >= RANK["professional"] or decision.uncertainty:
        assert "show_crisis_lines" in planned(decision)
        assert decision.lines
    if decision.uncertainty:
        assert "request_human_review" in names
    assert ("help_link" in planned(decision)) == ("offer_self_help" in names)
    for action in decision.actions:
        assert (action.reason is None) == (action.status in ("planned", "proposed"))
        assert (action.not_before is not None) == (action.status == "deferred")
        if action.status == "deferred":
            assert action.action == "notify_therapist"
            # Where the floor or an earlier entry has raised the tier, what the scores call for keeps its quiet hours.
            raised = "statement" in fields or bool(fields["context"].get("active"))
            assert decision.tier == "professional" or (decision.tier == "crisis" and raised)


@properties(200)
@given(case_fields(), policies)
def test_no_model_reaches_beyond_its_limit(fields: dict[str, Any], policy: Policy) -> None:
    one = to_case(fields)
    caps = policy.caps(one.context.unsigned)
    readable = [label for label in (*one.signals, *one.context.active) if label in caps]
    readable += [label for past in one.context.history for label in past.scores if label in caps]
    limit = max((caps[label] for label in readable), key=RANK.__getitem__, default="none")

    decision = decision_of(to_case({name: value for name, value in fields.items() if name != "statement"}), policy)

    assert RANK[decision.tier] <= RANK[limit]
    assert "history_profile" not in read(one, policy).labels
    if SI not in readable:
        assert RANK[decision.tier] <= RANK["professional"]


@properties()
@given(case_fields(), policies)
def test_nothing_that_is_not_known_ends_in_plain_none(fields: dict[str, Any], policy: Policy) -> None:
    context = fields["context"]
    language = context.get("language", context.get("locale"))
    not_known = (
        context.get("tokens", 0) > context.get("tokens_scored", 0)
        or bool(context.get("faults"))
        or (language is not None and language.lower()[:2] not in policy.languages)
        or any(not math.isfinite(fields["signals"].get(name) or 0.0) for name in READ)
        or any(fields["signals"].get(name) is None for name in fields["expected_signals"])
        or not set(fields["signals"]) & set(READ)
    )
    decision = decision_of(to_case(fields), policy)

    if not_known:
        assert decision.uncertainty or "lines_only" in decision.flags
        assert "show_crisis_lines" in planned(decision)
        assert not planned(decision) & set(THIRD_PARTY) or "lines_only" in decision.flags


HELP = {"show_crisis_lines", "request_human_review"}


def passed_on(decision: Decision) -> set[str]:
    """Return the third-party actions that are not held back."""
    return {action.action for action in decision.actions if action.action in THIRD_PARTY} - {
        action.action for action in decision.actions if action.status == "suppressed"
    }


@properties(250)
@given(case_fields(), policies, STATEMENTS.filter(bool), UNREAD, st.booleans())
def test_more_flags_never_remove_help(
    fields: dict[str, Any], policy: Policy, statement: dict[str, Any], unread: list[str], cut: bool
) -> None:
    fewer = {name: value for name, value in fields.items() if name != "statement"}
    more = fields | {
        "statement": statement,
        "context": fields["context"] | {"unread": sorted(set(unread)), "history_cut": cut},
    }

    before, after = decision_of(to_case(fewer), policy), decision_of(to_case(more), policy)

    assert RANK[after.tier] >= max(RANK[before.tier], RANK["crisis"])
    assert {line.id for line in before.lines} <= {line.id for line in after.lines}
    assert planned(before) & HELP <= planned(after)
    assert after.lines and "show_crisis_lines" in planned(after)
    assert "request_human_review" in {action.action for action in after.actions}


@properties(300)
@given(case_fields(), policies, STATEMENTS.filter(bool))
def test_the_floor_alone_never_discloses(fields: dict[str, Any], policy: Policy, statement: dict[str, Any]) -> None:
    fewer = {name: value for name, value in fields.items() if name != "statement"}
    confirmed = {action for action in THIRD_PARTY if is_confirmed(fields, action, {"human"})}

    before = decision_of(to_case(fewer), policy)
    after = decision_of(to_case(fields | {"statement": statement}), policy)

    assert passed_on(after) - confirmed <= passed_on(before)


STRENGTH = {"suppressed": 0, "proposed": 1, "deferred": 2, "planned": 3}


def told(decision: Decision) -> dict[str, int]:
    """Return how far each third-party action goes."""
    return {action.action: STRENGTH[action.status] for action in decision.actions if action.action in THIRD_PARTY}


def adds_no_disclosure(before: Decision, after: Decision) -> bool:
    return all(strength <= told(before).get(action, 0) for action, strength in told(after).items())


HARMLESS = {"age_band": "adult", "subject": "self", "contact_unsafe": False, "locale": "en-GB"}


@properties(300)
@given(case_fields(), policies, st.sampled_from([*HARMLESS, "country", "now", "confirmation", "history", "entry_id"]))
def test_less_knowledge_never_adds_a_disclosure(fields: dict[str, Any], policy: Policy, name: str) -> None:
    known = fields | {"context": HARMLESS | fields["context"]}
    if name in HARMLESS:  # what is not known is never better than what does no harm
        known["context"][name] = HARMLESS[name]
    less = known | {"context": {field: value for field, value in known["context"].items() if field != name}}
    if name == "entry_id":
        less["entry_id"] = None

    assert adds_no_disclosure(decision_of(to_case(known), policy), decision_of(to_case(less), policy))


@properties(200)
@given(
    case_fields(),
    policies,
    st.sampled_from([("age_band", "minor"), ("contact_unsafe", True), ("locale", "es-ES")]),
)
def test_without_a_human_what_is_not_known_is_no_better_than_the_worst(
    fields: dict[str, Any], policy: Policy, worst: tuple[str, Any]
) -> None:
    name, value = worst
    context = {field: given for field, given in fields["context"].items() if field != "confirmation"}
    if name == "locale":
        context.pop("language", None)
    known = fields | {"context": context | {name: value}}
    less = fields | {"context": {field: given for field, given in context.items() if field != name}}

    before, after = decision_of(to_case(known), policy), decision_of(to_case(less), policy)

    went_out = {action for action, strength in told(after).items() if strength > STRENGTH["proposed"]}
    assert all(told(before)[action] > STRENGTH["proposed"] for action in went_out)


@properties(300)
@given(case_fields(), policies)
def test_an_entry_of_nobody_in_particular_is_no_ground_to_tell_anybody(fields: dict[str, Any], policy: Policy) -> None:
    history = [{**one, "subject": None} for one in fields["context"].get("history", [])]
    less = fields | {"context": fields["context"] | {"history": history}}

    assert adds_no_disclosure(decision_of(to_case(fields), policy), decision_of(to_case(less), policy))


SIDE_FIELDS = ["locale", "country", "now", "age_band", "care_until", "confirmation", "history"]


@properties(300)
@given(case_fields(), policies, st.sampled_from([*SIDE_FIELDS, *SCOPES]))
def test_an_unreadable_side_field_never_removes_lines(fields: dict[str, Any], policy: Policy, name: str) -> None:
    path = name if name in ("locale", "country") else f"context.{name}"
    lost = fields | {"context": {field: value for field, value in fields["context"].items() if field != name}}
    if name in SCOPES:
        path = f"consent.{name}"
        lost["consent"] = {scope: given for scope, given in fields["consent"].items() if scope != name}
    elif name == "history":
        path = "context.history[0]"
    lost["context"]["unread"] = [path]

    before, after = decision_of(to_case(fields), policy), decision_of(to_case(lost), policy)

    assert bool(after.lines) >= bool(before.lines)


@properties(300)
@given(case_fields(), policies)
def test_nothing_carried_or_historic_discloses_without_leave_and_a_current_score(
    fields: dict[str, Any], policy: Policy
) -> None:
    given_now = {name: score for name, score in fields["signals"].items() if name in policy.labels}
    current = any(
        score is not None and policy.labels[name].kind != "neutral" and score >= policy.labels[name].off
        for name, score in given_now.items()
    )
    assume(not (current and is_live(fields["consent"].get("use_history"), fields)))
    without = {name: value for name, value in fields["context"].items() if name not in ("history", "active")}

    before = decision_of(to_case(fields | {"context": without}), policy)

    assert adds_no_disclosure(before, decision_of(to_case(fields), policy))


MOVES = [
    step * sign for step in (SECOND, 10 * MINUTE, timedelta(hours=9), timedelta(days=1, seconds=1)) for sign in (1, -1)
]


@properties(400)
@given(case_fields(), policies, st.sampled_from(["now", "host_now"]), st.sampled_from(MOVES))
def test_moving_any_clock_never_adds_a_disclosure(
    fields: dict[str, Any], policy: Policy, clock: str, move: timedelta
) -> None:
    assume("now" in fields["context"])
    now = fields["context"]["now"]
    true = fields | {"context": fields["context"] | {"host_now": now}}
    moved = fields | {"context": true["context"] | {clock: at(now, -move)}}

    assert adds_no_disclosure(decision_of(to_case(true), policy), decision_of(to_case(moved), policy))


@properties()
@given(case_fields(), policies, UNREAD, st.booleans())
def test_what_could_not_be_read_never_removes_help_and_never_adds_a_disclosure(
    fields: dict[str, Any], policy: Policy, unread: list[str], cut: bool
) -> None:
    more = fields | {"context": fields["context"] | {"unread": sorted(set(unread)), "history_cut": cut}}

    before, after = decision_of(to_case(fields), policy), decision_of(to_case(more), policy)

    assert after.tier == before.tier
    assert {line.id for line in before.lines} <= {line.id for line in after.lines}
    assert planned(before) <= planned(after)
    assert passed_on(after) <= passed_on(before)


@properties()
@given(case_fields(), policies, ages)
def test_the_time_after_a_crisis_adds_lines_and_nothing_else(
    fields: dict[str, Any], policy: Policy, age: timedelta
) -> None:
    now = fields["context"].get("now")
    context = {name: value for name, value in fields["context"].items() if name != "care_until"}
    until = at(now, -age)

    before = decision_of(to_case(fields | {"context": context}), policy)
    after = decision_of(to_case(fields | {"context": context | {"care_until": until}}), policy)

    assert after.tier == before.tier
    others = [[a for a in one.actions if a.action != "show_crisis_lines"] for one in (before, after)]
    assert others[0] == others[1]
    running = not clocks(fields) or clocks(fields)[0] < datetime.fromisoformat(until)
    assert bool(after.lines) == (running or bool(before.lines))
    assert ("in_care" in after.flags) == running
