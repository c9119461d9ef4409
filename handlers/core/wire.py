"""A call as bytes: raw requests decoded into requests, results encoded into outcomes.

Hosts differ in how bytes reach them; from here on there is no difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from handlers.core.caller import NOBODY, Caller
from handlers.core.errors import UNSUPPORTED_MEDIA_TYPE, LanternError
from handlers.core.schema import (
    Call,
    ClassifyResponse,
    decode_json,
    encode_json,
    error_fields,
    parse_call,
    parse_text,
    response_fields,
)

JSON: Final = "application/json"
PLAIN_TEXT: Final = "text/plain"


@dataclass(frozen=True)
class RawRequest:
    """A request as it came.

    Attributes:
        payload: the body.
        media_type: its ``Content-Type``; JSON where a protocol has none.
        caller: where it came from.
    """

    payload: bytes
    media_type: str = JSON
    caller: Caller = NOBODY


@dataclass(frozen=True)
class Outcome:
    """The answer to one raw request.

    Attributes:
        status: HTTP status.
        body: JSON. It carries the error code too, for protocols that lose the status.
        retryable: whether the caller should try again a little later.
    """

    status: int
    body: bytes
    retryable: bool = False


def decode_call(raw: RawRequest) -> Call:
    """Decode a request by its media type.

    Raises:
        LanternError: the call as a whole is not acceptable.
    """
    media_type, charset = _media_type(raw.media_type)
    if media_type not in (JSON, PLAIN_TEXT) or charset not in ("utf-8", "us-ascii"):
        raise LanternError(
            UNSUPPORTED_MEDIA_TYPE, f"send {JSON}, or {PLAIN_TEXT} for the text alone, in UTF-8 (Content-Type)"
        )
    return parse_text(raw.payload) if media_type == PLAIN_TEXT else parse_call(decode_json(raw.payload))


def error_outcome(error: LanternError) -> Outcome:
    """Return the answer of a call that failed as a whole."""
    return Outcome(error.kind.http, encode_json(error_fields(error)), error.kind.retryable)


def single_outcome(result: ClassifyResponse | LanternError) -> Outcome:
    """Return the answer of a call with one text."""
    if isinstance(result, LanternError):
        return error_outcome(result)
    return Outcome(200, encode_json(response_fields(result)))


def entries_outcome(results: list[ClassifyResponse | LanternError]) -> Outcome:
    """Return the answer of a call with ``entries``: each result with its own status, in order."""
    return Outcome(200, encode_json({"results": [_result_fields(result) for result in results]}))


def refused_outcome(error: LanternError, results: list[ClassifyResponse | LanternError]) -> Outcome:
    """Return the answer of a call whose ``entries`` are not answered, with what to offer the writer of each."""
    fields = {**error_fields(error), "results": [_result_fields(result) for result in results]}
    return Outcome(error.kind.http, encode_json(fields), error.kind.retryable)


def _result_fields(result: ClassifyResponse | LanternError) -> dict[str, Any]:
    if isinstance(result, LanternError):
        return {"status": result.kind.http, **error_fields(result)}
    return {"status": 200, **response_fields(result)}


def _media_type(header: str) -> tuple[str, str]:
    """Return media type and charset of a ``Content-Type``, in lower case; UTF-8 where it names none."""
    media_type, *parameters = header.lower().split(";")
    pairs = (parameter.partition("=") for parameter in parameters)
    charsets = [value.strip().strip('"') for name, _, value in pairs if name.strip() == "charset"]
    return media_type.strip(), charsets[0] if charsets else "utf-8"
