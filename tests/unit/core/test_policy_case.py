from __future__ import annotations

import json
import math
from typing import Any

import pytest

from handlers.core.policy_case import CaseError, parse_case

FULL = {
    "id": "c1",
    "entry_id": "e9",
    "signals": {"depressed": 0.72, "suicidal_ideation": 0.55},
    "expected_signals": ["depressed"],
    "consent": {"notify_therapist": True, "alert_contact": {"granted": True, "expires_at": "2026-04-01T00:00:00Z"}},
    "context": {
        "now": "2026-03-01T14:00:00Z",
        "country": "GB",
        "language": "en",
        "age_band": "adult",
        "subject": "self",
        "contact_unsafe": False,
        "active": ["depressed"],
        "history": [{"entry_id": "e1", "at": "2026-02-20T10:00:00Z", "scores": {"depressed": 0.6}}],
        "last_actions": [{"action": "alert_contact", "at": "2026-02-20T10:00:00Z"}],
        "confirmation": {"entry_id": "e9", "action": "alert_contact", "by": "human", "at": "2026-03-01T13:00:00Z"},
        "tokens": 6000,
        "tokens_scored": 4096,
    },
}


def test_a_full_case_is_read() -> None:
    case = parse_case(json.dumps(FULL))

    assert case.context.history[0].scores == {"depressed": 0.6}
    assert case.context.confirmation is not None
    assert case.consent.notify_therapist is True


def test_only_signals_are_needed() -> None:
    case = parse_case('{"signals": {}}')

    assert (case.id, case.entry_id, case.context.now) == (None, None, None)
    assert case.consent.self_help is False


def test_null_and_nan_are_scores_that_are_not_there() -> None:
    signals = parse_case('{"signals": {"a": null, "b": NaN, "c": -Infinity, "d": 1}}').signals

    assert signals["a"] is None
    assert signals["b"] is not None and math.isnan(signals["b"])
    assert signals["c"] == -math.inf
    assert signals["d"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"signals": None}, "signals: this must be an object"),
        ({"signals": {"depressed": 1.01}}, "signals.depressed: a score is a number from 0 to 1"),
        ({"signals": {"depressed": -0.01}}, "signals.depressed: a score is a number from 0 to 1"),
        ({"signals": {"depressed": "0.7"}}, "signals.depressed: Input should be a valid number"),
        ({"signals": {"my secret words": "0.7"}}, "signals.(not a field name): "),
        ({"signals": {"": 0.7}}, "signals.(not a field name): "),
        ({"secret": 1}, "secret: this field is not known"),
        ({"consent": {"police": True}}, "consent.police: this field is not known"),
        ({"consent": {"alert_contact": "yes"}}, "consent.alert_contact: Input should be a valid boolean"),
        ({"consent": {"alert_contact": {"expires_at": None}}}, "consent.alert_contact.granted: this field is needed"),
        ({"context": {"now": "2026-03-01T14:00:00"}}, "context.now: "),
        ({"context": {"now": "yesterday"}}, "context.now: "),
        ({"context": {"now": "9999-12-31T23:00:00Z"}}, "context.now: not a time of the years 2000 to 2999"),
        ({"context": {"country": "gb"}}, "context.country: "),
        ({"context": {"language": "my secret"}}, "context.language: "),
        ({"context": {"age_band": "young"}}, "context.age_band: Input should be 'adult' or 'minor'"),
        ({"context": {"subject": "friend"}}, "context.subject: "),
        ({"context": {"tokens": -1}}, "context.tokens: "),
        ({"context": {"history": [{}]}}, "context.history[0].entry_id: this field is needed"),
        ({"context": {"last_actions": [{"action": "alert", "at": "x"}]}}, "context.last_actions[0].action"),
        ({"context": {"confirmation": True}}, "context.confirmation: this must be an object"),
        ({"context": {"faults": ["rust"]}}, "context.faults[0]: "),
        ({"context": []}, "context: this must be an object"),
        ({"context": {"active": "depressed"}}, "context.active: this must be a list"),
    ],
)
def test_a_fault_is_named_by_its_field_and_quotes_nothing(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CaseError) as error:
        parse_case(json.dumps(FULL | change))

    assert str(error.value).startswith(message)
    assert "secret words" not in str(error.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[]", "a case must be a JSON object with signals"),
        ('{"signals": {}', "not JSON (column 15)"),
        ('{"signals": {}, "signals": {}}', "signals: this field is given twice in one object"),
        ('{"signals": {"my secret": 1, "my secret": 2}}', "(not a field name): this field is given twice"),
        ('{"signals": {"a": ' + "9" * 5000 + "}}", "not acceptable JSON: a number is too long"),
        ("[" * 100_000, "not acceptable JSON: it is nested too deeply"),
        ("{}", "signals: this field is needed"),
    ],
)
def test_a_line_that_is_no_case_is_refused(line: str, message: str) -> None:
    with pytest.raises(CaseError) as error:
        parse_case(line)

    assert str(error.value).startswith(message)


def test_a_text_is_dropped_unread() -> None:
    assert parse_case('{"signals": {}, "text": ["anything"]}') == parse_case('{"signals": {}}')
