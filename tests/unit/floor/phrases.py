"""Phrase files for tests, made small."""

from __future__ import annotations

import json
from typing import Any

from handlers.floor.matcher import Floor
from handlers.floor.phrase_file import WrittenPhrases, parse_phrases


def entry(phrase: str, kind: str = "wish", **fields: Any) -> dict[str, Any]:
    """Return an entry of a phrase file."""
    return {"phrase": phrase, "kind": kind, "source": "author", **fields}


def file_of(*entries: dict[str, Any], language: str = "en", **fields: Any) -> WrittenPhrases:
    """Return a phrase file; JSON is YAML."""
    content = {"language": language, "boundaries": "both", "author": "a test", "phrases": list(entries), **fields}
    return parse_phrases(json.dumps(content).encode(), f"{language}.yaml")


def floor_of(*entries: dict[str, Any], **fields: Any) -> Floor:
    """Return the floor of one such file."""
    return Floor([file_of(*entries, **fields)])


def found(floor: Floor, text: str) -> list[str]:
    """Return the words of ``text`` that are taken for statements."""
    return [text[one.start_char : one.end_char] for one in floor.find(text)]
