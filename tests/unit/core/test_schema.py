from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.core.errors import LanternError
from handlers.core.schema import (
    MAX_ENTRIES,
    Call,
    ClassifyRequest,
    Consent,
    OverLength,
    Received,
    TimedConsent,
    decode_json,
    encode_json,
    error_fields,
    field_name,
    parse_call,
    parse_request,
    parse_text,
)

CANARY = "QxZ73 I cannot sleep"
HISTORY = {"entry_id": "e1", "at": "2026-03-01T14:00:00Z", "scores": {"depressed": 0.7}}


def refusal(body: object) -> tuple[str, str | None]:
    """Return code and field of the error that ``body`` meets."""
    error = _error(body)
    assert error is not None
    return error.kind.code, error.field


def _error(body: object) -> LanternError | None:
    try:
        call = parse_call(body)
    except LanternError as error:
        return error
    first = call.items[0]
    return call.error or (first if isinstance(first, LanternError) else first.error)


def unread(body: object) -> list[str]:
    """Return the side fields of a request that count as not known; it is answered."""
    received = parse_request(body)
    assert received.error is None
    return [field.field for field in received.unread]


def with_history(**changes: Any) -> dict[str, Any]:
    return {"text": "a", "context": {"history": [HISTORY | changes]}}


def test_only_the_text_is_required() -> None:
    request = parse_request({"text": "a"}).request

    assert request == ClassifyRequest(text="a")
    assert request.options.over_length is OverLength.WINDOW
    assert not any([request.consent.self_help, request.consent.use_history, request.consent.human_review])
    assert not any([request.consent.notify_therapist, request.consent.alert_contact])


def test_every_field_of_the_contract_is_taken() -> None:
    request = parse_request(
        {
            "text": "a",
            "locale": "en-GB",
            "country": "GB",
            "entry_id": "opaque",
            "subject_id": "opaque",
            "consent": {
                "self_help": True,
                "use_history": False,
                "human_review": {"granted": True, "expires_at": "2026-03-01T14:00:00+01:00"},
                "notify_therapist": {"granted": False},
                "alert_contact": False,
            },
            "context": {"age_band": "adult", "history": [HISTORY]},
            "options": {"return_logits": True, "over_length": "head_tail"},
        }
    ).request

    assert isinstance(request.consent.human_review, TimedConsent)
    assert request.context.history[0].scores == {"depressed": 0.7}
    assert request.options.over_length is OverLength.HEAD_TAIL


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"text": "a", "txt": 1}, "txt"),
        ({"text": "a", "bool": 1}, "bool"),
        ({"text": "a", "TimedConsent": 1}, "TimedConsent"),
        ({"text": "a", "consent": {"everything": True}}, "consent.everything"),
        ({"text": "a", "consent": {"self_help": {"granted": True, "until": 1}}}, "consent.self_help.until"),
        ({"text": "a", "context": {"age": 1}}, "context.age"),
        (with_history(note="n"), "context.history[0].note"),
        ({"text": "a", "options": {"max": 1}}, "options.max"),
    ],
)
def test_an_unknown_field_is_named_with_its_path(body: dict[str, Any], field: str) -> None:
    assert refusal(body) == ("invalid_request", field)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"text": 1}, "text"),
        ({"text": None}, "text"),
        ({"text": ["a"]}, "text"),
        ({"text": "a", "entry_id": 7}, "entry_id"),
        ({"text": "a", "entry_id": ""}, "entry_id"),
        ({"text": "a", "subject_id": "s" * 257}, "subject_id"),
        ({"text": "a", "consent": True}, "consent"),
        ({"text": "a", "context": []}, "context"),
        ({"text": "a", "context": {"history": {}}}, "context.history"),
        ({"text": "a", "context": {"history": "none"}}, "context.history"),
        ({"text": "a", "options": {"return_logits": "true"}}, "options.return_logits"),
        ({"text": "a", "options": {"return_logits": 1}}, "options.return_logits"),
        ({"text": "a", "options": {"over_length": "tail"}}, "options.over_length"),
        ({"text": "a", "options": {"over_length": 1}}, "options.over_length"),
    ],
)
def test_a_wrong_type_is_refused_and_not_coerced(body: dict[str, Any], field: str) -> None:
    assert refusal(body)[1] == field


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"locale": 1}, "locale"),
        ({"country": 44}, "country"),
        ({"consent": {"self_help": "yes"}}, "consent.self_help"),
        ({"consent": {"self_help": 1}}, "consent.self_help"),
        ({"consent": {"self_help": None}}, "consent.self_help"),
        ({"consent": {"self_help": {}}}, "consent.self_help"),
        ({"consent": {"self_help": {"granted": 1}}}, "consent.self_help"),
        ({"context": {"age_band": "child"}}, "context.age_band"),
        ({"context": {"now": "yesterday"}}, "context.now"),
        ({"context": {"now": "0001-01-01T00:00:00Z"}}, "context.now"),
        ({"context": {"care_until": 7}}, "context.care_until"),
        ({"context": {"confirmation": "yes"}}, "context.confirmation"),
        (
            {"context": {"confirmation": {"entry_id": "e", "by": "human", "action": "alert_contact"}}},
            "context.confirmation",
        ),
        ({"context": {"history": [1]}}, "context.history[0]"),
        ({"context": {"history": [HISTORY, {"entry_id": "e2"}]}}, "context.history[1]"),
    ],
)
def test_a_side_field_that_cannot_be_read_counts_as_not_known_and_is_named(fields: dict[str, Any], field: str) -> None:
    assert unread({"text": "a", **fields}) == [field]


