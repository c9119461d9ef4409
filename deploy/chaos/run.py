"""One scenario after another on one gateway, within a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deploy.chaos.answers import learn, texts
from deploy.chaos.arena import Arena, Skipped
from deploy.chaos.load import LoadSettings
from deploy.chaos.scenarios import Result, Scenario
from deploy.chaos.tally import Tally, tally
from deploy.errors import DeployError
from deploy.gateway.local import LocalOptions, local_gateway

REPLICAS: Final = 2
HANG_TIMEOUT_S: Final = 3.0
_GATEWAY: Final[dict[str, Any]] = {"rate_per_s": 1000, "burst": 1000, "client_timeout_s": 3, "in_flight": 256}
"""Of the gateway that is attacked: limits that the load itself does not meet, and less patience than in earnest."""


@dataclass(frozen=True)
class Outcome:
    """What a scenario came to.

    Attributes:
        name, title: of the scenario.
        seconds: what it took.
        skipped: why it was not run; empty where it was.
        tally: what callers got; ``None`` where it was not run to its end.
        recovery_s: seconds from the fault until every replica was used again, where something was broken.
        failures: what should not be; empty where all is well.
        notes: what else was seen.
    """

    name: str
    title: str
    seconds: float
    skipped: str = ""
    tally: Tally | None = None
    recovery_s: float | None = None
    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@contextmanager
def open_arena(
    archive: Path, model: str, folder: Path, settings: LoadSettings, say: Callable[[str], None]
) -> Iterator[Arena]:
    """Start the gateway and learn the answers."""
    options = LocalOptions(
        archive=archive,
        folder=folder,
        replicas=REPLICAS,
        model=model,
        replica_options=(f"--hang-timeout={HANG_TIMEOUT_S}",),
        clients=("modest", "flooding"),
        options=_GATEWAY,
    )
    with local_gateway(options, say) as gateway:
        with gateway.rest(timeout=30.0) as client:
            known = learn(client.classify, texts())
        yield Arena(gateway, known, archive.absolute(), folder, settings, say)


def run_all(arena: Arena, scenarios: Sequence[Scenario], limit_s: float) -> Iterator[Outcome]:
    """Run ``scenarios``; one that would not end within ``limit_s`` from now is not begun."""
    ends = time.monotonic() + limit_s
    for scenario in scenarios:
        if time.monotonic() + scenario.seconds > ends:
            yield Outcome(scenario.name, scenario.title, 0.0, skipped=f"no time left of {limit_s:.0f} s")
            continue
        arena.say(f"{scenario.name}: {scenario.title}")
        yield run_one(arena, scenario)


def run_one(arena: Arena, scenario: Scenario) -> Outcome:
    """Run one scenario and leave the arena as it was."""
    began = time.monotonic()
    arena.notes.clear()
    skipped, result = "", Result([])
    try:
        result = scenario.run(arena)
    except Skipped as reason:
        skipped = str(reason)
    except DeployError as error:
        result = Result([], None, [str(error)])
    failures = [*result.failures, *_whole_again(arena)]
    if skipped:
        return Outcome(scenario.name, scenario.title, time.monotonic() - began, skipped, failures=tuple(failures))
    counts = tally(result.samples)
    return Outcome(
        name=scenario.name,
        title=scenario.title,
        seconds=time.monotonic() - began,
        tally=counts,
        recovery_s=result.recovery_s,
        failures=(*failures, *judge(counts, scenario.allowed)),
        notes=tuple(arena.notes),
    )


def _whole_again(arena: Arena) -> Iterator[str]:
    try:
        arena.make_whole()
    except DeployError as error:
        yield f"the replicas did not come back: {error}"


def judge(counts: Tally, allowed: frozenset[str]) -> Iterator[str]:
    """Name what callers got that they must not get."""
    named = {"wrong answers": counts.wrong, "duplicated answers": counts.duplicated, "lost calls": counts.lost}
    yield from (f"{count} {what}" for what, count in named.items() if count)
    yield from (f"{count} calls ended with {code}" for code, count in counts.errors.items() if code not in allowed)
    if not counts.answered:
        yield "nobody was answered, so nothing was shown"
