"""The processes and files of a server of our own: memory, worker, and what its logs hold."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from deploy.errors import DeployError

_SETTLE_S: Final = 1.0
_SAMPLES: Final = 5
_WORKER_SCRIPT: Final = "model_service_worker.py"


@dataclass(frozen=True)
class Memory:
    """Resident memory in MB (10^6 bytes), after a collection of the JVM's garbage where ``jcmd`` is at hand."""

    worker_mb: float
    jvm_mb: float


class Watched:
    """The processes of a server below its supervisor.

    Raises:
        DeployError: there is not exactly one worker.
    """

    def __init__(self, supervisor: int) -> None:
        self._supervisor = psutil.Process(supervisor)
        self._jvm = self._find_jvm()
        self.worker_pid = self._worker().pid

    def restarts(self) -> bool:
        """Return whether the worker or the JVM is another process than at the start."""
        try:
            return self._worker().pid != self.worker_pid or not self._jvm.is_running()
        except DeployError:
            return True

    def look(self) -> Memory:
        """Measure now, garbage included."""
        return Memory(*(round(process.memory_info().rss / 1e6, 1) for process in (self._worker(), self._jvm)))

    def memory(self) -> Memory:
        """Measure: the median of a few looks, a moment after the garbage has been collected."""
        self._collect_garbage()
        worker, looks = self._worker(), []
        for _ in range(_SAMPLES):
            time.sleep(_SETTLE_S / _SAMPLES)
            looks.append((worker.memory_info().rss / 1e6, self._jvm.memory_info().rss / 1e6))
        return Memory(*(round(statistics.median(side), 1) for side in zip(*looks, strict=True)))

    def _worker(self) -> psutil.Process:
        found = [process for process in self._children() if _is_worker(process)]
        if len(found) != 1:
            raise DeployError(f"{len(found)} workers run where one was expected")
        return found[0]

    def _find_jvm(self) -> psutil.Process:
        return next(process for process in self._children() if process.name() == "java")

    def _children(self) -> list[psutil.Process]:
        return self._supervisor.children(recursive=True)

    def _collect_garbage(self) -> None:
        jcmd = Path(self._jvm.exe()).with_name("jcmd")
        if jcmd.is_file():
            subprocess.run([jcmd, str(self._jvm.pid), "GC.run"], capture_output=True, timeout=30, check=False)


def _is_worker(process: psutil.Process) -> bool:
    try:
        return any(part.endswith(_WORKER_SCRIPT) for part in process.cmdline())
    except psutil.Error:
        return False


def files_with(canary: str, folder: Path) -> list[str]:
    """Return the files below ``folder`` that hold the canary, as text, as UTF-16 or in hexadecimal."""
    plain = canary.encode()
    forms = (plain, canary.encode("utf-16-le"), plain.hex().encode(), plain.hex().upper().encode())
    return sorted(str(path.relative_to(folder)) for path in _files(folder) if _holds(path, forms))


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _holds(path: Path, forms: Iterable[bytes]) -> bool:
    try:
        content = path.read_bytes()
    except OSError:
        return False  # removed while we looked, such as a socket or a temporary file
    return any(form in content for form in forms)
