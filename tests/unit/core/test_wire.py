from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.core.errors import DRAINING, INVALID_TEXT, LanternError
from handlers.core.schema import ClassifyRequest, ClassifyResponse, InputReport, LabelScore, ModelReport, Timing
from handlers.core.wire import JSON, Outcome, RawRequest, decode_call, entries_outcome, requests_of, single_outcome

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


def test_a_protocol_without_a_media_type_sends_json() -> None:
    assert decode_call(RawRequest(BODY)) == ClassifyRequest(text="a")


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
    assert decode_call(RawRequest(BODY, media_type)) == ClassifyRequest(text="a")


@pytest.mark.parametrize("media_type", ["text/plain", "text/plain; charset=utf-8", "TEXT/PLAIN"])
def test_plain_text_is_not_read_as_json(media_type: str) -> None:
    assert decode_call(RawRequest(BODY, media_type)) == ClassifyRequest(text=BODY.decode())


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
        assert requests_of(call)


def test_an_error_is_an_envelope_with_its_http_status() -> None:
    outcome = single_outcome(LanternError(INVALID_TEXT, "empty", "text"))

    assert outcome == Outcome(400, b'{"error": {"code": "invalid_text", "message": "empty", "field": "text"}}')


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


def test_a_single_answer_has_the_fields_of_the_contract() -> None:
    body = json.loads(single_outcome(RESPONSE).body)

    assert list(body) == ["labels", "escalation", "input", "model", "timing_ms"]
    assert body["escalation"] is None


def test_the_default_media_type_is_json() -> None:
    assert RawRequest(b"").media_type == JSON
