"""What a measurement ran on, and how much memory a process took."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from benchmarks.errors import BenchmarkError

PACKAGES: Final = ("torch", "transformers", "onnxruntime")


def describe_machine(threads: int, packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Return processor, cores, ``threads`` and the versions of those of ``packages`` that are installed."""
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": threads,
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": {name: found for name in packages if (found := installed_version(name)) is not None},
    }


def installed_version(package: str) -> str | None:
    """Return the version of a distribution, or ``None`` where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def peak_bytes(pid: int) -> int:
    """Return the most memory that was resident for process ``pid`` at once, in bytes."""
    return _status_bytes(pid, "VmHWM:")


def resident_bytes(pid: int) -> int:
    """Return the memory that is resident for process ``pid`` now, in bytes."""
    return _status_bytes(pid, "VmRSS:")


def _status_bytes(pid: int, key: str) -> int:
    status = Path(f"/proc/{pid}/status")
    if status.is_file():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith(key):
                return int(line.split()[1]) * 1024
    raise BenchmarkError("this system does not tell a process's memory (/proc/PID/status); measure on Linux")


def cpu_name() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"
