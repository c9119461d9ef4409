"""What a caller may say of a request beside the request itself: the trace that it is part of, and its id.

Both come from outside, so nothing but the forms that machines make of them is taken: neither can carry a text or a
name, and either may go into an answer's header or a trace.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

Protocol = Literal["rest", "grpc", "none"]

PROTOCOLS: Final[tuple[Protocol, ...]] = ("rest", "grpc")
"""The protocols of a server; ``none`` is a call without one, as in a batch job."""

_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_REQUEST_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Caller:
    """Where a request came from.

    Attributes:
        protocol: over which it came.
        traceparent: W3C trace context; empty where there is none that is valid.
        request_id: 32 hexadecimal digits or a UUID, in lower case; empty where there is none of these forms.
    """

    protocol: Protocol = "none"
    traceparent: str = ""
    request_id: str = ""


NOBODY: Final = Caller()
"""No caller to speak of."""


def read_caller(protocol: Protocol, traceparent: str, request_id: str) -> Caller:
    """Return the caller with what is well-formed of what was sent."""
    asked = request_id.strip().lower()
    return Caller(
        protocol,
        traceparent.strip() if _TRACEPARENT.fullmatch(traceparent.strip()) else "",
        asked if _REQUEST_ID.fullmatch(asked) else "",
    )
