"""Let requests in flight finish: refuse new ones, then wait until queue and workers are empty for long enough.

In flight is what TorchServe had taken in when the stop came, whether a worker has it yet or not. Its queue keeps the
order of arrival but tells no times, so the drain sends one small prediction of its own: once that is answered, every
earlier request has reached a worker, and the workers are told to refuse the rest.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from server import probe
from server.console import Console
from server.endpoints import Endpoints
from server.process import JavaServer
from server.rundir import RunDir
from server.signals import StopSignals

_POLL_SECONDS: Final = 0.05
_IDLE_CHECKS: Final = 5
# Time for an answer to leave through Java, and for a job on its way between queue and worker.
_SETTLE_SECONDS: Final = 0.3
# Under a stream of new requests the queue is never seen empty. What is still in it when no worker has been inside a
# batch for this long came after the flag, since jobs are taken in order, and is only being refused.
_REFUSING_SECONDS: Final = 2.0


# The share of the drain's time that may go by before even queued requests are refused.
_QUEUE_SHARE: Final = 0.5


@dataclass(frozen=True)
class DrainResult:
    """``unfinished`` says what was still in flight at the end; empty after a clean drain."""

    unfinished: str


@dataclass(frozen=True)
class _Load:
    """What was in flight at one look; ``answers`` is false while TorchServe does not."""

    answers: bool
    queued: int
    busy: bool

    def __str__(self) -> str:
        if not self.answers:
            return "whatever TorchServe holds, which does not answer"
        queued = [f"{self.queued} queued"] if self.queued else []
        return " and ".join(queued + (["a batch in a worker"] if self.busy else []))


class _Stretch:
    """How long something has been so without a break."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._checks = 0

    def note(self, holds: bool) -> None:
        self._checks = self._checks + 1 if holds else 0
        self._since = (self._since or time.monotonic()) if holds else None

    def lasted(self, seconds: float) -> bool:
        return self._since is not None and self._checks >= _IDLE_CHECKS and time.monotonic() - self._since >= seconds


class Drain:
    """One drain of one server."""

    def __init__(self, server: JavaServer, run_dir: RunDir, endpoints: Endpoints, model: str, console: Console) -> None:
        self._server = server
        self._run_dir = run_dir
        self._management = endpoints.management.authority
        self._http = endpoints.http.authority
        self._model = model
        self._console = console
        self._batch_delay = 0.0
        self._idle = _Stretch()
        self._refusing = _Stretch()

    def run(self, signals: StopSignals, timeout: float) -> DrainResult:
        """Refuse new requests and wait until nothing is in flight, ``timeout`` is over, or the stop is forced."""
        self._run_dir.stopping_flag.touch(mode=0o600)
        deadline = time.monotonic() + timeout
        queued = self._wait_behind_queue(timeout * _QUEUE_SHARE)
        while True:
            refusing = not queued.is_alive()
            if refusing:
                self._run_dir.draining_flag.touch(mode=0o600)
            load = self._look()
            if refusing and self._is_drained():
                return DrainResult("")
            if self._must_give_up(signals, deadline):
                return DrainResult(str(load) or "perhaps a request that had just ended")
            self._console.progress(f"draining: {str(load) or 'idle'}")
            signals.wait(_POLL_SECONDS)

    def _wait_behind_queue(self, timeout: float) -> threading.Thread:
        """Start a prediction that ends when all that was queued before it has reached a worker.

        It also ends where that cannot be known: a full queue, a server that does not answer, or ``timeout``.
        """
        thread = threading.Thread(target=probe.ask_canary, args=(self._http, self._model, timeout), daemon=True)
        thread.start()
        return thread

    def _look(self) -> _Load:
        description = probe.describe(self._management, self._model)
        busy = is_busy(self._run_dir.busy_lock)
        if description is None:
            self._idle.note(False)
            self._refusing.note(False)
            return _Load(answers=False, queued=0, busy=busy)
        self._batch_delay = description.max_batch_delay
        self._idle.note(not busy and not description.pending)
        # A worker that is being restarted refuses nothing: jobs from before the flag may wait for it.
        self._refusing.note(not busy and description.is_ready)
        return _Load(answers=True, queued=description.pending, busy=busy)

    def _is_drained(self) -> bool:
        # TorchServe holds the first job of a batch outside the queue while it waits for more.
        settled = self._batch_delay + _SETTLE_SECONDS
        return self._idle.lasted(settled) or self._refusing.lasted(settled + _REFUSING_SECONDS)

    def _must_give_up(self, signals: StopSignals, deadline: float) -> bool:
        return signals.forced or self._server.exit_code() is not None or time.monotonic() > deadline


def is_busy(lock_file: Path) -> bool:
    """Whether any worker holds the shared lock that says that it is inside a batch."""
    descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
