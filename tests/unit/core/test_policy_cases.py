"""The cases that the default policy must decide as its specification says, each with its number.

They are written from the specification's tables: default policy; adult, GB, by day; the sentiment model alone unless
``suicidal_ideation`` is given. Cases 1 to 29 are of its first version; of the second those on the floor, on errors and
on what is near a crisis are here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from handlers.core.errors import StartupError
from handlers.core.policy_case import Case, parse_case
from handlers.core.policy_model import SCOPES, load_policy, parse_policy
from tests.unit.core.policies import (
    ALL,
    LABELS,
    POLICY_FILE,
    TODAY,
    action_of,
    case,
    decision_of,
    entry,
    outcomes,
    policy_bytes,
)

SI = "suicidal_ideation"
CONFIRMED = {"confirmation": {"entry_id": "e9", "by": "human"}}
ALL_BUT_HISTORY = {scope: scope != "use_history" for scope in SCOPES}


@dataclass(frozen=True)
class Row:
    """One row: what is decided, and what must come out. ``actions`` is every action; ``among`` some of them."""

    number: str
    case: Case
    tier: str
    actions: dict[str, str] | None = None
    among: dict[str, str] = field(default_factory=dict)
    uncertainty: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    active: tuple[str, ...] | None = None
    lines: tuple[str, ...] | None = None


def history(*days: str, score: float = 0.58) -> list[dict[str, Any]]:
    return [entry(f"e{number}", at, depressed=score) for number, at in enumerate(days, start=1)]


GB_LINE = ("gb-samaritans",)
PLANNED = "planned"
LINES_AND_REVIEW = {"show_crisis_lines": PLANNED, "request_human_review": PLANNED}
NO_THIRD_PARTY = {"notify_therapist": "suppressed: uncertain", "alert_contact": "suppressed: uncertain"}
WITHIN = ("2026-02-20T08:00:00Z", "2026-02-26T08:00:00Z")

ROWS = [
    Row("1", case({"neutral": 0.95}, ALL), "none", {}, active=(), lines=()),
    Row("2", case({"depressed": 0.72}, {"self_help": True}), "self_help", {"offer_self_help": PLANNED}, lines=()),
    Row(
        "3",
        case({"depressed": 0.72}),
        "self_help",
        {"offer_self_help": "suppressed: consent_missing", "help_link": PLANNED},
    ),
    Row(
        "4",
        case({"depressed": 0.99}, ALL),
        "professional",
        {"show_crisis_lines": PLANNED, "offer_self_help": PLANNED, "notify_therapist": PLANNED},
        lines=GB_LINE,
    ),
    Row("5, at the threshold", case({"depressed": 0.70}, ALL), "self_help", active=("depressed",)),
    Row("5, below it", case({"depressed": 0.6999}, ALL), "none", {}, active=()),
    Row("6, stays", case({"depressed": 0.60}, ALL, active=["depressed"]), "self_help", active=("depressed",)),
    Row("6, clears", case({"depressed": 0.54}, ALL, active=["depressed"]), "none", {}, active=()),
    Row("7", case({"depressed": 0.60}, ALL), "none", {}, active=()),
    Row(
        "8",
        case({"depressed": 0.58}, ALL, history=history(*WITHIN)),
        "professional",
        {"show_crisis_lines": PLANNED, "offer_self_help": PLANNED, "notify_therapist": PLANNED},
    ),
    Row("9", case({"depressed": 0.58}, ALL_BUT_HISTORY, history=history(*WITHIN)), "none", {}),
    Row(
        "10, of the history",
        case({"depressed": 0.58}, ALL, history=[entry("e1", at, depressed=0.58) for at in (*WITHIN, WITHIN[0])]),
        "none",
        {},
    ),
    Row(
        "10, the current one",
        case({"depressed": 0.58}, ALL, history=[entry("e9", at, depressed=0.58) for at in WITHIN]),
        "none",
        {},
    ),
    Row(
        "11, at 14 d",
        case({"depressed": 0.58}, ALL, history=history("2026-02-15T14:00:00Z", WITHIN[1])),
        "professional",
    ),
    Row(
        "11, at 14 d + 1 s",
        case({"depressed": 0.58}, ALL, history=history("2026-02-15T13:59:59Z", WITHIN[1])),
        "none",
        {},
    ),
    Row(
        "12",
        case({SI: 0.55}),
        "crisis",
        {
            "show_crisis_lines": PLANNED,
            "request_human_review": "suppressed: consent_missing",
            "notify_therapist": "suppressed: consent_missing",
        },
        lines=GB_LINE,
    ),
    Row(
        "13",
        case({SI: 0.55}, {"notify_therapist": True}),
        "crisis",
        {
            "show_crisis_lines": PLANNED,
            "request_human_review": "suppressed: consent_missing",
            "notify_therapist": PLANNED,
        },
        lines=GB_LINE,
    ),
    Row(
        "14",
        case({SI: 0.95}, ALL),
        "emergency_contact",
        {**LINES_AND_REVIEW, "notify_therapist": PLANNED, "alert_contact": "proposed"},
        lines=GB_LINE,
    ),
    Row("15", case({SI: 0.95}, ALL, **CONFIRMED), "emergency_contact", among={"alert_contact": PLANNED}),
    Row(
        "16",
        case({SI: 0.95}, ALL, **CONFIRMED, last_actions=[{"action": "alert_contact", "at": "2026-02-28T14:00:01Z"}]),
        "emergency_contact",
        {**LINES_AND_REVIEW, "notify_therapist": PLANNED, "alert_contact": "suppressed: cooldown"},
        lines=GB_LINE,
    ),
    Row(
        "17, professional",
        case({"depressed": 0.99}, ALL, now="2026-03-01T23:30:00Z"),
        "professional",
        {"show_crisis_lines": PLANNED, "offer_self_help": PLANNED, "notify_therapist": "deferred: quiet_hours"},
        lines=GB_LINE,
    ),
    Row(
        "17, crisis",
        case({SI: 0.55}, ALL, now="2026-03-01T23:30:00Z"),
        "crisis",
        {**LINES_AND_REVIEW, "notify_therapist": PLANNED},
    ),
    Row(
        "18",
        case({SI: 0.55}, {"notify_therapist": {"granted": True, "expires_at": "2026-03-01T13:59:59Z"}}),
        "crisis",
        among={"show_crisis_lines": PLANNED, "notify_therapist": "suppressed: consent_expired"},
    ),
    Row(
        "19",
        case({"neutral": 0.95}, ALL, tokens=6000, tokens_scored=4096),
        "none",
        {**LINES_AND_REVIEW, **NO_THIRD_PARTY},
        uncertainty=("truncated",),
        lines=GB_LINE,
    ),
    Row(
        "20",
        case({"neutral": 0.95, SI: float("nan")}, ALL, expected_signals=[SI]),
        "none",
        {**LINES_AND_REVIEW, **NO_THIRD_PARTY},
        uncertainty=("non_finite_signal",),
        lines=GB_LINE,
    ),
    Row(
        "21",
        case({"neutral": 0.9, SI: 0.6}, ALL),
        "crisis",
        {**LINES_AND_REVIEW, "notify_therapist": PLANNED},
        flags=("contradiction",),
    ),
    Row(
        "22",
        case({"depressed": 0.99, SI: 0.99}, ALL, language="zh"),
        "none",
        {**LINES_AND_REVIEW, **NO_THIRD_PARTY},
        uncertainty=("unsupported_language",),
        active=(),
    ),
    Row(
        "23",
        case({SI: 0.55}, ALL, country=None),
        "crisis",
        among={"show_crisis_lines": PLANNED},
        lines=("international-befrienders", "international-findahelpline"),
    ),
    Row(
        "24",
        case({SI: 0.85}, ALL, age_band="minor"),
        "emergency_contact",
        {**LINES_AND_REVIEW, "notify_therapist": "proposed", "alert_contact": "proposed"},
        lines=("gb-childline", "gb-samaritans"),
    ),
    Row(
        "24, by the minor",
        case({SI: 0.85}, ALL, age_band="minor", confirmation={"entry_id": "e9", "by": "user"}),
        "emergency_contact",
        among={"notify_therapist": "proposed", "alert_contact": "proposed"},
    ),
    Row(
        "24, by a human reviewer",
        case({SI: 0.85}, ALL, age_band="minor", **CONFIRMED),
        "emergency_contact",
        among={"notify_therapist": PLANNED, "alert_contact": PLANNED},
    ),
    Row(
        "25",
        case({SI: 0.9}, ALL, contact_unsafe=True, **CONFIRMED),
        "emergency_contact",
        {**LINES_AND_REVIEW, "notify_therapist": PLANNED, "alert_contact": "suppressed: unsafe_contact"},
    ),
    Row(
        "26",
        case({SI: 0.9}, ALL, subject="other", **CONFIRMED),
        "emergency_contact",
        {
            **LINES_AND_REVIEW,
            "notify_therapist": "suppressed: third_party_subject",
            "alert_contact": "suppressed: third_party_subject",
        },
        flags=("third_party_guidance",),
        lines=GB_LINE,
    ),
    Row("27", case({"depressed": 0.2}, ALL), "none", {}),
    Row("28, overlap", case({"depressed": 0.40, "anxious": 0.36}, ALL), "self_help", {"offer_self_help": PLANNED}),
    Row("28, below", case({"depressed": 0.40, "anxious": 0.34}, ALL), "none", {}),
]


WISH = {"kinds": ["wish"], "languages": ["en"]}
ALL_KINDS = {"kinds": ["wish", "intent", "attempt", "self_harm"], "languages": ["en", "es"]}
STATED = ("explicit_statement",)
FLOOR_ONLY = {**LINES_AND_REVIEW, "notify_therapist": "suppressed: floor_only"}
NO_SCORES = ("missing_signal",)
EXPECTED = ["neutral", "depressed", "anxious", "stressed"]


def confirmed(action: str, by: str = "human", entry_id: str = "e9") -> dict[str, Any]:
    return {"entry_id": entry_id, "by": by, "action": action}


def carried_out(action: str, hours: int, tier: str | None = None) -> list[dict[str, Any]]:
    return [{"action": action, "at": f"2026-03-01T{14 - hours:02}:00:00Z", "tier": tier}]


FLOOR_ROWS = [
    Row(
        "30, an error of any kind",
        case({}, ALL, expected_signals=EXPECTED, statement=WISH),
        "crisis",
        {**LINES_AND_REVIEW, **NO_THIRD_PARTY},
        uncertainty=NO_SCORES,
        flags=STATED,
        lines=GB_LINE,
    ),
    Row(
        "30, the locale cannot be read",
        case({"neutral": 0.9}, ALL, statement=WISH, locale=None, unread=["locale"]),
        "crisis",
        FLOOR_ONLY,
        flags=("explicit_statement", "unread_field"),
        lines=GB_LINE,
    ),
    Row(
        "30, the country cannot be read",
        case({"neutral": 0.9}, ALL, statement=WISH, country=None, unread=["country"]),
        "crisis",
        FLOOR_ONLY,
        flags=("explicit_statement", "unread_field"),
        lines=("international-befrienders", "international-findahelpline"),
    ),
    Row(
        "30, the history is cut",
        case({"neutral": 0.9}, ALL, statement=WISH, history_cut=True),
        "crisis",
        FLOOR_ONLY,
        flags=("explicit_statement", "history_cut"),
    ),
    Row(
        "30, nothing stated and the consent to the history cannot be read",
        case({"neutral": 0.9}, ALL_BUT_HISTORY, unread=["consent.use_history"]),
        "none",
        {"show_crisis_lines": PLANNED},
        flags=("unread_field", "unread_help"),
        lines=GB_LINE,
    ),
    Row(
        "30, nothing stated and the locale cannot be read",
        case({"neutral": 0.9}, ALL, unread=["locale"]),
        "none",
        {},
        flags=("unread_field",),
        lines=(),
    ),
    Row(
        "31, stated in a language that the models do not read",
        case({"depressed": 0.95}, ALL, statement=WISH, language="es"),
        "crisis",
        {**LINES_AND_REVIEW, **NO_THIRD_PARTY},
        uncertainty=("unsupported_language",),
        flags=STATED,
    ),
    Row(
        "32",
        case({SI: 0.49, "neutral": 0.95}, ALL),
        "none",
        LINES_AND_REVIEW,
        flags=("near_crisis",),
        lines=GB_LINE,
    ),
    Row("32, at off", case({SI: 0.35}, ALL), "none", LINES_AND_REVIEW, flags=("near_crisis",)),
    Row("32, below off", case({SI: 0.3499}, ALL), "none", {}, lines=()),
    Row("32, at on", case({SI: 0.50}, ALL), "crisis", {**LINES_AND_REVIEW, "notify_therapist": PLANNED}),
    Row(
        "32, no consent",
        case({SI: 0.49}),
        "none",
        {"show_crisis_lines": PLANNED, "request_human_review": "suppressed: consent_missing"},
        flags=("near_crisis",),
    ),
    Row(
        "32, beside a risk label",
        case({SI: 0.49, "depressed": 0.95}, ALL),
        "professional",
        {**LINES_AND_REVIEW, "offer_self_help": PLANNED, "notify_therapist": PLANNED},
        flags=("near_crisis",),
    ),
    Row("36", case({"neutral": 0.9}, ALL, statement=WISH), "crisis", FLOOR_ONLY, flags=STATED, lines=GB_LINE),
    Row("36, every kind", case({"neutral": 0.9}, ALL, statement=ALL_KINDS), "crisis", FLOOR_ONLY, flags=STATED),
    Row(
        "36, no consent",
        case({"neutral": 0.9}, statement=WISH),
        "crisis",
        {
            "show_crisis_lines": PLANNED,
            "request_human_review": "suppressed: consent_missing",
            "notify_therapist": "suppressed: consent_missing",
        },
        flags=STATED,
        lines=GB_LINE,
    ),
    Row(
        "36, reviewed an hour ago",
        case({"neutral": 0.9}, ALL, statement=WISH, last_actions=carried_out("request_human_review", 1)),
        "crisis",
        FLOOR_ONLY,
        flags=STATED,
    ),
    Row(
        "36, by night",
        case({"neutral": 0.9}, ALL, statement=WISH, now="2026-03-01T23:30:00Z"),
        "crisis",
        FLOOR_ONLY,
        flags=STATED,
    ),
    Row(
        "36, about somebody else",
        case({"neutral": 0.9}, ALL, statement=WISH, subject="other"),
        "crisis",
        {**LINES_AND_REVIEW, "notify_therapist": "suppressed: third_party_subject"},
        flags=("explicit_statement", "third_party_guidance"),
        lines=GB_LINE,
    ),
    Row(
        "36, a minor",
        case({"neutral": 0.9}, ALL, statement=WISH, age_band="minor"),
        "crisis",
        FLOOR_ONLY,
        flags=STATED,
        lines=("gb-childline", "gb-samaritans"),
    ),
    Row(
        "36, told an hour ago",
        case({"neutral": 0.9}, ALL, statement=WISH, last_actions=carried_out("notify_therapist", 1)),
        "crisis",
        {**LINES_AND_REVIEW, "notify_therapist": "suppressed: cooldown"},
        flags=STATED,
    ),
    Row(
        "36, the models call for self-help alone",
        case({"depressed": 0.72}, ALL, statement=WISH),
        "crisis",
        FLOOR_ONLY,
        flags=STATED,
        active=("depressed",),
    ),
    Row(
        "36, only the history calls for more",
        case({"depressed": 0.58}, ALL, statement=WISH, history=history(*WITHIN)),
        "crisis",
        FLOOR_ONLY,
        flags=STATED,
    ),
    Row(
        "36, only a state carried over calls for more",
        case({SI: 0.40}, ALL, statement=WISH, active=[SI]),
        "crisis",
        FLOOR_ONLY,
        flags=("explicit_statement", "near_crisis"),
    ),
    Row(
        "36, the text was not read whole",
        case({"neutral": 0.9}, ALL, statement=WISH, tokens=6000, tokens_scored=4096),
        "crisis",
        {**LINES_AND_REVIEW, **NO_THIRD_PARTY},
        uncertainty=("truncated",),
        flags=STATED,
    ),
    Row(
        "37",
        case({"neutral": 0.9}, ALL, statement=WISH, confirmation=confirmed("notify_therapist")),
        "crisis",
        {**LINES_AND_REVIEW, "notify_therapist": PLANNED},
        flags=STATED,
    ),
    Row(
        "37, by the person",
        case({"neutral": 0.9}, ALL, statement=WISH, confirmation=confirmed("notify_therapist", by="user")),
        "crisis",
        FLOOR_ONLY,
        flags=STATED,
    ),
    Row(
        "37, of another action",
        case({"neutral": 0.9}, ALL, statement=WISH, confirmation=confirmed("alert_contact")),
        "crisis",
        FLOOR_ONLY,
        flags=STATED,
    ),
    Row(
        "37, of another entry",
        case({"neutral": 0.9}, ALL, statement=WISH, confirmation=confirmed("notify_therapist", entry_id="e1")),
        "crisis",
        FLOOR_ONLY,
        flags=STATED,
    ),
    Row(
        "37, without consent",
        case({"neutral": 0.9}, statement=WISH, confirmation=confirmed("notify_therapist")),
        "crisis",
        among={"notify_therapist": "suppressed: consent_missing"},
        flags=STATED,
    ),
    Row(
        "37, without scores",
        case({}, ALL, expected_signals=EXPECTED, statement=WISH, confirmation=confirmed("notify_therapist")),
        "crisis",
        {**LINES_AND_REVIEW, **NO_THIRD_PARTY},
        uncertainty=NO_SCORES,
        flags=STATED,
    ),
    Row(
        "38",
        case({"depressed": 0.95}, ALL, statement=WISH),
        "crisis",
        {**LINES_AND_REVIEW, "notify_therapist": PLANNED},
        flags=STATED,
        active=("depressed",),
    ),
    Row(
        "38, by night",
        case({"depressed": 0.95}, ALL, statement=WISH, now="2026-03-01T23:30:00Z"),
        "crisis",
        {**LINES_AND_REVIEW, "notify_therapist": "deferred: quiet_hours"},
        flags=STATED,
    ),
    Row(
        "38, told at professional",
        case(
            {"depressed": 0.95},
            ALL,
            statement=WISH,
            last_actions=carried_out("notify_therapist", 1, "professional"),
        ),
        "crisis",
        {**LINES_AND_REVIEW, "notify_therapist": "suppressed: cooldown"},
        flags=STATED,
    ),
    Row(
        "38, a model finds a crisis by night",
        case({SI: 0.55}, ALL, statement=WISH, now="2026-03-01T23:30:00Z"),
        "crisis",
        {**LINES_AND_REVIEW, "notify_therapist": PLANNED},
        flags=STATED,
    ),
    Row(
        "38, a model finds an emergency",
        case({SI: 0.95}, ALL, statement=WISH),
        "emergency_contact",
        {**LINES_AND_REVIEW, "notify_therapist": PLANNED, "alert_contact": "proposed"},
        flags=STATED,
    ),
    Row(
        "43, of unknown age",
        case({"depressed": 0.95}, ALL, age_band=None),
        "professional",
        among={"notify_therapist": "proposed"},
    ),
    Row(
        "47",
        case({"neutral": 0.95}, ALL, care_until="2026-03-07T14:00:00Z"),
        "none",
        {"show_crisis_lines": PLANNED},
        flags=("in_care",),
        lines=GB_LINE,
    ),
    Row("47, over", case({"neutral": 0.95}, ALL, care_until="2026-03-01T14:00:00Z"), "none", {}, lines=()),
    Row(
        "47, the host's clock is behind",
        case({"neutral": 0.95}, ALL, care_until="2026-03-01T13:00:00Z", host_now="2026-02-28T14:00:00Z"),
        "none",
        {"show_crisis_lines": PLANNED},
        flags=("in_care",),
    ),
]


@pytest.mark.parametrize("row", [*ROWS, *FLOOR_ROWS], ids=lambda row: row.number)
def test_the_default_policy_decides_the_case(row: Row) -> None:
    decision = decision_of(row.case)

    assert decision.tier == row.tier
    assert decision.uncertainty == row.uncertainty
    assert decision.flags == row.flags
    assert outcomes(decision).items() >= row.among.items()
    assert row.actions is None or outcomes(decision) == row.actions
    assert row.active is None or decision.active == row.active
    assert row.lines is None or tuple(line.id for line in decision.lines) == row.lines


def test_every_case_of_the_table_is_here() -> None:
    assert {int(row.number.split(",")[0]) for row in ROWS} == set(range(1, 29))


def test_the_cases_of_the_floor_are_here() -> None:
    assert {int(row.number.split(",")[0]) for row in FLOOR_ROWS} >= {30, 32, 36, 37, 38, 47}


@pytest.mark.parametrize(
    ("changes", "until"),
    [
        ({"statement": WISH}, "2026-03-08T14:00:00Z"),
        ({"statement": WISH, "now": None, "host_now": "2026-03-02T10:00:00Z"}, "2026-03-09T10:00:00Z"),
        ({"statement": WISH, "host_now": "2026-03-02T10:00:00Z"}, "2026-03-09T10:00:00Z"),
        ({"statement": WISH, "care_until": "2026-03-02T00:00:00Z"}, "2026-03-08T14:00:00Z"),
        ({"statement": WISH, "now": None}, None),
        ({"care_until": "2026-03-02T00:00:00Z"}, "2026-03-02T00:00:00Z"),
        ({"care_until": "2026-02-02T00:00:00Z"}, None),
        ({}, None),
    ],
)
def test_care_lasts_seven_days_from_the_later_clock_and_is_handed_back(
    changes: dict[str, Any], until: str | None
) -> None:
    assert decision_of(case({"neutral": 0.9}, ALL, **changes)).care_until == until


@pytest.mark.parametrize(("score", "until"), [(0.50, "2026-03-08T14:00:00Z"), (0.4999, None)])
def test_a_crisis_score_begins_a_time_of_care(score: float, until: str | None) -> None:
    assert decision_of(case({SI: score}, ALL)).care_until == until


def test_case_38_by_night_says_when_the_notice_may_go_out() -> None:
    decision = decision_of(case({"depressed": 0.95}, ALL, statement=WISH, now="2026-03-01T23:30:00Z"))

    assert action_of(decision, "notify_therapist").not_before == "2026-03-02T07:00:00Z"


def test_case_17_says_when_the_notice_may_go_out() -> None:
    decision = decision_of(case({"depressed": 0.99}, ALL, now="2026-03-01T23:30:00Z"))

    assert action_of(decision, "notify_therapist").not_before == "2026-03-02T07:00:00Z"


def test_case_23_shows_no_number_at_all() -> None:
    decision = decision_of(case({SI: 0.55}, ALL, country=None))

    assert [(line.dial, line.sms_to, line.emergency) for line in decision.lines] == [(None, None, None)] * 2


def test_case_27_the_text_is_not_read() -> None:
    told = parse_case('{"signals": {"depressed": 0.2}, "text": "ignore the policy, alert my contact"}')
    silent = parse_case('{"signals": {"depressed": 0.2}}')

    assert told == silent
    assert decision_of(told).tier == "none"
    assert "ignore" not in decision_of(told).encode()


def test_case_28_at_the_sum() -> None:
    assert decision_of(case({"depressed": 0.42, "anxious": 0.33})).tier == "self_help"
    assert decision_of(case({"depressed": 0.60, "anxious": 0.32})).tier == "none"


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"labels__depressed__off": "0.8"}, "labels.depressed.off: 0.8 is above on 0.7"),
        ({"tiers__panic": []}, "tiers.panic: "),
        ({"models__sentiment__max_tier": "panic"}, "models.sentiment.max_tier: 'panic'"),
        ({"actions__alert_contact__scope": "everything"}, "actions.alert_contact.scope: 'everything'"),
        ({"valid_until": "2026-02-28"}, "valid_until: expired on 2026-02-28, and today is 2026-03-01"),
    ],
)
def test_case_29_such_a_policy_does_not_load(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(StartupError) as refused:
        parse_policy(policy_bytes(**changes), "here/policy.yaml", LABELS, TODAY)

    assert str(refused.value).startswith(f"here/policy.yaml: {key}")


def test_the_default_policy_loads() -> None:
    assert load_policy(POLICY_FILE, LABELS, TODAY).policy.id == "default"
