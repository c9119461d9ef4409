"""Scripted servers, one per transport, that speak the real protocols on free ports."""

from __future__ import annotations

import copy
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from json import dumps, loads
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest

from client import LanternClient, RetryPolicy
from client._generated import inference_pb2, inference_pb2_grpc

RESPONSE: dict[str, Any] = {
    "labels": [
        {"name": "neutral", "score": 0.05, "threshold": 0.5, "positive": False},
        {"name": "stressed", "score": 0.91, "threshold": 0.52, "positive": True},
    ],
    "escalation": {
        "tier": "professional",
        "actions": [{"action": "offer_self_help", "status": "planned", "reason": None}],
        "lines": [{"name": "Samaritans", "dial": "116 123"}],
        "rules_fired": [],
        "uncertainty": ["truncated"],
    },
    "input": {
        "tokens": 12,
        "tokens_scored": 12,
        "windows": [{"start_char": 0, "end_char": 40}],
        "truncated": False,
    },
    "model": {
        "name": "sentiment",
        "version": "1.0",
        "checkpoint": "small",
        "revision": "r1",
        "runtime": "onnx",
        "precision": "fp32",
        "calibration": "none",
    },
    "timing_ms": {"tokenize": 1.2, "queue": 0.3, "run": 40.1, "decide": 0.1},
}


@dataclass
class Reply:
    """One scripted answer; REST reads ``http`` and ``headers``, gRPC reads ``grpc`` and ``details``."""

    body: bytes = b""
    http: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    grpc: str = "OK"
    details: str = ""
    hang: bool = False
    drop: bool = False


def _reply(json: Any = None, **fields: Any) -> Reply:
    return Reply(**fields) if json is None else Reply(body=dumps(json).encode(), **fields)


@dataclass
class Seen:
    """One call as the server met it; ``headers`` of gRPC are its metadata and what is in its input beside the text."""

    path: str
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return loads(self.body)


