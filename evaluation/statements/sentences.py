"""The labelled sentences, read strictly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Final, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from evaluation.errors import EvaluationError
from handlers.core.statements import StatementKind, StatementLanguage

SETS: Final = Path(__file__).parent

StatementFamily = Literal["direct", "slang", "spelling"]
OppositeFamily = Literal["figure", "other_person", "bereavement", "fiction", "recovered", "negated", "distress"]
Family = Literal[StatementFamily, OppositeFamily, "indirect"]

STATEMENTS: Final[tuple[StatementFamily, ...]] = get_args(StatementFamily)
OPPOSITES: Final[tuple[OppositeFamily, ...]] = get_args(OppositeFamily)
FAMILIES: Final[tuple[Family, ...]] = (*STATEMENTS, *OPPOSITES, "indirect")


class Sentence(BaseModel):
    """One labelled text.

    Attributes:
        explicit: whether it makes an explicit statement; ``None`` where it is only meant (``indirect``).
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    text: Annotated[str, Field(min_length=1)]
    language: StatementLanguage
    family: Family
    explicit: bool | None
    kind: StatementKind | None = None

    @model_validator(mode="after")
    def _fit(self) -> Self:
        expected = None if self.family == "indirect" else self.family in STATEMENTS
        if self.explicit is not expected:
            raise ValueError(f"explicit must be {json.dumps(expected)} in the family {self.family}")
        if (self.kind is not None) != bool(self.explicit):
            raise ValueError("a kind belongs to explicit statements, and to them alone")
        return self


def read_sentences(file: Path) -> list[Sentence]:
    """Read a set of one language.

    Raises:
        EvaluationError: naming file and line.
    """
    lines = file.read_text(encoding="utf-8").splitlines()
    return [_sentence(line, f"{file}: line {number}") for number, line in enumerate(lines, 1)]


def read_set(name: str) -> list[Sentence]:
    """Read the set ``development`` or ``test``, in all its languages."""
    return [sentence for file in sorted((SETS / name).glob("*.jsonl")) for sentence in read_sentences(file)]


def _sentence(line: str, where: str) -> Sentence:
    try:
        return Sentence.model_validate_json(line)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        path = ".".join(map(str, detail["loc"]))
        raise EvaluationError(f"{where}: {path}: {detail['msg']}") from None