def test_the_message_names_what_is_wrong_inside_of_a_side_field() -> None:
    given = {"entry_id": "e", "by": "human", "action": "call", "at": "2026-03-01T14:00:00Z"}
    received = parse_request({"text": "a", "context": {"confirmation": given}, "locale": "english"})

    assert {one.field: one.message.split(":")[0] for one in received.unread} == {
        "context.confirmation": "action",
        "locale": "not a locale such as en or en-GB (language, optional script, optional region)",
    }
    assert received.request.context.confirmation is None


@pytest.mark.parametrize("processing", ["none", 1, None])
def test_a_way_of_processing_that_is_not_known_costs_the_answer(processing: Any) -> None:
    error = parse_request({"text": "a", "context": {"processing": processing}}).error

    assert error is not None and error.field == "context.processing"


def test_entries_of_a_history_are_named_by_their_place_in_the_request() -> None:
    wrong = {"entry_id": "e", "at": "2026-02-01T14:00:00Z", "scores": {"depressed": 2}}
    right = {"entry_id": "e", "at": "2026-02-01T14:00:00Z", "scores": {"depressed": 0.2}}
    some = parse_request({"text": "a", "context": {"history": [wrong, right, wrong, right]}})
    long = [{**right, "at": "2026-01-01T14:00:00Z"}, wrong, *[right] * 1000]
    cut = parse_request({"text": "a", "context": {"history": long}})
    whole = parse_request({"text": "a", "context": {"history": [right]}})

    assert ([one.field for one in some.unread], some.history_places) == (
        ["context.history[0]", "context.history[2]"],
        (1, 3),
    )
    assert (whole.history_places, whole.history_cut) == (None, False)
    assert cut.history_cut and cut.history_places is not None
    assert len(cut.history_places) == len(cut.request.context.history)
    assert (cut.history_places[-1], [one.field for one in cut.unread]) == (1001, [])


def test_an_unreadable_entry_of_a_history_that_was_cut_is_named_by_its_place() -> None:
    right = {"entry_id": "e", "at": "2026-02-01T14:00:00Z", "scores": {"depressed": 0.2}}
    wrong = {**right, "at": "2026-02-02T14:00:00Z", "scores": {"depressed": 2}}
    received = parse_request({"text": "a", "context": {"history": [right, right, wrong, *[right] * 999]}})

    assert [one.field for one in received.unread] == ["context.history[2]"]
    assert received.history_places is not None
    assert 2 not in received.history_places and len(received.history_places) == 999


def test_what_can_be_read_beside_what_cannot_is_kept() -> None:
    received = parse_request(
        {
            "text": "a",
            "locale": "en_US",
            "country": "GB",
            "consent": {"self_help": True, "human_review": "yes"},
            "context": {"age_band": "minor", "now": 1, "history": [HISTORY, {}, HISTORY | {"entry_id": "e3"}]},
            "colour": "red",
        }
    )

    assert received.error is not None and received.error.field == "colour"
    assert received.request.country == "GB"
    assert received.request.context.age_band == "minor"
    assert received.request.consent == Consent(self_help=True)
    assert [entry.entry_id for entry in received.request.context.history] == ["e1", "e3"]
    assert [one.field for one in received.unread] == [
        "locale",
        "consent.human_review",
        "context.now",
        "context.history[1]",
    ]


