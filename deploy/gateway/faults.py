"""Errors that the gateway answers itself, in the form of ``handlers.core.errors``.

Two codes are the gateway's alone, as no replica knows of tokens and rates: ``unauthenticated`` and ``rate_limited``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Final

from handlers.core.errors import (
    DEADLINE_EXCEEDED,
    INTERNAL,
    INVALID_REQUEST,
    OVERLOADED,
    RATE_LIMITED,
    RETRY_AFTER_S,
    TOO_LONG,
    UNAUTHENTICATED,
    UNAVAILABLE,
    UNKNOWN_MODEL,
    ErrorKind,
)

# A method that is not there; gRPC has no NOT_FOUND for these.
_NOT_FOUND: Final = ErrorKind(UNKNOWN_MODEL.code, UNKNOWN_MODEL.http, "UNIMPLEMENTED")

GRPC_NUMBERS: Final = {
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "RESOURCE_EXHAUSTED": 8,
    "OUT_OF_RANGE": 11,
    "UNIMPLEMENTED": 12,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "UNAUTHENTICATED": 16,
}


@dataclass(frozen=True)
class GatewayError:
    """One answer: ``name`` is that of its location in the configuration."""

    name: str
    kind: ErrorKind
    message: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def http(self) -> int:
        """The HTTP status."""
        return self.kind.http

    @property
    def envelope(self) -> str:
        """The body over REST."""
        return json.dumps({"error": {"code": self.kind.code, "message": self.message, "field": None}})

    @property
    def grpc_number(self) -> int:
        """The gRPC status."""
        return GRPC_NUMBERS[self.kind.grpc]

    @property
    def grpc_message(self) -> str:
        """The gRPC message; the code comes first, since there is no body."""
        return f"{self.kind.code}: {self.message}"


_RETRY: Final = {"Retry-After": str(RETRY_AFTER_S)}

GATEWAY_ERRORS: Final = (
    GatewayError(
        "invalid_request",
        INVALID_REQUEST,
        "the gateway takes POST over TLS, with the text in the body and nothing after the path",
    ),
    GatewayError(
        "unauthenticated",
        UNAUTHENTICATED,
        "no client is known by these credentials: send Authorization: Bearer TOKEN, or the client certificate",
        {"WWW-Authenticate": "Bearer"},
    ),
    GatewayError("not_found", _NOT_FOUND, "no such path or model at this gateway"),
    GatewayError("too_long", TOO_LONG, "the body is over the size limit"),
    GatewayError("rate_limited", RATE_LIMITED, "more requests than this client may send; send them later", _RETRY),
    GatewayError("overloaded", OVERLOADED, "no replica has room for the request", _RETRY),
    GatewayError(
        "unavailable", UNAVAILABLE, "no replica could be reached, or it ended while it had the request", _RETRY
    ),
    GatewayError("deadline_exceeded", DEADLINE_EXCEEDED, "no answer from a replica in time"),
    GatewayError("internal", INTERNAL, "the gateway failed"),
)
