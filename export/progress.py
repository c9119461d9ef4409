"""Progress on the terminal: what is being done, and how long it took."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TextIO

QUIET_S: Final = 15.0
"""Seconds between updates where there is no terminal to update in place."""


class Progress:
    """Writes steps to a stream; on a terminal the running step counts up in place.

    Args:
        stream: where to write; results go to standard output, progress beside it.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._in_place = self._stream.isatty()
        self._last_update = time.monotonic()

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Report ``title`` while it runs, and its duration when it has succeeded."""
        started = time.perf_counter()
        if self._in_place:
            self._write(f"{title} …")
        yield
        self.note(f"{title}: {time.perf_counter() - started:.1f} s")

    def update(self, text: str) -> None:
        """Replace the running line on a terminal; elsewhere write one now and then."""
        if self._in_place:
            self._write(f"\r\x1b[K{text}")
        elif time.monotonic() - self._last_update >= QUIET_S:
            self._last_update = time.monotonic()
            self._write(f"{text}\n")

    def counter(self, what: str) -> Callable[[int, int], None]:
        """Return what shows how many of how many are done."""
        return lambda done, total: self.update(f"{done}/{total} {what}")

    def clear(self) -> None:
        """Take the running line off a terminal."""
        if self._in_place:
            self._write("\r\x1b[K")

    def note(self, text: str) -> None:
        """Write one line, over the running one."""
        self.clear()
        self._write(f"{text}\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
