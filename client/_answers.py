"""From an answer's bytes to typed results and exceptions, the same for every transport.

Three kinds of body arrive: ours, TorchServe's own errors (``{"code", "type", "message"}``) and
whatever a proxy in between sends. Only messages of ours are repeated. Errors are raised outside of
``except`` blocks, as a parser's exception holds what it parsed.
"""

from __future__ import annotations

import re
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from client._errors import LanternClientError, client_error
from client._transport import Answer
from handlers.core.errors import (
    DEADLINE_EXCEEDED,
    ERROR_TABLE,
    GATEWAY_TABLE,
    INTERNAL,
    INVALID_REQUEST,
    OVERLOADED,
    RATE_LIMITED,
    TOO_LONG,
    UNAUTHENTICATED,
    UNAVAILABLE,
    UNKNOWN_MODEL,
    UNSUPPORTED_MEDIA_TYPE,
    ErrorKind,
    LanternError,
)
from handlers.core.schema import ClassifyResponse, decode_json

_JAVA_CLASS = re.compile(r"[A-Za-z]{1,64}")
_CREDENTIALS = (UNAUTHENTICATED, "the server refused the credentials: check the token")

STATUS_ERRORS: Final[dict[int, tuple[ErrorKind, str]]] = {
    401: _CREDENTIALS,
    403: _CREDENTIALS,
    404: (UNKNOWN_MODEL, "the server has no such model or path: check the model's name and the address"),
    408: (DEADLINE_EXCEEDED, "the server gave up waiting for the request"),
    413: (TOO_LONG, "the request is over the server's size limit"),
    415: (UNSUPPORTED_MEDIA_TYPE, "the server does not take JSON at this address"),
    429: (RATE_LIMITED, "the server limits the rate of requests"),
    502: (UNAVAILABLE, "the gateway cannot reach the server"),
    503: (OVERLOADED, "the server has no room or no worker for the request"),
    504: (DEADLINE_EXCEEDED, "the gateway had no answer in time"),
    507: (UNAVAILABLE, "the worker ended while it had the request"),
}
"""What an HTTP status means where no error envelope says more."""

_KINDS: Final = ERROR_TABLE | GATEWAY_TABLE


class _Error(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)

    code: str
    message: str
    field: str | None = None


class _ServerError(BaseModel):
    """An error that TorchServe makes itself."""

    model_config = ConfigDict(strict=True, frozen=True)

    code: int
    type: str
    message: str


def read_response(answer: Answer) -> ClassifyResponse:
    """Return the response in ``answer``.

    Raises:
        LanternClientError: the error in ``answer``, or ``internal`` where it holds neither.
    """
    result = _result(_good_fields(answer), answer)
    if isinstance(result, LanternClientError):
        raise result
    return result


def read_results(answer: Answer, count: int) -> list[ClassifyResponse | LanternClientError]:
    """Return the ``count`` results in ``answer``, with an exception in place of each that is one.

    Raises:
        LanternClientError: the call as a whole failed, or ``answer`` is not ``count`` results.
    """
    results = _good_fields(answer).get("results")
    if not isinstance(results, list) or len(results) != count:
        raise client_error(INTERNAL, "the server's answer does not hold one result per entry")
    return [_result(fields, answer) for fields in results]


def check_health(answer: Answer) -> None:
    """Return if ``answer`` says that the server is healthy.

    Raises:
        LanternClientError: ``unavailable``, or what a predict call with such an answer would raise.
    """
    fields = _json_object(answer.body)
    if fields is None or not isinstance(fields.get("status"), str):
        fields = _good_fields(answer)
    if answer.status != 200 or fields.get("status") != "Healthy":
        raise client_error(UNAVAILABLE, "the server says that it is not healthy")


def status_error(status: int, detail: str = "", *, retry_after_s: float | None = None) -> LanternClientError:
    """Build the exception for an HTTP status that came without an error envelope."""
    kind, message = STATUS_ERRORS.get(status, _other_status(status))
    return client_error(kind, message + detail, retry_after_s=retry_after_s)


def _other_status(status: int) -> tuple[ErrorKind, str]:
    if 400 <= status < 500:
        return INVALID_REQUEST, f"the server refused the request (HTTP {status})"
    return INTERNAL, f"the server failed (HTTP {status})" if status >= 500 else f"unexpected answer (HTTP {status})"


def _good_fields(answer: Answer) -> dict[str, Any]:
    """Return the JSON object of an answer without an error, or raise the error."""
    fields = _json_object(answer.body)
    if fields is not None and "error" in fields:
        raise _envelope_error(fields, answer.status, answer.retry_after_s)
    server_error = _server_error(fields)
    if server_error is not None:
        status = 401 if server_error.type == "InvalidKeyException" else server_error.code  # a wrong token is a 400
        detail = f" ({server_error.type})" if _JAVA_CLASS.fullmatch(server_error.type) else ""
        raise status_error(status, detail, retry_after_s=answer.retry_after_s)
    if answer.status != 200:
        raise status_error(answer.status, retry_after_s=answer.retry_after_s)
    if fields is None:
        raise client_error(INTERNAL, "the server's answer is not a JSON object")
    return fields


def _result(fields: object, answer: Answer) -> ClassifyResponse | LanternClientError:
    """Read one response or error: a whole answer, or one entry's part of it."""
    if isinstance(fields, dict) and "error" in fields:
        return _envelope_error(fields, fields.get("status"), answer.retry_after_s)
    try:
        return ClassifyResponse.model_validate(fields)
    except ValidationError:
        pass  # reported below, away from the exception that holds the answer
    return client_error(INTERNAL, "the server's answer does not fit the response schema; do the versions match?")


def _envelope_error(fields: dict[str, Any], status: object, retry_after_s: float | None) -> LanternClientError:
    try:
        error = _Error.model_validate(fields["error"])
    except ValidationError:
        error = None
    if error is None:
        return client_error(INTERNAL, "the server's error does not fit the error schema; do the versions match?")
    kind = _KINDS.get(error.code) or _kind_of_status(status)
    escalation, results = fields.get("escalation"), fields.get("results")
    return client_error(
        kind,
        error.message,
        error.field,
        retry_after_s=retry_after_s if kind.retryable else None,
        escalation=escalation if isinstance(escalation, dict) else None,
        results=[_envelope_error(one, one.get("status"), None) for one in _errors_in(results)],
    )


def _errors_in(results: object) -> list[dict[str, Any]]:
    """Return the errors of single entries that come with that of a whole call."""
    if not isinstance(results, list):
        return []
    return [one for one in results if isinstance(one, dict) and "error" in one]


def _kind_of_status(status: object) -> ErrorKind:
    """Place a code that a newer server may know and this client does not."""
    return status_error(status).kind if isinstance(status, int) else INTERNAL


def _server_error(fields: dict[str, Any] | None) -> _ServerError | None:
    try:
        return _ServerError.model_validate(fields)
    except ValidationError:
        return None


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        fields = decode_json(body)
    except LanternError:
        return None
    return fields if isinstance(fields, dict) else None
