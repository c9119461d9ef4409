"""Looks for a text in bytes, in the forms that it takes on its way through a server."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

LEAST_TOKENS: Final = 4
"""Fewer token ids than this in a row are found in any file of numbers."""


def forms(text: str, ids: Sequence[int]) -> dict[str, bytes]:
    """Return what ``text``, whose token ids are ``ids``, may look like in a file: name of the form to bytes."""
    utf8 = text.encode()
    found = {
        "utf-8": utf8,
        "lower": text.lower().encode(),
        "upper": text.upper().encode(),
        "utf-16-le": text.encode("utf-16-le"),
        "utf-16-be": text.encode("utf-16-be"),
        "utf-32-le": text.encode("utf-32-le"),
        "twice encoded": utf8.decode("latin-1").encode(),
        "json": json.dumps(text)[1:-1].encode(),
        "percent": quote(text, safe="").encode(),
        "percent, lower": quote(text, safe="").lower().encode(),
        "percent, all": "".join(f"%{byte:02X}" for byte in utf8).encode(),
        "form": quote(text, safe=" ").replace(" ", "+").encode(),
        "hex": utf8.hex().encode(),
        "python bytes": repr(utf8)[2:-1].encode(),
    }
    found |= {f"base64 at {shift}": _base64_core(utf8, shift) for shift in range(3)}
    found |= {f"base64 url at {shift}": base64_url(found[f"base64 at {shift}"]) for shift in range(3)}
    return found | (_token_forms(ids) if len(ids) >= LEAST_TOKENS else {})


def base64_url(encoded: bytes) -> bytes:
    """Return standard base64 in the alphabet for URLs."""
    return encoded.translate(bytes.maketrans(b"+/", b"-_"))


def _base64_core(content: bytes, shift: int) -> bytes:
    """Return the part of the base64 of ``content`` that is the same whatever stands around it, ``shift`` bytes in."""
    encoded = base64.b64encode(b"\0" * shift + content)
    first = -(-8 * shift // 6)
    last = 8 * (shift + len(content)) // 6
    return encoded[first:last]


def _token_forms(ids: Sequence[int]) -> dict[str, bytes]:
    lists = {f"tokens {joint!r}": joint.join(map(str, ids)).encode() for joint in (", ", ",", " ", "\n")}
    return lists | {f"tokens as {kind}": struct.pack(f"<{len(ids)}{kind}", *ids) for kind in "iq"}


def find(wanted: Mapping[str, bytes], places: Iterable[tuple[str, bytes]]) -> list[str]:
    """Return ``place: form`` for each form of ``wanted`` that is in a place."""
    return [f"{place}: {form}" for place, content in places for form, part in wanted.items() if part in content]


def contents(files: Iterable[Path], known: Collection[str] = ()) -> list[tuple[str, bytes]]:
    """Read files: name of each, and path and content, as the path may tell as much as what is in it.

    A file whose digest is ``known`` is there with its path alone.
    """
    places: list[tuple[str, bytes]] = []
    for path in files:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue  # gone since it was listed
        places.append((path.name, bytes(path) + b"\0" + (b"" if known and digest(content) in known else content)))
    return places


def digest(content: bytes) -> str:
    """Return what tells one content from another."""
    return hashlib.sha256(content).hexdigest()
