from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.core.waiting import Pace, Waiting, WaitingLine

BUDGET = 512
SECONDS_A_TOKEN = 0.001


def cost(tokens: int) -> float:
    return tokens * SECONDS_A_TOKEN


def make_line(patience: float = 4.0, budget: int = BUDGET, max_padding: float = 0.1) -> WaitingLine[str]:
    return WaitingLine(budget, max_padding, patience, cost)


@dataclass(frozen=True)
class Arrival:
    name: str
    at: float
    tokens: int


@dataclass(frozen=True)
class Run:
    began: float
    ended: float
    batch: list[Waiting[str]]
    waiting: frozenset[str]
    """What was in the line when the run began, itself included."""


ARRIVALS = st.lists(
    st.tuples(st.floats(0.0, 30.0), st.integers(3, 60) | st.integers(150, 4096)), min_size=1, max_size=40
).map(lambda drawn: [Arrival(str(number), at, tokens) for number, (at, tokens) in enumerate(sorted(drawn))])


def simulate(line: WaitingLine[str], arrivals: list[Arrival]) -> Iterator[Run]:
    """Run everything on a simulated clock, one sub-batch at a time."""
    left, inside, now = list(arrivals), set[str](), 0.0
    while left or len(line):
        if not len(line):
            now = max(now, left[0].at)
        while left and left[0].at <= now:
            arrival = left.pop(0)
            line.join(arrival.name, [arrival.tokens], arrival.at, deadline=float("inf"))
            inside.add(arrival.name)
        before = frozenset(inside)
        batch = line.take()
        ended = now + cost(max(waiting.tokens for waiting in batch) * len(batch))
        yield Run(now, ended, batch, before)
        inside -= {waiting.owner for waiting in batch}
        now = ended


@settings(max_examples=60)
@given(ARRIVALS, st.floats(0.0, 8.0))
def test_everything_that_waits_is_run_once(arrivals: list[Arrival], patience: float) -> None:
    runs = list(simulate(make_line(patience), arrivals))

    assert sorted(waiting.owner for run in runs for waiting in run.batch) == sorted(one.name for one in arrivals)


@settings(max_examples=60)
@given(ARRIVALS, st.floats(0.0, 8.0))
def test_no_input_is_overtaken_by_what_comes_after_its_patience_is_over(
    arrivals: list[Arrival], patience: float
) -> None:
    """The head of every run that keeps an input waiting came within ``patience * cost`` of that input's arrival."""
    runs = list(simulate(make_line(patience), arrivals))
    arrived = {one.name: one.at for one in arrivals}
    limit = {one.name: one.at + patience * cost(one.tokens) for one in arrivals}

    for run in runs:
        head = run.batch[0].owner
        kept_waiting = run.waiting - {waiting.owner for waiting in run.batch}
        assert all(arrived[head] <= limit[name] + 1e-9 for name in kept_waiting)


@settings(max_examples=60)
@given(ARRIVALS, st.floats(0.0, 8.0))
def test_nothing_waits_longer_than_its_bound(arrivals: list[Arrival], patience: float) -> None:
    """The bound: the patience, the run that is going on then, and one run for each input that is in the line then."""
    runs = list(simulate(make_line(patience), arrivals))
    began = {waiting.owner: run.began for run in runs for waiting in run.batch}
    tokens = {one.name: one.tokens for one in arrivals}

    for one in arrivals:
        over = one.at + patience * cost(one.tokens)
        in_line = [other for other in arrivals if other.at <= over < began[other.name]]
        going_on = [run.ended - over for run in runs if run.began <= over < run.ended]
        ahead = sum(cost(max(tokens[other.name], BUDGET)) for other in in_line)
        assert began[one.name] <= over + sum(going_on) + ahead + 1e-9


@given(st.lists(st.integers(3, 4096), min_size=1, max_size=30), st.integers(16, 1024), st.floats(0.0, 0.5))
def test_a_sub_batch_keeps_to_the_budget_and_the_padding(lengths: list[int], budget: int, max_padding: float) -> None:
    line = make_line(budget=budget, max_padding=max_padding)
    for number, tokens in enumerate(lengths):
        line.join(str(number), [tokens], 0.0, deadline=1.0)
    while batch := line.take():
        padded = max(waiting.tokens for waiting in batch) * len(batch)
        assert len(batch) == 1 or padded <= budget
        assert padded - sum(waiting.tokens for waiting in batch) <= max_padding * padded


