"""Progress on the terminal: what is being done, and how long it took."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


class Progress:
    """Writes steps to a stream; on a terminal the running step counts up in place.

    Args:
        stream: where to write; results go to standard output, progress beside it.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._in_place = self._stream.isatty()

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Report ``title`` while it runs, and its duration when it has succeeded."""
        started = time.perf_counter()
        if self._in_place:
            self._write(f"\r{title} …")
        yield
        self._write(f"{chr(13) if self._in_place else ''}{title}: {time.perf_counter() - started:.1f} s\n")

    def update(self, text: str) -> None:
        """Replace the running line on a terminal; say nothing elsewhere."""
        if self._in_place:
            self._write(f"\r\x1b[K{text}")

    def note(self, text: str) -> None:
        """Write one line."""
        self._write(f"{chr(13) + chr(27) + '[K' if self._in_place else ''}{text}\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
