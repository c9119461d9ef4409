from __future__ import annotations

import gc
import json
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event as Flag
from threading import current_thread
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.core.answered import Answered
from handlers.core.errors import RETRY_AFTER_S
from handlers.core.events import Event, RequestDone, SubBatchDone
from handlers.core.settings import Settings
from handlers.core.statements import Statement
from handlers.core.wire import Outcome, RawRequest
from handlers.pipeline import Decider, Pipeline, ServedModel, StatementFinder
from handlers.runtime import Logits, Runtime, RuntimeDescription, TokenIds
from handlers.runtime.bundle import Bundle
from handlers.scheduler import MAX_TURN_S, TURN_S, TURN_SHARE, Scheduler, Turns
from tests.unit.conftest import open_pipeline

LONG = "b" * 200
SHORT = "a" * 10
PATIENCE_S = 30.0
FIELDS: dict[str, Any] = {"device": "cpu", "threads": 1, "warm_up": False, "token_budget": 300, "express_tokens": 50}


class HeldRuntime:
    """The real runtime, but an input of over 100 tokens is held until the test lets it go; ``<`` raises."""

    def __init__(self, runtime: Runtime, let_go: Flag, fault: int) -> None:
        self._runtime, self._let_go, self._fault = runtime, let_go, fault
        self.inside = Flag()
        self.lengths: list[int] = []
        self.threads: list[str] = []

    def prepare(self, lengths: Sequence[int]) -> None:
        self._runtime.prepare(lengths)

    def run(self, input_ids: TokenIds, attention_mask: TokenIds) -> Logits:
        self.lengths.append(input_ids.shape[1])
        self.threads.append(current_thread().name)
        if input_ids.shape[1] > 100:
            self.inside.set()
            assert self._let_go.wait(PATIENCE_S)
        if (input_ids == self._fault).any():
            raise RuntimeError("held")
        return self._runtime.run(input_ids, attention_mask)

    def describe(self) -> RuntimeDescription:
        return self._runtime.describe()


@dataclass
class Held:
    """A scheduler whose long runs end when ``let_go`` is set, and the clock that it sees."""

    scheduler: Scheduler
    runtime: HeldRuntime
    let_go: Flag
    events: list[Event]
    now: float = 0.0

    def submit(self, key: str, text: str, **fields: Any) -> None:
        self.scheduler.submit(key, request(text, **fields))

    def collect(self, *keys: str) -> dict[str, Outcome]:
        """Wait until ``keys`` are done."""
        return collect(self.scheduler, *keys)

    def begin_long(self, key: str = "long") -> None:
        """Submit a long text and wait until it is being run."""
        self.submit(key, LONG)
        assert self.scheduler.collect(0.0) == {}
        assert self.runtime.inside.wait(PATIENCE_S)


def collect(scheduler: Scheduler, *keys: str) -> dict[str, Outcome]:
    outcomes: dict[str, Outcome] = {}
    deadline = time.monotonic() + PATIENCE_S
    while not outcomes.keys() >= set(keys):
        assert time.monotonic() < deadline, f"only {sorted(outcomes)} of {sorted(keys)} are done"
        outcomes |= scheduler.collect(1.0)
    return outcomes


def request(text: str, **fields: Any) -> RawRequest:
    return RawRequest(json.dumps({"text": text, **fields}).encode())


def code(outcome: Outcome) -> str:
    return str(json.loads(outcome.body)["error"]["code"])


@pytest.fixture
def hold(bundle: Bundle, runtime: Runtime) -> Iterator[Callable[..., Held]]:
    """Make a ``Held``; ``decider`` and ``floor`` go into the pipeline, ``changes`` into the settings."""
    made: list[Held] = []
    fault = bundle.open_tokenizer().tokenize("<").encoding.ids[0]

    def make(decider: Decider | None = None, floor: StatementFinder | None = None, **changes: Any) -> Held:
        let_go, events = Flag(), list[Event]()
        held_runtime = HeldRuntime(runtime, let_go, fault)

        class HeldBundle(Bundle):
            def open_runtime(self, settings: Settings) -> Runtime:
                return held_runtime

        chosen = Settings(**(FIELDS | changes))

        def clock() -> float:
            return held.now if made else 0.0

        held_bundle = HeldBundle(bundle.folder, bundle.manifest.model_copy(update={"smoke": ()}))
        served_as = ServedModel("sentiment", "1.0")
        pipeline = Pipeline(held_bundle, chosen, served_as, events.append, clock, decider, floor)
        held = Held(Scheduler(pipeline, chosen), held_runtime, let_go, events)
        made.append(held)
        return held

    yield make
    for held in made:
        held.let_go.set()
        held.scheduler.close()


