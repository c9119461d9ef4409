"""Known weaknesses of the libraries, and what stands before each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter

FILE: Final = Path(__file__).with_name("weaknesses.yaml")
Sentence = Annotated[str, StringConstraints(min_length=10)]


class Weakness(BaseModel):
    """One entry of ``weaknesses.yaml``.

    Attributes:
        id: of the CVE.
        library: name of the entry of the inventory that has it.
        fixed_in: the first version without it.
        state: ``exploitable`` where only the fence keeps a request from it.
        what, fence: one clause each.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, StringConstraints(pattern=r"^CVE-\d{4}-\d{4,}$")]
    library: str
    fixed_in: str
    state: Literal["exploitable", "not_affected"]
    what: Sentence
    fence: Sentence


def known_weaknesses() -> list[Weakness]:
    """Return what the file says."""
    return TypeAdapter(list[Weakness]).validate_python(yaml.safe_load(FILE.read_text(encoding="utf-8")))
