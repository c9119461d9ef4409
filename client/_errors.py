"""The client's exceptions: one class per HTTP status of the tables in ``handlers.core.errors``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from handlers.core.errors import ErrorKind, LanternError


class LanternClientError(LanternError):
    """A call, or one entry of a call, that was not answered with a result.

    Attributes:
        retry_after_s: seconds that the server asked to wait before the same request, or ``None``.
        escalation: what to offer the writer although there is no answer, where the server says so.
        results: where a call with several entries failed as a whole, the error of each entry that was sent, in order,
            with its ``escalation``.
    """

    def __init__(
        self,
        kind: ErrorKind,
        message: str,
        field: str | None = None,
        *,
        retry_after_s: float | None = None,
        escalation: Mapping[str, Any] | None = None,
        results: Sequence[LanternClientError] = (),
    ) -> None:
        super().__init__(kind, message, field, escalation)
        self.retry_after_s = retry_after_s
        self.results = tuple(results)


class InvalidRequest(LanternClientError):
    """The request has to change before it can be answered; ``field`` says where."""


class Unauthenticated(LanternClientError):
    """The gateway, or the server, does not know the token or the certificate; the text was not looked at."""


class NotFound(LanternClientError):
    """The server does not serve this model."""


class TooLong(LanternClientError):
    """The text has more tokens than ``over_length: reject`` allows, or the body is over the size limit."""


class Unavailable(LanternClientError):
    """Overloaded, draining, out of reach or over a rate; the same request may succeed later."""


class DeadlineExceeded(LanternClientError):
    """The answer did not come in time."""


class ServerFault(LanternClientError):
    """A fault of the server, or an answer that does not follow the contract."""


CLASS_BY_STATUS: Final[dict[int, type[LanternClientError]]] = {
    400: InvalidRequest,
    401: Unauthenticated,
    404: NotFound,
    413: TooLong,
    415: InvalidRequest,
    429: Unavailable,
    500: ServerFault,
    503: Unavailable,
    504: DeadlineExceeded,
}
"""The class for each HTTP status that the tables use."""


def client_error(
    kind: ErrorKind,
    message: str,
    field: str | None = None,
    *,
    retry_after_s: float | None = None,
    escalation: Mapping[str, Any] | None = None,
    results: Sequence[LanternClientError] = (),
) -> LanternClientError:
    """Build the exception that ``kind`` stands for."""
    build = CLASS_BY_STATUS[kind.http]
    return build(kind, message, field, retry_after_s=retry_after_s, escalation=escalation, results=results)
