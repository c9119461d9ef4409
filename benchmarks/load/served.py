"""A server of our own for a measurement: started on free ports, waited for, and stopped whatever happens."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.errors import BenchmarkError
from benchmarks.ports import listener_ports, port_options

STARTUP_S: Final = 300.0
STOP_S: Final = 60.0
POLL_S: Final = 0.1
READY: Final = "Ready after "


class NotReady(BenchmarkError):
    """The server does not answer predictions."""


@dataclass(frozen=True)
class OwnServer:
    """A running server: its process, its addresses, and the log of what it said."""

    process: subprocess.Popen[bytes]
    ports: dict[str, int]
    log: Path

    @property
    def url(self) -> str:
        """The REST address."""
        return f"http://127.0.0.1:{self.ports['http']}"

    @property
    def grpc(self) -> str:
        """The gRPC address."""
        return f"127.0.0.1:{self.ports['grpc']}"

    @property
    def metrics(self) -> str:
        """The address of the metrics."""
        return f"http://127.0.0.1:{self.ports['metrics']}/metrics"

    def why_gone(self) -> str:
        """Say how the server ended; nothing while it runs."""
        status = self.process.poll()
        return "" if status is None else f"the server ended with status {status}: {last_line(self.log)}"


@contextmanager
def own_server(archive: Path, model: str, run_dir: Path, say: Callable[[str], None]) -> Iterator[OwnServer]:
    """Serve ``archive`` on free ports of loopback for the length of a ``with`` block.

    Raises:
        NotReady: it did not start; with the server's own words.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    log = run_dir / "bench-server.log"
    (ports,) = listener_ports(1)
    command = [sys.executable, "-m", "server", "start", "--archive", str(archive), "--model", model]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--run-dir", str(run_dir), *port_options(ports)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the measurement; the server is stopped after the report
        )
    server = OwnServer(process, ports, log)
    try:
        _wait_until_ready(server, say)
        yield server
    finally:
        _stop(process)


def _wait_until_ready(server: OwnServer, say: Callable[[str], None]) -> None:
    began = time.monotonic()
    while READY not in server.log.read_text(encoding="utf-8", errors="replace"):
        if server.process.poll() is not None:
            raise NotReady(f"the server did not start: {last_line(server.log)}")
        if time.monotonic() - began > STARTUP_S:
            raise NotReady(f"the server was not ready within {STARTUP_S:.0f} s: {last_line(server.log)}")
        say(f"starting the server ({time.monotonic() - began:.0f} s)")
        time.sleep(POLL_S)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def last_line(log: Path) -> str:
    """Return the last line of a log, without the name that it begins with."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].removeprefix("server: ") if lines else f"it said nothing; see {log}"
