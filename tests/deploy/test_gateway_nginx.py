"""What nginx does with Lantern's configuration: a real nginx before replicas that answer as they are told."""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from client import (
    DeadlineExceeded,
    InvalidRequest,
    LanternClientError,
    NotFound,
    ServerFault,
    Tls,
    TooLong,
    Unauthenticated,
    Unavailable,
)
from deploy.errors import DeployError
from deploy.gateway.limits import ServerLimits
from deploy.gateway.nginx_process import check_configuration
from deploy.gateway.settings import Replica
from tests.client.conftest import RESPONSE
from tests.deploy.calls import OTHER_TOKEN, PATH, TOKEN, ask, client_of, error_of, post, until
from tests.deploy.conftest import Gateway, ScriptedReplica, StartGateway, client_certificate
from tests.server.live import runs

Pair = tuple[ScriptedReplica, ScriptedReplica]
CANARY = "xyzzy-canary"
DRAINING = {"http": 503, "json": {"error": {"code": "draining", "message": "stopping", "field": None}}}
SMALL = ServerLimits(max_body_bytes=100_000, deadline_s=110, response_timeout_s=120)


@pytest.fixture
def gateway(shared_gateway: Gateway, replicas: Pair) -> Gateway:
    return shared_gateway


def seen(replicas: Pair) -> list[Any]:
    return [call for replica in replicas for call in replica.seen]


def test_a_text_is_answered_through_tls_with_a_token(gateway: Gateway, replicas: Pair, protocol: str) -> None:
    assert ask(gateway, protocol).labels[1].name == "stressed"
    assert [call.json for call in seen(replicas)] == [{"text": "Text."}]


def test_an_older_tls_is_refused(gateway: Gateway) -> None:
    context = ssl.create_default_context(cafile=gateway.settings.certificate)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        httpx.Client(verify=context, trust_env=False) as client,
        pytest.raises(httpx.ConnectError, match=r"(?i)version"),
    ):
        client.post(f"https://{gateway.authority}{PATH}")


@pytest.mark.parametrize("target", ["predictions/sentiment", f"x{CANARY}", "?", "*", f"/{CANARY * 2000}", "/ /"])
def test_a_request_line_that_cannot_be_read_is_refused_and_not_passed_on(
    gateway: Gateway, replicas: Pair, target: str
) -> None:
    answer = _sent_as_it_is(gateway, f"POST {target} HTTP/1.1\r\nHost: gateway\r\nContent-Length: 0\r\n\r\n")

    status_line, _, rest = answer.partition("\r\n")
    assert status_line.split()[1] == "400"
    assert json.loads(rest.partition("\r\n\r\n")[2])["error"]["code"] == "invalid_request"
    assert seen(replicas) == []
    assert CANARY not in "".join(log.read_text("utf-8") for log in (gateway.folder / "logs").iterdir())


def test_the_page_for_such_requests_is_no_way_round_the_token(gateway: Gateway, replicas: Pair) -> None:
    assert post(gateway, path="/_malformed", headers={"authorization": ""}).status_code == 404
    assert seen(replicas) == []


def _sent_as_it_is(gateway: Gateway, request: str) -> str:
    host, port = gateway.authority.split(":")
    context = ssl.create_default_context(cafile=gateway.certificate)
    with (
        socket.create_connection((host, int(port)), 10) as plain,
        context.wrap_socket(plain, server_hostname=host) as tls,
        tls.makefile("rb") as answer,
    ):
        tls.sendall(request.encode())
        return answer.read().decode()


@pytest.mark.parametrize("token", [None, "0" * 48, TOKEN.secret.lower(), TOKEN.secret[:-1], f"{TOKEN.secret}0"])
def test_whoever_has_no_token_is_turned_away(
    gateway: Gateway, replicas: Pair, protocol: str, token: str | None
) -> None:
    assert isinstance(error_of(gateway, protocol, token=token), Unauthenticated)
    assert seen(replicas) == []


