"""Puts load on a real server: the ``Probe`` of the search, on gevent, inside a Locust user.

Open loop: one greenlet walks a schedule that was made beforehand and hands each request to a greenlet of its own; when
all places in flight are taken it waits, and what comes after is late by that wait, which its latency includes. So
nothing the server does delays when requests count from: no coordinated omission.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import gevent
import numpy as np
from gevent.event import AsyncResult
from gevent.pool import Pool
from gevent.queue import Queue
from locust import User, task
from locust.env import Environment

from benchmarks.load.arrivals import Process, schedule
from benchmarks.load.corpus import Call
from benchmarks.load.observe import Observer
from benchmarks.load.results import Purpose, Slo, Window
from benchmarks.load.search import ServerGone
from benchmarks.load.statistics import Floats
from benchmarks.load.users import CAP, Traffic
from benchmarks.load.windows import Frame, Observed, Record, build_window

WATCH_S: Final = 0.05
ALIVE_S: Final = 1.0
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
        self._began = time.perf_counter()
        self._number = 0
        self._jobs: Queue[tuple[Callable[[], Window], AsyncResult[Window]]] = Queue()
        environment.lantern_jobs = self._jobs  # type: ignore[attr-defined]

    def start(self) -> None:
        """Start Locust's runner with the conductor in it."""
        runner = self._environment.create_local_runner()
        runner.start(1, spawn_rate=1)

    def stop(self) -> None:
        """End the runner and close the connections."""
        if self._environment.runner is not None:
            self._environment.runner.quit()
        self._traffic.close()

    def clock(self) -> float:
        """Seconds, monotone."""
        return time.perf_counter()

    def open_loop(self, rate: float, seconds: float, lead_in: float, purpose: Purpose) -> Window:
        """As ``Probe.open_loop``."""
        starts = schedule(self._process, rate, lead_in + seconds, self._next_seed())
        return self._conduct(lambda: self._open(starts, rate, seconds, lead_in, purpose))

    def closed_loop(self, users: int, seconds: float, purpose: Purpose) -> Window:
        """As ``Probe.closed_loop``."""
        self._next_seed()
        return self._conduct(lambda: self._closed(users, seconds, purpose))

    def _conduct(self, job: Callable[[], Window]) -> Window:
        result: AsyncResult[Window] = AsyncResult()
        self._jobs.put((job, result))
        window: Window = result.get()
        return window

    def _next_seed(self) -> int:
        self._number += 1
        return self._seed + self._number

    # Open loop.

    def _open(self, starts: Floats, rate: float, seconds: float, lead_in: float, purpose: Purpose) -> Window:
        run, pool = _Run(), Pool(CAP)
        before = self._observer.look()
        began = time.perf_counter()
        measured = starts[starts >= lead_in]
        watcher = gevent.spawn(self._watch, run, began, starts, lead_in, len(measured))
        try:
            self._dispatch(run, pool, began, starts)
            ended = min(time.perf_counter() - began, lead_in + seconds)
            gevent.sleep(max(0.0, began + lead_in + seconds - time.perf_counter()) if not run.stopped else 0)
            after = self._observer.look()
            self._wait_for_the_last(run, pool)
        finally:
            watcher.kill()
            pool.kill()
        if run.gone:
            raise ServerGone(run.gone)
        length = seconds if not run.stopped else max(0.0, ended - lead_in)
        frame = Frame(
            number=self._number,
            purpose=purpose,
            loop="open",
            started_s=began - self._began,
            lead_in_s=lead_in,
            begin=began + lead_in,
            seconds=length,
            rate=rate,
            stopped=run.stopped,
        )
        observed = self._observer.between(before, after)
        return build_window(frame, run.records, self._observed(observed, run), self._slo)

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

    def _watch(self, run: _Run, began: float, starts: Floats, lead_in: float, planned: int) -> None:
        """Sample the requests in flight, and end the window when it is lost or the server is."""
        next_look = 0.0
        while True:
            now = time.perf_counter()
            due = int(np.searchsorted(starts, now - began, "right"))
            run.in_flight.append((now, due - len(run.records)))
            if not run.stopped:
                run.stopped = self._hopeless(run, now, began + lead_in, planned)
            if now >= next_look:
                next_look = now + ALIVE_S
                self._say(f"{now - began:.0f} s, {len(run.records)} answered, {due - len(run.records)} in flight")
                self._observer.sample()
                run.gone = run.gone or self._alive()
            gevent.sleep(WATCH_S)

    def _hopeless(self, run: _Run, now: float, from_: float, planned: int) -> str:
        limit = self._slo.limit_ms / 1e3
        late = sum(one.intended >= from_ and one.finished - one.intended > limit for one in run.records[-5000:])
        late += sum(intended >= from_ and now - intended > limit for intended, _ in run.pending.values())
        allowed = self._slo.late_share * planned
        return "stopped early, with too many late already" if late > GIVE_UP * allowed + HANDFUL else ""

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
            gevent.sleep(seconds)
            after = self._observer.look()
            self._wait_for_the_last(run, pool)
        finally:
            watcher.kill()
            pool.kill()
        if run.gone:
            raise ServerGone(run.gone)
        frame = Frame(
            number=self._number,
            purpose=purpose,
            loop="closed",
            started_s=began - self._began,
            lead_in_s=0.0,
            begin=began,
            seconds=seconds,
            users=users,
        )
        return build_window(frame, run.records, self._observed(self._observer.between(before, after), run), self._slo)

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
