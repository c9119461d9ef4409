"""What the handler reports of itself. No event has a field that could hold a text.

Events are the only thing that is logged or counted: a fixed name and numbers or names of our
own making, so that nothing a writer wrote can reach a log or a metric through them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final, Protocol

from handlers.core.caller import Caller

OK: Final = "ok"
"""What stands in the place of an error code where there is no error."""


@dataclass(frozen=True)
class Loaded:
    """The worker is warm: what it serves, and the seconds that loading and warm-up took."""

    version: str
    checkpoint: str
    revision: str
    runtime: str
    precision: str
    device: str
    calibration: str
    labels: tuple[str, ...]
    load_s: float
    warm_up_s: float


@dataclass(frozen=True)
class SubBatchDone:
    """One run of the engine: its inputs, their tokens, the same with padding, and its seconds."""

    inputs: int
    tokens: int
    padded_tokens: int
    run_s: float


@dataclass(frozen=True)
class EngineRun:
    """A run that held inputs of a text: when it ended, its seconds, and the tokens of each of its inputs."""

    ended: float
    seconds: float
    lengths: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Tokens of all inputs."""
        return sum(self.lengths)

    @property
    def padded_tokens(self) -> int:
        """The same with padding."""
        return max(self.lengths, default=0) * len(self.lengths)


@dataclass(frozen=True)
class LabelScored:
    """What one label came out as."""

    label: str
    score: float
    positive: bool


@dataclass(frozen=True)
class TextDone:
    """One text on its way through the stages. Times are of the pipeline's clock, durations in seconds.

    Attributes:
        code: ``OK``, or the code of the error that it was answered with.
        tokens: 0 where it was not tokenized, or refused as too long.
        windows: model inputs that it took.
        handling: what was done as it is longer than the model takes: ``window``, ``head``, ``head_tail`` or
            ``reject``; ``none`` where it is not.
        tokenized_at: when it could have been run.
        runs: what it was run in.
        decide_at: when it was scored.
        floor_s: for which explicit statements were looked for.
        tier: of the decision; empty where nothing was decided.
        uncertain: whether the decision was.
    """

    code: str
    tokens: int
    windows: int
    handling: str
    tokenized_at: float
    tokenize_s: float
    queue_s: float
    runs: tuple[EngineRun, ...]
    decide_at: float
    decide_s: float
    scores: tuple[LabelScored, ...]
    tier: str
    uncertain: bool
    floor_s: float = 0.0


@dataclass(frozen=True)
class RequestDone:
    """One request was answered.

    Attributes:
        caller: where it came from.
        code: ``OK``, or an error code; of ``entries`` the first that is a fault of the service.
        arrived, ended: second of the pipeline's clock at which it came, and at which its answer was there.
        texts: what could be read of it.
        refused: codes of what could not: of the whole request, or of single ``entries``.
    """

    caller: Caller
    code: str
    arrived: float
    ended: float
    texts: tuple[TextDone, ...] = ()
    refused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fault:
    """A fault of ours. The id is in the answer; the place is file, line and function of our code."""

    fault_id: str
    exception: str
    place: str


@dataclass(frozen=True)
class Decided:
    """One decision: its tier, its actions as ``(action, status, reason)``, each once, and whether it was uncertain.

    ``statements``: kinds and languages of what the floor found, as pairs, each once.
    """

    tier: str
    actions: tuple[tuple[str, str, str], ...]
    uncertain: bool
    statements: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class PolicyChanged:
    """The policy file was ``reloaded``, or ``refused`` with the reason, or the policy in force has ``expired``.

    After the latter two the policy before it stays in force.
    """

    outcome: str
    sha256: str
    message: str


@dataclass(frozen=True)
class RecordsOpened:
    """Where the chain of decision records stands at the start: an anchor for whoever keeps it elsewhere."""

    last_hash: str
    torn_bytes: int
    keyed: bool


@dataclass(frozen=True)
class RecordsFailed:
    """Decisions could not be recorded: how many wait for the next attempt, and how many are lost."""

    message: str
    waiting: int
    lost: int


@dataclass(frozen=True)
class RecordsRecovered:
    """What could not be recorded before is recorded now: so many decisions."""

    written: int


@dataclass(frozen=True)
class SpansLost:
    """Spans of traces that did not reach their collector."""

    spans: int


Event = (
    Loaded
    | SubBatchDone
    | RequestDone
    | Fault
    | Decided
    | PolicyChanged
    | RecordsOpened
    | RecordsFailed
    | RecordsRecovered
    | SpansLost
)


class EventSink(Protocol):
    """Where events go: a log, a metric, a test's list."""

    def __call__(self, event: Event) -> None:
        """Take one event."""


def event_line(event: Event) -> str:
    """Return the event as one line of JSON."""
    return json.dumps({"event": type(event).__name__, **asdict(event)})
