"""What a run has measured so far, as plain records: written after each round, read again to go on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.engine.child import Footprint
from benchmarks.engine.contenders import Contender
from benchmarks.errors import BenchmarkError


@dataclass(frozen=True)
class Setup:
    """What must be the same for two runs to be one.

    Attributes:
        checkpoint, revision: what every contender runs.
        contenders: engines, in the order of the tables.
        lengths: tokens of the inputs, batch 1.
        batches, batch_lengths: batch sizes that Lantern's own engines are timed at, and their lengths.
        memory_lengths: lengths that memory is measured at.
        machine: as ``describe_machine``.
        flops: needed operations by length (``needed_flops``), in the order of ``lengths``.
        vocabulary: ids that inputs are drawn from.
    """

    checkpoint: str
    revision: str
    contenders: tuple[Contender, ...]
    lengths: tuple[int, ...]
    batches: tuple[int, ...]
    batch_lengths: tuple[int, ...]
    memory_lengths: tuple[int, ...]
    machine: dict[str, Any]
    flops: tuple[float, ...]
    vocabulary: int


@dataclass(frozen=True)
class Timing:
    """Seconds of one run (the median of its repeats) in one round."""

    round: int
    engine: str
    tokens: int
    batch: int
    seconds: float


@dataclass(frozen=True)
class Rate:
    """Operations a second of the dense products, timed beside the runs of one length in one round."""

    round: int
    tokens: int
    rates: dict[str, dict[str, float]]


@dataclass(frozen=True)
class FirstRun:
    """Seconds of an engine's first call at a length: compilation, first allocations."""

    engine: str
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Unmeasured:
    """A figure that is not there, and why; ``tokens`` is ``None`` where it is a whole engine."""

    engine: str
    what: str
    tokens: int | None
    reason: str


@dataclass
class Measurements:
    """Everything that was measured under one setup.

    Attributes:
        rounds: rounds that are complete.
        complete: whether nothing is left to do.
    """

    setup: Setup
    command: str
    rounds: int = 0
    complete: bool = False
    timings: list[Timing] = field(default_factory=list)
    rates: list[Rate] = field(default_factory=list)
    first_runs: list[FirstRun] = field(default_factory=list)
    footprints: list[Footprint] = field(default_factory=list)
    unmeasured: list[Unmeasured] = field(default_factory=list)

    def seconds(self, engine: str, tokens: int, batch: int = 1) -> dict[int, float]:
        """Return what was timed, by round."""
        return {
            timing.round: timing.seconds
            for timing in self.timings
            if (timing.engine, timing.tokens, timing.batch) == (engine, tokens, batch)
        }

    def rates_at(self, tokens: int) -> dict[int, dict[str, dict[str, float]]]:
        """Return the rates of the dense products beside runs of ``tokens``, by round."""
        return {rate.round: rate.rates for rate in self.rates if rate.tokens == tokens}

    def footprint(self, engine: str, tokens: int) -> Footprint | None:
        """Return the memory of an engine at a length, if it was measured."""
        found = (one for one in self.footprints if (one.engine, one.tokens) == (engine, tokens))
        return next(found, None)

    def leave_out(self, gap: Unmeasured) -> None:
        """Note what is not measured, once."""
        if gap not in self.unmeasured:
            self.unmeasured.append(gap)

    def drop_unfinished_round(self) -> None:
        """Forget what belongs to a round that did not end, so that each round holds every engine."""
        self.timings = [timing for timing in self.timings if timing.round <= self.rounds]
        self.rates = [rate for rate in self.rates if rate.round <= self.rounds]


def read_measurements(path: Path) -> Measurements | None:
    """Read what ``python -m benchmarks engine`` has written; ``None`` where there is nothing of the kind.

    Raises:
        BenchmarkError: the file is not JSON.
    """
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise BenchmarkError(f"{path} is not JSON ({error}): remove it, or give another --out") from None
    if not isinstance(data, dict) or "setup" not in data:
        return None  # of an earlier format: there is nothing to go on from
    return Measurements(
        setup=_setup(data["setup"]),
        command=data["command"],
        rounds=data["rounds"],
        complete=data["complete"],
        timings=[Timing(**fields) for fields in data["timings"]],
        rates=[Rate(**fields) for fields in data["rates"]],
        first_runs=[FirstRun(**fields) for fields in data["first_runs"]],
        footprints=[Footprint(**fields) for fields in data["footprints"]],
        unmeasured=[Unmeasured(**fields) for fields in data["unmeasured"]],
    )


def as_json(measurements: Measurements, summary: dict[str, Any]) -> str:
    """Return the measurements as JSON, what they come to (``summary``) first."""
    return json.dumps({"summary": summary} | asdict(measurements), indent=1) + "\n"


def resume_or_start(found: Measurements | None, setup: Setup, command: str) -> Measurements:
    """Return what is to be gone on with: an unfinished run of the same setup, else an empty one."""
    if found is None or found.complete or found.setup != setup:
        return Measurements(setup, command)
    found.command = command
    found.unmeasured = []  # what still cannot be measured is found out again
    found.drop_unfinished_round()
    return found


def _setup(fields: dict[str, Any]) -> Setup:
    contenders = tuple(Contender(**contender) for contender in fields.pop("contenders"))
    return Setup(contenders=contenders, **{key: _tuple(value) for key, value in fields.items()})


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def names(contenders: Iterable[Contender]) -> list[str]:
    """Return the names of contenders, in order."""
    return [contender.name for contender in contenders]
