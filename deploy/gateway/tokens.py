"""Bearer tokens: one line a client, its name and its token, in a file that only its owner reads."""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from deploy.errors import DeployError

SHORTEST: Final = 32
"""Characters of a token: 128 bits in hexadecimal digits."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_TOKEN: Final = re.compile(rf"[A-Za-z0-9._~+/=-]{{{SHORTEST},512}}")


@dataclass(frozen=True)
class Token:
    """Who may call: ``client`` is the name in logs and limits, ``secret`` what is sent."""

    client: str
    secret: str = field(repr=False)


def read_tokens(path: Path) -> tuple[Token, ...]:
    """Return the tokens in ``path``; empty lines and lines that begin with ``#`` are passed over.

    Raises:
        DeployError: others may read the file, or a line is not ``NAME TOKEN``. No message quotes a token.
    """
    try:
        mode = path.stat().st_mode
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DeployError(f"cannot read the tokens in {path}: {_reason(error)}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise DeployError(f"{path} holds tokens and others may read it: chmod 600 {path}")
    tokens = tuple(_parse(lines, path))
    if not tokens:
        raise DeployError(f"{path} holds no token; a line is NAME TOKEN, such as: app $(openssl rand -hex 32)")
    return tokens


def write_tokens(path: Path, clients: Sequence[str]) -> None:
    """Make a token for each of ``clients`` and write them to a new file of mode 0600, in place of an old one."""
    write_secret(path, "".join(f"{client} {secrets.token_hex(32)}\n" for client in clients))


def write_secret(path: Path, content: str) -> None:
    """Write ``content`` so that at no time anybody but the owner may read it."""
    unfinished = path.with_name(f".{path.name}.partial")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
    unfinished.replace(path)


def _parse(lines: list[str], path: Path) -> Iterator[Token]:
    seen: set[str] = set()
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, secret = line.strip().partition(" ")
        if not _NAME.fullmatch(name) or not _TOKEN.fullmatch(secret):
            raise DeployError(
                f"{path}, line {number}: not NAME TOKEN, where the token has {SHORTEST} or more "
                "of A-Z a-z 0-9 . _ ~ + / = -"
            )
        if secret in seen:
            raise DeployError(f"{path}, line {number}: the same token a second time")
        seen.add(secret)
        yield Token(name, secret)


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or "it failed" if isinstance(error, OSError) else "it is not ASCII"
