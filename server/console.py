"""What a person sees while the server starts and stops."""

from __future__ import annotations

import sys
import time
from typing import Final, TextIO

from server.logs import LogFormat, json_line

_TERMINAL_INTERVAL: Final = 1.0
_LOG_INTERVAL: Final = 10.0


class Console:
    """Plain lines, and progress that rewrites one line on a terminal and is rare elsewhere; or JSON lines.

    Writing never fails: when the terminal is gone, the drain must still go on.
    """

    def __init__(self, stream: TextIO | None = None, log_format: LogFormat = LogFormat.TEXT) -> None:
        self._stream = stream or sys.stderr
        self._format = log_format
        self._terminal = self._stream.isatty() and log_format is LogFormat.TEXT
        self._started = time.monotonic()
        self._last_progress = self._started
        self._unfinished_line = False

    def restarted(self) -> Console:
        """Return one like it whose time begins now."""
        return Console(self._stream, self._format)

    @property
    def elapsed(self) -> float:
        """Seconds since this console was made."""
        return time.monotonic() - self._started

    def line(self, text: str) -> None:
        """Print one line."""
        shown = json_line("INFO", "server", text) if self._format is LogFormat.JSON else text
        self._write(f"{self._erase()}{shown}\n")
        self._unfinished_line = False

    def progress(self, text: str) -> None:
        """Say what is being waited for, with the time since this console was made; most calls print nothing."""
        now = time.monotonic()
        if now - self._last_progress < (_TERMINAL_INTERVAL if self._terminal else _LOG_INTERVAL):
            return
        self._last_progress = now
        message = f"{text} ({self.elapsed:.0f} s)"
        if not self._terminal:
            self.line(message)
            return
        self._write(f"{self._erase()}{message}")
        self._unfinished_line = True

    def _erase(self) -> str:
        return "\r\033[K" if self._unfinished_line else ""

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            self._terminal = False
