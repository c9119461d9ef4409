"""Events handed on from a thread of their own, so that an answer never waits for its measurements."""

from __future__ import annotations

import time
from queue import SimpleQueue
from threading import Thread
from typing import Final

from handlers.core.events import Event, EventSink

PAUSE_S: Final = 0.02
"""How long events gather before they are handed on: long enough for the answer to leave first."""


class EventRelay:
    """An event sink that returns at once.

    Args:
        sink: gets every event in order, later, in one other thread.
        pause_s: seconds for which events gather.
    """

    def __init__(self, sink: EventSink, pause_s: float = PAUSE_S) -> None:
        self._sink, self._pause_s = sink, pause_s
        self._events: SimpleQueue[Event | None] = SimpleQueue()
        self._thread = Thread(target=self._hand_on, name="lantern-events", daemon=True)
        self._thread.start()

    def __call__(self, event: Event) -> None:
        """Take one event. Where the thread has ended, because the sink failed, the sink is called here."""
        if self._thread.is_alive():
            self._events.put(event)
        else:
            self._sink(event)

    def close(self) -> None:
        """Hand on what is left, and end the thread."""
        self._events.put(None)
        self._thread.join()

    def _hand_on(self) -> None:
        while (event := self._events.get()) is not None:
            time.sleep(self._pause_s)
            self._sink(event)
            while not self._events.empty():
                if (event := self._events.get()) is None:
                    return
                self._sink(event)
