"""The largest case of each kind, sent before anything else: memory is then where it can get, whatever chance sends."""

from __future__ import annotations

import json
from typing import Final

from deploy.fuzz.grpc_cases import GrpcCase, message
from deploy.fuzz.http_cases import HttpCase, request

ROUNDS: Final = 2
"""How often each sender sends all of them; each begins at another place, so that different kinds meet in the server."""

_NEARLY_ALL: Final = 6_500_000
"""Bytes of a body just below the largest that is let in."""
_LARGE: Final = 256 * 1024
"""Bytes of a body that is large to a worker, so that it gives free memory back."""
_FULL_TEXT: Final = "a " * 4000
"""A text that nearly fills the longest input of the model."""


def largest_bodies(canary: str) -> dict[str, bytes]:
    """Return the largest body of each kind, by name; each is answered or refused, none is a server error."""
    labels = [{"entry_id": "e", "at": "2026-11-20T21:00:00Z", "scores": {f"{canary}{n}": 0.5}} for n in range(1000)]
    return {
        "whole body": b'{"text": "' + canary.encode() + b"a" * _NEARLY_ALL,
        "long text": _encode({"text": f"{canary} " * 20_000, "options": {"over_length": "head"}}),
        "deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        "many labels": _encode({"text": canary, "context": {"history": labels}}),
        "many short entries": _encode({"entries": [{"text": canary}] * 64}),
        "entries of all lengths": _encode({"entries": [{"text": f"{canary} " + "a " * 60 * n} for n in range(1, 33)]}),
        "long entries": _encode({"entries": [{"text": _FULL_TEXT + canary}] * 16}),
    }


def largest_http_cases(canary: str, model: str) -> list[HttpCase]:
    """Return a request for each of the largest bodies, and one that is too large."""
    path = f"/predictions/{model}".encode()
    over = HttpCase("largest: over the size limit", request(path, b"a" * 6_600_000), waits=True)
    bodies = largest_bodies(canary).items()
    return [over, *(HttpCase(f"largest: {name}", request(path, body), reaches=True) for name, body in bodies)]


def settling_cases(model: str) -> list[HttpCase]:
    """Return requests after which a worker holds nothing of those before: such bodies make it give free memory back."""
    path = f"/predictions/{model}".encode()
    return [HttpCase("settling", request(path, b"a" * _LARGE), reaches=True)] * 2


def largest_grpc_cases(canary: str, model: str) -> list[GrpcCase]:
    """Return a call for each of the largest bodies."""
    bodies = largest_bodies(canary).items()
    return [
        GrpcCase(f"largest: {name}", "Predictions", message(model, {"data": body}), frozenset({"OK"}))
        for name, body in bodies
    ]


def _encode(body: object) -> bytes:
    return json.dumps(body).encode()
