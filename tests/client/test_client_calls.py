"""What is sent, and what comes back when all is well."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from client import ClassifyRequest, ClassifyResponse, InvalidRequest, LanternClient, LanternClientError, Unavailable
from handlers.core.schema import (
    Call,
    Consent,
    Context,
    HistoryEntry,
    Options,
    OverLength,
    Received,
    TimedConsent,
    parse_call,
)

if TYPE_CHECKING:
    from tests.client.conftest import Server

EVERYTHING: dict[str, Any] = {
    "locale": "en-GB",
    "country": "GB",
    "entry_id": "e9",
    "subject_id": "s1",
    "consent": {"self_help": True, "human_review": {"granted": True, "expires_at": "2026-03-01T14:00:00Z"}},
    "context": {"history": [{"entry_id": "e1", "at": "2026-02-01T14:00:00Z", "scores": {"stressed": 0.5}}]},
    "options": {"return_logits": True, "over_length": "reject"},
}


def test_the_answer_is_a_typed_response(server: Server, response: dict[str, Any]) -> None:
    server.say({"json": response})

    answer = server.client().classify("Tomorrow worries me.")

    assert answer == ClassifyResponse.model_validate(response)
    assert [label.name for label in answer.labels if label.positive] == ["stressed"]


def test_only_what_was_given_is_sent(server: Server, response: dict[str, Any]) -> None:
    server.say({"json": response})

    server.client().classify("Ünïcode 🌧")

    assert server.seen[0].json == {"text": "Ünïcode 🌧"}
    assert server.seen[0].path in ("/predictions/sentiment", "sentiment")


TRACEPARENT = f"00-{'4b' * 16}-{'00f0' * 4}-01"
REQUEST_ID = "0f" * 16


def test_trace_and_request_id_go_where_the_handler_sees_them(server: Server, response: dict[str, Any]) -> None:
    server.say({"json": response})

    server.client().classify("Text.", traceparent=TRACEPARENT, request_id=REQUEST_ID)
    server.say({"json": {"results": [response]}})
    server.client().classify_entries(["Text."], traceparent=TRACEPARENT)

    name = "x-request-id" if server.transport == "rest" else "request_id"
    assert [seen.headers.get("traceparent") for seen in server.seen] == [TRACEPARENT, TRACEPARENT]
    assert [seen.headers.get(name) for seen in server.seen] == [REQUEST_ID, None]


@pytest.mark.parametrize(
    "given", [{"traceparent": "00-4b-00-01"}, {"request_id": "anna@example.org"}, {"request_id": ""}]
)
def test_an_id_of_another_form_is_not_sent(server: Server, given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="must be"):
        server.client().classify("Text.", **given)
    assert server.seen == []


def test_every_field_arrives_as_the_server_reads_it(server: Server, response: dict[str, Any]) -> None:
    server.say({"json": response})

    server.client().classify("Text.", **EVERYTHING)

    request = ClassifyRequest(
        text="Text.",
        locale="en-GB",
        country="GB",
        entry_id="e9",
        subject_id="s1",
        consent=Consent(
            self_help=True, human_review=TimedConsent(granted=True, expires_at=datetime(2026, 3, 1, 14, tzinfo=UTC))
        ),
        context=Context(
            history=(HistoryEntry(entry_id="e1", at=datetime(2026, 2, 1, 14, tzinfo=UTC), scores={"stressed": 0.5}),)
        ),
        options=Options(return_logits=True, over_length=OverLength.REJECT),
    )
    assert parse_call(server.seen[0].json) == Call((Received(request),))


def test_models_and_fields_are_sent_alike(server: Server, response: dict[str, Any]) -> None:
    server.say({"json": response})
    client = server.client()

    client.classify("Text.", consent={"self_help": True}, options={"over_length": "head"})
    client.classify("Text.", consent=Consent(self_help=True), options=Options(over_length=OverLength.HEAD))

    assert server.seen[0].json == server.seen[1].json


def test_another_model(server: Server, response: dict[str, Any]) -> None:
    server.say({"json": response})

    server.client(model="mood/2").classify("Text.")

    assert server.seen[0].path in ("/predictions/mood%2F2", "mood/2")


def test_a_path_of_the_gateway_is_kept(rest: Server, response: dict[str, Any]) -> None:
    rest.say({"json": response})

    with LanternClient.rest(f"{rest.address}/lantern/", timeout=10) as client:
        client.classify("Text.")

    assert rest.seen[0].path == "/lantern/predictions/sentiment"


def test_the_token_is_sent(server: Server, response: dict[str, Any]) -> None:
    server.say({"json": response})

    server.client(token="s3cret").classify("Text.")

    assert server.seen[0].headers["authorization"] == "Bearer s3cret"


def test_no_token_is_sent_unasked(server: Server, response: dict[str, Any]) -> None:
    server.say({"json": response})

    server.client().classify("Text.")

    assert "authorization" not in server.seen[0].headers


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "ünïcode"])
def test_a_token_that_no_header_can_hold_is_refused(server: Server, token: str) -> None:
    with pytest.raises(ValueError, match="token") as caught:
        server.client(token=token)
    assert not token or token not in str(caught.value)


RING: dict[str, Any] = {"self_help": True}
RING["self_help"] = RING


@pytest.mark.parametrize(
    ("arguments", "code", "field"),
    [
        ({"text": "  "}, "invalid_text", "text"),
        ({"text": ""}, "invalid_text", "text"),
        ({"text": 7}, "invalid_text", "text"),
        ({"text": "x", "locale": object()}, "invalid_request", None),
        ({"text": "x", "country": b"\xff"}, "invalid_request", None),
        ({"text": "x", "consent": RING}, "invalid_request", None),
        ({"text": "x", "entry_id": 10**5000}, "invalid_request", None),
    ],
)
def test_what_holds_no_text_or_is_no_json_is_not_sent(
    server: Server, arguments: dict[str, Any], code: str, field: str | None
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        server.client().classify(**arguments)
    assert (caught.value.kind.code, caught.value.field) == (code, field)
    assert caught.value.__context__ is None
    assert server.seen == []


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ({"entry_id": "\ud800"}, {"entry_id": "\ud800"}),
        ({"options": {"over_length": "cut"}}, {"options": {"over_length": "cut"}}),
        ({"consent": {"selfhelp": True}}, {"consent": {"selfhelp": True}}),
        ({"consent": {None: True}}, {"consent": {"None": True}}),
        ({"context": {"active": [3]}, "locale": "en-GB"}, {"context": {"active": [3]}, "locale": "en-GB"}),
    ],
)
def test_a_text_is_sent_although_the_server_will_refuse_it_and_its_error_says_what_to_offer(
    server: Server, arguments: dict[str, Any], sent: dict[str, Any]
) -> None:
    offer = {"tier": "none", "lines": [{"id": "gb-samaritans", "dial": "116 123"}]}
    error = {"code": "invalid_request", "message": "m", "field": "f"}
    server.say({"json": {"error": error, "escalation": offer}, "http": 400})

    with pytest.raises(InvalidRequest) as caught:
        server.client().classify("x", **arguments)

    assert server.seen[0].json == {"text": "x", **sent}
    assert (caught.value.kind.code, caught.value.field, caught.value.escalation) == ("invalid_request", "f", offer)


def test_a_text_that_is_no_unicode_is_sent_as_it_is(server: Server) -> None:
    server.say({"json": {"error": {"code": "invalid_text", "message": "m"}, "escalation": {"tier": "none"}}})

    with pytest.raises(InvalidRequest) as caught:
        server.client().classify("help \ud83d")

    assert server.seen[0].json == {"text": "help \ud83d"}
    assert caught.value.escalation == {"tier": "none"}


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ({"locale": "english"}, {"locale": "english"}),
        ({"country": "gb"}, {"country": "gb"}),
        ({"consent": {"self_help": 1}}, {"consent": {"self_help": 1}}),
        ({"context": {"now": "noon", "subject": "self"}}, {"context": {"now": "noon", "subject": "self"}}),
        (
            {"context": {"history": [{"entry_id": "e", "scores": {"stressed": float("inf")}}]}},
            {"context": {"history": [{"entry_id": "e", "scores": {"stressed": None}}]}},
        ),
        ({"locale": "english", "options": Options(return_logits=True)}, None),
    ],
)
def test_what_the_server_will_not_read_is_sent_and_the_answer_names_it(
    server: Server, response: dict[str, Any], arguments: dict[str, Any], sent: dict[str, Any] | None
) -> None:
    server.say({"json": {**response, "unread": [{"field": "locale", "message": "not a locale"}]}})

    answer = server.client().classify("x", **arguments)

    assert [one.field for one in answer.unread] == ["locale"]
    written = {"locale": "english", "options": {"return_logits": True, "over_length": "window"}}
    assert server.seen[0].json == {"text": "x", **(written if sent is None else sent)}


def test_of_a_history_that_is_too_long_the_server_takes_the_newest(server: Server, response: dict[str, Any]) -> None:
    server.say({"json": response})
    entry = {"entry_id": "e1", "at": "2026-02-01T14:00:00Z", "scores": {"stressed": 0.5}}

    server.client().classify("x", context={"history": [entry] * 1001})

    assert server.seen[0].json == {"text": "x", "context": {"history": [entry] * 1001}}


@pytest.mark.parametrize("timeout", [None, 0, -1, float("inf"), float("nan"), "5"])
def test_a_client_needs_a_timeout(server: Server, timeout: Any) -> None:
    with pytest.raises(ValueError, match="timeout"):
        server.client(timeout=timeout)


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://host", "http://", "https://[::1", ""])
def test_a_wrong_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        LanternClient.rest(url)


@pytest.mark.parametrize("target", ["", "http://127.0.0.1:7070"])
def test_a_wrong_target_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match="target"):
        LanternClient.grpc(target)


def test_ping(server: Server) -> None:
    server.say({"json": {"status": "Healthy"}})
    client = server.client()

    client.ping()

    assert client.healthy()
    assert server.seen[0].path == "/ping"


@pytest.mark.parametrize(
    "reply",
    [
        {"json": {"status": "Unhealthy"}, "http": 500},
        {"json": {"status": "Unhealthy"}},
        {"body": b"{}"},
        {"http": 502, "body": b"<html>", "grpc": "UNAVAILABLE"},
        {"json": {"error": {"code": "draining", "message": "going away"}}, "http": 503},
    ],
)
def test_ping_of_an_ill_server(server: Server, reply: dict[str, Any]) -> None:
    server.say(reply)
    client = server.client(retries=2)

    with pytest.raises(Unavailable):
        client.ping()

    assert not client.healthy()
    assert len(server.seen) == 2  # one attempt each


def test_nobody_is_not_healthy(nobody: str) -> None:
    for client in (LanternClient.rest(f"http://{nobody}"), LanternClient.grpc(nobody)):
        with client:
            assert not client.healthy(timeout=5)


def test_a_closed_client_says_so(server: Server) -> None:
    with server.client() as client:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        client.classify("Text.")
    with pytest.raises(RuntimeError, match="closed"):
        client.ping()


def test_one_client_serves_several_threads(server: Server, response: dict[str, Any]) -> None:
    server.say({"json": response})
    client = server.client()
    answers: list[ClassifyResponse | LanternClientError] = []

    threads = [threading.Thread(target=lambda: answers.append(client.classify("Text."))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == [ClassifyResponse.model_validate(response)] * 8


def test_each_transport_is_imported_only_where_it_is_used() -> None:
    check = "import client, sys; assert not {'httpx', 'grpc', 'google.protobuf'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
