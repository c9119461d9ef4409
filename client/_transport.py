"""What the client asks of a transport, and what both transports share."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from handlers.core.caller import Caller

MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
"""A longer answer is refused: 64 entries of many windows stay far below it."""

UNTRUSTED: Final = "the server's certificate is not trusted: give the authority that signed it as Tls(ca=...)"
"""Message of a failed certificate check, which both TLS libraries call CERTIFICATE_VERIFY_FAILED."""

_TOKEN = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        status: HTTP status; 200 for a gRPC call that was OK, whatever its body says.
        body: the body as sent.
        retry_after_s: seconds to wait before a retry, where the server or the contract names them.
    """

    status: int
    body: bytes = field(repr=False)
    retry_after_s: float | None = None


class Transport(Protocol):
    """Carries bytes to the server and back. Safe to use from several threads.

    A transport raises a ``LanternClientError`` only for what went wrong on the way. It raises it
    outside of any ``except`` block: the exceptions of the libraries hold the request, and so would
    the context of ours.
    """

    def predict(self, body: bytes, timeout_s: float, caller: Caller) -> Answer:
        """Send one call's JSON, and what ``caller`` says, and return the answer within ``timeout_s`` seconds."""

    def ping(self, timeout_s: float) -> Answer:
        """Return the answer of the server's health check within ``timeout_s`` seconds."""

    def close(self) -> None:
        """Close the connections."""


@dataclass(frozen=True)
class Tls:
    """TLS options, the same for both transports; all files are PEM.

    Attributes:
        ca: authorities to trust instead of the system's.
        certificate: the client's certificate chain, for mutual TLS.
        key: the private key of ``certificate``.
    """

    ca: Path | str | None = None
    certificate: Path | str | None = None
    key: Path | str | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a client certificate and its key are given together or not at all")


TRACEPARENT: Final = "traceparent"
"""Name of the trace context, as REST header and as gRPC input key."""


def bearer(token: str | None) -> dict[str, str]:
    """Return the ``authorization`` header for ``token``, or none."""
    if token is None:
        return {}
    if not _TOKEN.fullmatch(token):
        raise ValueError("the token must be printable ASCII without spaces")
    return {"authorization": f"Bearer {token}"}
