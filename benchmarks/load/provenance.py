"""What a result was measured on and with: machine, versions, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.machine import cpu_name, installed_version

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = ("locust", "gevent", "grpcio", "httpx", "torchserve", "onnxruntime", "torch", "tokenizers", "numpy")


def describe_machine() -> dict[str, Any]:
    """Return processor, cores, memory and system of this machine, which is the client's."""
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "load_before": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Return the versions of what measures and, on this machine, serves."""
    found = {name: installed for name in PACKAGES if (installed := installed_version(name)) is not None}
    return {"python": platform.python_version()} | found


def commit() -> str:
    """Return the commit of this repository, with ``+changes`` where the files differ; empty outside of one."""
    head = _git("rev-parse", "--short=12", "HEAD")
    if not head:
        return ""
    return f"{head}+changes" if _git("status", "--porcelain", "--untracked-files=no") else head


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
