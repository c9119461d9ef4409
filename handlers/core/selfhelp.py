"""The self-help catalogue: short things to do, offered by label, never as treatment."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, datetime, time
from functools import cached_property
from itertools import chain, islice, zip_longest
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from handlers.core.directory import AgeBand, Language, RecordId, Url, Words, language_of
from handlers.core.yamldata import DataFile, FrozenData, parse_yaml, read_file, validate_records

CATALOGUE_NAME: Final = "self_help.yaml"
FALLBACK_LANGUAGE: Final = "en"
"""Language of what is offered where the reader's has nothing."""
DAY_BEGINS: Final = time(6)
EVENING_BEGINS: Final = time(18)

LabelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
CheckId = RecordId
Age = Literal["all", "adult", "minor"]
When = Literal["no_lines", "day", "evening"]


class Review(FrozenData):
    """Who read the words before they were used: ``by`` whom, ``on`` which day, in what ``role``."""

    by: Words
    on: date
    role: Words


class ChecklistQuestion(FrozenData):
    """One question that every item was held against; the answer must be yes."""

    id: CheckId
    question: Words


class SelfHelpItem(FrozenData):
    """One exercise or idea.

    Attributes:
        id: unique within its language; translations of an item share it.
        title: what it is, in a few words.
        steps: what to do, in order.
        labels: risk labels that it is offered for.
        not_for: labels under which it could do harm: it is never offered while one of them holds.
        age: ``adult`` for adults only, whose age is known; ``minor`` for those who are, or may be, under age.
        when: all must hold: no crisis lines are shown (``no_lines``), it is ``day`` or ``evening`` for the reader.
        minutes: how long it takes, about.
        language: ISO 639 code of the words.
        seek_help: when to turn to a person instead, where that fits.
        checked: ids of the checklist's questions that these words were held against.
    """

    id: RecordId
    title: Words
    steps: Annotated[tuple[Words, ...], Field(strict=False, min_length=3, max_length=6)]
    labels: Annotated[tuple[LabelName, ...], Field(strict=False, min_length=1)]
    not_for: Annotated[tuple[LabelName, ...], Field(strict=False)] = ()
    age: Age = "all"
    when: Annotated[tuple[When, ...], Field(strict=False)] = ()
    minutes: Annotated[int, Field(ge=1, le=60)]
    language: Language
    seek_help: Words | None = None
    checked: Annotated[tuple[CheckId, ...], Field(strict=False)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels: a label is there twice")
        if both := set(self.labels).intersection(self.not_for):
            raise ValueError(f"not_for: {min(both)} is under labels too")
        if {"day", "evening"} <= set(self.when):
            raise ValueError("when: it is never day and evening, so the item would never be offered")
        return self

    @property
    def conditions(self) -> tuple[frozenset[str], Age, frozenset[str]]:
        """When it may be offered at all: the same in every language."""
        return frozenset(self.not_for), self.age, frozenset(self.when)


class Catalogue(FrozenData):
    """``self_help.yaml`` as data.

    Attributes:
        notice: what these items are and are not.
        reviewed: who held the items against the checklist.
        checklist: what every item was held against.
        checklist_sources: the guidance that it follows.
        items: in the order in which they are preferred.
    """

    schema_version: Literal[1]
    notice: Words
    reviewed: Review
    checklist: Annotated[tuple[ChecklistQuestion, ...], Field(strict=False, min_length=1)]
    checklist_sources: Annotated[tuple[Url, ...], Field(strict=False, min_length=1)]
    items: Annotated[tuple[SelfHelpItem, ...], Field(strict=False)]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        questions = [question.id for question in self.checklist]
        if len(set(questions)) != len(questions):
            raise ValueError("checklist: a question is there twice")
        seen: dict[str, SelfHelpItem] = {}
        languages: set[tuple[str, str]] = set()
        for item in self.items:
            if (item.id, item.language) in languages:
                raise ValueError(f"{item.id}: id: there is another item of this id in the language {item.language}")
            if seen.setdefault(item.id, item).conditions != item.conditions:
                raise ValueError(f"{item.id}: not_for, age and when must be the same in {item.language} as elsewhere")
            _check_checked(item, questions)
            languages.add((item.id, item.language))
        if not any(item.language == FALLBACK_LANGUAGE for item in self.items):
            raise ValueError(f"items: there must be an item in {FALLBACK_LANGUAGE}, as the others fall back to it")
        return self

    def labels(self) -> tuple[str, ...]:
        """Return every label that an item is for, sorted."""
        return tuple(sorted({label for item in self.items for label in item.labels}))

    @cached_property
    def _conditional(self) -> tuple[SelfHelpItem, ...]:
        """The items that are not for everybody at any time."""
        return tuple(item for item in self.items if item.not_for or item.when or item.age != "all")

    @cached_property
    def _shelves(self) -> dict[tuple[str, str], tuple[SelfHelpItem, ...]]:
        """The items of each language and label, in the order of the file."""
        shelves: dict[tuple[str, str], list[SelfHelpItem]] = {}
        for item in self.items:
            for label in item.labels:
                shelves.setdefault((item.language, label), []).append(item)
        return {place: tuple(items) for place, items in shelves.items()}

    def _queues(
        self, labels: Sequence[str], language: str, age_band: AgeBand | None, unfit: Collection[str]
    ) -> list[list[SelfHelpItem]]:
        """Return for each label that has any its items in ``language`` and then those in English."""
        queues = []
        for label in dict.fromkeys(labels):
            queue: list[SelfHelpItem] = []
            for one in dict.fromkeys((language, FALLBACK_LANGUAGE)):
                shelf = [item for item in self._shelves.get((one, label), ()) if item.id not in unfit]
                queue += sorted(shelf, key=lambda item: item.age != "minor") if age_band == "minor" else shelf
            if queue:
                queues.append(queue)
        return queues

    def pick(
        self,
        labels: Sequence[str],
        locale: str | None,
        count: int,
        *,
        avoid: Collection[str] = (),
        age_band: AgeBand | None = None,
        lines_shown: bool = False,
        at: datetime | None = None,
        offered: Sequence[str] = (),
    ) -> tuple[SelfHelpItem, ...]:
        """Choose up to ``count`` items, no id twice; the same arguments give the same items.

        What was not offered before comes first, then what was offered longest ago. Among those, each
        label in turn gives its next item, so that none is forgotten; within a label an item of the
        reader's language comes before an English one, for a minor what is for minors before the rest, and
        then the order of the file holds. What falls back to English says so by its ``language``. Where no
        item is for any of the labels, all labels of the catalogue take their turn.

        Args:
            labels: most important first; repeated and unknown ones are passed over.
            locale: of the reader, such as ``de`` or ``de-AT``; ``None`` is English.
            count: items wanted; fewer come only where the catalogue has no more for the labels.
            avoid: labels that hold for the writer; what is ``not_for`` one of them is never offered.
            age_band: of the reader. Where it is not known, nothing for adults only is offered.
            lines_shown: crisis lines are shown beside the items.
            at: the reader's own time; an unknown one fits every item.
            offered: ids offered before, most recent first; repeated and unknown ones are passed over.
        """
        language = language_of(locale) or FALLBACK_LANGUAGE

        unfit = {item.id for item in self._conditional if not _fits(item, avoid, age_band, lines_shown, at)}
        queues = self._queues(labels, language, age_band, unfit)
        queues = queues or self._queues(self.labels(), language, age_band, unfit)
        chosen: dict[str, SelfHelpItem] = {}
        for item in filter(None, chain.from_iterable(zip_longest(*queues))):
            chosen.setdefault(item.id, item)
            if not offered and len(chosen) == count:
                return tuple(chosen.values())
        ages = {name: age for age, name in reversed(list(enumerate(offered)))}
        never = len(offered)
        rotated = sorted(chosen.values(), key=lambda item: ages.get(item.id, never), reverse=True)
        return tuple(islice(rotated, count))


def _fits(
    item: SelfHelpItem, avoid: Collection[str], age_band: AgeBand | None, lines_shown: bool, at: datetime | None
) -> bool:
    if any(label in avoid for label in item.not_for):
        return False
    if (item.age == "adult" and age_band != "adult") or (item.age == "minor" and age_band == "adult"):
        return False
    if lines_shown and "no_lines" in item.when:
        return False
    daytime = None if at is None else DAY_BEGINS <= at.time() < EVENING_BEGINS
    return not ((daytime is False and "day" in item.when) or (daytime is True and "evening" in item.when))


def _check_checked(item: SelfHelpItem, questions: Sequence[str]) -> None:
    """Refuse an item whose words were not held against exactly the questions of the checklist."""
    missing = [question for question in questions if question not in item.checked]
    if missing:
        raise ValueError(f"{item.id}: checked: {missing[0]} is missing; check the item for it, then add it")
    unknown = [check for check in item.checked if check not in questions]
    if unknown:
        raise ValueError(f"{item.id}: checked: {unknown[0]} is not in the checklist")
    if len(item.checked) != len(questions):
        raise ValueError(f"{item.id}: checked: a question is there twice")


def load_catalogue(path: DataFile) -> Catalogue:
    """Read and check the catalogue file.

    Raises:
        StartupError: naming file, item and key.
    """
    return parse_catalogue(read_file(path), str(path))


def parse_catalogue(payload: bytes, where: str) -> Catalogue:
    """Check the content of a catalogue file.

    Raises:
        StartupError: naming ``where``, the item by its id, and the key that is wrong.
    """
    return validate_records(Catalogue, parse_yaml(payload, where), where, "items")
