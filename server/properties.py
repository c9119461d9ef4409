"""Java ``.properties`` files as ``java.util.Properties`` reads them; spaces after a value are dropped."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

_ESCAPES: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_ESCAPED = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_LINE_END = re.compile(r"\r\n|\r|\n")
_ENTRY = re.compile(r"((?:\\.|[^\\\s:=])*)\s*[:=]?\s*(.*)", re.DOTALL)


def parse(text: str) -> dict[str, str]:
    """Return the entries of a properties file; a later key wins, as in Java."""
    return dict(_entry(line) for line in _logical_lines(text))


def render(entries: Mapping[str, str]) -> str:
    """Return a properties file that ``parse`` and Java read back as ``entries``; pure ASCII."""
    return "".join(f"{_escape(key, is_key=True)}={_escape(value, is_key=False)}\n" for key, value in entries.items())


def _logical_lines(text: str) -> Iterator[str]:
    unfinished = ""
    for line in _LINE_END.split(text):
        stripped = line.lstrip()
        if not unfinished and (not stripped or stripped[0] in "#!"):
            continue
        unfinished += stripped
        if _ends_in_continuation(unfinished):
            unfinished = unfinished[:-1]
            continue
        yield unfinished
        unfinished = ""
    if unfinished:
        yield unfinished


def _ends_in_continuation(line: str) -> bool:
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _entry(line: str) -> tuple[str, str]:
    match = _ENTRY.fullmatch(line)
    if match is None:
        raise ValueError(f"not a properties line: {line!r}")
    return _unescape(match[1]), _unescape(match[2].rstrip())


def _unescape(text: str) -> str:
    with_surrogates = _ESCAPED.sub(lambda match: _character(match[1]), text)
    return with_surrogates.encode("utf-16", "surrogatepass").decode("utf-16")


def _character(escape: str) -> str:
    if len(escape) > 1:
        return chr(int(escape[1:], 16))
    return _ESCAPES.get(escape, escape)


def _escape(text: str, *, is_key: bool) -> str:
    return "".join(_escape_character(c, special=is_key or index == 0) for index, c in enumerate(text))


def _escape_character(character: str, *, special: bool) -> str:
    if character == "\\" or (special and character in " :=#!"):
        return "\\" + character
    if character.isascii() and character.isprintable():
        return character
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
