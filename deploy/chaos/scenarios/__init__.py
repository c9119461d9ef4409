"""What a scenario is, and what it brings; the list of them is ``deploy.chaos.catalogue``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from deploy.chaos.arena import Arena
from deploy.chaos.tally import Sample
from handlers.core.errors import DRAINING, OVERLOADED, UNAVAILABLE

RETRIABLE: Final = frozenset(kind.code for kind in (OVERLOADED, DRAINING, UNAVAILABLE))


@dataclass(frozen=True)
class Result:
    """What a scenario brought.

    Attributes:
        samples: every call during it.
        recovery_s: seconds from the fault until all replicas were ready and used; ``None`` where nothing was broken.
        failures: what went otherwise than it should, besides what the calls show.
    """

    samples: list[Sample]
    recovery_s: float | None = None
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Scenario:
    """One fault.

    Attributes:
        name: on the command line.
        title: in the report.
        run: breaks something in the arena while callers call.
        allowed: codes of errors that callers may be left with; none on a planned stop.
        seconds: what it takes, about.
    """

    name: str
    title: str
    run: Callable[[Arena], Result]
    allowed: frozenset[str]
    seconds: float


NOTHING: Final[frozenset[str]] = frozenset()
