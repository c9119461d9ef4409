"""The text is in no exception and in no log line, whatever the server sends back."""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from client import LanternClient, LanternClientError

if TYPE_CHECKING:
    from tests.client.conftest import Server

CANARY = "heron-canary-7391"
TEXT = f"I told nobody about the {CANARY}."
ECHO = TEXT.encode()

REPLIES: list[dict[str, Any]] = [
    {"body": ECHO},
    {"body": b'{"labels": "' + ECHO + b'"}'},
    {"body": b'{"' + ECHO + b'": 1}'},
    {"body": b'{"error": "' + ECHO + b'"}'},
    {"body": b'{"error": {"code": 1, "message": "' + ECHO + b'"}}'},
    {"json": {"code": 503, "type": TEXT, "message": TEXT}, "http": 503},
    {"http": 500, "body": ECHO, "grpc": "INTERNAL", "details": TEXT},
    {"http": 503, "body": ECHO, "grpc": "UNAVAILABLE", "details": TEXT},
    {"http": 400, "body": ECHO, "grpc": "INVALID_ARGUMENT", "details": TEXT},
    {"http": 404, "body": ECHO, "grpc": "NOT_FOUND", "details": TEXT},
    {"http": 413, "body": ECHO, "grpc": "RESOURCE_EXHAUSTED", "details": TEXT},
    {"http": 503, "headers": {"retry-after": "soon"}, "grpc": "UNKNOWN", "details": TEXT},
    {"drop": True},
    {"hang": True},
]


def assert_silent(error: LanternClientError) -> None:
    shown = [str(error), repr(error), repr(error.args), repr(vars(error)), *traceback.format_exception(error)]
    assert CANARY not in "".join(shown)
    assert error.__context__ is None
    assert error.__cause__ is None


@pytest.mark.parametrize("reply", REPLIES, ids=range(len(REPLIES)))
def test_no_error_and_no_log_quotes_the_text(
    server: Server, reply: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    server.say(reply)
    caplog.set_level(logging.DEBUG)

    with pytest.raises(LanternClientError) as caught:
        server.client(timeout=0.2).classify(TEXT)

    assert CANARY in server.seen[0].body.decode(), "the text was never sent"
    assert_silent(caught.value)
    assert CANARY not in caplog.text


def test_no_log_quotes_the_text_of_an_answered_call(
    server: Server, response: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    server.say({"json": response})
    caplog.set_level(logging.DEBUG)

    server.client(token="t0ken").classify(TEXT, entry_id=CANARY, subject_id=CANARY)

    assert CANARY not in caplog.text
    assert "t0ken" not in caplog.text


def test_an_entry_in_error_does_not_quote_its_text(server: Server) -> None:
    server.say({"json": {"results": [TEXT, {"labels": TEXT}, {"error": {"code": TEXT}}]}})
    for result in server.client().classify_entries([TEXT] * 3):
        assert isinstance(result, LanternClientError)
        assert_silent(result)


def test_a_request_that_is_not_sent_does_not_quote_its_text(server: Server) -> None:
    entries: list[Any] = [
        {"text": [TEXT]},
        {TEXT: TEXT},
        [TEXT],
        {"text": TEXT, "entry_id": {TEXT: object()}},
        {"text": TEXT, "entry_id": ECHO + b"\xff"},
        {"text": TEXT, TEXT: {ECHO + b"\xff": 1}},
    ]
    for result in server.client().classify_entries(entries):
        assert isinstance(result, LanternClientError)
        assert_silent(result)
    with pytest.raises(LanternClientError) as caught:
        server.client().classify(TEXT, locale=ECHO + b"\xff")  # type: ignore[arg-type]
    assert_silent(caught.value)
    assert server.seen == []


def test_a_request_that_the_server_refuses_does_not_quote_its_text(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    entries: list[Any] = [
        TEXT + "\ud800",
        {"text": TEXT, TEXT: 1},
        {"text": TEXT, "locale": TEXT},
        {"text": TEXT, "entry_id": TEXT * 100},
        {"text": TEXT, "context": {"history": [{"entry_id": "e", "at": TEXT, "scores": {TEXT: 2}}]}},
    ]
    refused = {"error": {"code": "invalid_request", "message": "m", "field": "f"}, "escalation": {"tier": "none"}}
    server.say({"json": {"results": [{"status": 400, **refused}] * 5}})
    for result in server.client().classify_entries(entries):
        assert isinstance(result, LanternClientError)
        assert_silent(result)
    server.say({"json": refused, "http": 400})
    with pytest.raises(LanternClientError) as caught:
        server.client().classify(TEXT, entry_id=TEXT * 100)
    assert_silent(caught.value)
    assert [CANARY in seen.body.decode() for seen in server.seen] == [True, True]
    assert CANARY not in caplog.text


def test_nobody_there(nobody: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for client in (LanternClient.rest(f"http://{nobody}", retries=0), LanternClient.grpc(nobody, retries=0)):
        with client, pytest.raises(LanternClientError) as caught:
            client.classify(TEXT)
        assert_silent(caught.value)
    assert CANARY not in caplog.text


def test_a_retry_is_logged_without_the_text(server: Server, pace: Any, caplog: pytest.LogCaptureFixture) -> None:
    server.say({"http": 503, "grpc": "UNAVAILABLE"})
    caplog.set_level(logging.DEBUG, logger="lantern.client")
    with pytest.raises(LanternClientError):
        server.client(retries=pace.policy(1)).classify(TEXT)
    assert "again in" in caplog.text
    assert CANARY not in caplog.text
