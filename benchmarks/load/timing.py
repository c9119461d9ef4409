"""The transports' own time: gRPC through an interceptor, REST through a wrapper of the transport.

This is the time from handing the body over to having the answer, without the client's checks and without any wait for
a place. Beside the latency from the intended start it tells a slow server from a slow client. It is kept for the
calling greenlet: the caller reads it right after its call.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc  # type: ignore[import-untyped]  # grpcio carries no annotations

from client import Answer, Tls, Transport
from client._generated.inference_pb2 import PredictionResponse
from client._grpc import GrpcTransport
from client._rest import RestTransport
from handlers.core.caller import Caller


class Wire(threading.local):
    """Seconds and bytes of this greenlet's last exchange (a ``threading.local`` is one of greenlets once patched)."""

    seconds: float = 0.0
    answer_bytes: int = 0


class TimingInterceptor(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    """Writes how long a unary call took, failed ones too, and the bytes of a prediction into ``wire``."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def intercept_unary_unary(self, continuation: Callable[[Any, Any], Any], details: Any, request: Any) -> Any:
        """Time the call; it is done when ``continuation`` returns, as the client calls it blocking."""
        began = time.perf_counter()
        try:
            outcome = continuation(details, request)
        finally:
            self._wire.seconds = time.perf_counter() - began
        if outcome.code() is grpc.StatusCode.OK and isinstance(outcome.result(), PredictionResponse):
            self._wire.answer_bytes = len(outcome.result().prediction)
        return outcome


class TimedTransport:
    """Another transport, timed from outside."""

    def __init__(self, inner: Transport, wire: Wire) -> None:
        self._inner = inner
        self._wire = wire

    def predict(self, body: bytes, timeout_s: float, caller: Caller) -> Answer:
        """As ``Transport.predict``."""
        began = time.perf_counter()
        try:
            answer = self._inner.predict(body, timeout_s, caller)
        finally:
            self._wire.seconds = time.perf_counter() - began
        self._wire.answer_bytes = len(answer.body)
        return answer

    def ping(self, timeout_s: float) -> Answer:
        """As ``Transport.ping``."""
        return self._inner.ping(timeout_s)

    def close(self) -> None:
        """As ``Transport.close``."""
        self._inner.close()


@dataclass(frozen=True)
class Target:
    """Where the load goes.

    Attributes:
        url, grpc: of the protocols that are used; ``None`` where one is not.
        model: its name in the URL.
        token: bearer token, never written to a report.
        tls_ca: file of authorities to trust (PEM); with it, or with ``tls``, gRPC speaks TLS.
        timeout_s: for each request.
    """

    url: str | None
    grpc: str | None
    model: str = "sentiment"
    token: str | None = None
    tls_ca: str | None = None
    tls: bool = False
    timeout_s: float = 60.0

    def transport(self, protocol: str, wire: Wire) -> Transport:
        """Open a timed transport.

        Raises:
            ValueError: the address does not fit, or there is none for this protocol.
            OSError: the file of authorities cannot be read.
        """
        authorities = Tls(ca=self.tls_ca) if self.tls_ca else None
        if protocol == "grpc":
            if self.grpc is None:
                raise ValueError("the workload has gRPC requests, and no gRPC address is given: --grpc HOST:PORT")
            tls = authorities or (Tls() if self.tls else None)
            timing = TimingInterceptor(wire)
            return GrpcTransport(self.grpc, model=self.model, token=self.token, tls=tls, interceptors=(timing,))
        if self.url is None:
            raise ValueError("the workload has REST requests, and no REST address is given: --url http://HOST:PORT")
        rest = RestTransport(
            self.url, model=self.model, token=self.token, tls=authorities if self.url.startswith("https") else None
        )
        return TimedTransport(rest, wire)
