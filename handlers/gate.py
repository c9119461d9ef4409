"""The small file protocol between a worker and whatever supervises it: drain, in-flight work, load reports.

The supervisor names a folder in ``LANTERN_RUN_DIR``. In it:

* ``draining``: exists while the server is going away; new requests are then refused with 503, and do not keep a
  worker ``busy``.
* ``busy.lock``: every worker holds a shared ``flock`` on it while it has requests that are not answered. A lock, not
  a counter in a file, because the kernel drops it when a worker is killed.
* ``workers/PID.json``: one small report a worker, ``ready`` or ``failed`` with the reason.

Without the variable the gate is always open and records nothing, so that the handler also runs unsupervised.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

RUN_DIR_VARIABLE: Final = "LANTERN_RUN_DIR"
DRAINING_FLAG: Final = "draining"
BUSY_LOCK: Final = "busy.lock"
REPORTS_FOLDER: Final = "workers"
STATE_READY: Final = "ready"
STATE_FAILED: Final = "failed"
MAX_MESSAGE_CHARS: Final = 2000


@dataclass(frozen=True)
class Gate:
    """What a worker asks and tells its supervisor; ``run_dir`` is ``None`` where nobody supervises it."""

    run_dir: Path | None = None

    @classmethod
    def from_environment(cls) -> Gate:
        """Return the gate of the folder in ``LANTERN_RUN_DIR``, or one that is always open."""
        value = os.environ.get(RUN_DIR_VARIABLE, "")
        return cls(Path(value) if value else None)

    @property
    def draining(self) -> bool:
        """Whether new requests must be refused because the server is going away."""
        return self.run_dir is not None and (self.run_dir / DRAINING_FLAG).exists()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Hold the shared lock that says "there are requests in this worker".

        Each call opens the file anew: two threads that shared one descriptor would release each other's lock.
        """
        if self.run_dir is None:
            yield
            return
        descriptor = os.open(self.run_dir / BUSY_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            yield
        finally:
            os.close(descriptor)

    def report_ready(self) -> None:
        """Tell the supervisor that this worker has loaded the model."""
        self._report(STATE_READY, "")

    def report_failure(self, message: str) -> None:
        """Tell the supervisor why this worker cannot load; ``message`` is put on one line and must quote no input."""
        self._report(STATE_FAILED, " ".join(message.split())[:MAX_MESSAGE_CHARS])

    def _report(self, state: str, message: str) -> None:
        if self.run_dir is None:
            return
        folder = self.run_dir / REPORTS_FOLDER
        unfinished = folder / f".{os.getpid()}.partial"
        report = {"pid": os.getpid(), "state": state, "message": message, "at": time.time()}
        with suppress(OSError):  # a disk that is full, perhaps of logs, must not keep a worker from serving
            folder.mkdir(exist_ok=True)
            unfinished.write_text(json.dumps(report), encoding="utf-8")
            unfinished.replace(folder / f"{os.getpid()}.json")
