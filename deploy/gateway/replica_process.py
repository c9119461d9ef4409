"""Replicas on this machine: ``python -m server start`` with ports and a run folder of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from benchmarks.ports import port_options
from deploy.errors import DeployError
from deploy.gateway.children import end_child, start_child
from deploy.gateway.limits import ROOT
from deploy.gateway.readiness import Answer, ask
from deploy.gateway.settings import Replica
from server.rundir import RunDir

START_S: Final = 300.0
STOP_S: Final = 60.0
_POLL_S: Final = 0.05
_PROBE_S: Final = 1.0


@dataclass
class ReplicaProcess:
    """One replica, which may be started again with the same ports.

    Attributes:
        archive: what it serves at its next start.
        drain_grace_s: seconds in which it still serves after a stop was asked for, though it is not ready.
        options: further options of ``server start``.
    """

    archive: Path
    run_dir: RunDir
    ports: dict[str, int]
    model: str
    drain_grace_s: float
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def replica(self) -> Replica:
        """Its addresses."""
        rest, grpc, health = (f"127.0.0.1:{self.ports[name]}" for name in ("http", "grpc", "health"))
        return Replica(rest, grpc, health)

    @property
    def log(self) -> Path:
        """What it says to a terminal, of all its starts."""
        return self.run_dir.path.with_suffix(".log")

    def start(self) -> None:
        """Start it; ``wait_ready`` waits for it."""
        ports = port_options(self.ports)
        serve = [sys.executable, "-m", "server", "start", "--archive", str(self.archive), "--model", self.model]
        grace = f"--drain-grace={self.drain_grace_s}"
        command = [*serve, "--run-dir", str(self.run_dir.path), grace, *ports, *self.options]
        self.process = start_child(command, self.log, cwd=ROOT)

    def ended(self) -> int | None:
        """Return its exit status, or ``None`` while it runs."""
        return None if self.process is None else self.process.poll()

    def is_ready(self) -> bool:
        """Whether it says that it is ready."""
        return ask(self.replica, _PROBE_S) is Answer.READY

    def ask_to_end(self) -> None:
        """Send SIGTERM."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def stop(self, timeout: float = STOP_S) -> bool:
        """Drain and stop; return whether it ended within ``timeout`` seconds by itself."""
        return self.process is None or end_child(self.process, timeout)

    def java(self) -> psutil.Process:
        """Return its Java process."""
        (java,) = (process for process in self._descendants() if process.name() == "java")
        return java

    def workers(self) -> list[psutil.Process]:
        """Return its living workers."""
        return [process for process in self._descendants() if process.name() != "java"]

    def worker(self) -> psutil.Process:
        """Return its only worker."""
        (worker,) = self.workers()
        return worker

    def last_line(self) -> str:
        """Return the last thing that it said."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else f"nothing; see {self.log}"

    def _descendants(self) -> list[psutil.Process]:
        if self.process is None or self.process.poll() is not None:
            return []
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if _runs(child)]


def wait_ready(
    replicas: Sequence[ReplicaProcess], timeout: float = START_S, given_up: Callable[[], bool] = lambda: False
) -> None:
    """Wait until all of ``replicas`` are ready.

    Raises:
        DeployError: one ended, they are not ready in time, or ``given_up`` says so; with the replica's last words.
    """
    deadline = time.monotonic() + timeout
    while waiting := [replica for replica in replicas if not replica.is_ready()]:
        if given_up():
            raise DeployError("stopped before the replicas were ready")
        for replica in waiting:
            if replica.ended() is not None or time.monotonic() > deadline:
                raise DeployError(f"a replica did not become ready: {replica.last_line()}")
        time.sleep(_POLL_S)


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