@contextmanager
def opened(pipeline: Pipeline) -> Iterator[Scheduler]:
    scheduler = Scheduler(pipeline, Settings(**FIELDS))
    try:
        yield scheduler
    finally:
        scheduler.close()


TEXTS = st.text(st.characters(codec="ascii", categories=["L", "Nd", "Zs"]), min_size=1, max_size=600).filter(str.strip)


@settings(max_examples=20)
@given(texts=st.lists(TEXTS, min_size=1, max_size=8))
def test_texts_are_answered_as_by_the_pipeline_itself(pipeline: Pipeline, texts: list[str]) -> None:
    expected = [json.loads(outcome.body) for outcome in pipeline.handle([request(text) for text in texts])]
    with opened(pipeline) as scheduler:
        for index, text in enumerate(texts):
            scheduler.submit(str(index), request(text))
        outcomes = collect(scheduler, *map(str, range(len(texts))))

    found = [json.loads(outcomes[str(index)].body) for index in range(len(texts))]
    assert [body["input"] for body in found] == [body["input"] for body in expected]
    for body, other in zip(found, expected, strict=True):
        scores = [[label["score"] for label in answer["labels"]] for answer in (body, other)]
        np.testing.assert_allclose(scores[0], scores[1], atol=1e-5, rtol=0)


def test_a_bad_request_and_entries_are_answered_in_their_own_form(pipeline: Pipeline) -> None:
    with opened(pipeline) as scheduler:
        scheduler.submit("bad", RawRequest(b"{"))
        scheduler.submit("list", RawRequest(json.dumps({"entries": [{"text": "a"}, {"text": ""}]}).encode()))
        outcomes = collect(scheduler, "bad", "list")

    assert code(outcomes["bad"]) == "invalid_json"
    assert [result["status"] for result in json.loads(outcomes["list"].body)["results"]] == [200, 400]
    assert scheduler.in_flight == frozenset()


def test_a_short_text_is_answered_while_a_long_one_is_run(hold: Callable[..., Held]) -> None:
    held = hold()
    held.begin_long()
    held.submit("short", SHORT)

    assert held.collect("short")["short"].status == 200
    assert held.scheduler.in_flight == {"long"}
    held.let_go.set()
    assert held.collect("long")["long"].status == 200


def test_what_is_run_within_a_turn_is_run_in_the_thread_of_the_host(hold: Callable[..., Held]) -> None:
    held = hold()
    held.scheduler._pace.learn(1000, TURN_S)
    for key in ("one", "two"):
        held.submit(key, SHORT)

    assert held.scheduler.collect(0.0).keys() == {"one", "two"}
    assert held.runtime.threads == [current_thread().name]


@pytest.mark.parametrize("seconds", [0.0, 1.01 * TURN_S], ids=["not known", "longer than a turn"])
def test_what_may_take_longer_than_a_turn_is_run_by_a_lane(seconds: float, hold: Callable[..., Held]) -> None:
    held = hold()
    held.scheduler._pace.learn(12, seconds)
    held.submit("one", SHORT)

    assert held.collect("one")["one"].status == 200
    assert held.runtime.threads == ["lantern-engine"]


def test_the_host_runs_nothing_beside_the_main_lane_that_has_no_express_lane(hold: Callable[..., Held]) -> None:
    held = hold(express_tokens=0)
    held.begin_long()
    held.scheduler._pace.learn(1000, TURN_S)
    held.submit("short", SHORT)

    assert held.scheduler.collect(0.0) == {}
    held.let_go.set()
    assert held.collect("short")["short"].status == 200
    assert set(held.runtime.threads) == {"lantern-engine"}


