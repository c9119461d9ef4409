from __future__ import annotations

import hashlib
import json
from datetime import date, time
from pathlib import Path
from typing import Any

import pytest

from handlers.core.errors import StartupError
from handlers.core.policy_model import SCHEMA_NAME, LoadedPolicy, load_policy, parse_policy, policy_schema
from tests.unit.core.policies import (
    CONFIG,
    LABELS,
    POLICY,
    POLICY_FILE,
    SIGNATURE,
    SIGNED,
    TODAY,
    case,
    decision_of,
    policy_bytes,
    policy_with,
)


def parse(payload: bytes | None = None, labels: tuple[str, ...] | None = LABELS, **changes: Any) -> LoadedPolicy:
    return parse_policy(payload or policy_bytes(**changes), "here/policy.yaml", labels, TODAY)


def refusal(payload: bytes | None = None, **changes: Any) -> str:
    with pytest.raises(StartupError) as refused:
        parse(payload, **changes)
    message = str(refused.value)
    assert "\n" not in message
    assert message.startswith("here/policy.yaml: ")
    return message.removeprefix("here/policy.yaml: ")


def test_the_default_policy_says_what_its_specification_says() -> None:
    thresholds = {name: (label.on, label.off, label.acute_on) for name, label in POLICY.labels.items()}

    assert thresholds["depressed"] == thresholds["anxious"] == thresholds["stressed"] == (0.70, 0.55, 0.90)
    assert thresholds["suicidal_ideation"] == (0.50, 0.35, 0.80)
    assert (POLICY.overlap.labels, POLICY.overlap.each, POLICY.overlap.sum) == (2, 0.33, 0.75)
    assert (POLICY.cumulative.entries, POLICY.cumulative.days) == (3, 14)
    assert POLICY.tiers.model_dump() == {
        "none": (),
        "self_help": ("offer_self_help",),
        "professional": ("show_crisis_lines", "offer_self_help", "notify_therapist"),
        "crisis": ("show_crisis_lines", "request_human_review", "notify_therapist"),
        "emergency_contact": ("show_crisis_lines", "request_human_review", "notify_therapist", "alert_contact"),
    }
    assert POLICY.quiet_hours is not None
    assert (POLICY.quiet_hours.start, POLICY.quiet_hours.end) == (time(22), time(7))
    assert POLICY.caps() == {
        **dict.fromkeys(LABELS, "professional"),
        **dict.fromkeys(("depression", "anxiety", "bipolar", "suicidal_ideation"), "crisis"),
        "history_profile": "none",
    }
    assert POLICY.expected_signals() == LABELS


def test_the_fingerprint_is_that_of_the_file() -> None:
    payload = POLICY_FILE.read_bytes()

    assert load_policy(POLICY_FILE, LABELS, TODAY).sha256 == hashlib.sha256(payload).hexdigest()


def test_the_schema_beside_the_policy_is_that_of_the_models() -> None:
    written = json.loads((CONFIG / SCHEMA_NAME).read_text(encoding="utf-8"))

    assert written == policy_schema(), "write it anew: python -m handlers.core.policy --schema"


