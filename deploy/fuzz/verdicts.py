"""What an answer to a case may be, decided from the answer alone."""

from __future__ import annotations

import json
from typing import Any, Final

from deploy.api.models import KINDS

ENVELOPE: Final = "envelope"
REFUSAL: Final = "refusal"
CLOSED: Final = "closed"
ANSWER: Final = "answer"

KNOWN_5XX: Final = {
    (500, "ArrayIndexOutOfBoundsException"): "TorchServe takes apart a request target that does not begin with '/'; "
    "the gateway refuses it with 400",
}
"""Server errors of TorchServe's own that no setting changes, and what keeps callers from them."""

_REFUSED: Final = frozenset({400, 403, 404, 405, 413, 417, 503})
_BODILESS: Final = frozenset({413, 417})


def judge_rest(status: int | None, body: bytes, *, is_head: bool, reaches: bool) -> str:
    """Return what is wrong with an answer, in words that quote none of it; nothing where it is as it should be.

    Args:
        status: ``None`` where the connection was closed, or nothing came.
        body: of the answer.
        is_head: the request was HEAD.
        reaches: the request is well-formed HTTP for the path of predictions, so that Lantern itself has to answer.
    """
    if status is None:
        return "no answer to a well-formed request" if reaches else ""
    if status < 400:
        return "" if is_head or status < 200 or _is_json(body) or not reaches else f"{status} without JSON"
    if is_head:
        return "" if status < 500 or status == 503 else f"{status} to HEAD"
    kind = _kind_of(body)
    if kind is not None:
        return _judge_envelope(status, kind)
    refusal = _refusal(body)
    if status >= 500 and (status, refusal) in KNOWN_5XX and not reaches:
        return ""
    if status not in _REFUSED:
        return f"{status} {refusal or 'of an unknown form'}"
    if reaches and not (status in _BODILESS and not body):
        return f"{status} {refusal or 'of an unknown form'} where the answer has to be an error of Lantern's"
    return ""


def is_known_5xx(status: int | None, body: bytes) -> bool:
    """Return whether an answer is one of ``KNOWN_5XX``."""
    return (status, _refusal(body)) in KNOWN_5XX


def _judge_envelope(status: int, kind: str) -> str:
    if kind not in KINDS:
        return f"an error with the unknown code {kind[:40]!r}"
    if KINDS[kind].http != status:
        return f"{status} with the code {kind}, which is {KINDS[kind].http}"
    return f"{status} {kind}" if status >= 500 and status != 503 else ""


def judge_grpc(status: str, details: str, body: bytes, expected: frozenset[str]) -> str:
    """Return what is wrong with an answer over gRPC.

    Args:
        status: its name, ``OK`` where there is a body.
        details: of a status that is not ``OK``.
        body: the prediction.
        expected: the statuses that the case may meet.
    """
    if status not in expected:
        return f"{status} instead of {' or '.join(sorted(expected))}"
    if status == "INTERNAL" and not any(words in details for words in ("not found", "does not exist", "is required")):
        return "INTERNAL for no known reason"
    if status != "OK":
        return ""
    if not body:
        return ""  # Ping, which has another message
    kind = _kind_of(body)
    if kind is None:
        return "" if _is_json(body) else "a prediction that is no JSON"
    return _judge_envelope(KINDS[kind].http if kind in KINDS else 0, kind)


def _is_json(body: bytes) -> bool:
    return isinstance(_parsed(body), (dict, list))


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _kind_of(body: bytes) -> str | None:
    """Return the code of an error envelope."""
    parsed = _parsed(body)
    error = parsed.get("error") if isinstance(parsed, dict) else None
    if not isinstance(error, dict) or set(error) != {"code", "message", "field"}:
        return None
    return str(error["code"])


def _refusal(body: bytes) -> str:
    parsed = _parsed(body)
    return str(parsed.get("type", "")) if isinstance(parsed, dict) and "error" not in parsed else ""