def test_a_short_input_goes_before_long_ones_that_came_first() -> None:
    line = make_line()
    line.join("long", [4096], 0.0, deadline=100.0)
    line.join("short", [20], 1.0, deadline=100.0)

    assert [waiting.owner for waiting in line.take()] == ["short"]
    assert [waiting.owner for waiting in line.take()] == ["long"]


def test_a_long_input_whose_patience_is_over_goes_before_a_short_one() -> None:
    line = make_line(patience=4.0)
    line.join("long", [4000], 0.0, deadline=100.0)
    line.join("short", [20], 16.1, deadline=100.0)

    assert [waiting.owner for waiting in line.take()] == ["long"]


def test_a_text_of_many_windows_ranks_by_all_of_them() -> None:
    line = make_line(patience=4.0)
    line.join("windows", [4000] * 8, 0.0, deadline=1000.0)
    line.join("one", [4000], 100.0, deadline=1000.0)

    assert [waiting.owner for waiting in line.take()] == ["one"]


def test_however_long_a_text_is_it_is_overtaken_for_so_long_only() -> None:
    line: WaitingLine[str] = WaitingLine(BUDGET, 0.1, 4.0, cost, most=50.0)
    line.join("windows", [4000] * 8, 0.0, deadline=1000.0)
    line.join("one", [4000], 40.0, deadline=1000.0)

    assert [waiting.owner for waiting in line.take()] == ["windows"]


def test_a_lane_for_short_inputs_leaves_the_long_ones() -> None:
    line = make_line(patience=0.0)
    line.join("long", [300], 0.0, deadline=100.0)
    line.join("short", [256], 1.0, deadline=100.0)

    assert [waiting.owner for waiting in line.take(longest=256)] == ["short"]
    assert line.take(longest=256) == []
    assert len(line) == 1


def test_work_ahead_is_only_what_would_be_run_before() -> None:
    line = make_line(patience=4.0)
    line.join("long", [4000], 0.0, deadline=100.0)
    line.join("short", [20], 0.0, deadline=100.0)

    assert line.seconds_ahead(30, 0.0) == pytest.approx(0.02)
    assert line.seconds_ahead(4000, 0.0) == pytest.approx(4.02)
    assert line.seconds_ahead(30, 20.0) == pytest.approx(4.02)


def test_what_is_late_leaves_the_line() -> None:
    line = make_line()
    line.join("late", [20], 0.0, deadline=1.0)
    line.join("in time", [20], 0.0, deadline=2.0)

    assert [waiting.owner for waiting in line.expire(1.0)] == ["late"]
    assert [waiting.owner for waiting in line.take()] == ["in time"]


def test_an_owner_can_be_forgotten() -> None:
    line = make_line()
    line.join("gone", [20] * 3, 0.0, deadline=1.0)
    line.join("stays", [4000], 0.0, deadline=1.0)
    line.forget("gone")

    assert [waiting.owner for waiting in line.take()] == ["stays"]


def test_without_a_known_pace_the_line_is_first_come_first_served() -> None:
    line: WaitingLine[str] = WaitingLine(BUDGET, 0.1, 4.0, Pace().seconds)
    line.join("first", [4000], 0.0, deadline=1.0)
    line.join("second", [20], 0.1, deadline=1.0)

    assert [waiting.owner for waiting in line.take()] == ["first"]


@given(st.floats(1e-6, 1e-2), st.lists(st.integers(1, 5000), min_size=1, max_size=20))
def test_the_pace_of_steady_runs_is_learned(seconds_a_token: float, runs: list[int]) -> None:
    pace = Pace()
    for tokens in runs:
        pace.learn(tokens, tokens * seconds_a_token)

    assert pace.seconds(1000) == pytest.approx(1000 * seconds_a_token)
