"""Processes that end with us, and that Ctrl-C on the terminal does not reach: they are stopped in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_LEASH: Final = Path(__file__).with_name("leash.py")


def start_child(command: Sequence[str], log: Path, cwd: Path | None = None) -> subprocess.Popen[bytes]:
    """Start ``command`` with its output appended to ``log``; it gets SIGTERM when the thread that starts it ends."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, str(_LEASH), str(os.getpid()), *command],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def end_child(process: subprocess.Popen[bytes], timeout: float, number: signal.Signals = signal.SIGTERM) -> bool:
    """Ask ``process`` to end and wait; kill it after ``timeout`` seconds. Return whether it ended by itself."""
    if process.poll() is None:
        process.send_signal(number)
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
    return True
