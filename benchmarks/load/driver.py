"""Puts load on a real server: the ``Probe`` of the search, on gevent, inside a Locust user.

Open loop: one greenlet walks a schedule that was made beforehand and hands each request to a greenlet of its own; when
all places in flight are taken it waits, and what comes after is late by that wait, which its latency includes. So
nothing the server does delays when requests count from: no coordinated omission.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import gevent
import numpy as np
from gevent.event import AsyncResult
from gevent.pool import Pool
from gevent.queue import Queue
from locust import User, task
from locust.env import Environment

from benchmarks.load.arrivals import Process, ramped, schedule
from benchmarks.load.corpus import Call
from benchmarks.load.observe import Look, Observer
from benchmarks.load.results import Purpose, Slo, Window
from benchmarks.load.search import ServerGone
from benchmarks.load.statistics import Floats
from benchmarks.load.users import CAP, Traffic
from benchmarks.load.windows import Frame, Observed, Record, build_window

_T = TypeVar("_T")

WATCH_S: Final = 0.05
ALIVE_S: Final = 1.0
CHECK_S: Final = 0.2
KILL_S: Final = 3.0
GIVE_UP: Final = 5.0
"""A window with this many times the late requests that the SLO allows, and a handful more, cannot recover."""

HANDFUL: Final = 5
ABANDONED: Final = "no_answer"
"""Code of a request that was still in flight when the wait for it ended."""


@dataclass
class _Run:
    """What one window gathers while it runs."""

    records: list[Record] = field(default_factory=list)
    in_flight: list[tuple[float, int]] = field(default_factory=list)
    pending: dict[int, tuple[float, Call]] = field(default_factory=dict)
    capped: int = 0
    stopped: str = ""
    gone: str = ""


@dataclass(frozen=True)
class Part:
    """A part of a schedule that becomes a window; ``begin_s`` since the schedule began."""

    purpose: Purpose
    rate: float
    begin_s: float
    seconds: float


@dataclass(frozen=True)
class _Ran:
    """A schedule that was run: when it began (clock), when sending ended, and what was seen between its moments."""

    run: _Run
    began: float
    ended_s: float
    observed: list[Observed]


class Conductor(User):
    """The one Locust user of a search: runs what the search asks for, window after window."""

    fixed_count = 1
    environment: Any

    @task
    def conduct(self) -> None:
        """Run the next window and hand over its result."""
        job, result = self.environment.lantern_jobs.get()
        try:
            result.set(job())
        except ServerGone as gone:
            result.set_exception(gone)


class Driver:
    """The search's ``Probe`` on a real server.

    Args:
        environment: Locust's, with ``Conductor`` as its only user class.
        traffic: where to and what.
        slo: when to give a window up.
        process: how requests arrive.
        seed: of all schedules.
        observer: counters and processes of the server.
        alive: says why the server is gone, or nothing.
        timeout_s: how long to wait for the last answers of a window.
        say: takes a line about the window that runs, every second.
        check: raises ``KeyboardInterrupt`` when the run is to end.
    """

    def __init__(
        self,
        environment: Environment,
        traffic: Traffic,
        slo: Slo,
        process: Process,
        seed: int,
        observer: Observer,
        alive: Callable[[], str],
        timeout_s: float,
        say: Callable[[str], None],
        check: Callable[[], None],
    ) -> None:
        self._environment = environment
        self._traffic = traffic
        self._slo = slo
        self._process = process
        self._seed = seed
        self._observer = observer
        self._alive = alive
        self._timeout_s = timeout_s
        self._say = say
        self._check = check
        self._began = time.perf_counter()
        self._number = 0
        self._jobs: Queue[tuple[Callable[[], Any], AsyncResult[Any]]] = Queue()
        environment.lantern_jobs = self._jobs  # type: ignore[attr-defined]

    def start(self) -> None:
        """Start Locust's runner with the conductor in it."""
        runner = self._environment.create_local_runner()
        runner.start(1, spawn_rate=1)

    def stop(self) -> None:
        """End the runner and close the connections."""
        if self._environment.runner is not None:
            with gevent.Timeout(2 * KILL_S, False):
                self._environment.runner.quit()
        self._traffic.close()

    def clock(self) -> float:
        """Seconds, monotone."""
        return time.perf_counter()

    def open_loop(self, rate: float, seconds: float, lead_in: float, purpose: Purpose) -> Window:
        """As ``Probe.open_loop``."""
        starts = schedule(self._process, rate, lead_in + seconds, self._next_seed())
        return self._conduct(lambda: self._open(starts, rate, seconds, lead_in, purpose))

    def course(self, stages: Sequence[tuple[float, float]], purpose: Purpose) -> list[Window]:
        """Run ``(rate, seconds)`` stages as one schedule without a pause, and return a window for each.

        Nothing is given up and nothing waits between stages: what a peak leaves behind is in the next window. Raises
        ``ServerGone``.
        """
        self._next_seed()
        windows: list[Window] = self._conduct(lambda: self._course(stages, purpose))
        self._number += len(stages) - 1
        return windows

    def closed_loop(self, users: int, seconds: float, purpose: Purpose) -> Window:
        """As ``Probe.closed_loop``."""
        self._next_seed()
        return self._conduct(lambda: self._closed(users, seconds, purpose))

    def _conduct(self, job: Callable[[], _T]) -> _T:
        result: AsyncResult[_T] = AsyncResult()
        self._jobs.put((job, result))
        while not result.ready():
            self._check()
            result.wait(timeout=CHECK_S)
        found: _T = result.get()
        return found

    def _next_seed(self) -> int:
        self._number += 1
        return self._seed + self._number

    # Open loop.

    def _open(self, starts: Floats, rate: float, seconds: float, lead_in: float, purpose: Purpose) -> Window:
        measured = starts[starts >= lead_in]
        limit = GIVE_UP * self._slo.late_share * len(measured) + HANDFUL
        ran = self._run_schedule(starts, [lead_in + seconds], lead_in, limit)
        cut = ran.run.stopped or ran.run.gone
        length = seconds if not cut else max(0.0, ran.ended_s - lead_in)
        return self._kept(ran.run, [self._window(ran, 0, Part(purpose, rate, lead_in, length))])[0]

    def _course(self, stages: Sequence[tuple[float, float]], purpose: Purpose) -> list[Window]:
        ends = np.cumsum([seconds for _, seconds in stages]).tolist()
        ran = self._run_schedule(ramped(self._process, stages, self._seed), ends, 0.0, math.inf)
        parts = [Part(purpose, rate, end - seconds, seconds) for (rate, seconds), end in zip(stages, ends, strict=True)]
        begun = [part for part in parts if part.begin_s < ran.ended_s]
        return self._kept(ran.run, [self._window(ran, place, part) for place, part in enumerate(begun)])

    def _run_schedule(self, starts: Floats, ends: Sequence[float], measured_from: float, most_late: float) -> _Ran:
        """Run a schedule to the last of ``ends``, looking at the server at each of them (seconds since its begin)."""
        run, pool = _Run(), Pool(CAP)
        looks = [self._observer.look()]
        began = time.perf_counter()
        greenlets = [
            gevent.spawn(self._watch, run, began, starts, began + measured_from, most_late),
            gevent.spawn(self._look_at, looks, began, ends[:-1]),
        ]
        try:
            self._dispatch(run, pool, began, starts)
            ended_s = min(time.perf_counter() - began, ends[-1])
            if not run.stopped and not run.gone:
                gevent.sleep(max(0.0, began + ends[-1] - time.perf_counter()))
            looks.append(self._observer.look())
            self._wait_for_the_last(run, pool)
        finally:
            gevent.killall(greenlets)
            pool.kill(timeout=KILL_S)
        observed = [self._observer.between(before, after) for before, after in itertools.pairwise(looks)]
        return _Ran(run, began, ended_s, observed)

    def _kept(self, run: _Run, windows: list[Window]) -> list[Window]:
        """Return the windows, or raise with them where the server went meanwhile."""
        if run.gone:
            raise ServerGone(run.gone, windows)
        return windows

    def _look_at(self, looks: list[Look], began: float, moments: Sequence[float]) -> None:
        for moment in moments:
            gevent.sleep(max(0.0, began + moment - time.perf_counter()))
            looks.append(self._observer.look())

    def _window(self, ran: _Ran, place: int, part: Part) -> Window:
        frame = Frame(
            number=self._number + place,
            purpose=part.purpose,
            loop="open",
            started_s=ran.began - self._began + (part.begin_s if place else 0.0),
            lead_in_s=0.0 if place else part.begin_s,
            begin=ran.began + part.begin_s,
            seconds=part.seconds,
            rate=part.rate,
            stopped=ran.run.stopped or ran.run.gone,
        )
        return build_window(frame, ran.run.records, self._observed(ran.observed[place], ran.run), self._slo)

    def _dispatch(self, run: _Run, pool: Pool, began: float, starts: Floats) -> None:
        for number, start in enumerate(starts.tolist()):
            intended = began + start
            wait = intended - time.perf_counter()
            if wait > 0:
                gevent.sleep(wait)
            if run.stopped or run.gone:
                return
            if pool.full():
                run.capped += 1
            call = self._traffic.draw()
            run.pending[number] = (intended, call)
            pool.spawn(self._one, run, number, call, intended)

    def _one(self, run: _Run, number: int, call: Call, intended: float) -> None:
        record = self._traffic.perform(call, intended)
        if run.pending.pop(number, None) is not None:
            run.records.append(record)

    def _watch(self, run: _Run, began: float, starts: Floats, counted_from: float, most_late: float) -> None:
        """Sample the requests in flight, and end the window when it is lost or the server is."""
        next_look = 0.0
        while True:
            now = time.perf_counter()
            due = int(np.searchsorted(starts, now - began, "right"))
            run.in_flight.append((now, due - len(run.records)))
            if not run.stopped:
                run.stopped = self._hopeless(run, now, counted_from, most_late)
            if now >= next_look:
                next_look = now + ALIVE_S
                self._say(f"{now - began:.0f} s, {len(run.records)} answered, {due - len(run.records)} in flight")
                self._observer.sample()
                run.gone = run.gone or self._alive()
            gevent.sleep(WATCH_S)

    def _hopeless(self, run: _Run, now: float, from_: float, most_late: float) -> str:
        if math.isinf(most_late):
            return ""
        limit = self._slo.limit_ms / 1e3
        late = sum(one.intended >= from_ and one.finished - one.intended > limit for one in run.records[-5000:])
        late += sum(intended >= from_ and now - intended > limit for intended, _ in run.pending.values())
        return "stopped early, with too many late already" if late > most_late else ""

    def _wait_for_the_last(self, run: _Run, pool: Pool) -> None:
        deadline = time.perf_counter() + self._timeout_s
        while len(pool) and time.perf_counter() < deadline and not run.gone:
            pool.join(timeout=WATCH_S)
        now = time.perf_counter()
        for number, (intended, call) in list(run.pending.items()):
            del run.pending[number]
            run.records.append(Record(intended, intended, now, call.protocol, call.tokens, ABANDONED))

    # Closed loop.

    def _closed(self, users: int, seconds: float, purpose: Purpose) -> Window:
        run = _Run()
        before = self._observer.look()
        began = time.perf_counter()
        pool = Pool(users)
        for _ in range(users):
            pool.spawn(self._caller, run, began + seconds)
        watcher = gevent.spawn(self._watch_callers, run, pool)
        try:
            self._sleep_while_alive(run, seconds)
            after = self._observer.look()
            self._wait_for_the_last(run, pool)
        finally:
            watcher.kill()
            pool.kill(timeout=KILL_S)
        frame = Frame(
            number=self._number,
            purpose=purpose,
            loop="closed",
            started_s=began - self._began,
            lead_in_s=0.0,
            begin=began,
            seconds=seconds,
            users=users,
            stopped=run.gone,
        )
        observed = self._observed(self._observer.between(before, after), run)
        return self._kept(run, [build_window(frame, run.records, observed, self._slo)])[0]

    def _sleep_while_alive(self, run: _Run, seconds: float) -> None:
        ends = time.perf_counter() + seconds
        while not run.gone and (left := ends - time.perf_counter()) > 0:
            gevent.sleep(min(left, CHECK_S))

    def _caller(self, run: _Run, until: float) -> None:
        while time.perf_counter() < until and not run.gone:
            run.records.append(self._traffic.perform(self._traffic.draw(), time.perf_counter()))

    def _watch_callers(self, run: _Run, pool: Pool) -> None:
        while True:
            run.in_flight.append((time.perf_counter(), len(pool)))
            self._say(f"{len(run.records)} answered, {len(pool)} in flight")
            self._observer.sample()
            run.gone = run.gone or self._alive()
            gevent.sleep(ALIVE_S / 4)

    def _observed(self, observed: Observed, run: _Run) -> Observed:
        return Observed(
            in_flight=run.in_flight,
            batching=observed.batching,
            queue_ms=observed.queue_ms,
            server=observed.server,
            client=observed.client,
            capped=run.capped,
            cap=CAP,
        )
