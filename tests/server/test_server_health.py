"""Readiness of the running server as probes see it, and doors of TorchServe that must be shut on it."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import grpc  # type: ignore[import-untyped]
import httpx
import pytest

from tests.server.live import MODEL, Live, until

_GRPC_MANAGEMENT: Final = "/org.pytorch.serve.grpc.management.ManagementAPIsService/"


def _health(live: Live, path: str = "/readyz") -> tuple[int, str]:
    answer = httpx.get(f"{live.health}{path}", trust_env=False, timeout=30.0)
    return answer.status_code, str(answer.json()["status"])


@pytest.fixture
def ready(live: Live) -> Iterator[Live]:
    """The shared server, ready before and after the test."""
    until(lambda: _health(live) == (200, "ready"), "the server to be ready")
    yield live
    until(lambda: _health(live) == (200, "ready"), "the server to be ready again")


def test_a_server_that_answers_is_ready_and_alive(ready: Live) -> None:
    assert _health(ready, "/livez") == (200, "alive")
    assert ready.readiness().returncode == 0


def test_a_killed_worker_ends_readiness_until_the_next_one_answers(ready: Live) -> None:
    killed = ready.worker()
    killed.kill()
    until(lambda: _health(ready) == (503, "worker_down"), "the death to show")
    assert _health(ready, "/livez") == (200, "alive")
    assert ready.readiness().stdout == "not ready: 0 of 1 workers are ready\n"
    until(lambda: _health(ready) == (200, "ready"), "another worker")
    assert ready.post({"text": "a"}).status_code == 200
    assert ready.worker().pid != killed.pid


def test_a_stopped_worker_ends_readiness_until_it_goes_on(ready: Live) -> None:
    worker = ready.worker()
    worker.suspend()
    try:
        until(lambda: _health(ready) == (503, "worker_hung"), "the hang to show")
    finally:
        worker.send_signal(signal.SIGCONT)


@pytest.fixture
def store(live: Live, tmp_path: Path) -> Iterator[set[str]]:
    """The files that the server may load from, the same before and after the test."""
    (tmp_path / "secret.mar").write_bytes(b"secret")
    arguments = live.descendants()[0].cmdline()
    folder = Path(arguments[arguments.index("-s") + 1])
    before = {path.name for path in folder.iterdir()}
    yield before
    assert {path.name for path in folder.iterdir()} == before


def _asked(address: str, method: str, path: str) -> int:
    return httpx.request(method, address + path, trust_env=False, timeout=30.0).status_code


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/models?url=file://{secret}"),
        ("POST", f"/models?url={MODEL}.mar&model_name=other"),
        ("POST", "/models?url={health}/x.mar"),
        ("DELETE", f"/models/{MODEL}"),
        ("POST", "/workflows?url=file://{secret}"),
        ("POST", "/workflows?url={health}/x.war"),
        ("GET", "/token?type=management"),
    ],
)
def test_management_loads_and_removes_nothing(
    ready: Live, store: set[str], tmp_path: Path, method: str, path: str
) -> None:
    path = path.format(secret=tmp_path / "secret.mar", health=ready.health)
    assert _asked(ready.management, method, path) in {403, 404, 405}
    assert ready.post({"text": "a"}).status_code == 200


_MANAGING: Final = [
    ("GET", "/models"),
    ("GET", f"/models/{MODEL}"),
    ("POST", "/models?url=file://{secret}"),
    ("PUT", f"/models/{MODEL}?min_worker=0"),
    ("DELETE", f"/models/{MODEL}"),
    ("POST", "/workflows?url=file://{secret}"),
    ("POST", "/wfpredict/any"),
    ("GET", "/token?type=management"),
    ("POST", "/v2/repository/models/other/load"),
    ("POST", "/predictions/..%2f..%2fetc%2fpasswd"),
    ("GET", "/predictions/file:%2f%2f{secret}"),
]


@pytest.mark.parametrize(
    ("listener", "method", "path"),
    [("http", "GET", "/metrics"), *((name, *managing) for name in ("http", "metrics") for managing in _MANAGING)],
)
def test_no_other_listener_manages(
    ready: Live, store: set[str], tmp_path: Path, listener: str, method: str, path: str
) -> None:
    address = f"http://127.0.0.1:{getattr(ready.ports, listener)}"
    assert _asked(address, method, path.format(secret=tmp_path / "secret.mar")) in {403, 404, 405}
    assert _health(ready) == (200, "ready")


def test_a_url_or_file_in_a_request_is_text_or_an_error(ready: Live, tmp_path: Path) -> None:
    url = f"file://{tmp_path / 'secret.mar'}"
    assert ready.post({"text": url}).status_code == 200
    assert ready.post({"url": url}).json()["error"]["code"] == "invalid_text"
    assert ready.http.post(f"/predictions/{MODEL}", params={"url": url}).status_code == 415
    assert json.loads(ready.call(url.encode(), key="url"))["error"]["code"]


@pytest.mark.parametrize("url", ["file://{secret}", f"{MODEL}.mar", "{health}/x.mar", "../{secret}"])
def test_grpc_management_registers_nothing(ready: Live, store: set[str], tmp_path: Path, url: str) -> None:
    url = url.format(secret=tmp_path / "secret.mar", health=ready.health)
    assert _management_call(ready, "RegisterModel", {5: "other", 9: url}) is grpc.StatusCode.PERMISSION_DENIED


def test_grpc_management_removes_nothing(ready: Live) -> None:
    assert _management_call(ready, "UnregisterModel", {1: MODEL}) is grpc.StatusCode.PERMISSION_DENIED
    assert ready.post({"text": "a"}).status_code == 200


def test_management_is_no_service_of_the_inference_port(ready: Live) -> None:
    code = _management_call(ready, "ScaleWorker", {1: MODEL}, port=ready.ports.grpc)
    assert code is grpc.StatusCode.UNIMPLEMENTED


def _management_call(live: Live, method: str, fields: dict[int, str], port: int | None = None) -> grpc.StatusCode:
    """Call the management service with text fields by number, and return the error's code."""
    message = b"".join(bytes([number << 3 | 2, len(text)]) + text.encode() for number, text in fields.items())
    options = [("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(f"127.0.0.1:{port or live.ports.grpc_management}", options=options) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(_GRPC_MANAGEMENT + method)(message, timeout=30.0)
        code: grpc.StatusCode = refused.value.code()
        return code