def test_of_a_history_that_is_too_long_the_newest_entries_are_read() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    history = [HISTORY | {"entry_id": str(n), "at": (start + timedelta(hours=n)).isoformat()} for n in range(1200)]
    history.append({"entry_id": "broken", "at": "when?", "scores": {}})
    random.Random(7).shuffle(history)

    received = parse_request({"text": "a", "context": {"history": history}})

    assert received.history_cut
    assert {entry.entry_id for entry in received.request.context.history} == {str(n) for n in range(200, 1200)}
    assert received.unread == ()


def test_a_text_with_an_unpaired_surrogate_is_an_error_that_can_still_be_decided_on() -> None:
    received = parse_request({"text": "I want to die \ud83d", "country": "GB"})

    assert received.error is not None and received.error.kind.code == "invalid_text"
    assert received.request.text == "I want to die \ufffd"
    assert received.request.country == "GB"


@given(st.dictionaries(st.sampled_from([*ClassifyRequest.model_fields, "other"]), st.deferred(lambda: canary_bodies())))
def test_a_request_of_any_shape_is_read_in_the_end(body: dict[str, Any]) -> None:
    received = parse_request({**body, "text": "a"})

    assert received.request.text == "a"
    assert (received.error is None) == ("other" not in body and _error({**body, "text": "a"}) is None)


@pytest.mark.parametrize("expires_at", ["tomorrow", "2026-03-01", "2026-03-01T14:00:00", 1772373600, "T", True])
def test_a_consent_ends_at_a_time_with_a_zone(expires_at: object) -> None:
    body = {"text": "a", "consent": {"self_help": {"granted": True, "expires_at": expires_at}}}

    assert unread(body) == ["consent.self_help"]


@pytest.mark.parametrize("score", [-0.001, 1.001, "0.5", True, None, float("inf"), float("nan")])
def test_an_earlier_score_is_a_number_from_0_to_1(score: object) -> None:
    assert unread(with_history(scores={"depressed": score})) == ["context.history[0]"]


@pytest.mark.parametrize("score", [0, 0.0, 1, 1.0])
def test_the_bounds_of_an_earlier_score_are_in(score: float) -> None:
    request = parse_request(with_history(scores={"depressed": score})).request

    assert request.context.history[0].scores == {"depressed": score}


@pytest.mark.parametrize("missing", ["entry_id", "at", "scores"])
def test_a_history_entry_is_whole(missing: str) -> None:
    entry = {key: value for key, value in HISTORY.items() if key != missing}

    body = {"text": "a", "context": {"history": [HISTORY, entry]}}

    assert unread(body) == ["context.history[1]"]


@pytest.mark.parametrize("body", [{}, {"text": ""}, {"text": " \n\t\u00a0\u2003"}, {"text": "a \ud800"}])
def test_a_text_that_is_missing_empty_or_not_unicode_is_an_invalid_text(body: dict[str, Any]) -> None:
    assert refusal(body) == ("invalid_text", "text")


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\ufeff", "😀", "</s>", "\u202e", "字", "a" * 100_000])
def test_any_unicode_text_is_taken_unchanged(text: str) -> None:
    assert parse_request({"text": text}).request.text == text


@pytest.mark.parametrize("locale", ["en", "en-GB", "zh-Hant", "zh-Hant-TW", "es-419", "fil"])
def test_a_locale_is_language_script_and_region(locale: str) -> None:
    assert parse_request({"text": "a", "locale": locale}).request.locale == locale


@pytest.mark.parametrize("locale", ["", "e", "EN", "en_GB", "en-gb", "english", "en-GB-x", "en-GB\n", " en"])
def test_any_other_locale_is_an_unknown_one(locale: str) -> None:
    assert unread({"text": "a", "locale": locale}) == ["locale"]


@pytest.mark.parametrize("country", ["", "gb", "GBR", "G1", "GB\n", "ÄÖ"])
def test_a_country_is_two_capital_letters(country: str) -> None:
    assert unread({"text": "a", "country": country}) == ["country"]


@pytest.mark.parametrize("entries", [[], [{"text": "a"}] * (MAX_ENTRIES + 1), {"text": "a"}, "a", None, 3])
def test_entries_are_a_list_of_1_to_64(entries: object) -> None:
    assert refusal({"entries": entries}) == ("invalid_request", "entries")


def test_64_entries_are_taken() -> None:
    call = parse_call({"entries": [{"text": str(number)} for number in range(MAX_ENTRIES)]})

    assert call.is_list and call.error is None
    assert [item.request.text for item in call.items if isinstance(item, Received)] == [
        str(n) for n in range(MAX_ENTRIES)
    ]


