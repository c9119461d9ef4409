"""Every error is the same exception on both transports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import client as public
from client import (
    DeadlineExceeded,
    InvalidRequest,
    LanternClient,
    LanternClientError,
    NotFound,
    ServerFault,
    TooLong,
    Unauthenticated,
    Unavailable,
)
from client._errors import CLASS_BY_STATUS
from handlers.core.errors import ERROR_TABLE, GATEWAY_TABLE, ErrorKind

if TYPE_CHECKING:
    from tests.client.conftest import Server

CLASSES = {
    "invalid_json": InvalidRequest,
    "invalid_request": InvalidRequest,
    "invalid_text": InvalidRequest,
    "unknown_label": InvalidRequest,
    "unsupported_media_type": InvalidRequest,
    "unknown_model": NotFound,
    "too_long": TooLong,
    "internal": ServerFault,
    "non_finite_scores": ServerFault,
    "overloaded": Unavailable,
    "draining": Unavailable,
    "unavailable": Unavailable,
    "deadline_exceeded": DeadlineExceeded,
    "unauthenticated": Unauthenticated,
    "rate_limited": Unavailable,
}

QUEUE_FULL = 'Model "sentiment" has no worker to serve inference request. Please use scale workers API to add workers.'


def raised(server: Server, **options: Any) -> LanternClientError:
    with pytest.raises(LanternClientError) as caught:
        server.client(**options).classify("Text.")
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None, "an exception in the context may hold the request or the answer"
    return caught.value


def server_error(code: int, type: str, message: str = "TorchServe's words") -> dict[str, Any]:
    return {"code": code, "type": type, "message": message}


def test_the_table_is_covered() -> None:
    assert set(CLASSES) == {*ERROR_TABLE, *GATEWAY_TABLE}
    assert set(CLASS_BY_STATUS) == {kind.http for kind in (*ERROR_TABLE.values(), *GATEWAY_TABLE.values())}


def test_unavailable_is_what_can_be_retried() -> None:
    assert {kind.code for kind in (ERROR_TABLE | GATEWAY_TABLE).values() if kind.retryable} == {
        code for code, error_class in CLASSES.items() if error_class is Unavailable
    }


def test_every_class_is_public() -> None:
    classes: list[type[LanternClientError]] = [LanternClientError, *CLASS_BY_STATUS.values()]
    for error_class in classes:
        assert getattr(public, error_class.__name__) is error_class
        assert error_class.__name__ in (public.__doc__ or "")


@pytest.mark.parametrize("kind", ERROR_TABLE.values(), ids=lambda kind: kind.code)
def test_each_row_of_the_table(server: Server, kind: ErrorKind) -> None:
    envelope = {"error": {"code": kind.code, "message": "what to change", "field": "options.over_length"}}
    server.say({"json": envelope, "http": kind.http})

    error = raised(server)

    assert type(error) is CLASSES[kind.code]
    assert (error.kind, error.message, error.field) == (kind, "what to change", "options.over_length")
    assert str(error) == f"{kind.code}: what to change (field options.over_length)"


@pytest.mark.parametrize("field", [{}, {"field": None}])
def test_an_error_without_a_field(server: Server, field: dict[str, None]) -> None:
    server.say({"json": {"error": {"code": "internal", "message": "id 7", **field}}, "http": 500})
    assert str(raised(server)) == "internal: id 7"


def test_what_to_offer_beside_an_error_is_kept(server: Server) -> None:
    offer = {"tier": "none", "lines": [{"id": "gb-samaritans", "dial": "116 123"}]}
    server.say({"json": {"error": {"code": "internal", "message": "id 7"}, "escalation": offer}, "http": 500})
    assert raised(server).escalation == offer


def test_a_code_of_a_newer_server_keeps_its_status(rest: Server) -> None:
    rest.say({"json": {"error": {"code": "out_of_tune", "message": "later"}}, "http": 503})
    assert isinstance(raised(rest), Unavailable)


def test_a_code_of_a_newer_server_without_a_status_is_internal(grpc_: Server) -> None:
    grpc_.say({"json": {"error": {"code": "out_of_tune", "message": "later"}}})
    assert str(raised(grpc_)) == "internal: later"


SAME = [
    # what TorchServe does over REST and over gRPC (seen with 0.12.0), and the code of both
    (
        {"json": server_error(404, "ModelNotFoundException"), "http": 404},
        ("INTERNAL", "Model not found: nope\norg.pytorch.serve.archive.model.ModelNotFoundException"),
        "unknown_model",
    ),
    (
        {"json": server_error(404, "ModelVersionNotFoundException"), "http": 404},
        ("INTERNAL", "Model version: 9\norg.pytorch.serve.archive.model.ModelVersionNotFoundException"),
        "unknown_model",
    ),
    ({"http": 404, "body": b"<html>no</html>"}, ("NOT_FOUND", "Model not found"), "unknown_model"),
    (
        {"json": server_error(503, "ServiceUnavailableException", QUEUE_FULL), "http": 503},
        ("INTERNAL", QUEUE_FULL + "\nInternalServerException.()"),
        "overloaded",
    ),
    (
        {"json": server_error(503, "InternalServerException", "Prediction failed"), "http": 503},
        ("UNAVAILABLE", "Prediction failed\norg.pytorch.serve.http.InternalServerException"),
        "overloaded",
    ),
    ({"http": 429}, ("RESOURCE_EXHAUSTED", "slow down"), "rate_limited"),
    (
        {"json": server_error(507, "InternalServerException", "Worker died."), "http": 507},
        ("INTERNAL", "Worker died.\norg.pytorch.serve.http.InternalServerException"),
        "unavailable",
    ),
    (
        {"json": server_error(500, "InternalServerException", "Worker timed out"), "http": 500},
        ("INTERNAL", "Worker timed out"),
        "internal",
    ),
    (
        {"json": server_error(400, "InvalidKeyException"), "http": 400},
        ("CANCELLED", "Token Authorization failed. Token either incorrect, expired, or not provided correctly"),
        "unauthenticated",
    ),
    ({"http": 401}, ("UNAUTHENTICATED", ""), "unauthenticated"),
    ({"http": 403}, ("PERMISSION_DENIED", ""), "unauthenticated"),
    ({"http": 400}, ("INVALID_ARGUMENT", ""), "invalid_request"),
    ({"http": 413}, ("RESOURCE_EXHAUSTED", "gRPC message exceeds maximum size 10: 20"), "too_long"),
    ({"http": 413}, ("OUT_OF_RANGE", "too_long: the body is over the size limit"), "too_long"),
    ({"http": 502, "body": b"<html>"}, ("UNAVAILABLE", "no connection"), "unavailable"),
    ({"drop": True}, ("UNAVAILABLE", "Socket closed"), "unavailable"),
    ({"http": 504}, ("DEADLINE_EXCEEDED", ""), "deadline_exceeded"),
    ({"http": 500, "body": b"<html>"}, ("UNKNOWN", "oops"), "internal"),
    ({"http": 302, "headers": {"location": "/login"}}, ("UNIMPLEMENTED", ""), "internal"),
]


@pytest.mark.parametrize(("over_rest", "over_grpc", "code"), SAME)
def test_faults_around_the_handler_are_the_same_on_both(
    rest: Server, grpc_: Server, over_rest: dict[str, Any], over_grpc: tuple[str, str], code: str
) -> None:
    rest.say(over_rest)
    grpc_.say({"grpc": over_grpc[0], "details": over_grpc[1]})

    errors = raised(rest), raised(grpc_)

    assert [error.kind.code for error in errors] == [code, code]
    assert [type(error) for error in errors] == [CLASSES[code]] * 2


@pytest.mark.parametrize(
    ("status", "code"), [(408, "deadline_exceeded"), (415, "unsupported_media_type"), (405, "invalid_request")]
)
def test_further_http_statuses(rest: Server, status: int, code: str) -> None:
    rest.say({"http": status})
    assert raised(rest).kind.code == code


def test_a_wrong_token_is_named_on_both(rest: Server, grpc_: Server) -> None:
    rest.say({"json": server_error(400, "InvalidKeyException"), "http": 400})
    grpc_.say({"grpc": "CANCELLED", "details": "Token Authorization failed. Token either incorrect"})
    assert "check the token" in str(raised(rest))
    assert "check the token" in str(raised(grpc_))


def test_a_server_error_names_the_java_class_but_not_its_message(rest: Server) -> None:
    rest.say({"json": server_error(404, "ModelNotFoundException", "canary"), "http": 404})
    assert "ModelNotFoundException" in str(raised(rest))
    assert "canary" not in str(raised(rest))


def test_a_large_body_that_is_cut_off_is_too_long(grpc_: Server) -> None:
    grpc_.say({"grpc": "CANCELLED", "details": "Stream removed (RST_STREAM error code 8)"})
    client = grpc_.client()
    with pytest.raises(TooLong):
        client.classify("x" * 100_000)
    with pytest.raises(Unavailable):
        client.classify("x")


def test_an_endless_answer_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client._rest.MAX_ANSWER_BYTES", 1000)
    monkeypatch.setattr("client._grpc._OPTIONS", (("grpc.max_receive_message_length", 1000),))
    server.say({"body": b" " * 2000})
    assert isinstance(raised(server), ServerFault)


def test_nobody_there_is_unavailable(nobody: str) -> None:
    for client in (LanternClient.rest(f"http://{nobody}", retries=0), LanternClient.grpc(nobody, retries=0)):
        with client, pytest.raises(Unavailable) as caught:
            client.classify("Text.")
        assert caught.value.kind.code == "unavailable"
        assert caught.value.__context__ is None


MALFORMED = [
    b"",
    b"canary",
    b"\xff\xfe",
    b"null",
    b"[]",
    b'"canary"',
    b"{}",
    b'{"labels": "canary"}',
    b'{"labels": NaN}',
    b'{"error": "canary"}',
    b'{"error": {"code": 7, "message": "canary"}}',
    b'{"error": {"message": "canary"}}',
    b'{"results": []}',
    b'{"code": "canary", "type": "x", "message": "y"}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("body", MALFORMED, ids=range(len(MALFORMED)))
def test_an_answer_that_is_none_is_a_server_fault(server: Server, body: bytes) -> None:
    server.say({"body": body})

    error = raised(server)

    assert isinstance(error, ServerFault)
    assert "canary" not in str(error) + repr(error)


def test_an_answer_that_is_compressed_wrongly_is_a_server_fault(rest: Server) -> None:
    rest.say({"body": b"canary", "headers": {"content-encoding": "gzip"}})
    assert isinstance(raised(rest), ServerFault)
