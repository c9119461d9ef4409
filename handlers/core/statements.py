"""Explicit statements about ending one's life, as the floor finds them: kind, language and place; no words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

StatementKind = Literal["wish", "intent", "attempt", "self_harm"]
"""A wish to die, an intention to end one's life, an attempt to, and hurting oneself; each in the first person."""

StatementLanguage = Literal["en", "es", "fr", "de", "pt", "it", "nl", "pl", "zh", "ja", "ko", "ar", "hi"]
"""Languages that there are phrases in, as ISO 639-1 codes."""

KINDS: Final[tuple[StatementKind, ...]] = get_args(StatementKind)
LANGUAGES: Final[tuple[StatementLanguage, ...]] = get_args(StatementLanguage)


@dataclass(frozen=True, slots=True, order=True)
class Statement:
    """One statement in a text.

    Attributes:
        start_char, end_char: its place in the text, in Unicode code points, end exclusive.
        kind: what it states.
        language: of the phrase that found it, whatever language the text is said to be in.
    """

    start_char: int
    end_char: int
    kind: StatementKind
    language: StatementLanguage


def kinds_of(statements: tuple[Statement, ...]) -> tuple[StatementKind, ...]:
    """Return the kinds among ``statements``, each once, in the order of ``KINDS``."""
    found = {statement.kind for statement in statements}
    return tuple(kind for kind in KINDS if kind in found)


def languages_of(statements: tuple[Statement, ...]) -> tuple[StatementLanguage, ...]:
    """Return the languages among ``statements``, each once, in the order of ``LANGUAGES``."""
    found = {statement.language for statement in statements}
    return tuple(language for language in LANGUAGES if language in found)