def test_entries_have_no_siblings() -> None:
    assert refusal({"entries": [{"text": "a"}], "locale": "en"}) == ("invalid_request", "locale")


def test_a_bad_entry_stands_in_its_place_and_keeps_the_others() -> None:
    call = parse_call({"entries": [{"text": "a"}, {"text": " "}, 7, {"text": "b", "consent": {"x": 1}}, {"text": "c"}]})

    assert call.is_list and call.error is None
    found = [
        item.field if isinstance(item, LanternError) else (item.request.text, item.error and item.error.field)
        for item in call.items
    ]
    assert found == [("a", None), "entries[1].text", "entries[2]", ("b", "consent.x"), ("c", None)]


@pytest.mark.parametrize("body", [None, [], "a", 7, True, 0.5])
def test_a_body_that_is_no_object_is_refused(body: object) -> None:
    assert refusal(body) == ("invalid_request", None)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "line 1, column 1"),
        (b"{", "not JSON"),
        (b'{"text": "a"} x', "column 15"),
        (b'{"text": NaN}', "NaN and Infinity"),
        (b'{"text": -Infinity}', "NaN and Infinity"),
        (b'{"text": "a", "text": "b"}', "given twice"),
        (b'{"consent": {"self_help": true, "self_help": false}}', "given twice"),
        (b'{"text": "\xff"}', "not UTF-8 (byte 10)"),
        (b'\xef\xbb\xbf{"text": "a"}', "not JSON"),
        (b'{"text": "a\nb"}', "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"text": ' + b"9" * 5000 + b"}", "number is too long"),
    ],
)
def test_what_is_not_strict_json_is_refused_with_its_reason(payload: bytes, message: str) -> None:
    with pytest.raises(LanternError, match="invalid_json") as caught:
        decode_json(payload)

    assert message in caught.value.message


def test_a_huge_number_is_no_way_to_get_an_infinite_score() -> None:
    body = decode_json(json.dumps(with_history(scores={"depressed": 0.5})).replace("0.5", "1e999").encode())

    assert unread(body) == ["context.history[0]"]


def test_plain_text_is_the_text_alone() -> None:
    assert parse_text('{"text": "ü"}'.encode()) == Call((Received(ClassifyRequest(text='{"text": "ü"}')),))


@pytest.mark.parametrize("payload", [b"", b" \n", b"a\xff"])
def test_plain_text_that_is_empty_or_not_utf8_is_an_invalid_text(payload: bytes) -> None:
    with pytest.raises(LanternError, match="invalid_text"):
        parse_text(payload)


@pytest.mark.parametrize("key", ["I feel low today", "naïve", "a" * 65, "", "a\nb", "\ud800"])
def test_a_key_that_is_no_field_name_is_not_repeated(key: str) -> None:
    assert field_name(key) == "(not a field name)"
    error = _error({"text": "a", key: 1})
    assert error is not None
    assert not key or key not in f"{error} {error_fields(error)}"


@pytest.mark.parametrize("key", ["txt", "over-length", "a.b", "_x1"])
def test_a_key_that_looks_like_a_field_name_is_repeated(key: str) -> None:
    assert field_name(key) == key


def canary_bodies() -> st.SearchStrategy[Any]:
    """JSON of any shape in which every text holds the canary, field names mixed in."""
    names = st.sampled_from(
        ["text", "locale", "country", "consent", "self_help", "context", "history", "scores", "options", "at", CANARY]
    )
    leaves = st.sampled_from([CANARY, 1, 0.5, None, True, -1, f"{CANARY} \ud800", f"2026T{CANARY}"])
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4))


@given(st.dictionaries(st.sampled_from(["text", "entries", "consent", "context", "options"]), canary_bodies()))
def test_no_error_repeats_what_the_caller_wrote(body: dict[str, Any]) -> None:
    try:
        call = parse_call(body)
    except LanternError as error:
        call = Call((error,))
    refused = [one if isinstance(one, LanternError) else one.error for one in call.items]
    named = [field.model_dump() for one in call.items if isinstance(one, Received) for field in one.unread]

    for error in (*refused, call.error):
        assert error is None or "QxZ73" not in f"{error} {json.dumps(error_fields(error))}"
    assert "QxZ73" not in json.dumps(named)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_json_value_or_an_invalid_json(payload: bytes) -> None:
    try:
        decode_json(payload)
    except LanternError as error:
        assert error.kind.code == "invalid_json"


def test_a_number_that_is_not_finite_is_never_sent() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode_json({"score": float("nan")})
