"""Free memory of the C library's heap, given back to the system after a large request."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from threading import Event
from typing import Final

LARGE_BODY: Final = 128 * 1024
"""Bytes of a body from which on decoding and tokenizing leave free memory worth giving back: tens of MB, in pieces
between what lives on, so that the heap's end, all that the library gives back by itself, stays where it is."""


class HeapTrimmer:
    """Gives free memory back once after large bodies, when it is called for; does nothing where none came.

    ``note`` and ``trim`` may be called from different threads.

    Args:
        give_back: returns what is free to the system; ``None`` where the C library has no such function.
    """

    def __init__(self, give_back: Callable[[], None] | None) -> None:
        self._give_back = give_back
        self._is_due = Event()

    @classmethod
    def of_process(cls) -> HeapTrimmer:
        """Return the trimmer of this process: glibc's ``malloc_trim``, which other libraries do not have."""
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
        return cls(None if trim is None else lambda: trim(ctypes.c_size_t(0)))

    def note(self, body: bytes) -> None:
        """Take note of a body that has been read."""
        if len(body) >= LARGE_BODY:
            self._is_due.set()

    def trim(self) -> None:
        """Give back what is free, where a large body has been read since the last time."""
        if self._give_back is not None and self._is_due.is_set():
            self._is_due.clear()
            self._give_back()
