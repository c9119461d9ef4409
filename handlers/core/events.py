"""What the handler reports of itself. No event has a field that could hold a text.

Events are the only thing that is logged or counted: a fixed name and numbers or names of our
own making, so that nothing a writer wrote can reach a log or a metric through them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Protocol


@dataclass(frozen=True)
class Loaded:
    """The worker is warm: what it serves, and the seconds that loading and warm-up took."""

    checkpoint: str
    revision: str
    runtime: str
    precision: str
    device: str
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
class BatchDone:
    """Texts that were answered together. Seconds are over all of them, but ``queue_s`` has one wait for each."""

    items: int
    tokens: int
    tokenize_s: float
    queue_s: tuple[float, ...]
    decide_s: float


@dataclass(frozen=True)
class ItemFailed:
    """One text was answered with an error of this code."""

    code: str


@dataclass(frozen=True)
class Fault:
    """A fault of ours. The id is in the answer; the place is file, line and function of our code."""

    fault_id: str
    exception: str
    place: str


@dataclass(frozen=True)
class Decided:
    """One decision: its tier, its actions as ``(action, status, reason)``, each once, and whether it was uncertain."""

    tier: str
    actions: tuple[tuple[str, str, str], ...]
    uncertain: bool


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


Event = Loaded | SubBatchDone | BatchDone | ItemFailed | Fault | Decided | PolicyChanged | RecordsOpened | RecordsFailed


class EventSink(Protocol):
    """Where events go: a log, a metric, a test's list."""

    def __call__(self, event: Event) -> None:
        """Take one event."""


def event_line(event: Event) -> str:
    """Return the event as one line of JSON."""
    return json.dumps({"event": type(event).__name__, **asdict(event)})
