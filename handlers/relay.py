"""Events handed on from a thread of their own, so that an answer never waits for its measurements."""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Final

from handlers.core.events import Event, EventSink

PAUSE_S: Final = 1.0
"""How long events gather before they are handed on: the answers leave first, and what is added up is sent seldom."""


def _nothing() -> None:
    """Do nothing."""


class EventRelay:
    """An event sink that returns at once.

    Args:
        sink: gets every event in order, later, in one other thread.
        pause_s: seconds for which events gather.
        then: called in that thread after everything that had gathered.
    """

    def __init__(self, sink: EventSink, pause_s: float = PAUSE_S, then: Callable[[], None] = _nothing) -> None:
        self._sink, self._pause_s, self._then = sink, pause_s, then
        self._events: SimpleQueue[Event | None] = SimpleQueue()
        self._thread = Thread(target=self._hand_on, name="lantern-events", daemon=True)

    def start(self) -> EventRelay:
        """Begin to hand on, with what has come before; return this relay."""
        self._thread.start()
        return self

    def __call__(self, event: Event) -> None:
        """Take one event. Where the thread has ended, because the sink failed, the sink is called here."""
        if self._thread.ident is None or self._thread.is_alive():
            self._events.put(event)
        else:
            self._sink(event)
            self._then()

    def close(self) -> None:
        """Hand on what is left, and end the thread."""
        self._events.put(None)
        self._thread.join()

    def _hand_on(self) -> None:
        is_open = True
        while is_open and (event := self._events.get()) is not None:
            time.sleep(self._pause_s)
            self._sink(event)
            is_open = self._hand_on_gathered()
            self._then()

    def _hand_on_gathered(self) -> bool:
        """Hand on what has come meanwhile; return whether there may be more."""
        while not self._events.empty():
            if (event := self._events.get()) is None:
                return False
            self._sink(event)
        return True
