"""Every error a client can meet, in one table.

``LanternError`` is raised anywhere in the pipeline and turned into the envelope
``{"error": {"code", "message", "field"}}`` at the edge. The client maps the code back through
the same table, so REST and gRPC callers meet the same exceptions.

Messages are written by us and never quote a request: no text, no token, no value of a field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True)
class ErrorKind:
    """One row of the table.

    Attributes:
        code: stable machine-readable name, in the body.
        http: HTTP status of a REST answer (and ``status`` of one result among ``entries``).
        grpc: name of the gRPC status that the code corresponds to.
        retryable: whether the same request may succeed if sent again.
    """

    code: str
    http: int
    grpc: str
    retryable: bool = False


INVALID_JSON: Final = ErrorKind("invalid_json", 400, "INVALID_ARGUMENT")
INVALID_REQUEST: Final = ErrorKind("invalid_request", 400, "INVALID_ARGUMENT")
INVALID_TEXT: Final = ErrorKind("invalid_text", 400, "INVALID_ARGUMENT")
UNKNOWN_LABEL: Final = ErrorKind("unknown_label", 400, "INVALID_ARGUMENT")
UNKNOWN_MODEL: Final = ErrorKind("unknown_model", 404, "NOT_FOUND")
TOO_LONG: Final = ErrorKind("too_long", 413, "OUT_OF_RANGE")
UNSUPPORTED_MEDIA_TYPE: Final = ErrorKind("unsupported_media_type", 415, "INVALID_ARGUMENT")
INTERNAL: Final = ErrorKind("internal", 500, "INTERNAL")
NON_FINITE_SCORES: Final = ErrorKind("non_finite_scores", 500, "INTERNAL")
OVERLOADED: Final = ErrorKind("overloaded", 503, "UNAVAILABLE", retryable=True)
DRAINING: Final = ErrorKind("draining", 503, "UNAVAILABLE", retryable=True)
UNAVAILABLE: Final = ErrorKind("unavailable", 503, "UNAVAILABLE", retryable=True)
DEADLINE_EXCEEDED: Final = ErrorKind("deadline_exceeded", 504, "DEADLINE_EXCEEDED")

ERROR_TABLE: Final[dict[str, ErrorKind]] = {
    kind.code: kind
    for kind in (
        INVALID_JSON,
        INVALID_REQUEST,
        INVALID_TEXT,
        UNKNOWN_LABEL,
        UNKNOWN_MODEL,
        TOO_LONG,
        UNSUPPORTED_MEDIA_TYPE,
        INTERNAL,
        NON_FINITE_SCORES,
        OVERLOADED,
        DRAINING,
        UNAVAILABLE,
        DEADLINE_EXCEEDED,
    )
}

UNAUTHENTICATED: Final = ErrorKind("unauthenticated", 401, "UNAUTHENTICATED")
RATE_LIMITED: Final = ErrorKind("rate_limited", 429, "RESOURCE_EXHAUSTED", retryable=True)

GATEWAY_TABLE: Final[dict[str, ErrorKind]] = {kind.code: kind for kind in (UNAUTHENTICATED, RATE_LIMITED)}
"""What a gateway alone answers: no server of ours knows of tokens and rates."""

RETRY_AFTER_S: Final = 1
"""Seconds that a retryable answer asks the caller to wait (HTTP ``Retry-After``)."""


class LanternError(Exception):
    """An error with a place in the table.

    Args:
        kind: the row of ``ERROR_TABLE``.
        message: what happened and what to do, without any of the caller's text.
        field: path of the offending field, such as ``entries[3].options.over_length``.
        escalation: what to offer the writer although there is no answer; there wherever the text could be read.
    """

    def __init__(
        self, kind: ErrorKind, message: str, field: str | None = None, escalation: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(f"{kind.code}: {message}" + (f" (field {field})" if field else ""))
        self.kind = kind
        self.message = message
        self.field = field
        self.escalation = escalation

    def under(self, prefix: str) -> LanternError:
        """Return the same error with its field below ``prefix``."""
        field = f"{prefix}.{self.field}" if self.field else prefix
        return LanternError(self.kind, self.message, field, self.escalation)

    def with_escalation(self, escalation: Mapping[str, Any]) -> LanternError:
        """Return the same error with what to offer the writer."""
        return LanternError(self.kind, self.message, self.field, escalation)


class StartupError(Exception):
    """The service cannot start: a bundle, setting or device is not fit to serve.

    The message is for the operator: what is wrong, where, and what to do.
    """
