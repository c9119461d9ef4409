"""gRPC: messages with odd input, and frames that are no messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from client._generated import inference_pb2
from deploy.fuzz.words import BODIES

SERVICE: Final = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/"

_OK: Final = frozenset({"OK"})
_UNREADABLE: Final = frozenset({"OK", "UNKNOWN", "INTERNAL"})
"""Bytes that may or may not be a message; where they are, there may be no model of that name."""


@dataclass(frozen=True)
class GrpcCase:
    """One call: the bytes of its message, and the statuses it may meet."""

    name: str
    method: str
    message: bytes
    expected: frozenset[str]
    metadata: tuple[tuple[str, str], ...] = ()


def grpc_cases(random: Random, canary: str, model: str) -> Iterator[GrpcCase]:
    """Yield cases for ever: half of them odd bodies in good messages, half odd messages."""
    names, odd = list(BODIES), list(_ODD)
    while True:
        name = random.choice(names)
        key = random.choice(("data", "data", "text"))
        yield GrpcCase(f"body: {name}", "Predictions", message(model, {key: BODIES[name](random, canary)}), _OK)
        yield _ODD[random.choice(odd)](random, canary, model)


def message(model: str, values: dict[str, bytes], version: str = "") -> bytes:
    """Return the bytes of a ``PredictionsRequest``."""
    request = inference_pb2.PredictionsRequest(model_name=model, model_version=version, input=values)
    return bytes(request.SerializeToString(deterministic=True))


Odd = Callable[[Random, str, str], GrpcCase]


def _valid(random: Random, canary: str) -> bytes:
    return BODIES["valid"](random, canary)


def _keys(random: Random, canary: str, model: str) -> GrpcCase:
    body = _valid(random, canary)
    mark = canary.encode()
    more: dict[str, bytes] = random.choice(
        (
            {"k" * 100_000: mark},
            {f"k{place}": mark for place in range(3000)},
            {"": mark, canary: mark},
            {"body": body, "host": mark, "content-type": mark, "Content-Type": b"text/html"},
            {"describe": b"True", "explain": b"True", "url_path": b"x"},
            {"traceparent": mark, "request_id": mark},
            {"traceparent": random.randbytes(200), "request_id": random.randbytes(50_000)},
            {"requestId": mark, "ts_stream_next": b"true", "ts_request_sequence_id": mark},
            {"text": mark},
        )
    )
    values = random.choice(({"data": body}, {}, {"data": b""})) | more
    return GrpcCase("keys", "Predictions", message(model, values), _OK)


def _model(random: Random, canary: str, model: str) -> GrpcCase:
    name, version = random.choice(
        ((canary, ""), ("", ""), ("\0", ""), ("../" + model, ""), (model, canary), (model, "-1"), (model, "1.0 "))
    )
    return GrpcCase("model", "Predictions", message(name, {"data": b"{}"}, version), frozenset({"INTERNAL"}))


def _long_model(random: Random, canary: str, model: str) -> GrpcCase:
    told = frozenset({"INTERNAL", "UNKNOWN", "UNAVAILABLE", "CANCELLED"})
    return GrpcCase("model", "Predictions", message(canary * random.choice((10, 100)), {}), told)


def _wrong_field(random: Random, canary: str, model: str) -> GrpcCase:
    """A field with another type or number on the wire."""
    tag = bytes([random.randrange(1, 6) << 3 | random.randrange(6)])
    odd = tag + random.choice((b"\x01", b"\xff" * 11, b"\x80" * 9 + b"\x01", random.randbytes(12)))
    whole = message(model, {"data": _valid(random, canary)})
    return GrpcCase("wrong field", "Predictions", random.choice((odd + whole, whole + odd, odd)), _UNREADABLE)


def _flipped(random: Random, canary: str, model: str) -> GrpcCase:
    whole = bytearray(message(model, {"data": _valid(random, canary)}))
    for _ in range(random.randrange(1, 5)):
        whole[random.randrange(len(whole))] = random.randrange(256)
    return GrpcCase("flipped bytes", "Predictions", bytes(whole), _UNREADABLE)


def _cut(random: Random, canary: str, model: str) -> GrpcCase:
    whole = message(model, {"data": _valid(random, canary)})
    return GrpcCase("cut", "Predictions", whole[: random.randrange(len(whole))], _UNREADABLE)


def _noise(random: Random, canary: str, model: str) -> GrpcCase:
    noise = random.randbytes(random.randrange(1, 300)) + canary.encode()
    return GrpcCase("noise", random.choice(("Predictions", "Ping")), noise, _UNREADABLE)


def _broken_name(random: Random, canary: str, model: str) -> GrpcCase:
    broken = random.choice((b"\x0a\x02\xff\xfe", b"\x1a\x06\x0a\x02\xff\xfe\x12\x00"))
    return GrpcCase("broken UTF-8 in a name", "Predictions", broken, _UNREADABLE)


def _duplicate(random: Random, canary: str, model: str) -> GrpcCase:
    """Field numbers and map keys that come twice: the last one counts."""
    whole = message("nobody", {"data": b"{"}) + message(model, {"data": _valid(random, canary)})
    return GrpcCase("fields twice", "Predictions", whole, _OK)


def _method(random: Random, canary: str, model: str) -> GrpcCase:
    method = random.choice(("StreamPredictions", "StreamPredictions2", "Nothing", canary, "predictions"))
    return GrpcCase("method", method, message(model, {"data": _valid(random, canary)}), frozenset({"UNIMPLEMENTED"}))


def _metadata(random: Random, canary: str, model: str) -> GrpcCase:
    name, value = random.choice(
        (("x-note", canary * 20), ("x-note", canary * 1500), ("te", canary), ("a" * 900, canary))
    )
    told = frozenset(
        {"OK", "UNKNOWN", "UNAVAILABLE", "RESOURCE_EXHAUSTED", "INTERNAL"} if len(value) > 8000 else {"OK"}
    )
    return GrpcCase("metadata", "Predictions", message(model, {"data": b'{"text": "a"}'}), told, ((name, value),))


def _too_large(random: Random, canary: str, model: str) -> GrpcCase:
    told = frozenset({"CANCELLED", "RESOURCE_EXHAUSTED", "UNAVAILABLE"})
    whole = message(model, {"data": canary.encode() + b"a" * 6_600_000})
    return GrpcCase("over the size limit", "Predictions", whole, told)


_ODD: Final[dict[str, Odd]] = {
    "keys": _keys,
    "model": _model,
    "long model": _long_model,
    "wrong field": _wrong_field,
    "flipped bytes": _flipped,
    "cut": _cut,
    "noise": _noise,
    "broken name": _broken_name,
    "fields twice": _duplicate,
    "method": _method,
    "metadata": _metadata,
    "over the size limit": _too_large,
}
