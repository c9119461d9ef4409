from __future__ import annotations

import threading

from handlers.core.events import Event, ItemFailed
from handlers.relay import EventRelay


def test_every_event_arrives_in_order_from_another_thread() -> None:
    seen: list[tuple[Event, int]] = []
    relay = EventRelay(lambda event: seen.append((event, threading.get_ident())), pause_s=0.0)
    events = [ItemFailed(str(number)) for number in range(200)]
    for event in events:
        relay(event)
    relay.close()
    assert [event for event, _ in seen] == events
    assert {thread for _, thread in seen}.isdisjoint({threading.get_ident()})


def test_the_caller_does_not_wait_for_the_sink() -> None:
    release, entered = threading.Event(), threading.Event()

    def slow(_: Event) -> None:
        entered.set()
        assert release.wait(10)

    relay = EventRelay(slow, pause_s=0.0)
    relay(ItemFailed("a"))
    assert entered.wait(10)
    relay(ItemFailed("b"))  # returns although the sink is still at the first
    release.set()
    relay.close()


def test_events_after_the_thread_has_ended_are_not_lost() -> None:
    seen: list[Event] = []
    relay = EventRelay(seen.append, pause_s=0.0)
    relay.close()
    relay(ItemFailed("late"))
    assert seen == [ItemFailed("late")]
