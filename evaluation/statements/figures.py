"""Shares of sentences that the floor flags, by language and family, with their intervals. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from evaluation.statements.sentences import FAMILIES, OPPOSITES, STATEMENTS, Family, Sentence
from evaluation.statistics import wilson_interval
from handlers.core.statements import LANGUAGES, StatementLanguage
from handlers.floor.matcher import Floor


@dataclass(frozen=True)
class Judged:
    """A sentence, and the kinds of statements that the floor found in it."""

    sentence: Sentence
    kinds: tuple[str, ...]

    @property
    def is_flagged(self) -> bool:
        """Whether anything was found."""
        return bool(self.kinds)

    @property
    def is_wrong(self) -> bool:
        """Whether that is not what it should be; of what is only meant, nothing is wrong."""
        return self.sentence.explicit is not None and self.is_flagged != self.sentence.explicit


@dataclass(frozen=True)
class Share:
    """``hits`` of ``total``, with the bounds of its 95 % interval (Wilson, 1927)."""

    hits: int
    total: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share itself."""
        return self.hits / self.total


@dataclass(frozen=True)
class LanguageFigures:
    """How well one language is told.

    Attributes:
        families: share of the sentences of each family that is flagged.
        recall: share of explicit statements of all families that is flagged.
        false_flags: share of their opposites that is flagged.
        precision: share of flagged sentences that are statements, at the mix of the set; ``None`` where none is.
        kind: share of flagged statements whose kind is among those found; ``None`` where none is flagged.
    """

    language: StatementLanguage
    families: dict[Family, Share]
    recall: Share | None
    false_flags: Share | None
    precision: Share | None
    kind: Share | None


def judge(floor: Floor, sentences: Iterable[Sentence]) -> list[Judged]:
    """Apply the floor to each sentence."""
    return [Judged(one, tuple(found.kind for found in floor.find(one.text))) for one in sentences]


def figures_by_language(judged: Sequence[Judged]) -> list[LanguageFigures]:
    """Return the figures of every language that there are sentences in."""
    by_language = ((name, [one for one in judged if one.sentence.language == name]) for name in LANGUAGES)
    return [_figures(name, rows) for name, rows in by_language if rows]


def _figures(language: StatementLanguage, judged: Sequence[Judged]) -> LanguageFigures:
    families = {name: [one for one in judged if one.sentence.family == name] for name in FAMILIES}
    statements = [one for name in STATEMENTS for one in families[name]]
    opposites = [one for name in OPPOSITES for one in families[name]]
    found = [one for one in statements if one.is_flagged]
    flagged = [*found, *(one for one in opposites if one.is_flagged)]
    return LanguageFigures(
        language=language,
        families={name: share for name, rows in families.items() if (share := _flagged(rows)) is not None},
        recall=_flagged(statements),
        false_flags=_flagged(opposites),
        precision=_share([bool(one.sentence.explicit) for one in flagged]),
        kind=_share([one.sentence.kind in one.kinds for one in found]),
    )


def _flagged(judged: Sequence[Judged]) -> Share | None:
    return _share([one.is_flagged for one in judged])


def _share(hits: Sequence[bool]) -> Share | None:
    return Share(sum(hits), len(hits), *wilson_interval(sum(hits), len(hits))) if hits else None