def test_a_refusal_has_the_form_of_every_error(gateway: Gateway) -> None:
    answer = post(gateway, headers={"authorization": ""})

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"]["code"] == "unauthenticated"


def test_replicas_get_no_header_but_those_that_are_meant_for_them(gateway: Gateway, replicas: Pair) -> None:
    answer = post(gateway, headers={"cookie": "a=b", "describe": "True", "x-forwarded-for": "10.0.0.1"})

    assert answer.status_code == 200
    (call,) = seen(replicas)
    assert set(call.headers) == {"host", "content-length", "content-type", "traceparent", "x-request-id"}


def test_a_token_does_not_go_on_to_a_replica_over_grpc(gateway: Gateway, replicas: Pair) -> None:
    ask(gateway, "grpc")

    assert TOKEN.secret not in str(seen(replicas)[0].headers)


def test_trace_and_request_id_reach_the_handler_on_both_protocols(
    gateway: Gateway, replicas: Pair, protocol: str
) -> None:
    trace, request = f"00-{'4b' * 16}-{'00f0' * 4}-00", "0f" * 16
    with client_of(gateway, protocol) as client:
        client.classify("Text.", traceparent=trace, request_id=request)

    headers = seen(replicas)[0].headers
    assert headers["traceparent"] == trace
    assert headers["x-request-id" if protocol == "rest" else "request_id"] == request


@pytest.mark.parametrize("sent", [{}, {"traceparent": f"00-{'0' * 32}-{'1' * 16}-01", "x-request-id": CANARY}])
def test_a_request_without_valid_ids_gets_some(gateway: Gateway, replicas: Pair, sent: dict[str, str]) -> None:
    answer = post(gateway, headers=sent)

    headers = seen(replicas)[0].headers
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", headers["traceparent"])
    assert re.fullmatch(r"[0-9a-f]{32}", headers["x-request-id"])
    assert answer.headers.get_list("x-request-id") == [headers["x-request-id"]]


@pytest.mark.parametrize(
    ("path", "method", "status", "code"),
    [
        (f"{PATH}?text={CANARY}", "POST", 400, "invalid_request"),
        (PATH, "GET", 400, "invalid_request"),
        (PATH, "DELETE", 400, "invalid_request"),
        (f"{PATH}/1.0", "POST", 404, "unknown_model"),
        (f"/predictions/{CANARY}", "POST", 404, "unknown_model"),
        ("/models", "POST", 404, "unknown_model"),
        ("/ping", "POST", 404, "unknown_model"),
        ("/metrics", "POST", 404, "unknown_model"),
        ("/predictions/../models", "POST", 404, "unknown_model"),
    ],
)
def test_only_the_inference_path_is_there(
    gateway: Gateway, replicas: Pair, path: str, method: str, status: int, code: str
) -> None:
    answer = post(gateway, path, method)

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert seen(replicas) == []


def test_no_text_path_query_or_token_is_written_anywhere(gateway: Gateway, replicas: Pair, protocol: str) -> None:
    replicas[0].say({"drop": True})  # so that the error log has something to say as well
    replicas[1].say({"drop": True})
    error_of(gateway, protocol)
    with client_of(gateway, protocol, token=f"{CANARY}{'0' * 40}") as stranger, pytest.raises(Unauthenticated):
        stranger.classify(CANARY)
    for path in (f"{PATH}?q={CANARY}", f"/{CANARY}", f"/predictions/{CANARY}"):
        post(gateway, path, content=CANARY.encode() * 10_000)
    until_logged(gateway, '"status":404')

    written = gateway.files()
    assert CANARY.encode() not in written
    assert TOKEN.secret.encode() not in written


def until_logged(gateway: Gateway, part: str) -> None:
    """The access log is written at most a second late."""
    log = gateway.folder / "logs" / "access.log"
    until(lambda: part in log.read_text(encoding="utf-8"), f"{part} in the log")


