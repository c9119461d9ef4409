"""``stop``: ask the server of a run folder to drain and end, and wait for it."""

from __future__ import annotations

import os
import signal
import time
from typing import Final

from server.console import Console
from server.errors import ExitCode, ServerError
from server.rundir import RunDir, ServerState

_POLL_SECONDS: Final = 0.1
# What a supervisor may need beyond its drain: TorchServe's own end, and killing what is left.
_MARGIN_SECONDS: Final = 25.0


def stop(run_dir: RunDir, timeout: float | None) -> ExitCode:
    """Send SIGTERM to the server of ``run_dir`` and wait; that none runs is no error.

    Raises:
        ServerError: it still runs after ``timeout`` (by default its own drain timeout and a margin).
    """
    console = Console()
    state = run_dir.read_state()
    if state is None:
        console.line(f"No server runs from {run_dir.path}.")
        return ExitCode.OK
    if not state.is_alive():
        run_dir.state_file.unlink(missing_ok=True)
        console.line(f"No server runs from {run_dir.path}; removed the stale pid file of process {state.pid}.")
        return ExitCode.OK
    os.kill(state.pid, signal.SIGTERM)
    return _wait(state, state.stop_seconds + _MARGIN_SECONDS if timeout is None else timeout, console)


def _wait(state: ServerState, timeout: float, console: Console) -> ExitCode:
    deadline = time.monotonic() + timeout
    while state.is_alive():
        if time.monotonic() > deadline:
            raise ServerError(ExitCode.STOP_TIMEOUT, f"process {state.pid} still runs after {timeout:.0f} s")
        console.progress(f"waiting for process {state.pid} to drain and end")
        time.sleep(_POLL_SECONDS)
    console.line(f"Server stopped (process {state.pid}, {console.elapsed:.1f} s).")
    return ExitCode.OK
