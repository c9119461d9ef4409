"""Cases over the wire, and what came back."""

from __future__ import annotations

import socket
from contextlib import closing, suppress
from http.client import HTTPException, HTTPResponse
from types import TracebackType
from typing import Final

import grpc  # type: ignore[import-untyped]

from client._generated import inference_pb2
from deploy.fuzz.grpc_cases import SERVICE, GrpcCase
from deploy.fuzz.http_cases import HttpCase

_ANSWER_S: Final = 120.0
"""Longer than the server lets a text wait (its ``deadline_s``): a text of many windows takes its time, and only what is
still unanswered then is a fault."""
_UNFINISHED_S: Final = 0.3
_MOST_BYTES: Final = 1 << 20


class HttpSender:
    """Sends bytes on a connection of their own."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)

    def send(self, case: HttpCase) -> tuple[int | None, bytes]:
        """Return status and body; no status where none came."""
        wait_s = _UNFINISHED_S if case.waits else _ANSWER_S
        try:
            with socket.create_connection(self._address, timeout=wait_s) as opened:
                with suppress(OSError):  # it was refused before it was all there; the answer is read all the same
                    opened.sendall(case.payload)
                return _read_answer(opened, "HEAD" if case.is_head else "POST")
        except (OSError, HTTPException, ValueError):
            return None, b""  # closed hard, nothing came, or no HTTP


def _read_answer(opened: socket.socket, method: str) -> tuple[int, bytes]:
    answer = HTTPResponse(opened, method=method)
    with closing(answer):
        answer.begin()
        return answer.status, answer.read(_MOST_BYTES)


_OPTIONS: Final = (
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # no connection is shared between senders
)
_ENDS_CONNECTION: Final = frozenset({"UNAVAILABLE", "CANCELLED"})


class GrpcSender:
    """Sends bytes as messages. What may end the connection goes over one of its own, as others would share its fate."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._channel = grpc.insecure_channel(target, options=_OPTIONS)

    def __enter__(self) -> GrpcSender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def send(self, case: GrpcCase) -> tuple[str, str, bytes]:
        """Return status, details and the prediction."""
        if not case.expected & _ENDS_CONNECTION:
            return _call(self._channel, case)
        with grpc.insecure_channel(self._target, options=_OPTIONS) as channel:
            return _call(channel, case)


def _call(channel: grpc.Channel, case: GrpcCase) -> tuple[str, str, bytes]:
    call = channel.unary_unary(SERVICE + case.method, request_serializer=_as_it_is, response_deserializer=_as_it_is)
    try:
        reply = call(case.message, timeout=_ANSWER_S, metadata=case.metadata)
    except grpc.RpcError as error:
        return error.code().name, error.details() or "", b""
    return "OK", "", _prediction(reply) if case.method == "Predictions" else b""


def _as_it_is(message: bytes) -> bytes:
    return message


def _prediction(reply: bytes) -> bytes:
    return bytes(inference_pb2.PredictionResponse.FromString(reply).prediction)
