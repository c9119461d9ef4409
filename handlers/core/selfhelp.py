"""The self-help catalogue: short things to do, offered by label, never as treatment."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, zip_longest
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from handlers.core.directory import Language, RecordId, Words
from handlers.core.yamldata import DataFile, parse_yaml, read_file, validate_records

CATALOGUE_NAME: Final = "self_help.yaml"
FALLBACK_LANGUAGE: Final = "en"
"""Language of what is offered where the reader's has nothing."""

LabelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class SelfHelpItem(_Frozen):
    """One exercise or idea.

    Attributes:
        id: unique within its language; translations of an item share it.
        title: what it is, in a few words.
        steps: what to do, in order.
        labels: risk labels that it is offered for.
        minutes: how long it takes, about.
        language: ISO 639 code of the words.
        seek_help: when to turn to a person instead, where that fits.
    """

    id: RecordId
    title: Words
    steps: Annotated[tuple[Words, ...], Field(strict=False, min_length=3, max_length=6)]
    labels: Annotated[tuple[LabelName, ...], Field(strict=False, min_length=1)]
    minutes: Annotated[int, Field(ge=1, le=60)]
    language: Language
    seek_help: Words | None = None

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels: a label is there twice")
        return self


class Catalogue(_Frozen):
    """``self_help.yaml`` as data.

    Attributes:
        notice: what these items are and are not.
        items: in the order in which they are preferred.
    """

    schema_version: Literal[1]
    notice: Words
    items: Annotated[tuple[SelfHelpItem, ...], Field(strict=False)]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        seen: set[tuple[str, str]] = set()
        for item in self.items:
            if (item.id, item.language) in seen:
                raise ValueError(f"{item.id}: id: there is another item of this id in the language {item.language}")
            seen.add((item.id, item.language))
        if not any(item.language == FALLBACK_LANGUAGE for item in self.items):
            raise ValueError(f"items: there must be an item in {FALLBACK_LANGUAGE}, as the others fall back to it")
        return self

    def labels(self) -> tuple[str, ...]:
        """Return every label that an item is for, sorted."""
        return tuple(sorted({label for item in self.items for label in item.labels}))

    def pick(self, active_labels: Sequence[str], locale: str | None, count: int) -> tuple[SelfHelpItem, ...]:
        """Choose up to ``count`` items, no id twice; the same arguments give the same items.

        Each label in turn gives its next item, so that none is forgotten; within a label an item of
        the reader's language comes before an English one, and then the order of the file holds. What
        falls back to English says so by its ``language``. Where no item is for any of the labels, all
        labels of the catalogue take their turn.

        Args:
            active_labels: most important first; repeated and unknown ones are passed over.
            locale: of the reader, such as ``de`` or ``de-AT``; ``None`` is English.
            count: items wanted; fewer come only where the catalogue has no more for the labels.
        """
        language = locale.replace("_", "-").split("-")[0].lower() if locale else FALLBACK_LANGUAGE
        queues = self._queues(active_labels, language) or self._queues(self.labels(), language)
        chosen: dict[str, SelfHelpItem] = {}
        for turn in zip_longest(*queues):
            for item in filter(None, turn):
                chosen.setdefault(item.id, item)
        return tuple(islice(chosen.values(), count))

    def _queues(self, labels: Sequence[str], language: str) -> list[list[SelfHelpItem]]:
        """Return for each label that has any its items in ``language`` and then those in English."""
        languages = dict.fromkeys((language, FALLBACK_LANGUAGE))
        readable = [item for one in languages for item in self.items if item.language == one]
        queues = ([item for item in readable if label in item.labels] for label in dict.fromkeys(labels))
        return [queue for queue in queues if queue]


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
