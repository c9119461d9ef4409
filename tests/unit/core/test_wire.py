from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.core.errors import DRAINING, INVALID_REQUEST, INVALID_TEXT, LanternError
from handlers.core.schema import (
    MAX_ENTRIES,
    Call,
    ClassifyRequest,
    ClassifyResponse,
    InputReport,
    LabelScore,
    ModelReport,
    Received,
    Timing,
    UnreadField,
)
from handlers.core.wire import (
    JSON,
    Outcome,
    RawRequest,
    decode_call,
    entries_outcome,
    refused_outcome,
    single_outcome,
)

BODY = b'{"text": "a"}'
RESPONSE = ClassifyResponse(
    labels=(
        LabelScore(name="neutral", score=0.1, threshold=0.5, positive=False),
        LabelScore(name="stressed", score=0.9, threshold=0.5, positive=True, logit=2.2),
    ),
    input=InputReport(tokens=1, tokens_scored=1, windows=(), truncated=False),
    model=ModelReport(
        name="sentiment", version="1.0", checkpoint="c", revision="r", runtime="onnx", precision="fp32", calibration="-"
    ),
    timing_ms=Timing(tokenize=0.1, run=0.2, decide=0.3),
)


def one(text: str) -> Call:
    """The call for one text and nothing else."""
    return Call((Received(ClassifyRequest(text=text)),))


def test_a_protocol_without_a_media_type_sends_json() -> None:
    assert decode_call(RawRequest(BODY)) == one("a")


@pytest.mark.parametrize(
    "media_type",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json ; profile=x",
        "application/json; charset=us-ascii",
        "application/json; charset*=a; charset*0=b",
    ],
)
def test_json_is_taken_in_any_spelling_of_its_media_type(media_type: str) -> None:
    assert decode_call(RawRequest(BODY, media_type)) == one("a")


@pytest.mark.parametrize("media_type", ["text/plain", "text/plain; charset=utf-8", "TEXT/PLAIN"])
def test_plain_text_is_not_read_as_json(media_type: str) -> None:
    assert decode_call(RawRequest(BODY, media_type)) == one(BODY.decode())


@pytest.mark.parametrize(
    "media_type",
    [
        "",
        "nonsense",
        ";",
        "application/jsonx",
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=latin-1",
        "application/json; charset=ü",
        "text/plain; charset=utf-16",
    ],
)
def test_any_other_media_type_is_unsupported(media_type: str) -> None:
    with pytest.raises(LanternError, match="unsupported_media_type") as caught:
        decode_call(RawRequest(BODY, media_type))

    assert caught.value.kind.http == 415


@given(st.text(max_size=60), st.binary(max_size=40))
def test_any_header_and_body_end_in_a_request_or_an_error_of_the_table(media_type: str, payload: bytes) -> None:
    try:
        call = decode_call(RawRequest(payload, media_type))
    except LanternError as error:
        assert error.kind.http in (400, 415)
    else:
        assert 1 <= len(call.items) <= MAX_ENTRIES
        assert call.is_list or not isinstance(call.items[0], LanternError)


def test_an_error_is_an_envelope_with_its_http_status() -> None:
    outcome = single_outcome(LanternError(INVALID_TEXT, "empty", "text"))

    assert outcome == Outcome(400, b'{"error": {"code": "invalid_text", "message": "empty", "field": "text"}}')


def test_what_to_offer_stands_beside_an_error() -> None:
    error = LanternError(INVALID_TEXT, "empty", "text").with_escalation({"tier": "none", "lines": []})

    assert json.loads(single_outcome(error).body) == {
        "error": {"code": "invalid_text", "message": "empty", "field": "text"},
        "escalation": {"tier": "none", "lines": []},
    }


def test_an_error_that_passes_is_marked_as_retryable() -> None:
    assert single_outcome(LanternError(DRAINING, "stopping")).retryable


def test_a_logit_is_sent_only_where_it_was_asked_for() -> None:
    labels = json.loads(single_outcome(RESPONSE).body)["labels"]

    assert labels == [
        {"name": "neutral", "score": 0.1, "threshold": 0.5, "positive": False},
        {"name": "stressed", "score": 0.9, "threshold": 0.5, "positive": True, "logit": 2.2},
    ]


def test_entries_are_answered_in_order_each_with_its_status() -> None:
    outcome = entries_outcome([RESPONSE, LanternError(INVALID_TEXT, "empty", "entries[1].text"), RESPONSE])
    results = json.loads(outcome.body)["results"]

    assert outcome.status == 200
    assert [result["status"] for result in results] == [200, 400, 200]
    assert results[1]["error"]["field"] == "entries[1].text"


def test_a_call_that_is_refused_says_what_to_offer_the_writer_of_each_text() -> None:
    refusal = LanternError(INVALID_REQUEST, "entries stands alone", "locale")
    entry = LanternError(INVALID_REQUEST, "entries stands alone").with_escalation({"tier": "crisis"})
    outcome = refused_outcome(refusal, [entry, LanternError(INVALID_TEXT, "empty", "entries[1].text")])

    assert (outcome.status, outcome.retryable) == (400, False)
    assert json.loads(outcome.body) == {
        "error": {"code": "invalid_request", "message": "entries stands alone", "field": "locale"},
        "results": [
            {
                "status": 400,
                "error": {"code": "invalid_request", "message": "entries stands alone", "field": None},
                "escalation": {"tier": "crisis"},
            },
            {"status": 400, "error": {"code": "invalid_text", "message": "empty", "field": "entries[1].text"}},
        ],
    }


def test_a_refused_call_that_may_be_sent_again_is_marked_as_retryable() -> None:
    outcome = refused_outcome(LanternError(DRAINING, "stopping"), [LanternError(DRAINING, "stopping")])

    assert (outcome.status, outcome.retryable) == (503, True)


def test_what_was_not_read_is_named_in_the_answer() -> None:
    unread = (UnreadField(field="locale", message="not a locale"),)
    body = json.loads(single_outcome(RESPONSE.model_copy(update={"unread": unread})).body)

    assert body["unread"] == [{"field": "locale", "message": "not a locale"}]


def test_a_single_answer_has_the_fields_of_the_contract() -> None:
    body = json.loads(single_outcome(RESPONSE).body)

    assert list(body) == ["labels", "escalation", "input", "model", "timing_ms"]
    assert body["escalation"] is None


def test_the_default_media_type_is_json() -> None:
    assert RawRequest(b"").media_type == JSON
