"""Texts, keys and bodies out of which cases are made, each by a generator with a seed: a run can be repeated."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any, Final

Make = Callable[[Random, str], bytes]
"""Makes a body that holds the canary."""

_PIECES: Final = (
    *("\0", "\x1b[2J", "\r\n", "\u202e", "\ufeff", "\u200d", "e\u0301" * 40, "\U0001f9d1\u200d\U0001f680", "</s><pad>"),
    *("${jndi:ldap://127.0.0.1/a}", "%00%zz%", "../../etc/passwd", "file:///etc/passwd", "' OR 1=1 --", "<script>"),
    *("{{7*7}}", "9" * 400, "NaN", "-0", "1e999", "\N{SNOWMAN}" * 300, " " * 300, "a" * 3000),
)
_VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 2**63, 2**64, 10**400, 1e308, -0.0, "", " ", [], {}, [[]], [{}], [None], {"": ""}),
    *("2026-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T24:00:00Z", "T", "en-GB", "GB", "window"),
)
_PATHS: Final = (
    *(("text",), ("locale",), ("country",), ("entry_id",), ("subject_id",), ("consent",), ("context",), ("options",)),
    *(("consent", "self_help"), ("consent", "alert_contact"), ("consent", "notify_therapist", "expires_at")),
    *(("context", "now"), ("context", "history"), ("context", "active"), ("context", "last_actions")),
    *(("context", "confirmation"), ("options", "over_length"), ("options", "return_logits"), ("entries",)),
)


def text(random: Random, canary: str) -> str:
    """Return a text with the canary among odd pieces."""
    pieces = random.choices(_PIECES, k=random.randrange(4))
    return " ".join([*pieces, canary, *random.choices(_PIECES, k=random.randrange(2))])


def valid(random: Random, canary: str) -> dict[str, Any]:
    """Return a request that has to be answered."""
    body: dict[str, Any] = {"text": text(random, canary), "entry_id": f"{canary}-{random.randrange(10**6)}"}
    if random.random() < 0.5:
        body |= {
            "consent": {"self_help": True, "use_history": True},
            "context": {"now": "2026-11-21T14:00:00+00:00", "history": [_history(random) for _ in range(3)]},
            "options": {"return_logits": True, "over_length": random.choice(["window", "head", "head_tail", "reject"])},
        }
    return body


def _history(random: Random) -> dict[str, Any]:
    return {"entry_id": "e", "at": "2026-11-20T21:00:00Z", "scores": {"anxious": random.random()}}


def _encode(body: Any) -> bytes:
    return json.dumps(body).encode()


def _wrong_type(random: Random, canary: str) -> bytes:
    body: Any = valid(random, canary)
    *parents, last = random.choice(_PATHS)
    place = body
    for name in parents:
        if not isinstance(place.get(name), dict):
            place[name] = {}
        place = place[name]
    place[last] = random.choice((*_VALUES, canary, [canary], {canary: canary}))
    return _encode(body)


def _unknown_field(random: Random, canary: str) -> bytes:
    key = random.choice((canary, text(random, canary), "k" * 100_000, "", "__proto__", "text "))
    return _encode(valid(random, canary) | {key: random.choice(_VALUES)})


def _twice(random: Random, canary: str) -> bytes:
    return b'{"text": "%b", "text": "%b"}' % (canary.encode(), str(random.random()).encode())


def _deep(random: Random, canary: str) -> bytes:
    depth = random.choice((50, 1000, 100_000))
    opening, closing = random.choice(((b"[", b"]"), (b'{"a":', b"}")))
    inside = b'"%b"' % canary.encode()
    return opening * depth + inside + random.choice((closing * depth, b""))


def _deep_inside(random: Random, canary: str) -> bytes:
    depth = random.choice((50, 900))
    return b'{"text": "%b", "context": %b}' % (canary.encode(), b'{"a":' * depth + b"1" + b"}" * depth)


def _giant_number(random: Random, canary: str) -> bytes:
    number = random.choice((b"9" * 5000, b"1e99999", b"-" + b"9" * 400, b"0." + b"1" * 5000, b"1E+400", b"Infinity"))
    key = random.choice((b"text", b"context", b"locale"))
    return b'{"text": "%b", "entry_id": "a", "%b": %b}' % (canary.encode(), key, number)


def _broken_utf8(random: Random, canary: str) -> bytes:
    bad = random.choice((b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82"))
    return b'{"text": "%b%b"}' % (canary.encode(), bad)


def _surrogate(random: Random, canary: str) -> bytes:
    return b'{"text": "%b%b"}' % (canary.encode(), random.choice((rb"\ud800", rb"\udfff\ud800", rb"\u0000")))


def _other_encoding(random: Random, canary: str) -> bytes:
    return json.dumps({"text": canary}).encode(random.choice(("utf-16", "utf-32", "utf-8-sig", "utf-7")))


def _cut(random: Random, canary: str) -> bytes:
    whole = _encode(valid(random, canary))
    return whole[: random.randrange(len(whole))]


def _flipped(random: Random, canary: str) -> bytes:
    whole = bytearray(_encode(valid(random, canary)))
    for _ in range(random.randrange(1, 8)):
        whole[random.randrange(len(whole))] = random.randrange(256)
    return bytes(whole)


def _noise(random: Random, canary: str) -> bytes:
    return random.randbytes(random.randrange(200)) + canary.encode()


def _entries(random: Random, canary: str) -> bytes:
    kinds: tuple[Callable[[], Any], ...] = (
        lambda: valid(random, canary),
        lambda: random.choice(_VALUES),
        lambda: canary,
        lambda: {"text": random.choice(_VALUES)},
        lambda: {"entries": [{"text": canary}]},
    )
    return _encode({"entries": [random.choice(kinds)() for _ in range(random.choice((0, 1, 5, 12, 65)))]})


def _large(random: Random, canary: str) -> bytes:
    return _encode({"text": (canary + " ") * random.choice((2000, 20_000)), "options": {"over_length": "head"}})


def _many_labels(random: Random, canary: str) -> bytes:
    history = [_history(random) | {"scores": {f"{canary}{place}": 0.5}} for place in range(random.choice((1, 1001)))]
    return _encode({"text": canary, "context": {"history": history}})


BODIES: Final[dict[str, Make]] = {
    "valid": lambda random, canary: _encode(valid(random, canary)),
    "wrong type": _wrong_type,
    "unknown field": _unknown_field,
    "field twice": _twice,
    "deep": _deep,
    "deep inside": _deep_inside,
    "giant number": _giant_number,
    "broken UTF-8": _broken_utf8,
    "surrogate": _surrogate,
    "other encoding": _other_encoding,
    "cut": _cut,
    "flipped bytes": _flipped,
    "noise": _noise,
    "entries": _entries,
    "large": _large,
    "many labels": _many_labels,
    "empty": lambda random, canary: b"",
}