class Script:
    """What the server answers, call by call; the last reply is repeated."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.seen: list[Seen] = []
        self.released = threading.Event()

    def next(self, seen: Seen) -> Reply:
        self.seen.append(seen)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if reply.hang:
            self.released.wait()
        return reply


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.server.script.next(Seen(self.path, body, headers))  # type: ignore[attr-defined]
        if reply.hang or reply.drop:
            self.close_connection = True
            return
        self.send_response(reply.http)
        for name, value in {"content-length": str(len(reply.body)), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)

    do_POST = do_GET = _answer

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test output clean."""


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, script: Script) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep the test output clean of connections that were broken on purpose."""


class _Servicer(inference_pb2_grpc.InferenceAPIsServiceServicer):
    def __init__(self, script: Script) -> None:
        self.script = script

    def Predictions(self, request: Any, context: Any) -> Any:
        beside = {name: value.decode() for name, value in request.input.items() if name != "data"}
        answer = self._reply(request.model_name, request.input["data"], context, beside)
        return inference_pb2.PredictionResponse(prediction=answer)

    def Ping(self, request: Any, context: Any) -> Any:
        return inference_pb2.TorchServeHealthResponse(health=self._reply("/ping", b"", context).decode())

    def _reply(self, path: str, body: bytes, context: Any, beside: dict[str, str] | None = None) -> bytes:
        reply = self.script.next(Seen(path, body, dict(context.invocation_metadata()) | (beside or {})))
        if reply.drop:
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        if reply.grpc != "OK":
            context.abort(grpc.StatusCode[reply.grpc], reply.details)
        return reply.body


class Server:
    """A scripted server of one transport, and clients of it."""

    def __init__(self, transport: str, address: str, script: Script) -> None:
        self.transport = transport
        self.address = address
        self.mutual = False
        self._script = script
        self._clients: list[LanternClient] = []

    def say(self, *replies: dict[str, Any]) -> None:
        """Answer the next calls with these; each holds fields of ``Reply``, or ``json`` for its body."""
        self._script.replies = [_reply(**reply) for reply in replies]

    @property
    def seen(self) -> list[Seen]:
        return self._script.seen

    def client(self, **options: Any) -> LanternClient:
        options = {"timeout": 10.0, "retries": 0, **options}
        make = LanternClient.rest if self.transport == "rest" else LanternClient.grpc
        self._clients.append(make(self.address, **options))
        return self._clients[-1]

    def reset(self) -> None:
        for client in self._clients:
            client.close()
        self._script.released.set()
        self._script.__init__()  # type: ignore[misc]
        self._clients = []


def start_http(script: Script, context: Any = None) -> _HttpServer:
    server = _HttpServer(script)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return server


def start_grpc(script: Script, credentials: Any = None) -> tuple[Any, int]:
    server = grpc.server(ThreadPoolExecutor(8))
    inference_pb2_grpc.add_InferenceAPIsServiceServicer_to_server(_Servicer(script), server)  # type: ignore[no-untyped-call]
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    return server, port


@pytest.fixture
def response() -> dict[str, Any]:
    """A valid response as JSON fields."""
    return copy.deepcopy(RESPONSE)


@pytest.fixture(scope="session")
def rest_server() -> Iterator[Server]:
    script = Script()
    server = start_http(script)
    yield Server("rest", f"http://127.0.0.1:{server.server_port}", script)
    script.released.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def grpc_server() -> Iterator[Server]:
    script = Script()
    server, port = start_grpc(script)
    yield Server("grpc", f"127.0.0.1:{port}", script)
    script.released.set()
    server.stop(None).wait()


@pytest.fixture
def rest(rest_server: Server) -> Iterator[Server]:
    yield rest_server
    rest_server.reset()


@pytest.fixture
def grpc_(grpc_server: Server) -> Iterator[Server]:
    yield grpc_server
    grpc_server.reset()


@pytest.fixture(params=["rest", "grpc"])
def server(request: pytest.FixtureRequest) -> Server:
    """The same test over both transports."""
    chosen: Server = request.getfixturevalue("rest" if request.param == "rest" else "grpc_")
    return chosen


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address that refuses connections: bound, so that nobody else takes it, but not listening."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


class Pace:
    """Time that passes only in waits; the jitter is always the longest."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def policy(self, retries: int = 2, **options: Any) -> RetryPolicy:
        return RetryPolicy(
            retries=retries, sleep=self.sleep, uniform=lambda _, most: most, clock=lambda: self.now, **options
        )


@pytest.fixture
def pace() -> Pace:
    return Pace()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate of 127.0.0.1 and its key."""
    folder = tmp_path_factory.mktemp("tls")
    chain, key = folder / "chain.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=lantern test", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    try:
        subprocess.run([*command, "-keyout", str(key), "-out", str(chain)], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed: no certificate to serve TLS with")
    return chain, key


def _tls_rest(script: Script, certificate: tuple[Path, Path], mutual: bool) -> Iterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    if mutual:
        context.load_verify_locations(certificate[0])
        context.verify_mode = ssl.CERT_REQUIRED
    server = start_http(script, context)
    yield Server("rest", f"https://127.0.0.1:{server.server_port}", script)
    server.shutdown()
    server.server_close()


def _tls_grpc(script: Script, certificate: tuple[Path, Path], mutual: bool) -> Iterator[Server]:
    chain, key = (path.read_bytes() for path in certificate)
    credentials = grpc.ssl_server_credentials([(key, chain)], chain if mutual else None, require_client_auth=mutual)
    server, port = start_grpc(script, credentials)
    yield Server("grpc", f"127.0.0.1:{port}", script)
    server.stop(None).wait()


@pytest.fixture(params=[("rest", False), ("rest", True), ("grpc", False), ("grpc", True)], ids=str)
def tls_server(request: pytest.FixtureRequest, certificate: tuple[Path, Path]) -> Iterator[Server]:
    """A server with TLS; ``mutual`` ones ask for the client's certificate."""
    transport, mutual = request.param
    start = _tls_rest if transport == "rest" else _tls_grpc
    for server in start(Script(), certificate, mutual):
        server.mutual = mutual
        yield server
        server.reset()
