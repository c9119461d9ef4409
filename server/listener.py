"""``GET /livez`` and ``GET /readyz``: what orchestrators and gateways ask.

An answer is read off the board, so probes cost the same however many there are. At most ``_MOST_CONNECTIONS`` are
open; the oldest is closed for a new one, so that callers who hold connections cannot keep a probe out.
"""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, Final
from urllib.parse import urlsplit

from server.endpoints import Endpoint
from server.health import Answer, Board
from server.preflight import port_error

_MOST_CONNECTIONS: Final = 64
_REQUEST_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.1


class HealthListener:
    """Listens from the moment it is entered, answers from ``serve`` on.

    The two are apart because no thread may run while Java is being forked.
    """

    def __init__(self, endpoint: Endpoint, board: Board) -> None:
        self._endpoint = endpoint
        self._board = board
        self._thread: threading.Thread | None = None

    def __enter__(self) -> HealthListener:
        """Listen.

        Raises:
            ServerError: the port cannot be listened on.
        """
        try:
            self._server = _Server(self._endpoint, {"/livez": self._board.live, "/readyz": self._board.ready})
        except OSError as error:
            raise port_error(self._endpoint, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def serve(self) -> None:
        """Answer in a thread of its own."""
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="health-listener", daemon=True
        )
        self._thread.start()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, endpoint: Endpoint, answers: dict[str, Callable[[], Answer]]) -> None:
        self.address_family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
        self.answers = answers
        self._open: dict[int, socket.socket] = {}
        self._lock = threading.Lock()
        super().__init__((endpoint.host, endpoint.port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open[id(request)] = request
            if len(self._open) > _MOST_CONNECTIONS:
                oldest = self._open.pop(next(iter(self._open)))
                with suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(id(request), None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a probe that goes away in the middle is its own affair, and its lines could fill a log."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "lantern"
    sys_version = ""
    timeout = _REQUEST_SECONDS
    server: _Server

    def do_GET(self) -> None:
        answer = self.server.answers.get(urlsplit(self.path).path)
        if answer is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        told = answer()
        status = HTTPStatus.OK if told.good else HTTPStatus.SERVICE_UNAVAILABLE
        content: dict[str, object] = {"status": told.status.value, "reason": told.reason}
        self._send(status, content | {"details": list(told.details)} if told.details else content)

    def do_HEAD(self) -> None:
        self.do_GET()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer with JSON that quotes nothing of the request."""
        self._send(HTTPStatus(code), {"status": "error", "reason": "GET /livez and GET /readyz are what there is"})

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing: probes come every second."""

    def _send(self, status: HTTPStatus, content: dict[str, object]) -> None:
        body = json.dumps(content).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.close_connection = True
