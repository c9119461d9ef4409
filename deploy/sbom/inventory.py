"""What one entry of the inventory says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

STATED: Final = 1.0
INFERRED: Final = 0.7


@dataclass(frozen=True)
class Entry:
    """One library.

    Attributes:
        kind: package type as in a package URL.
        group, name, version: the version is ``None`` where nothing says it.
        licence: SPDX expression, or the words of the package itself; ``None`` where nothing says it.
        evidence: what the version was read from.
        confidence: 1 where the library itself states its version, less where it is concluded.
        sha256: of the file, where it is one file.
        within: name of the entry that holds it, ``None`` for what is installed by itself.
        needs: names of entries of the same kind that it needs.
        package: its name in its registry, where ``name`` says more than that.
    """

    kind: Literal["pypi", "maven", "generic"]
    name: str
    version: str | None
    evidence: str
    group: str | None = None
    licence: str | None = None
    confidence: float = STATED
    sha256: str | None = None
    within: str | None = None
    needs: tuple[str, ...] = ()
    package: str | None = None

    @property
    def reference(self) -> str:
        """A name that no other entry has."""
        inside = f"{self.within}/" if self.within else ""
        group = f"{self.group}:" if self.group else ""
        return f"{self.kind}:{inside}{group}{self.name}@{self.version or 'unknown'}"
