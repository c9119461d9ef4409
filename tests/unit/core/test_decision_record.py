from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from handlers.core.decision_record import (
    GENESIS,
    MAX_LINE_BYTES,
    DecisionRecord,
    HeaderLine,
    TornLine,
    canonical_json,
    chain_decision,
    encode_line,
    idempotency_key,
    line_hash,
    parse_line,
)
from tests.unit.decisions import facts

WORDS = "I cannot go on like this"

FIELDS = {
    *("decision_id", "time", "policy", "models", "subject_hmac", "key_id", "entry_hmac", "scores", "truncation"),
    *("language", "country", "age_band", "history", "consent", "rules_fired", "tier_before", "tier", "uncertainty"),
    *("actions", "lines_shown", "flags", "statement", "care_until", "idempotency_key", "prev_hash"),
    *("case", "decision_sha256", "guidance", "thresholds"),
}


def line(**changes: Any) -> bytes:
    return chain_decision(facts(**changes), GENESIS)


def changed(**changes: Any) -> bytes:
    """Return a line whose fields were changed after it was written."""
    return canonical_json(json.loads(line()) | changes)


def test_a_line_has_exactly_the_fields_of_the_specification() -> None:
    fields = json.loads(line())

    assert set(fields) == FIELDS
    assert sorted(fields["policy"]) == ["id", "sha256", "version"]
    assert sorted(fields["models"][0]) == ["calibration", "name", "revision"]
    assert sorted(fields["truncation"]) == ["tokens", "tokens_scored"]
    assert fields["history"] == {"n": 3}


def test_a_record_of_before_there_was_a_floor_stays_valid() -> None:
    older = json.loads(line())
    for name in ("flags", "statement", "care_until", "case", "decision_sha256", "guidance", "thresholds"):
        del older[name]
    for action in older["actions"]:
        del action["not_after"]

    record = parse_line(canonical_json(older))

    assert isinstance(record, DecisionRecord)
    assert (record.flags, record.statement, record.care_until, record.case) == ((), None, None, None)


@pytest.mark.parametrize(
    "case", [{}, {"signals": {"a": 7}}, {"signals": {}, "text": WORDS}, {"signals": {}, "words": 1}]
)
def test_what_a_replay_needs_is_a_case_and_holds_no_text(case: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        facts(case=case)
    assert WORDS not in line(case={"signals": {"depressed": 0.5}}).decode()


def test_a_statement_is_recorded_by_kind_and_language_alone() -> None:
    found = {"kinds": ["wish"], "languages": ["en"]}

    assert json.loads(line(statement=found))["statement"] == found
    for more in ({"start_char": 3}, {"text": WORDS}):
        with pytest.raises(ValidationError):
            facts(statement=found | more)


def test_canonical_json_has_sorted_keys_no_spaces_utf_8_and_floats_by_repr() -> None:
    assert canonical_json({"b": [1.0, 0.1, 1e-07, None], "a": "é"}) == '{"a":"é","b":[1.0,0.1,1e-07,null]}'.encode()


def test_the_hash_of_a_line_is_the_sha_256_of_its_bytes() -> None:
    assert line_hash(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True), st.floats() | st.none(), max_size=5))
def test_any_scores_come_back_bit_for_bit_and_what_is_not_finite_as_none(scores: dict[str, float | None]) -> None:
    record = parse_line(line(scores=scores))

    assert isinstance(record, DecisionRecord)
    finite = {label: score if score is not None and math.isfinite(score) else None for label, score in scores.items()}
    assert repr(sorted(record.scores.items())) == repr(sorted(finite.items()))


@pytest.mark.parametrize(
    "other",
    [
        HeaderLine(chain_id="a0" * 16, file=3, prev_hash="b1" * 32),
        TornLine(torn_bytes=12, torn_sha256="a0" * 32, prev_hash="b1" * 32),
    ],
)
def test_the_lines_that_are_no_decisions_come_back_too(other: HeaderLine | TornLine) -> None:
    assert parse_line(encode_line(other)) == other


def test_a_time_becomes_utc_and_text_stays_as_given() -> None:
    moment = datetime(2026, 3, 1, 15, 0, 0, 250_000, tzinfo=timezone(timedelta(hours=1)))

    assert facts(time=moment).time == "2026-03-01T14:00:00.250000Z"
    assert facts(time=datetime(2026, 3, 1, tzinfo=UTC)).time == "2026-03-01T00:00:00Z"
    assert facts(time="2026-03-01T15:00:00+01:00").time == "2026-03-01T15:00:00+01:00"


@pytest.mark.parametrize("time", [datetime(2026, 3, 1), "2026-03-01", "2026-13-01T00:00:00Z", "yesterday", 5])
def test_a_time_that_is_none_is_refused(time: object) -> None:
    with pytest.raises(ValidationError, match="time"):
        facts(time=time)


