from __future__ import annotations

import threading

from handlers.core.events import Event, SpansLost
from handlers.relay import EventRelay


def test_every_event_arrives_in_order_from_another_thread() -> None:
    seen: list[tuple[Event, int]] = []
    relay = EventRelay(lambda event: seen.append((event, threading.get_ident())), pause_s=0.0).start()
    events = [SpansLost(number) for number in range(200)]
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

    relay = EventRelay(slow, pause_s=0.0).start()
    relay(SpansLost(1))
    assert entered.wait(10)
    relay(SpansLost(2))  # returns although the sink is still at the first
    release.set()
    relay.close()


def test_events_after_the_thread_has_ended_are_not_lost() -> None:
    seen: list[Event] = []
    relay = EventRelay(seen.append, pause_s=0.0).start()
    relay.close()
    relay(SpansLost(3))
    assert seen == [SpansLost(3)]


def test_what_follows_comes_once_after_all_that_has_gathered() -> None:
    seen: list[str] = []
    relay = EventRelay(
        lambda event: seen.append(type(event).__name__), pause_s=0.01, then=lambda: seen.append("then")
    ).start()
    for number in range(3):
        relay(SpansLost(number))
    relay.close()
    assert "".join(name[0] for name in seen).replace("SSS", "S") == "St"
    assert seen[-1] == "then"


def test_what_comes_before_the_start_is_handed_on_after_it() -> None:
    seen: list[Event] = []
    relay = EventRelay(seen.append, pause_s=0.0)
    relay(SpansLost(1))
    assert seen == []
    relay.start().close()
    assert seen == [SpansLost(1)]
