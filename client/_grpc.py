"""gRPC: TorchServe's ``InferenceAPIsService``, over grpcio."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import grpc  # type: ignore[import-untyped]  # grpcio carries no annotations
from google.protobuf.empty_pb2 import Empty

from client._answers import STATUS_ERRORS
from client._errors import LanternClientError, client_error
from client._generated import inference_pb2, inference_pb2_grpc
from client._transport import MAX_ANSWER_BYTES, TRACEPARENT, UNTRUSTED, Answer, Tls, bearer
from handlers.core.caller import Caller
from handlers.core.errors import (
    DEADLINE_EXCEEDED,
    INTERNAL,
    INVALID_REQUEST,
    RETRY_AFTER_S,
    UNAVAILABLE,
    ErrorKind,
)

_OPTIONS: Final = (
    ("grpc.enable_retries", 0),  # the client's own policy decides
    ("grpc.enable_http_proxy", 0),  # no proxy that the caller did not name
    ("grpc.initial_reconnect_backoff_ms", 100),  # a retry should find a fresh attempt to connect
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.max_send_message_length", -1),  # the server has the say
    ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
)

_REQUEST_ID: Final = "request_id"

_SMALL_BODY: Final = 64 * 1024
"""No sane size limit is below this, so a smaller body was not cut off for its size."""

_UNAUTHORIZED: Final = STATUS_ERRORS[401]
_NO_MODEL: Final = STATUS_ERRORS[404]
_OVER_LIMIT: Final = STATUS_ERRORS[413]
_NO_ROOM: Final = STATUS_ERRORS[503]
_BROKEN: Final = (UNAVAILABLE, "cannot connect to the server, or the connection broke before the answer came")

_STATUSES: Final[dict[str, tuple[ErrorKind, str]]] = {
    "DEADLINE_EXCEEDED": (DEADLINE_EXCEEDED, "no answer in time"),
    "NOT_FOUND": _NO_MODEL,
    "UNAUTHENTICATED": _UNAUTHORIZED,
    "PERMISSION_DENIED": _UNAUTHORIZED,
    "OUT_OF_RANGE": _OVER_LIMIT,
    "INVALID_ARGUMENT": (INVALID_REQUEST, "the server refused the request"),
    "UNIMPLEMENTED": (INTERNAL, "this address does not serve TorchServe's inference service"),
    "CANCELLED": _BROKEN,
    "UNAVAILABLE": _BROKEN,
}

_TELLING_DETAILS: Final[tuple[tuple[str, str, tuple[ErrorKind, str]], ...]] = (
    # (status, part of the details, meaning), as TorchServe 0.12 and gRPC word them
    ("INTERNAL", "NotFoundException", _NO_MODEL),
    ("INTERNAL", "Model not found", _NO_MODEL),
    ("INTERNAL", "Worker died", STATUS_ERRORS[507]),
    ("INTERNAL", "has no worker to serve", _NO_ROOM),  # also the words for a full queue
    ("UNAVAILABLE", "org.pytorch.serve", _NO_ROOM),  # TorchServe's own 503, so it was reached
    ("UNAVAILABLE", "CERTIFICATE_VERIFY_FAILED", (UNAVAILABLE, UNTRUSTED)),
    ("CANCELLED", "Token Authorization failed", _UNAUTHORIZED),
    ("RESOURCE_EXHAUSTED", "Received message larger", (INTERNAL, "the server's answer is too long")),
    ("RESOURCE_EXHAUSTED", "exceeds maximum size", _OVER_LIMIT),
    ("RESOURCE_EXHAUSTED", "", STATUS_ERRORS[429]),
)


class GrpcTransport:
    """Args: as ``LanternClient.grpc``, and interceptors of unary calls, the outermost first."""

    def __init__(
        self,
        target: str,
        *,
        model: str,
        token: str | None,
        tls: Tls | None,
        interceptors: Sequence[grpc.UnaryUnaryClientInterceptor] = (),
    ) -> None:
        if not target or target.startswith(("http://", "https://")):
            raise ValueError("the gRPC target must be like 127.0.0.1:7070, without http://")
        self._model = model
        self._metadata = tuple(bearer(token).items())
        self._channel = _channel(target, tls)
        intercepted = grpc.intercept_channel(self._channel, *interceptors)
        self._stub = inference_pb2_grpc.InferenceAPIsServiceStub(intercepted)  # type: ignore[no-untyped-call]

    def predict(self, body: bytes, timeout_s: float, caller: Caller) -> Answer:
        # TorchServe keeps metadata from the handler, so what the caller says goes beside the text.
        said = {TRACEPARENT: caller.traceparent.encode(), _REQUEST_ID: caller.request_id.encode()}
        given = {name: value for name, value in said.items() if value}
        request = inference_pb2.PredictionsRequest(model_name=self._model, input={"data": body} | given)
        try:
            reply = self._stub.Predictions(request, timeout=timeout_s, metadata=self._metadata)
            # the body alone tells of an error, and no header can name a wait: the contract's holds
            return Answer(200, reply.prediction, RETRY_AFTER_S)
        except grpc.RpcError as error:
            fault = _fault(error.code().name, error.details() or "", len(body))
        raise fault

    def ping(self, timeout_s: float) -> Answer:
        try:
            reply = self._stub.Ping(Empty(), timeout=timeout_s, metadata=self._metadata)
            return Answer(200, reply.health.encode())
        except grpc.RpcError as error:
            fault = _fault(error.code().name, error.details() or "", body_size=0)
        raise fault

    def close(self) -> None:
        self._channel.close()


def _channel(target: str, tls: Tls | None) -> grpc.Channel:
    if tls is None:
        return grpc.insecure_channel(target, options=_OPTIONS)
    credentials = grpc.ssl_channel_credentials(
        root_certificates=_contents(tls.ca),
        private_key=_contents(tls.key),
        certificate_chain=_contents(tls.certificate),
    )
    return grpc.secure_channel(target, credentials, options=_OPTIONS)


def _contents(path: Path | str | None) -> bytes | None:
    return None if path is None else Path(path).read_bytes()


def _fault(status: str, details: str, body_size: int) -> LanternClientError:
    """Map a status that is not OK. The details are the server's: they are matched, never repeated."""
    for known_status, part, meaning in _TELLING_DETAILS:
        if status == known_status and part in details:
            return client_error(*meaning)
    if status == "CANCELLED" and body_size > _SMALL_BODY:  # TorchServe resets the stream of a body over its limit
        return client_error(*_OVER_LIMIT)
    if status in _STATUSES:
        return client_error(*_STATUSES[status])
    return client_error(INTERNAL, f"the server failed (gRPC {status})")