def test_without_an_express_lane_a_short_text_waits_for_one_run_only(hold: Callable[..., Held]) -> None:
    held = hold(express_tokens=0)
    held.scheduler._pace.learn(100, 1.0)
    held.begin_long()
    held.submit("other long", LONG)
    held.submit("short", SHORT)
    assert held.scheduler.collect(0.0) == {}
    held.let_go.set()

    outcomes = held.collect("short", "long", "other long")
    assert held.runtime.lengths == [202, 12, 202]
    assert {outcome.status for outcome in outcomes.values()} == {200}


def test_an_express_lane_leaves_what_is_not_short(hold: Callable[..., Held]) -> None:
    held = hold()
    held.begin_long()
    held.submit("medium", "c" * 60)
    held.submit("short", SHORT)

    held.collect("short")
    assert held.scheduler.in_flight == {"long", "medium"}


def test_texts_of_one_length_share_a_run(hold: Callable[..., Held]) -> None:
    held = hold(express_tokens=0)
    held.begin_long()
    for key in ("one", "two", "three"):
        held.submit(key, SHORT)
    held.let_go.set()
    held.collect("long", "one", "two", "three")

    runs = [event for event in held.events if isinstance(event, SubBatchDone)]
    assert [(run.inputs, run.padded_tokens) for run in runs] == [(1, 202), (3, 36)]


def test_more_work_than_can_wait_is_refused_but_a_short_text_is_not(hold: Callable[..., Held]) -> None:
    held = hold(queue_s=1.0, express_tokens=0)
    held.scheduler._pace.learn(100, 1.0)  # a long text takes two seconds
    held.begin_long()
    held.submit("waits", LONG)
    held.submit("too much", LONG)
    held.submit("short", SHORT)

    refused = held.collect("too much")["too much"]
    assert (refused.status, code(refused), refused.retryable) == (503, "overloaded", True)
    assert RETRY_AFTER_S >= 1
    assert held.scheduler.in_flight == {"long", "waits", "short"}


class Kept:
    """A decider that keeps what it is asked, by the length of the text."""

    def __init__(self) -> None:
        self.asked: dict[int, Answered] = {}

    def decide(self, answered: Answered) -> dict[str, Any]:
        self.asked[len(answered.received.request.text)] = answered
        return {"tier": "none", "number": len(self.asked)}

    def record(self) -> None:
        pass


class Whole:
    """A floor to which every text is one statement."""

    def find(self, text: str) -> tuple[Statement, ...]:
        return (Statement(0, len(text), "wish", "en"),)


def test_what_is_refused_or_late_is_decided_on_with_its_statements(hold: Callable[..., Held]) -> None:
    kept = Kept()
    held = hold(decider=kept, floor=Whole(), queue_s=1.0, express_tokens=0, deadline_s=10.0)
    held.scheduler._pace.learn(100, 1.0)  # a long text takes two seconds
    held.begin_long()
    held.submit("waits", LONG)
    held.submit("too much", LONG + "b")
    held.submit("late", SHORT)
    refused = held.collect("too much")["too much"]
    held.now = 10.0
    late = held.collect("late")["late"]

    assert (code(refused), refused.retryable, code(late)) == ("overloaded", True, "deadline_exceeded")
    assert json.loads(refused.body)["escalation"] == {"tier": "none", "number": 1}
    assert json.loads(late.body)["escalation"]["tier"] == "none"
    full, overdue = kept.asked[201], kept.asked[10]
    assert (full.statements, full.labels, full.faults) == ((Statement(0, 201, "wish", "en"),), (), ())
    assert (overdue.statements, overdue.labels) == ((Statement(0, 10, "wish", "en"),), ())
    assert overdue.faults == ("model_timeout",)


def test_the_texts_of_one_call_do_not_count_against_each_other(hold: Callable[..., Held]) -> None:
    held = hold(queue_s=1.0, express_tokens=0)
    held.scheduler._pace.learn(100, 1.0)
    held.scheduler.submit("list", RawRequest(json.dumps({"entries": [{"text": LONG}] * 4}).encode()))
    held.let_go.set()

    results = json.loads(held.collect("list")["list"].body)["results"]
    assert [result["status"] for result in results] == [200] * 4


