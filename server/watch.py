"""Looks at a serving TorchServe, posts what that means, and kills what hangs.

A look is one question to management and a glance at the worker processes, twice a second. A worker that has nothing
to do is asked to describe itself every ``_ASK_SECONDS``; one that has something to do shows by the processor time it
uses that it gets on.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Final

import psutil

from server import probe
from server.console import Console
from server.drain import is_busy
from server.endpoints import Endpoints
from server.health import Board, Judge, Limits, Look, Status, Verdict
from server.process import JavaServer
from server.rundir import RunDir

_LOOK_SECONDS: Final = 0.5
# Where a description is slow to come (on a GPU it runs nvidia-smi), looking takes at most half of the time.
_LONGEST_PAUSE: Final = 2.0
_DESCRIBE_SECONDS: Final = 2.0
_ASK_SECONDS: Final = 10.0
_ANSWER_SECONDS: Final = 600.0
_NOTE_SECONDS: Final = 30.0


class Watch:
    """One thread that looks at one server from ``__enter__`` to ``__exit__``."""

    def __init__(
        self,
        server: JavaServer,
        run_dir: RunDir,
        endpoints: Endpoints,
        model: str,
        limits: Limits,
        board: Board,
        console: Console,
    ) -> None:
        self._server = server
        self._busy_lock = run_dir.busy_lock
        self._management = endpoints.management.authority
        self._model = model
        self._board = board
        self._console = console
        self._judge = Judge(limits)
        self._question: _Question | None = None
        self._heard = time.monotonic()
        self._note: _Question | None = None
        self._noted = self._heard - _NOTE_SECONDS
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._verdict = Verdict(Status.READY)

    def __enter__(self) -> Watch:
        self._board.post(self._verdict)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def lost(self) -> str:
        """Why the server is given up; empty while it is not."""
        if not self._thread.is_alive():
            return "the watch has ended"
        verdict = self._verdict
        return verdict.reason if verdict.lost else ""

    def _run(self) -> None:
        took = 0.0
        while not self._ended.wait(min(max(_LOOK_SECONDS, took), _LONGEST_PAUSE)):
            began = time.monotonic()
            self._take(self._judge.take(self._look()))
            took = time.monotonic() - began

    def _take(self, verdict: Verdict) -> None:
        self._board.post(verdict)
        if verdict.status is not self._verdict.status:
            self._console.line(f"Not ready: {verdict.reason}." if verdict.reason else "Ready again.")
        self._verdict = verdict
        for pid in verdict.hung:
            self._console.line(f"Process {pid} hangs: killed.")
            _kill_member(pid, self._server.pid)

    def _look(self) -> Look:
        java = _stopped([self._server.pid])
        description = None if java else self._describe()
        if description is None:
            return Look(time.monotonic(), answers=False, stopped=java)
        workers = [pid for pid in description.pids if _status(pid) not in _GONE]
        busy = is_busy(self._busy_lock) or description.pending > 0
        self._ask_if_idle(busy or not description.is_ready)
        if description.is_ready:
            self._ask_of_the_policy()
        asked = self._question is not None and not self._question.answered
        return Look(
            time.monotonic(),
            answers=True,
            ready=description.ready_workers,
            asked=max(1, description.min_workers, len(description.workers)),
            workers=tuple(workers),
            stopped=_stopped(workers),
            waits=busy or asked,
            unanswered=asked and not busy,
            cpu_s=sum(map(_cpu_seconds, workers)),
        )

    def _describe(self) -> probe.ModelDescription | None:
        try:
            return probe.describe(self._management, self._model, _DESCRIBE_SECONDS)
        except probe.ModelMissingError:
            return probe.ModelDescription((), (), 1, 0, 0.0)

    def _ask_if_idle(self, otherwise_occupied: bool) -> None:
        now = time.monotonic()
        if otherwise_occupied or (self._question is not None and self._question.answered):
            self._question, self._heard = None, now
        elif self._question is None and now - self._heard >= _ASK_SECONDS:
            self._question = _Question(self._management, self._model)

    def _ask_of_the_policy(self) -> None:
        """Let a worker say once in a while what an operator should know of the policy, however busy it is."""
        now = time.monotonic()
        if self._note is not None and self._note.answered:
            self._board.note(self._note.notes or ())
            self._note, self._noted = None, now
        elif self._note is None and now - self._noted >= _NOTE_SECONDS:
            self._note = _Question(self._management, self._model)


class _Question:
    """Asks a worker to describe itself, in a thread of its own."""

    def __init__(self, authority: str, model: str) -> None:
        self.answered = False
        self.notes: tuple[str, ...] | None = None
        threading.Thread(target=self._ask, args=(authority, model), daemon=True).start()

    def _ask(self, authority: str, model: str) -> None:
        self.notes = probe.ask_worker(authority, model, _ANSWER_SECONDS)
        self.answered = True


_GONE: Final = (None, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
_STOPPED: Final = (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)


def _stopped(pids: list[int]) -> tuple[int, ...]:
    return tuple(pid for pid in pids if _status(pid) in _STOPPED)


def _status(pid: int) -> str | None:
    try:
        return str(psutil.Process(pid).status())
    except psutil.Error:
        return None


def _cpu_seconds(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def _kill_member(pid: int, session: int) -> None:
    """Kill a process of Java's session, and no other that has got its number meanwhile."""
    with suppress(OSError):
        if os.getsid(pid) == session:
            os.kill(pid, signal.SIGKILL)
