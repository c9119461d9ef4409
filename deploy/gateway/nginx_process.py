"""One nginx that runs a rendered configuration."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Final

from deploy.errors import DeployError
from deploy.gateway.children import end_child, start_child
from deploy.gateway.render import MAIN

_START_S: Final = 10.0
_POLL_S: Final = 0.02
INSTALL: Final = "nginx is not installed: apt-get install nginx (1.22 or newer)"


def find_nginx() -> str:
    """Return the program.

    Raises:
        DeployError: there is none.
    """
    found = shutil.which("nginx", path=None) or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise DeployError(INSTALL)
    return found


def check_configuration(folder: Path) -> None:
    """Let nginx judge the configuration in ``folder``.

    Raises:
        DeployError: with nginx's own words.
    """
    judged = subprocess.run([*_command(folder), "-t", "-q"], capture_output=True, text=True, check=False)
    if judged.returncode:
        raise DeployError(f"nginx refuses the configuration in {folder}: {judged.stderr.strip()}")


class NginxProcess:
    """A running nginx; ``stop`` lets requests in flight finish."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process = process
        self._folder = folder

    @classmethod
    def start(cls, folder: Path) -> NginxProcess:
        """Check the configuration and run it.

        Raises:
            DeployError: it is refused, or nginx ended at once.
        """
        check_configuration(folder)
        started = cls(start_child([*_command(folder), "-g", "daemon off;"], folder / "logs" / "nginx.out"), folder)
        started._wait()
        return started

    def stop(self, timeout: float) -> None:
        """Take no new connections, finish what is in flight, end; kill what is left after ``timeout`` seconds."""
        end_child(self.process, timeout, signal.SIGQUIT)

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_S
        # Written when it listens; the check of the configuration leaves an empty one.
        while (self._folder / "nginx.pid").read_text(encoding="ascii").strip() != str(self.process.pid):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise DeployError(f"nginx did not start: {_last_line(self._folder)}")
            time.sleep(_POLL_S)


def _command(folder: Path) -> list[str]:
    return [find_nginx(), "-p", str(folder), "-c", str(folder / MAIN), "-e", str(folder / "logs" / "error.log")]


def _last_line(folder: Path) -> str:
    lines = (folder / "logs" / "nginx.out").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else f"see {folder / 'logs'}"