def test_the_log_names_the_client_and_the_replica(gateway: Gateway, replicas: Pair) -> None:
    with client_of(gateway, "rest", token=OTHER_TOKEN.secret) as client:
        client.classify("Text.", request_id="ab" * 16)
    until_logged(gateway, "ab" * 16)

    lines = (gateway.folder / "logs" / "access.log").read_text(encoding="utf-8").splitlines()
    (line,) = (httpx.Response(200, text=line).json() for line in lines if "ab" * 16 in line)
    assert (line["client"], line["route"], line["status"]) == ("other", "rest", 200)
    assert line["replica"] in {replica.addresses.rest for replica in replicas}


@pytest.fixture(scope="module")
def narrow(start_gateway: StartGateway) -> Gateway:
    """A gateway before replicas that take less."""
    return start_gateway(SMALL)


def test_a_body_of_the_largest_size_is_taken(narrow: Gateway, replicas: Pair) -> None:
    assert post(narrow, content=b"x" * SMALL.max_body_bytes).status_code == 200
    assert len(seen(replicas)[0].body) == SMALL.max_body_bytes


def test_a_larger_body_is_refused_before_any_replica(narrow: Gateway, replicas: Pair, protocol: str) -> None:
    with client_of(narrow, protocol) as client, pytest.raises(TooLong):
        client.classify("a" * (SMALL.max_body_bytes + 1))
    assert seen(replicas) == []


def test_a_larger_body_of_undeclared_size_is_refused_too(narrow: Gateway, replicas: Pair) -> None:
    answer = post(narrow, content=iter([b"x" * 60_000, b"x" * 60_000]))

    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_long")
    assert seen(replicas) == []


def test_bodies_stay_in_memory(gateway: Gateway, replicas: Pair, protocol: str) -> None:
    limit = gateway.settings.limits.max_body_bytes if protocol == "rest" else 4_000_000  # the scripted server's
    big = RESPONSE | {"timing_ms": RESPONSE["timing_ms"], "escalation": {"note": "n" * 3_000_000}}
    for replica in replicas:
        replica.say({"json": big})

    assert ask(gateway, protocol, "a" * (limit - 1000)).escalation is not None
    assert list((gateway.folder / "temp").rglob("0*")) == []
    assert "temporary file" not in (gateway.folder / "logs" / "error.log").read_text(encoding="utf-8")


def test_a_client_over_its_rate_is_told_so_and_others_are_not(
    start_gateway: StartGateway, replicas: Pair, protocol: str
) -> None:
    limited = start_gateway(rate_per_s=1, burst=1)
    with client_of(limited, protocol) as client:
        client.classify("Text.")
        client.classify("Text.")
        with pytest.raises(Unavailable):
            client.classify("Text.")
    assert ask(limited, protocol, token=OTHER_TOKEN.secret)

    if protocol == "rest":
        answer = post(limited)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert answer.json()["error"]["code"] == "rate_limited"


def test_a_refused_request_is_answered_by_another_replica(gateway: Gateway, replicas: Pair) -> None:
    replicas[0].say(DRAINING)

    for _ in range(6):
        assert post(gateway).status_code == 200
    assert replicas[0].seen, "the refusing replica was never asked"
    assert len(replicas[1].seen) == 6
    assert {call.body for call in seen(replicas)} == {b'{"text": "Text."}'}


def test_a_request_that_all_refuse_is_overloaded(gateway: Gateway, replicas: Pair) -> None:
    for replica in replicas:
        replica.say(DRAINING)

    answer = post(gateway)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["error"]["code"] == "overloaded"
    assert [len(replica.seen) for replica in replicas] == [1, 1]


def test_a_replica_that_cannot_be_reached_is_passed_over(
    start_gateway: StartGateway, replicas: Pair, protocol: str
) -> None:
    gone = Replica("127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1")
    gateway = start_gateway(replicas=(gone, replicas[1].addresses))

    for _ in range(4):
        ask(gateway, protocol)
    assert len(replicas[1].seen) == 4


