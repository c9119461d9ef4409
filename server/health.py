"""Whether the server can answer, and whether it ever will again: decided here from what was seen of it.

Nothing here waits or asks: ``server/watch.py`` looks, ``server/listener.py`` tells probes. Durations are sums of the
time between looks, each counted for at most ``_LONGEST_STEP`` seconds, so that a machine that was suspended blames
nobody, and no wall clock is read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_LONGEST_STEP: Final = 5.0
# A worker that has something to do but uses no processor time at all for so long is not ready.
_IDLE_HANDS_SECONDS: Final = 5.0
_CPU_STEP: Final = 0.005
_STALE_SECONDS: Final = 5.0
_WATCH_LOST_SECONDS: Final = 60.0


class Status(StrEnum):
    """What ``/readyz`` and ``/livez`` call the state of the server."""

    READY = "ready"
    LOADING = "loading"
    DRAINING = "draining"
    WORKER_DOWN = "worker_down"
    WORKER_HUNG = "worker_hung"
    SERVER_DOWN = "server_down"
    ALIVE = "alive"
    LOST = "lost"


@dataclass(frozen=True)
class Limits:
    """Seconds after which a process that hangs is killed, and after which a server that is not ready is given up."""

    hang: float
    recovery: float


@dataclass(frozen=True)
class Look:
    """What was seen of the server at one time.

    Attributes:
        at: seconds of a monotonic clock.
        answers: TorchServe's management answered.
        ready, asked: workers that have the model, and workers that there should be.
        workers: process ids of the workers that run.
        stopped: ids of processes that a signal has stopped (SIGSTOP), Java among them.
        waits: something is in the queue or in a worker, or a worker was asked to describe itself and has not answered.
        unanswered: a worker was asked to describe itself, has not answered, and has nothing else to do.
        cpu_s: processor time that the workers have used so far.
    """

    at: float
    answers: bool
    ready: int = 0
    asked: int = 0
    workers: tuple[int, ...] = ()
    stopped: tuple[int, ...] = ()
    waits: bool = False
    unanswered: bool = False
    cpu_s: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """What a look means.

    Attributes:
        status, reason: for probes; the reason is empty where it is ready.
        hung: processes to kill, so that TorchServe starts others or, where Java hangs, the server ends.
        lost: the server has not been ready for so long that it is given up.
    """

    status: Status
    reason: str = ""
    hung: tuple[int, ...] = ()
    lost: bool = False


class Judge:
    """Turns looks into verdicts; for one thread."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._last: Look | None = None
        self._idle_hands = 0.0
        self._unanswered = 0.0
        self._not_ready = 0.0
        self._stopped: dict[int, float] = {}

    def take(self, look: Look) -> Verdict:
        """Return what ``look`` means after those before it."""
        step = 0.0 if self._last is None else min(look.at - self._last.at, _LONGEST_STEP)
        self._idle_hands = self._idle_hands + step if self._without_work(look) else 0.0
        self._unanswered = self._unanswered + step if look.unanswered else 0.0
        self._stopped = {pid: self._stopped.get(pid, -step) + step for pid in look.stopped}
        self._last = look
        status, reason = self._state(look)
        self._not_ready = 0.0 if status is Status.READY else self._not_ready + step
        return Verdict(status, reason, self._hung(look), lost=self._not_ready >= self._limits.recovery)

    def _without_work(self, look: Look) -> bool:
        """Tell workers that have the model and something to do, but do nothing; one that loads may wait for a disk."""
        same = self._last is not None and self._last.workers == look.workers
        used = look.cpu_s - (self._last.cpu_s if self._last is not None else 0.0)
        return same and look.waits and look.ready >= look.asked and used < _CPU_STEP

    def _state(self, look: Look) -> tuple[Status, str]:
        if look.stopped:
            return Status.WORKER_HUNG, f"process {look.stopped[0]} has been stopped by a signal"
        if not look.answers:
            return Status.SERVER_DOWN, "TorchServe does not answer"
        if not look.asked <= min(look.ready, len(look.workers)):
            return Status.WORKER_DOWN, f"{min(look.ready, len(look.workers))} of {look.asked} workers are ready"
        if max(self._idle_hands, self._unanswered) >= _IDLE_HANDS_SECONDS:
            return Status.WORKER_HUNG, "a worker does not get on with what it was given"
        return Status.READY, ""

    def _hung(self, look: Look) -> tuple[int, ...]:
        stopped = tuple(pid for pid, seconds in self._stopped.items() if seconds >= self._limits.hang)
        return stopped or (look.workers if self._idle_hands >= self._limits.hang else ())


@dataclass(frozen=True)
class Answer:
    """What a probe is told; ``details`` is what an operator should know although all is well."""

    good: bool
    status: Status
    reason: str
    details: tuple[str, ...] = ()


class Board:
    """Where the verdict hangs for probes, which come from other threads.

    Args:
        stopping: whether a stop was asked for.
        clock: monotonic seconds.
    """

    def __init__(self, stopping: Callable[[], bool], clock: Callable[[], float] = time.monotonic) -> None:
        self._stopping = stopping
        self._clock = clock
        self._lock = threading.Lock()
        self._verdict: Verdict | None = None
        self._at = 0.0
        self._details: tuple[str, ...] = ()

    def post(self, verdict: Verdict) -> None:
        """Hang up a new verdict."""
        with self._lock:
            self._verdict, self._at = verdict, self._clock()

    def note(self, details: tuple[str, ...]) -> None:
        """Hang up what a worker says of the policy in force."""
        with self._lock:
            self._details = details

    def ready(self) -> Answer:
        """Return whether requests should be sent here now."""
        verdict, age = self._read()
        if self._stopping():
            return Answer(False, Status.DRAINING, "the server is stopping")
        if verdict is None:
            return Answer(False, Status.LOADING, "the model is being loaded")
        if verdict.status is Status.READY and age > _STALE_SECONDS:
            return Answer(False, Status.SERVER_DOWN, f"TorchServe has not answered for {age:.0f} s")
        return Answer(verdict.status is Status.READY, verdict.status, verdict.reason, self._details)

    def live(self) -> Answer:
        """Return whether the server may still get, or become, ready by itself."""
        verdict, age = self._read()
        if verdict is None or self._stopping():
            return Answer(True, Status.ALIVE, "")
        if verdict.lost:
            return Answer(False, Status.LOST, verdict.reason)
        if age > _WATCH_LOST_SECONDS:
            return Answer(False, Status.LOST, f"nobody has looked at the server for {age:.0f} s")
        return Answer(True, Status.ALIVE, verdict.reason)

    def _read(self) -> tuple[Verdict | None, float]:
        with self._lock:
            return self._verdict, self._clock() - self._at