def test_what_waits_past_its_deadline_is_answered_as_late_although_the_engine_is_busy(
    hold: Callable[..., Held],
) -> None:
    held = hold(express_tokens=0, deadline_s=10.0)
    held.begin_long()
    held.submit("late", SHORT)
    held.now = 5.0
    held.submit("in time", SHORT)
    held.now = 10.0

    outcomes = held.scheduler.collect(0.0) | held.scheduler.collect(0.0)
    assert {key: code(outcome) for key, outcome in outcomes.items()} == {"late": "deadline_exceeded"}
    held.let_go.set()
    assert {key: outcome.status for key, outcome in held.collect("long", "in time").items()} == {
        "long": 200,
        "in time": 200,
    }


def test_a_fault_ends_its_text_and_no_other(hold: Callable[..., Held]) -> None:
    held = hold(express_tokens=0)
    held.begin_long()
    held.submit("faulty", "a" * 9 + "<")
    held.submit("windows", ("d" * 253 + "<") * 3, options={"over_length": "window"})
    held.submit("well", SHORT)
    held.let_go.set()

    outcomes = held.collect("long", "faulty", "windows", "well")
    assert {key: outcome.status for key, outcome in outcomes.items()} == {
        "long": 200,
        "faulty": 500,
        "windows": 500,
        "well": 200,
    }
    assert len(held.scheduler._line) == 0


def test_the_wait_is_reported_with_the_answer_and_as_an_event(hold: Callable[..., Held]) -> None:
    held = hold(express_tokens=0)
    held.begin_long()
    held.submit("short", SHORT)
    held.now = 3.0
    held.let_go.set()
    outcome = held.collect("long", "short")["short"]

    assert json.loads(outcome.body)["timing_ms"]["queue"] == 3000.0
    waits = [text.queue_s for event in held.events if isinstance(event, RequestDone) for text in event.texts]
    assert 3.0 in waits


def test_a_text_that_is_answered_is_held_by_no_lane(hold: Callable[..., Held]) -> None:
    held = hold()
    held.begin_long()
    text = weakref.ref(held.scheduler._calls["long"].texts[0])
    held.let_go.set()
    held.collect("long")
    gc.collect()

    assert text() is None


def test_what_the_host_has_given_up_on_is_forgotten(hold: Callable[..., Held]) -> None:
    held = hold(express_tokens=0)
    held.begin_long()
    held.submit("gone", SHORT)
    held.scheduler.keep({"long"})
    held.let_go.set()

    assert held.collect("long").keys() == {"long"}
    assert held.runtime.lengths == [202]


def test_an_engine_that_does_not_come_back_is_noticed(hold: Callable[..., Held]) -> None:
    held = hold(deadline_s=10.0)
    assert not held.scheduler.is_stuck
    held.begin_long()
    held.now = 10.0
    assert not held.scheduler.is_stuck
    held.now = 10.1
    assert held.scheduler.is_stuck
    held.let_go.set()
    held.collect("long")
    assert not held.scheduler.is_stuck


def test_a_pipeline_that_has_warmed_up_gives_the_first_pace(bundle: Bundle) -> None:
    ticks = iter(range(1_000_000))
    pipeline = open_pipeline(bundle, clock=lambda: float(next(ticks)), warm_up=True)
    with opened(pipeline) as scheduler:
        assert scheduler._pace.seconds(100) > 0


def test_turns_are_short_unless_they_cost_much_themselves() -> None:
    now = 0.0
    turns = Turns(lambda: now)
    turns.begin()
    assert turns.seconds == TURN_S
    turns.end(in_flight=True)
    now += 0.01
    turns.begin()
    assert turns.seconds == pytest.approx(0.01 / TURN_SHARE)
    turns.end(in_flight=True)
    now += 10.0
    turns.begin()
    assert turns.seconds == MAX_TURN_S


def test_the_time_without_any_request_is_no_cost_of_a_turn() -> None:
    now = 0.0
    turns = Turns(lambda: now)
    turns.end(in_flight=False)
    now += 10.0
    turns.begin()

    assert turns.seconds == TURN_S
