"""The folder of one running server: its lock, state, temporary files, logs and the flags shared with the workers."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import psutil

from handlers import gate
from server.errors import ExitCode, ServerError

# A worker's socket is TMP/.ts.sock.PORT, and a socket path holds 103 bytes on the strictest system.
_LONGEST_TEMP: Final = 103 - len("/.ts.sock.65535")
_SAME_START_SECONDS: Final = 2.0


@dataclass(frozen=True)
class ServerState:
    """What other commands need to know about a running server.

    ``started`` is when ``pid`` started, since a number alone may have been given to another process meanwhile.
    ``http``, ``management`` and ``health`` are ``host:port``. ``stop_seconds`` is what a stop may take until nothing
    is in flight.
    """

    pid: int
    started: float
    model: str
    http: str
    management: str
    health: str
    stop_seconds: float

    def is_alive(self) -> bool:
        """Whether that very process still runs."""
        try:
            return _runs(self.pid) and abs(started_after_boot(self.pid) - self.started) < _SAME_START_SECONDS
        except psutil.NoSuchProcess:
            return False


@dataclass(frozen=True)
class RunDir:
    """Paths inside the run folder; ``path`` is absolute."""

    path: Path

    @property
    def state_file(self) -> Path:
        """The pid file."""
        return self.path / "server.json"

    @property
    def config_file(self) -> Path:
        """The configuration that TorchServe was given."""
        return self.path / "config.properties"

    @property
    def metrics_file(self) -> Path:
        """The metric declarations taken from the archive."""
        return self.path / "metrics.yaml"

    @property
    def log_config(self) -> Path:
        """The logger's configuration that TorchServe was given."""
        return self.path / "log4j2.xml"

    @property
    def logs(self) -> Path:
        """``server.log``, ``model.log`` and ``java.log`` of this start; they outlive it."""
        return self.path / "logs"

    @property
    def model_log(self) -> Path:
        """What the workers print."""
        return self.logs / "model.log"

    @property
    def server_log(self) -> Path:
        """TorchServe's own warnings and errors."""
        return self.logs / "server.log"

    @property
    def java_log(self) -> Path:
        """What the JVM itself prints."""
        return self.logs / "java.log"

    @property
    def reports(self) -> Path:
        """One report of each worker."""
        return self.path / gate.REPORTS_FOLDER

    @property
    def busy_lock(self) -> Path:
        """Held by every worker that has requests."""
        return self.path / gate.BUSY_LOCK

    @property
    def draining_flag(self) -> Path:
        """Tells the workers to refuse new requests."""
        return self.path / gate.DRAINING_FLAG

    @property
    def stopping_flag(self) -> Path:
        """Says that a stop has begun: the server is no longer ready, though it still takes in its queue."""
        return self.path / "stopping"

    @property
    def temp(self) -> Path:
        """Temporary files of Java and the workers, the extracted model among them."""
        inside = self.path / "tmp"
        if len(os.fsencode(inside)) <= _LONGEST_TEMP:
            return inside
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"lantern-{os.getuid()}-{digest}"

    @property
    def mended(self) -> Path:
        """Classes that come before TorchServe's own (``server/mended.py``)."""
        return self.temp / "mended"

    @property
    def home(self) -> Path:
        """What TorchServe takes for its own folder (``server/home.py``)."""
        return self.temp / "home"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Own the folder; the kernel gives it up when this process ends, however it ends.

        Raises:
            ServerError: another server owns it.
        """
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.path / "supervisor.lock").open("w", encoding="ascii") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ServerError(ExitCode.ALREADY_RUNNING, self._already_running()) from None
            yield

    def prepare(self) -> None:
        """Remove what an earlier server left, keep its logs once more, and make the folders of this one."""
        self.clean()
        self._rotate_logs()
        self.logs.mkdir()
        self.reports.mkdir()
        self.temp.mkdir(mode=0o700)
        self.busy_lock.touch(mode=0o600)

    def clean(self) -> None:
        """Remove everything but the logs."""
        for folder in (self.temp, self.reports):
            shutil.rmtree(folder, ignore_errors=True)
        flags = (self.stopping_flag, self.draining_flag, self.busy_lock)
        for file in (self.state_file, self.config_file, self.metrics_file, self.log_config, *flags):
            file.unlink(missing_ok=True)

    def write_state(self, state: ServerState) -> None:
        """Write the pid file in one step."""
        unfinished = self.state_file.with_suffix(".partial")
        unfinished.write_text(json.dumps(asdict(state)), encoding="utf-8")
        unfinished.replace(self.state_file)

    def read_state(self) -> ServerState | None:
        """Return what the pid file says, or ``None`` where there is none that can be read."""
        try:
            return ServerState(**json.loads(self.state_file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def _rotate_logs(self) -> None:
        previous = self.path / "logs.previous"
        if self.logs.exists():
            shutil.rmtree(previous, ignore_errors=True)
            self.logs.replace(previous)

    def _already_running(self) -> str:
        state = self.read_state()
        who = f" (pid {state.pid})" if state else ""
        return f"a server already runs from {self.path}{who}; stop it with `python -m server stop`, or use --run-dir"


def started_after_boot(pid: int) -> float:
    """Return when a process started, in seconds after the boot, which no change of the clock moves.

    Raises:
        psutil.NoSuchProcess: there is none.
    """
    return psutil.Process(pid).create_time() - psutil.boot_time()


def _runs(pid: int) -> bool:
    return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
