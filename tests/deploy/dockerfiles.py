"""Dockerfiles as data: the instructions of each stage, with its parents' before them."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from dockerfile_parse import DockerfileParser  # type: ignore[import-untyped]

ROOT: Final = Path(__file__).resolve().parents[2]
CONTAINERS: Final = ROOT / "deploy" / "containers"


@dataclass(frozen=True)
class Copy:
    """Files that an image gets: ``source`` is a path of the repository, or of ``stage`` where there is one."""

    sources: tuple[str, ...]
    target: str
    stage: str | None


@dataclass(frozen=True)
class Stage:
    """One stage, what it is built on included; the base image is not."""

    base: str
    instructions: tuple[tuple[str, str], ...]

    def values(self, name: str) -> list[str]:
        """What follows every instruction of that name."""
        return [value for instruction, value in self.instructions if instruction == name]

    def last(self, name: str) -> str:
        """What follows the instruction that counts."""
        return self.values(name)[-1]

    def words(self, name: str) -> list[str]:
        """An instruction in exec form."""
        words: list[str] = json.loads(self.last(name))
        return words

    @property
    def copies(self) -> list[Copy]:
        """Every COPY."""
        return [_copy(value) for value in self.values("COPY")]

    @property
    def environment(self) -> dict[str, str]:
        """Every ENV."""
        pairs = (word.partition("=") for value in self.values("ENV") for word in shlex.split(value))
        return {name: value for name, _, value in pairs}


def stages(name: str) -> dict[str, Stage]:
    """Return the stages of ``deploy/containers/NAME``."""
    found: dict[str, Stage] = {}
    current = ""
    for part in _structure(name):
        instruction, value = part["instruction"], part["value"]
        if instruction == "FROM":
            base, _, current = re.split(r"\s+", value)
            inherited = found[base].instructions if base in found else ()
            found[current] = Stage(found[base].base if base in found else base, inherited)
        elif current and instruction != "COMMENT":
            stage = found[current]
            found[current] = Stage(stage.base, (*stage.instructions, (instruction, value)))
    return found


def arguments(name: str) -> dict[str, str]:
    """Return the ARGs before the first FROM, with their defaults."""
    before = []
    for part in _structure(name):
        if part["instruction"] == "FROM":
            break
        before += [part["value"]] if part["instruction"] == "ARG" else []
    return dict(argument.split("=", 1) for argument in before)


def _structure(name: str) -> list[dict[str, Any]]:
    parsed: list[dict[str, Any]] = DockerfileParser(fileobj=BytesIO((CONTAINERS / name).read_bytes())).structure
    return parsed


def _copy(value: str) -> Copy:
    words = value.split()
    stage = next((word.removeprefix("--from=") for word in words if word.startswith("--from=")), None)
    *sources, target = (word for word in words if not word.startswith("--"))
    return Copy(tuple(sources), target, stage)
