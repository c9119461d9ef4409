"""The processor as a worker sees it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

CGROUP: Final = Path("/sys/fs/cgroup")
_VERSION_2: Final = ("cpu.max",)
_VERSION_1: Final = ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")


def available_cores(cgroup: Path = CGROUP) -> int:
    """Return the number of cores that this process may keep busy: those it may run on, or fewer by a container's limit.

    A limit leaves every core of the machine visible and stops all threads once their time is used up, so with a thread
    for each core a small container on a large machine would stand still for most of the time.
    """
    visible = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return visible if quota is None else max(1, min(visible, int(quota)))


def _quota(cgroup: Path) -> float | None:
    """Return the cores' worth of time that the control group ``cgroup`` may use; ``None`` where that is not limited."""
    for files in (_VERSION_2, _VERSION_1):
        try:
            quota, period = " ".join((cgroup / file).read_text(encoding="ascii") for file in files).split()
        except (OSError, ValueError):
            continue
        return int(quota) / int(period) if quota.isdecimal() else None
    return None
