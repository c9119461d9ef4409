"""A server on loopback as a child of the benchmark: started, waited for, and always stopped with all its children."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from benchmarks.errors import BenchmarkError

POLL_S: Final = 0.25
STOP_S: Final = 20.0
"""Seconds that a server has to stop by itself before it is killed."""


@dataclass(frozen=True)
class Launch:
    """How a server is started; ``environment`` is added to ours, and ``log`` takes its output."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this run, since two would share its servers' files and the cores.

    Raises:
        BenchmarkError: another run holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "run.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BenchmarkError(f"another run uses {folder}; wait for its end") from None
        yield


@contextmanager
def running(launch: Launch, is_ready: Callable[[], bool], timeout_s: float) -> Iterator[psutil.Process]:
    """Start a server, wait until ``is_ready``, and stop it with every process below it at the end, whatever happens.

    Raises:
        BenchmarkError: it ended or was not ready in time; the message says where its log is.
    """
    launch.log.parent.mkdir(parents=True, exist_ok=True)
    with launch.log.open("wb") as log:
        server = subprocess.Popen(
            launch.command,
            env={**os.environ, **launch.environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait(server, is_ready, timeout_s, launch)
            yield psutil.Process(server.pid)
        finally:
            _stop(server)


def family_bytes(server: psutil.Process) -> int:
    """Return the resident memory of a server and everything below it; memory that they share counts for each."""
    total = 0
    for process in _family(server):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:  # it ended between the listing and the question
            continue
    return total


def _wait(server: subprocess.Popen[bytes], is_ready: Callable[[], bool], timeout_s: float, launch: Launch) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_ready():
        if server.poll() is not None:
            raise BenchmarkError(f"{_name(launch.command)} ended with {server.returncode}; see {launch.log}")
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{_name(launch.command)} was not ready within {timeout_s:.0f} s; see {launch.log}")
        time.sleep(POLL_S)


def _stop(server: subprocess.Popen[bytes]) -> None:
    """Ask the process group to stop, then kill what is left of the family, sessions of its own included."""
    family = _family_of(server.pid)
    _signal_group(server.pid, signal.SIGTERM)
    _, alive = psutil.wait_procs(family, timeout=STOP_S)
    for process in alive:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    _signal_group(server.pid, signal.SIGKILL)
    server.wait()
    psutil.wait_procs(alive, timeout=STOP_S)


def _family_of(pid: int) -> list[psutil.Process]:
    try:
        return _family(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return []


def _family(server: psutil.Process) -> list[psutil.Process]:
    try:
        return [server, *server.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def _name(command: Sequence[str]) -> str:
    return " ".join(Path(part).name if part.startswith("/") else part for part in command[:4])