def test_on_and_off_are_keys_and_a_clock_is_no_number() -> None:
    bare = POLICY_FILE.read_bytes().replace(b'"22:00"', b"22:00").replace(b'"07:00"', b"07:00")

    assert parse(bare).policy == POLICY


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels__depressed__off": "0.8"}, "labels.depressed.off: 0.8 is above on 0.7"),
        ({"labels__anxious__on": "0.95"}, "labels.anxious.on: 0.95 is above acute_on 0.9"),
        ({"labels__anxious__on": "1.5"}, "labels.anxious.on: '1.5': Input should be less than or equal to 1"),
        ({"labels__anxious__on": "nan"}, "labels.anxious.on: 'nan': "),
        ({"labels__anxious__on": "high"}, "labels.anxious.on: 'high': "),
        ({"labels__anxious__colour": "red"}, "labels.anxious.colour: this key is not known"),
        ({"labels__anxious": "0.7"}, "labels.anxious: '0.7': this must be a mapping"),
        ({"labels__anxious__kind": "acute"}, "labels.anxious.kind: 'acute': Input should be 'risk', 'crisis' or"),
        ({"labels__Anxious": {}}, "labels.Anxious: 'Anxious': "),
        ({"labels__angry": {}}, "labels.angry: is a signal of no reader"),
        (
            {"labels__stressed": None},
            "readers.sentiment.signals.3: stressed is not among the labels; they are neutral,",
        ),
        ({"readers__conditions__signals": ["anxious"]}, "readers.conditions.signals.0: anxious is a signal of sentim"),
        (
            {"readers__sentiment__max_tier": "crisis"},
            "readers.sentiment.max_tier: crisis needs a signal of kind crisis",
        ),
        (
            {"readers__sentiment__max_tier": "panic"},
            "readers.sentiment.max_tier: 'panic': Input should be 'none', 'sel",
        ),
        ({"readers__sentiment__signals": "neutral"}, "readers.sentiment.signals: 'neutral': this must be a list"),
        ({"tiers__panic": []}, "tiers.panic: this key is not known"),
        ({"tiers__crisis": None}, "tiers.crisis: this key is needed"),
        ({"tiers__crisis": ["call_police"]}, "tiers.crisis.0: 'call_police': Input should be 'show_crisis_lines', "),
        ({"tiers__none": ["show_crisis_lines"]}, "tiers.none: must be empty"),
        ({"tiers__self_help": []}, "tiers.self_help: offer_self_help must be there"),
        ({"tiers__self_help": ["offer_self_help", "notify_therapist"]}, "tiers.self_help: notify_therapist and alert"),
        ({"tiers__professional": ["offer_self_help"]}, "tiers.professional: show_crisis_lines must be there"),
        ({"tiers__professional": ["show_crisis_lines"]}, "tiers.professional: offer_self_help must be there"),
        ({"tiers__crisis": ["show_crisis_lines"]}, "tiers.crisis: request_human_review must be there"),
        (
            {"tiers__crisis": ["show_crisis_lines", "request_human_review", "alert_contact"]},
            "tiers.crisis: alert_contact may only be in emergency_contact",
        ),
        (
            {"tiers__crisis": ["request_human_review", "show_crisis_lines"]},
            "tiers.crisis: the order must be show_crisis_lines, request_human_review",
        ),
        ({"tiers__self_help": ["offer_self_help"] * 2}, "tiers.self_help: something is there twice"),
        ({"actions__alert_contact__scope": "self_help"}, "actions.alert_contact.scope: 'self_help': Input should be"),
        (
            {"actions__alert_contact__confirmed_by": {"adult": [], "minor": ["human"]}},
            "actions.alert_contact.confirmed_by.adult: must not be empty",
        ),
        (
            {"actions__alert_contact__confirmed_by": {"adult": ["user"], "minor": ["human", "user"]}},
            "actions.alert_contact.confirmed_by.minor: must be [human]",
        ),
        (
            {"actions__notify_therapist__confirmed_by": {"adult": [], "minor": []}},
            "actions.notify_therapist.confirmed_by.minor: must be [human]",
        ),
        ({"actions__notify_therapist__cool_down_hours": "-1"}, "actions.notify_therapist.cool_down_hours: '-1': "),
        ({"actions__offer_self_help__help_link": "tel:999"}, "actions.offer_self_help.help_link: 'tel:999': "),
        (
            {"actions__show_crisis_lines__cool_down_hours": "1"},
            "actions.show_crisis_lines.cool_down_hours: this key is",
        ),
        ({"kill_switch": ["show_crisis_lines"]}, "kill_switch: show_crisis_lines cannot be switched off"),
        ({"kill_switch": ["alert_contact"] * 2}, "kill_switch: something is there twice"),
        ({"quiet_hours__end": "22:00"}, "quiet_hours.end: is the same as start"),
        ({"quiet_hours__end": "25:00"}, "quiet_hours.end: '25:00': "),
        ({"quiet_hours__end": "7"}, "quiet_hours.end: '7': not a time of day such as 22:00"),
        ({"quiet_hours__clock": "UTC"}, "quiet_hours.clock: 'UTC': Input should be 'context.now'"),
        ({"languages": ["en", "en"]}, "languages: something is there twice"),
        ({"languages": ["english"]}, "languages.0: 'english': "),
        ({"valid_until": "2024-12-31"}, "valid_until: 2024-12-31 is before valid_from 2025-01-01"),
        ({"valid_from": "2026-03-02"}, "valid_from: not in force before 2026-03-02, and today is 2026-03-01"),
        ({"valid_until": "soon"}, "valid_until: 'soon': "),
        ({"schema_version": "1"}, "schema_version: '1': Input should be 2"),
        ({"note": None}, "note: this key is needed"),
    ],
)
def test_a_policy_that_is_wrong_is_refused_with_the_path_of_the_key(changes: dict[str, Any], message: str) -> None:
    assert refusal(**changes).startswith(message)


def test_every_fault_is_named_at_once() -> None:
    message = refusal(labels__depressed__off="0.8", labels__anxious__off="0.9", tiers__none=["offer_self_help"])

    assert message.startswith("labels.depressed.off: ")
    assert "; labels.anxious.off: " in message
    assert "; tiers.none: " in message


@pytest.mark.parametrize(
    ("today", "is_expired"), [(date(2025, 1, 1), False), (date(2029, 12, 31), False), (date(2030, 1, 1), True)]
)
def test_the_first_and_the_last_day_are_in_force_and_later_ones_expired(today: date, is_expired: bool) -> None:
    loaded = parse_policy(policy_bytes(), "x", None, today)

    assert loaded.policy == POLICY
    assert loaded.is_expired(today) is is_expired


