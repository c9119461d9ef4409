"""The card of the phrases: what they find and what they do not, in Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from string import Template
from typing import Any, Final

from evaluation.statements.figures import LanguageFigures, Share
from evaluation.statements.sentences import FAMILIES, OPPOSITES, STATEMENTS
from handlers.floor.phrase_file import WrittenPhrases

CARD: Final = "README.md"
FIGURES: Final = "figures.json"
GOALS: Final = {"en": (0.95, 0.05)}
OTHER_GOALS: Final = (0.85, 0.10)
"""At least so many direct statements flagged, at most so many opposites."""

_TEMPLATE: Final = Path(__file__).with_name("card.md")
_LANGUAGE_NAMES: Final = {
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "de": "German",
    "pt": "Portuguese",
    "it": "Italian",
    "nl": "Dutch",
    "pl": "Polish",
    "zh": "Chinese",
    "ja": "Japanese",
    "ko": "Korean",
    "ar": "Arabic",
    "hi": "Hindi",
}


def card_markdown(figures: Sequence[LanguageFigures], files: Sequence[WrittenPhrases]) -> str:
    """Return the card."""
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        goals=_table(
            ["language", "direct statements flagged", "goal", "opposites flagged", "goal", "precision", "kind right"],
            [_goal_row(one) for one in figures],
        ),
        families=_table(
            ["family", *(one.language for one in figures)],
            [[f"`{name}`", *(_short(one.families.get(name)) for one in figures)] for name in FAMILIES],
        ),
        phrases=_table(
            ["language", "entries", "wordings", "guards", "counter-examples"],
            [_phrase_row(file) for file in files],
        ),
        statements=", ".join(f"`{name}`" for name in STATEMENTS),
        opposites=", ".join(f"`{name}`" for name in OPPOSITES),
    )


def card_json(figures: Sequence[LanguageFigures]) -> str:
    """Return the figures for machines."""
    return json.dumps({one.language: _rounded(asdict(one)) for one in figures}, indent=1) + "\n"


def meets_goals(figures: LanguageFigures) -> bool:
    """Say whether direct statements and opposites are told as well as they must be."""
    recall, false_flags = GOALS.get(figures.language, OTHER_GOALS)
    direct, opposites = figures.families.get("direct"), figures.false_flags
    return (direct is None or direct.value >= recall) and (opposites is None or opposites.value <= false_flags)


def _goal_row(one: LanguageFigures) -> list[str]:
    recall, false_flags = GOALS.get(one.language, OTHER_GOALS)
    return [
        _LANGUAGE_NAMES[one.language],
        _long(one.families.get("direct")),
        f"≥ {recall:.2f}",
        _long(one.false_flags),
        f"≤ {false_flags:.2f}",
        _long(one.precision),
        _long(one.kind),
    ]


def _phrase_row(file: WrittenPhrases) -> list[str]:
    counts = (len(file.file.phrases), len(file.phrases), len(file.guards), len(file.counter_examples))
    return [_LANGUAGE_NAMES[file.file.language], *(f"{count:,}" for count in counts)]


def _long(share: Share | None) -> str:
    return "–" if share is None else f"{share.value:.3f} ({share.low:.2f}–{share.high:.2f}), {share.hits}/{share.total}"


def _short(share: Share | None) -> str:
    return "–" if share is None else f"{share.hits}/{share.total}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return round(value, 4) if isinstance(value, float) else value
