"""The Python packages of the server image: what a requirements file names, and all that they need."""

from __future__ import annotations

import importlib.metadata as metadata
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.errors import DeployError
from deploy.sbom.inventory import Entry

_CLASSIFIER: Final = "License :: OSI Approved :: "
_LONGEST_LICENCE: Final = 100
"""Characters: some packages put the whole text into the field."""


def python_packages(requirements: Path) -> list[Entry]:
    """Return the installed packages of a requirements file, in the versions that its constraints pin.

    Raises:
        DeployError: a package is missing here, or is there in another version than the pinned one.
    """
    pins = _pins(requirements)
    found: dict[str, Entry] = {}
    waiting = list(_requirements(requirements))
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in found:
            continue
        distribution = _installed(name, requirements)
        needs = list(_needs(distribution, requirement.extras))
        _check_pin(distribution, pins)
        found[name] = _entry(distribution, name, tuple(sorted({canonicalize_name(need.name) for need in needs})))
        waiting += needs
    return [found[name] for name in sorted(found)]


def _requirements(path: Path) -> Iterator[Requirement]:
    for line in _lines(path):
        if line.startswith("-r "):
            yield from _requirements(path.parent / line[3:].strip())
        elif not line.startswith("-"):
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate():
                yield requirement


def _pins(path: Path) -> dict[str, str]:
    files = [path.parent / line[3:].strip() for line in _lines(path) if line.startswith("-c ")]
    pinned = (line.partition("==") for file in files for line in _lines(file) if "==" in line)
    return {canonicalize_name(name): version for name, _, version in pinned}


def _lines(path: Path) -> Iterator[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DeployError(f"cannot read {path}: {error.strerror}") from None
    yield from (line for raw in text.splitlines() if (line := raw.partition("#")[0].strip()))


def _installed(name: str, requirements: Path) -> metadata.Distribution:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise DeployError(f"{name} is not installed here; pip install -r {requirements}") from None


def _needs(distribution: metadata.Distribution, extras: set[str]) -> Iterator[Requirement]:
    for text in distribution.requires or ():
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def _check_pin(distribution: metadata.Distribution, pins: Mapping[str, str]) -> None:
    name = canonicalize_name(distribution.name)
    installed = distribution.version.partition("+")[0]
    pinned = pins.get(name, installed)
    if installed != pinned:
        raise DeployError(f"{name} is {distribution.version} here and {pinned} is pinned; run make setup")


def _entry(distribution: metadata.Distribution, name: str, needs: tuple[str, ...]) -> Entry:
    return Entry(
        "pypi",
        name,
        distribution.version,
        evidence="metadata of the installed package",
        licence=_licence(distribution),
        needs=needs,
    )


def _licence(distribution: metadata.Distribution) -> str | None:
    told = distribution.metadata
    words = next((told[field] for field in ("License-Expression", "License") if field in told), "")
    if words and "\n" not in words and len(words) <= _LONGEST_LICENCE and words.upper() != "UNKNOWN":
        return re.sub(r"\s+", " ", words)
    classifiers = [line for line in told.get_all("Classifier") or () if line.startswith(_CLASSIFIER)]
    return " AND ".join(sorted(line.removeprefix(_CLASSIFIER) for line in classifiers)) or None