@pytest.mark.parametrize(
    "changes",
    [
        {"decision_id": WORDS},
        {"rules_fired": [WORDS]},
        {"uncertainty": [WORDS]},
        {"language": WORDS},
        {"lines_shown": [WORDS]},
        {"scores": {WORDS: 0.5}},
        {"consent": {WORDS: "live"}},
        {"actions": [{"action": "show_crisis_lines", "status": "planned", "reason": WORDS}]},
        {"entry_hmac": "journal-17"},
        {"text": WORDS},
    ],
)
def test_there_is_no_place_for_a_text_or_a_plain_identifier(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        facts(**changes)


def test_a_complaint_does_not_repeat_what_it_is_about() -> None:
    with pytest.raises(ValidationError) as caught:
        facts(rules_fired=[WORDS], language=WORDS)

    assert WORDS not in str(caught.value)
    with pytest.raises(ValueError, match=r"^scores: ") as refused:
        parse_line(changed(scores={WORDS: 0.5}))
    assert WORDS not in str(refused.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"key_id": None},
        {"subject_hmac": None, "entry_hmac": None},
        {"tier": "emergency"},
        {"consent": {"self_help": True}},
        {"history": {"n": -1}},
        {"scores": {"depressed": "0.5"}},
        {"actions": [{"action": "show_crisis_lines", "status": "done"}]},
    ],
)
def test_facts_that_cannot_be_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        facts(**changes)


def test_without_a_key_nobody_is_named() -> None:
    fields = json.loads(line(subject_hmac=None, key_id=None, entry_hmac=None))

    assert (fields["subject_hmac"], fields["key_id"], fields["entry_hmac"]) == (None, None, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"decision_id": "again"},
        {"time": "2026-03-01T14:00:05Z"},
        {"scores": {"neutral": 0.018038244686955512, "depressed": 0.7200000000000001}},
        {"history": {"n": 4}},
    ],
)
def test_an_entry_that_is_sent_again_has_the_same_idempotency_key(changes: dict[str, Any]) -> None:
    assert idempotency_key(facts(**changes)) == idempotency_key(facts())


@pytest.mark.parametrize(
    "changes",
    [
        {"entry_hmac": "00" * 32},
        {"policy": {"id": "default", "version": "1.0", "sha256": "00" * 32}},
        {"consent": {"self_help": "live", "notify_therapist": "live"}},
        {"tier": "crisis"},
        {"actions": [{"action": "offer_self_help", "status": "deferred"}]},
        {"actions": []},
    ],
)
def test_what_may_call_for_another_action_has_another_idempotency_key(changes: dict[str, Any]) -> None:
    assert idempotency_key(facts(**changes)) != idempotency_key(facts())


def test_entries_without_an_identifier_are_never_taken_for_one_another() -> None:
    nameless = {"subject_hmac": None, "key_id": None, "entry_hmac": None}

    assert idempotency_key(facts(1, **nameless)) != idempotency_key(facts(2, **nameless))
    assert idempotency_key(facts(1, **nameless)) == idempotency_key(facts(1, **nameless))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "valid dictionary"),
        (b"{}", "decision_id: Field required"),
        (b'{"chain":"end"}', "chain: Input should be 'header'"),
        (line() + b" ", "canonical"),
        (line().replace(b'"country":"GB"', b'"country": "GB"'), "canonical"),
        (line().replace(b'"country":"GB"', b'"country":"FR","country":"GB"'), "canonical"),
        (line().replace(b"0.72", b"0.720"), "canonical"),
        (line().replace(b"0.72", b"NaN"), "canonical"),
        (line(scores={"depressed": 1.0}).replace(b"1.0}", b"1}"), "canonical"),
        (line().replace(b',"items":["box-breathing"]', b""), "idempotency_key|canonical"),
        (changed(tier="none"), "^idempotency_key: it is not that of this decision$"),
        (changed(prev_hash="0"), "^prev_hash: "),
        (changed(note="x"), "^note: "),
        (changed(**{"what she wrote": "x"}), r"^\(not a field name\): "),
    ],
)
def test_a_line_that_is_not_exactly_a_record_is_refused_with_its_field(bad: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_line(bad)


@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(lambda value: json.dumps(value).encode())
    | st.dictionaries(st.text(), st.none() | st.text()).map(lambda value: json.dumps(value).encode())
)
def test_no_bytes_make_the_reader_fail_in_another_way(payload: bytes) -> None:
    with pytest.raises(ValueError, match=r"^[ -~]+$"):
        parse_line(payload)


def test_the_largest_record_is_shorter_than_the_longest_line() -> None:
    wide, name = "\U0001f600" * 256, "n" * 128
    action = {"action": name, "status": "suppressed", "reason": name, "not_before": "2026-03-01T14:00:00.123456+00:00"}
    action["url"] = "https://" + "u" * 2040
    largest = line(
        models=[{"name": wide, "revision": wide, "calibration": wide}] * 16,
        scores={name[3:] + f"{index:03}": -1.7976931348623157e308 for index in range(256)},
        consent={f"{index:02}" + name[2:]: "live" for index in range(64)},
        rules_fired=[name] * 128,
        uncertainty=[name] * 128,
        actions=[{**action, "items": [name] * 64}] * 32,
        lines_shown=[name] * 128,
    )

    assert 400_000 < len(largest) < MAX_LINE_BYTES
