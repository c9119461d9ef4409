"""Phrase files: statements by language as reviewed data, read strictly; whatever is wrong is refused with its line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from handlers.core.errors import StartupError
from handlers.core.statements import StatementKind, StatementLanguage
from handlers.core.yamldata import DataFile, line_of, parse_yaml, read_file
from handlers.floor.alternatives import InvalidAlternatives, parse
from handlers.floor.alternatives import Phrase as Wording

Place = Literal["before", "after", "sentence", "near"]
"""Where a guard stands: directly before or after the statement, in its sentence, or in that or a neighbouring one."""

PLACES: Final[tuple[Place, ...]] = get_args(Place)

Boundaries = Literal["both", "start", "none"]
"""Where a match has to meet the edges of words."""

_NUMBER: Final = "#"
"""In a guard: any digit."""

_ANY_DIGIT: Final = "(0|1|2|3|4|5|6|7|8|9)"

Phrase = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=20_000)]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


def _guard_fields(value: object) -> object:
    return {"phrase": value} if isinstance(value, str) else value


class GuardEntry(_Frozen):
    """What turns a statement into none. ``kinds``: of the statements that it turns; all where it is left out."""

    phrase: Phrase
    kinds: Annotated[tuple[StatementKind, ...], Field(strict=False)] = ()


_Guards = Annotated[tuple[Annotated[GuardEntry, BeforeValidator(_guard_fields)], ...], Field(strict=False)]


class Guards(_Frozen):
    """Guards by ``Place``."""

    before: _Guards = ()
    after: _Guards = ()
    sentence: _Guards = ()
    near: _Guards = ()


class PhraseEntry(_Frozen):
    """One statement, in one or more wordings.

    Attributes:
        phrase: with alternatives (``handlers.floor.alternatives``).
        kind: what it states.
        source: where it comes from: ``author``, or where it was seen.
        counter_examples: texts in which no phrase may find a statement; ``not`` in the file.
        unless: guards of this entry alone.
    """

    phrase: Phrase
    kind: StatementKind
    source: Phrase
    counter_examples: Annotated[tuple[Phrase, ...], Field(strict=False, alias="not")] = ()
    unless: Guards = Guards()


class PhraseFile(_Frozen):
    """The statements of one language.

    Attributes:
        boundaries: ``both``, or ``start`` where endings follow the phrase, or ``none`` where no spaces are set.
        author: who wrote and who reviewed it.
        fillers: words that are left out of every text, as they change no statement.
        masked: words that people write with stars in them.
    """

    language: StatementLanguage
    boundaries: Boundaries
    author: Phrase
    fillers: Annotated[tuple[Phrase, ...], Field(strict=False)] = ()
    masked: Annotated[tuple[Phrase, ...], Field(strict=False)] = ()
    guards: Guards = Guards()
    phrases: Annotated[tuple[PhraseEntry, ...], Field(strict=False, min_length=1)]


@dataclass(frozen=True, slots=True)
class SourceLine:
    """A place in a phrase file."""

    where: str
    line: int

    def refuse(self, reason: str) -> StartupError:
        """Return the error of a file that is wrong here."""
        return StartupError(f"{self.where}: line {self.line}: {reason}; correct the file")


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """What is looked for in a text: an entry of the file, or a guard. Each is equal to itself alone.

    Attributes:
        text: as it is written.
        phrase: the same, read.
        entries: numbers of the entries that it is or belongs to; none for the guards of the whole file.
    """

    text: str
    phrase: Wording
    language: StatementLanguage
    boundaries: Boundaries
    entries: frozenset[int]
    line: SourceLine


@dataclass(frozen=True, slots=True, eq=False)
class WrittenPhrase(Written):
    """A statement."""

    kind: StatementKind


@dataclass(frozen=True, slots=True, eq=False)
class WrittenGuard(Written):
    """A guard. ``kinds``: of the statements that it turns; all where there are none."""

    place: Place
    kinds: tuple[StatementKind, ...]

    def turns(self, phrase: WrittenPhrase) -> bool:
        """Say whether this guard turns such a statement."""
        return (
            self.language == phrase.language
            and (not self.entries or not self.entries.isdisjoint(phrase.entries))
            and (not self.kinds or phrase.kind in self.kinds)
        )


@dataclass(frozen=True, slots=True)
class CounterExample:
    """A text that holds no statement."""

    text: str
    line: SourceLine


@dataclass(frozen=True)
class WrittenPhrases:
    """A phrase file, read."""

    file: PhraseFile
    phrases: tuple[WrittenPhrase, ...]
    guards: tuple[WrittenGuard, ...]
    counter_examples: tuple[CounterExample, ...]


def load_phrases(path: DataFile) -> WrittenPhrases:
    """Read and check a phrase file.

    Raises:
        StartupError: naming file, line and reason.
    """
    return parse_phrases(read_file(path), str(path))


def parse_phrases(payload: bytes, where: str) -> WrittenPhrases:
    """Check the content of a phrase file.

    Raises:
        StartupError: naming ``where``, line and reason.
    """
    content = parse_yaml(payload, where)
    try:
        file = PhraseFile.model_validate(content)
    except ValidationError as error:
        raise _refusal(error, payload, where) from None
    return _Reader(file, payload, where).read()


def _refusal(error: ValidationError, payload: bytes, where: str) -> StartupError:
    detail = error.errors(include_url=False, include_input=False)[0]
    path: Sequence[Any] = detail["loc"]
    message = detail["msg"].removeprefix("Value error, ")
    key = ".".join(str(part) for part in path)
    return SourceLine(where, line_of(payload, path)).refuse(f"{key}: {message}" if key else message)


class _Reader:
    """Reads what one file writes. Entries are numbered, so that guards know whose they are."""

    def __init__(self, file: PhraseFile, payload: bytes, where: str) -> None:
        self._file, self._payload, self._where = file, payload, where

    def read(self) -> WrittenPhrases:
        phrases: list[WrittenPhrase] = []
        guards = list(self._guards(self._file.guards, ("guards",), frozenset()))
        counter_examples: list[CounterExample] = []
        for number, entry in enumerate(self._file.phrases):
            line = self._line("phrases", number)
            own = frozenset({number})
            phrases.append(WrittenPhrase(*self._written(entry.phrase, own, line), entry.kind))
            guards += self._guards(entry.unless, ("phrases", number, "unless"), own)
            counter_examples += [
                CounterExample(text, self._line("phrases", number, "not", place))
                for place, text in enumerate(entry.counter_examples)
            ]
        return WrittenPhrases(self._file, tuple(phrases), _merged(guards), tuple(counter_examples))

    def _guards(self, guards: Guards, path: tuple[str | int, ...], entries: frozenset[int]) -> Iterator[WrittenGuard]:
        for place in PLACES:
            written: tuple[GuardEntry, ...] = getattr(guards, place)
            for number, guard in enumerate(written):
                line = self._line(*path, place, number)
                text = guard.phrase.replace(_NUMBER, _ANY_DIGIT)
                yield WrittenGuard(*self._written(text, entries, line), place, guard.kinds)

    def _written(
        self, text: str, entries: frozenset[int], line: SourceLine
    ) -> tuple[str, Wording, StatementLanguage, Boundaries, frozenset[int], SourceLine]:
        try:
            return text, parse(text), self._file.language, self._file.boundaries, entries, line
        except InvalidAlternatives as error:
            raise line.refuse(str(error)) from None

    def _line(self, *path: str | int) -> SourceLine:
        return SourceLine(self._where, line_of(self._payload, path))


def _merged(guards: Sequence[WrittenGuard]) -> tuple[WrittenGuard, ...]:
    """Return each guard once, of all entries that have it: it is then looked for, and found, once."""
    merged: dict[tuple[str, Place, tuple[StatementKind, ...]], WrittenGuard] = {}
    for guard in guards:
        other = merged.setdefault((guard.text, guard.place, guard.kinds), guard)
        if other is not guard:
            is_of_the_file = not guard.entries or not other.entries
            entries = frozenset[int]() if is_of_the_file else guard.entries | other.entries
            merged[guard.text, guard.place, guard.kinds] = replace(other, entries=entries)
    return tuple(merged.values())
