"""Memory of large requests, given back to the system: blocks of their own at once, pieces of the heap soon after."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from threading import Event
from typing import Final

LARGE_BODY: Final = 128 * 1024
"""Bytes of a body from which on decoding and tokenizing leave free memory worth giving back: tens of MB, in pieces
between what lives on, so that the heap's end, all that the library gives back by itself, stays where it is."""

_M_MMAP_THRESHOLD: Final = -3
"""``mallopt(3)``: bytes from which on a block is mapped by itself. Left alone, glibc raises this to the largest block
that has been freed; bodies then lie in the heap, and what is allocated among them keeps their pages there."""


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
        """Keep large blocks out of the heap, and return the trimmer of this process.

        ``mallopt`` and ``malloc_trim`` are glibc's; where another library is used, nothing is given back early.
        """
        library = ctypes.CDLL(None)
        trim = getattr(library, "malloc_trim", None) if sys.platform == "linux" else None
        if trim is not None:
            library.mallopt(_M_MMAP_THRESHOLD, LARGE_BODY)
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