def test_a_request_that_was_cut_off_is_not_sent_again(gateway: Gateway, replicas: Pair) -> None:
    for replica in replicas:
        replica.say({"drop": True})

    answer = post(gateway)

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    assert len(seen(replicas)) == 1


def test_a_worker_that_died_is_an_error_to_try_again(gateway: Gateway, replicas: Pair) -> None:
    for replica in replicas:
        replica.say({"http": 507, "json": {"code": 507, "type": "X", "message": "Worker died."}})

    answer = post(gateway)

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert len(seen(replicas)) == 1


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "invalid_text", InvalidRequest),
        (413, "too_long", TooLong),
        (500, "internal", ServerFault),
        (504, "deadline_exceeded", DeadlineExceeded),
    ],
)
def test_the_handlers_own_errors_go_through_as_they_are(
    gateway: Gateway, replicas: Pair, status: int, code: str, kind: type[LanternClientError]
) -> None:
    body = {"error": {"code": code, "message": "the handler's", "field": None}, "escalation": {"tier": "none"}}
    for replica in replicas:
        replica.say({"http": status, "json": body})

    answer = post(gateway)

    assert (answer.status_code, answer.json()) == (status, body)
    assert isinstance(error_of(gateway, "rest"), kind)


def test_a_model_that_is_not_served_is_not_found(gateway: Gateway) -> None:
    assert isinstance(error_of(gateway, "rest", model="other"), NotFound)


def test_requests_go_where_replicas_are_ready(start_gateway: StartGateway, replicas: Pair, protocol: str) -> None:
    gateway = start_gateway()

    def answered_by(first: bool, second: bool) -> Counter[int]:
        replicas[0].be(ready=first)
        replicas[1].be(ready=second)
        before = workers_of(gateway)
        gateway.watch.look()
        until(lambda: len(now := workers_of(gateway)) == 1 and not now & before, "the reload")
        for replica in replicas:
            replica.seen.clear()
        faults = Counter(_fault(gateway, protocol) for _ in range(6))
        return Counter({-1: faults["unavailable"], 0: len(replicas[0].seen), 1: len(replicas[1].seen)})

    assert answered_by(True, False) == Counter({0: 6, 1: 0, -1: 0})
    assert answered_by(False, False) == Counter({0: 0, 1: 0, -1: 6})
    assert answered_by(False, True) == Counter({0: 0, 1: 6, -1: 0})
    assert gateway.lines[-1].endswith(replicas[1].addresses.rest)


def _fault(gateway: Gateway, protocol: str) -> str:
    try:
        ask(gateway, protocol)
    except LanternClientError as error:
        return error.kind.code
    return ""


def workers_of(gateway: Gateway) -> set[int]:
    """The processes that take connections; those of an older configuration are shutting down."""
    children = psutil.Process(gateway.nginx.process.pid).children()
    return {child.pid for child in children if runs(child) and "shutting" not in " ".join(child.cmdline())}


def test_a_client_certificate_can_take_the_place_of_a_token(
    start_gateway: StartGateway, replicas: Pair, protocol: str, tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    chain, key = client_certificate(tmp_path, "app")
    gateway = start_gateway(tokens=(), client_ca=chain)
    known = Tls(ca=certificate[0], certificate=chain, key=key)

    assert ask(gateway, protocol, token=None, tls=known)
    assert isinstance(error_of(gateway, protocol, token=None), Unauthenticated)
    stranger, strangers_key = client_certificate(tmp_path, "stranger")
    unknown = Tls(ca=certificate[0], certificate=stranger, key=strangers_key)
    assert isinstance(error_of(gateway, protocol, token=None, tls=unknown), Unauthenticated)


def test_a_configuration_that_nginx_refuses_is_an_error_with_its_words(nginx_program: None, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "nginx.conf").write_text("nonsense;", encoding="ascii")
    with pytest.raises(DeployError, match='unknown directive "nonsense"'):
        check_configuration(tmp_path)
