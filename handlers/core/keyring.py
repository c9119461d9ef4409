"""How a record names people: keyed HMAC, so that nobody without the key can tell who it was about.

Keys come from the environment variable ``LANTERN_HMAC_KEYS`` as ``id:hex``, newest first, separated by commas. A new
key is put in front; the old ones stay for as long as somebody may have to be told which records are about them.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import Final, Literal

from handlers.core.errors import StartupError

KEYS_VARIABLE: Final = "LANTERN_HMAC_KEYS"
MIN_KEY_BYTES: Final = 32

Purpose = Literal["subject", "entry"]

_KEY = re.compile(r"(?P<id>[A-Za-z0-9][A-Za-z0-9_.-]{0,63}):(?P<secret>(?:[0-9A-Fa-f]{2})+)")


@dataclass(frozen=True)
class Key:
    """A secret and the name under which records refer to it."""

    id: str
    secret: bytes = field(repr=False)

    def digest(self, purpose: Purpose, identifier: str) -> str:
        """Return the HMAC-SHA-256 of ``identifier``, which differs by ``purpose``, as 64 hexadecimal digits."""
        # JSON can spell an unpaired surrogate, which UTF-8 has no bytes for.
        message = f"lantern/{purpose}/1\0".encode() + identifier.encode("utf-8", "surrogatepass")
        return hmac.new(self.secret, message, hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class Pseudonyms:
    """How a record names person and entry; ``key_id`` is there where one of the others is."""

    subject_hmac: str | None = None
    key_id: str | None = None
    entry_hmac: str | None = None


@dataclass(frozen=True)
class Keyring:
    """The keys, newest first; new records use the first one, and without any they name nobody."""

    keys: tuple[Key, ...] = ()

    def pseudonyms(self, subject_id: str | None, entry_id: str | None) -> Pseudonyms:
        """Name person and entry by the newest key; by nothing where there is no key."""
        if not self.keys or (subject_id is None and entry_id is None):
            return Pseudonyms()
        key = self.keys[0]
        return Pseudonyms(
            subject_hmac=None if subject_id is None else key.digest("subject", subject_id),
            key_id=key.id,
            entry_hmac=None if entry_id is None else key.digest("entry", entry_id),
        )

    def matches(self, purpose: Purpose, identifier: str, digest: str, key_id: str) -> bool:
        """Tell whether ``digest``, in a record of ``key_id``, names ``identifier``.

        Raises:
            KeyError: the ring has no such key, so nobody can tell.
        """
        key = {key.id: key for key in self.keys}[key_id]
        return hmac.compare_digest(key.digest(purpose, identifier), digest)


def parse_keyring(value: str) -> Keyring:
    """Read the value of ``LANTERN_HMAC_KEYS``; one that is empty holds no key.

    Raises:
        StartupError: naming the entry by its place. Nothing of the value is repeated, as a secret may stand anywhere.
    """
    keys: list[Key] = []
    for place, entry in enumerate(value.split(",") if value.strip() else [], start=1):
        key = _parse_key(entry.strip(), f"{KEYS_VARIABLE}: entry {place}")
        if key.id in {other.id for other in keys}:
            raise StartupError(f"{KEYS_VARIABLE}: entry {place}: another entry has the same id; give each key its own")
        keys.append(key)
    return Keyring(tuple(keys))


def _parse_key(entry: str, where: str) -> Key:
    parts = _KEY.fullmatch(entry)
    if parts is None:
        raise StartupError(f"{where}: not id:hex (an id of letters, digits, '_', '.', '-'; pairs of hex digits)")
    secret = bytes.fromhex(parts["secret"])
    if len(secret) < MIN_KEY_BYTES:
        raise StartupError(f"{where}: the key has {len(secret)} bytes; it needs {MIN_KEY_BYTES} (openssl rand -hex 32)")
    if len(set(secret)) == 1:
        raise StartupError(f"{where}: the key is one byte repeated; make a real one (openssl rand -hex 32)")
    return Key(parts["id"], secret)