SIGNED_CHANGES: dict[str, Any] = {
    "readers__conditions__max_tier": "emergency_contact",
    "readers__conditions__signed": SIGNATURE,
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"readers__conditions__max_tier": "emergency_contact"}, "readers.conditions.signed: is needed for max_tier"),
        ({"readers__conditions__signed": SIGNATURE}, "readers.conditions.signed: is for max_tier emergency_contact al"),
        (
            SIGNED_CHANGES | {"readers__conditions__signed": SIGNATURE | {"calibration_sha256": "abc"}},
            "readers.conditions.signed.calibration_sha256: 'abc': ",
        ),
        (
            SIGNED_CHANGES | {"readers__conditions__signed": {"by": "A. Reviewer"}},
            "readers.conditions.signed.role: this key is needed",
        ),
        (
            SIGNED_CHANGES | {"readers__conditions__signed": SIGNATURE | {"read_sha256": "b" * 64}},
            "readers.conditions.signed: the policy was changed after it was signed",
        ),
    ],
)
def test_an_emergency_needs_a_signature_for_this_very_policy(changes: dict[str, Any], message: str) -> None:
    assert refusal(**changes).startswith(message)


def test_the_digest_is_of_what_is_read_and_not_of_the_signatures() -> None:
    assert SIGNED.digest() == POLICY.digest()
    read = SIGNED_CHANGES | {"readers__conditions__signed": SIGNATURE | {"read_sha256": POLICY.digest()}}
    assert policy_with(**read).digest() == POLICY.digest()
    changed = refusal(**read, labels__suicidal_ideation__acute_on="0.7")
    assert changed.startswith("readers.conditions.signed: the policy was changed after it was signed")


def test_a_bundle_that_was_not_signed_for_is_named() -> None:
    in_bundle = policy_with(**SIGNED_CHANGES, readers__conditions__in_bundle="true")

    assert in_bundle.unsigned("a" * 64) == ()
    assert in_bundle.unsigned("b" * 64) == ("conditions",)
    assert in_bundle.unsigned(None) == ("conditions",)
    assert SIGNED.unsigned(None) == (), "it is not in the bundle"
    assert POLICY.unsigned(None) == (), "it is not signed at all"
    assert in_bundle.caps(("conditions",))["suicidal_ideation"] == "crisis"
    assert in_bundle.caps()["suicidal_ideation"] == "emergency_contact"


def test_a_calibration_that_would_switch_help_off_is_refused() -> None:
    loaded = LoadedPolicy(policy_with(labels__suicidal_ideation__calibrated="true"), "0" * 64)

    with pytest.raises(StartupError, match=r"here: labels\.suicidal_ideation\.on: calibrated by the bundle, 0\.9 is"):
        loaded.calibrated({"suicidal_ideation": (0.9, 0.4)}, "here")
    kept = loaded.calibrated({"suicidal_ideation": (0.8, 0.5)}, "here")
    assert (kept.policy.labels["suicidal_ideation"].on, kept.thresholds) == (0.8, {"suicidal_ideation": (0.8, 0.5)})


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"[1, 2]", "(the whole file): "),
        (b"", "(the whole file): "),
        (b"id: a\nid: b\n", "line 2: id is given twice"),
        (b"? [a, b]\n: c\n", "line 1: "),
        (b"id: [a\n", "line 2: "),
        (b"id: \xff\n", "not readable as YAML"),
        (b"id: \x01\n", "not readable as YAML"),
        (b"[" * 5000, "not readable as YAML"),
    ],
)
def test_a_file_that_is_no_policy_is_refused(payload: bytes, message: str) -> None:
    with pytest.raises(StartupError) as refused:
        parse_policy(payload, "here/policy.yaml", LABELS, TODAY)

    assert str(refused.value).startswith(f"here/policy.yaml: {message}")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="cannot be read"):
        load_policy(tmp_path / "policy.yaml", LABELS, TODAY)


def test_a_label_that_the_bundle_does_not_have_is_refused() -> None:
    with pytest.raises(StartupError, match=r"readers\.sentiment\.signals\.2: the bundle has no label anxious; it has"):
        parse(labels=("neutral", "depressed", "stressed"))


def test_a_label_of_the_bundle_that_nothing_would_read_is_refused() -> None:
    for label in ("angry", "suicidal_ideation"):
        with pytest.raises(StartupError, match=f"readers: the bundle's label {label} is a signal of no reader"):
            parse(labels=(*LABELS, label))


def test_a_calibration_takes_the_place_of_on_and_off() -> None:
    calibrated = POLICY.calibrated({"depressed": (0.4, 0.3), "anxious": (0.95, 0.9), "suicidal_ideation": (0.9, 0.9)})

    def thresholds(name: str) -> tuple[float, float, float]:
        label = calibrated.labels[name]
        return label.off, label.on, label.acute_on

    assert thresholds("depressed") == (0.3, 0.4, 0.9)
    assert thresholds("anxious") == (0.9, 0.95, 0.95)
    assert thresholds("stressed") == (0.55, 0.70, 0.90)
    assert thresholds("suicidal_ideation") == (0.35, 0.50, 0.80), "its thresholds are the policy's own"
    assert decision_of(case({"depressed": 0.4}), calibrated).tier == "self_help"
    assert decision_of(case({"depressed": 0.39}), calibrated).tier == "none"
