"""Locust users over the client: open and closed loop, REST and gRPC.

Open loop: one user is one independent source of a Poisson (or constant) stream of ``--rate-per-user`` requests a
second, 1 by default, so that the number of users is the arrival rate, in the web page as in a shape. A request that
takes long delays no other, and its latency counts from when it was meant to start. Closed loop: one user is one caller
who waits for each answer before the next request.

Every request goes through Locust's ``request`` event, with the latency from the intended start as its response time
and a ``Record`` in its context, so Locust's own statistics, page and exports show the same as Lantern's report.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import gevent
import numpy as np
from gevent.pool import Pool
from locust import User, task
from locust.env import Environment

from benchmarks.load.corpus import Call
from benchmarks.load.results import OK
from benchmarks.load.timing import Target, Wire
from benchmarks.load.windows import Record, Timings
from benchmarks.load.workload import class_name, token_classes
from client import ClassifyResponse, LanternClient, LanternClientError

WRONG_LABEL: Final = "no_such_label"
"""What a request that is wrong on purpose names in ``context.active``: only the server knows its labels."""

EXPECTED_REFUSAL: Final = "unknown_label"
CLIENTS: Final = 8
"""Clients of one protocol; one keeps at most 20 idle connections, so many requests in flight need several."""

CAP: Final = 512
"""Requests in flight at most, of one source."""


@dataclass(frozen=True)
class Answered:
    """What came back: code, tokens as the server counted them, and its timings."""

    code: str
    tokens: int
    timings: Timings
    model: dict[str, Any] = field(default_factory=dict)
    error: LanternClientError | None = None


class Sender:
    """Sends calls over one protocol through a few clients, each time through the least busy one."""

    def __init__(self, target: Target, protocol: str, clients: int = CLIENTS) -> None:
        self.wire = Wire()
        self._clients = [
            LanternClient(target.transport(protocol, self.wire), timeout=target.timeout_s, retries=0)
            for _ in range(clients)
        ]
        self._busy = [0] * clients

    def send(self, call: Call) -> Answered:
        """Send one call and wait for its answer."""
        place = min(range(len(self._busy)), key=self._busy.__getitem__)
        self._busy[place] += 1
        try:
            return _send(self._clients[place], call)
        finally:
            self._busy[place] -= 1

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            client.close()


def _send(client: LanternClient, call: Call) -> Answered:
    fields: dict[str, Any] = {"options": {"over_length": call.over_length.value}}
    if call.wrong:
        fields["context"] = {"active": [WRONG_LABEL]}
    try:
        if len(call.texts) == 1:
            results: Sequence[ClassifyResponse | LanternClientError] = [client.classify(call.texts[0], **fields)]
        else:
            results = client.classify_entries([{"text": text, **fields} for text in call.texts])
    except LanternClientError as error:
        results = [error]
    return _answered(results, call)


def _answered(results: Sequence[ClassifyResponse | LanternClientError], call: Call) -> Answered:
    errors = [result for result in results if isinstance(result, LanternClientError)]
    good = [result for result in results if isinstance(result, ClassifyResponse)]
    if call.wrong:
        codes = {error.kind.code for error in errors}
        as_asked = codes == {EXPECTED_REFUSAL} and not good
        unexpected = next(iter(sorted(codes - {EXPECTED_REFUSAL})), "not_refused")
        return Answered(
            OK if as_asked else unexpected, call.tokens, Timings(), error=None if as_asked else _first(errors)
        )
    if errors:
        return Answered(errors[0].kind.code, call.tokens, Timings(), error=errors[0])
    return Answered(OK, sum(result.input.tokens for result in good), _timings(good), model=good[0].model.model_dump())


def _first(errors: Sequence[LanternClientError]) -> LanternClientError | None:
    return errors[0] if errors else None


def _timings(good: Sequence[ClassifyResponse]) -> Timings:
    """Take the slowest entry for each stage: entries of one call go through the stages side by side."""
    times = [result.timing_ms for result in good]
    return Timings(
        tokenize=max(each.tokenize for each in times),
        queue=max(each.queue for each in times),
        run=max(each.run for each in times),
        decide=max(each.decide for each in times),
    )


class Traffic:
    """What every user of one environment shares: where to, what, and how to report it."""

    def __init__(
        self, environment: Environment, target: Target, draw: Callable[[], Call], protocols: Sequence[str]
    ) -> None:
        self.environment = environment
        self.draw = draw
        self.model: dict[str, Any] = {}
        self._senders = {protocol: Sender(target, protocol) for protocol in protocols}

    def perform(self, call: Call, intended: float) -> Record:
        """Send ``call``, report it to Locust, and return its record; ``intended`` is of ``time.perf_counter``."""
        sender = self._senders[call.protocol]
        sender.wire.seconds, sender.wire.answer_bytes = 0.0, 0
        started = time.perf_counter()
        answered = sender.send(call)
        finished = time.perf_counter()
        self.model = answered.model or self.model
        record = Record(
            intended=intended,
            started=started,
            finished=finished,
            protocol=call.protocol,
            tokens=answered.tokens,
            code=answered.code,
            refusal=call.wrong and answered.code == OK,
            wire_s=sender.wire.seconds,
            timings=answered.timings,
        )
        self._report(record, sender.wire.answer_bytes, answered.error)
        return record

    def close(self) -> None:
        """Close all connections."""
        for sender in self._senders.values():
            sender.close()

    def _report(self, record: Record, answer_bytes: int, error: LanternClientError | None) -> None:
        failed = record.code != OK
        fire: Callable[..., None] = self.environment.events.request.fire
        fire(
            request_type=record.protocol,
            name=_name(record),
            response_time=1e3 * (record.finished - record.intended),
            response_length=answer_bytes,
            exception=(error or RuntimeError(record.code)) if failed else None,
            context={"record": record},
            start_time=time.time() - (record.finished - record.intended),
        )


def _name(record: Record) -> str:
    if record.refusal:
        return "refused as asked"
    classes = (each for each in token_classes() if each[0] <= record.tokens <= each[1])
    return f"{class_name(next(classes))} tokens"


class LanternUser(User):
    """A user of the locustfile: a source of arrivals, or a caller. ``environment.lantern`` says which."""

    abstract = True
    protocol: str = ""
    environment: Any

    def on_start(self) -> None:
        """Draw this user's phase, so that constant sources do not all fire together."""
        self._load: LocustLoad = self.environment.lantern
        self._generator = np.random.default_rng(self._load.next_seed())
        self._pool = Pool(CAP)

    @task
    def work(self) -> None:
        """Run one arrival, or one call."""
        if self._load.closed:
            self._load.traffic.perform(self._call(), time.perf_counter())
            return
        now = time.perf_counter()
        intended = self._next_arrival(now)
        gevent.sleep(max(0.0, intended - now))
        self._pool.spawn(self._load.traffic.perform, self._call(), intended)

    def on_stop(self) -> None:
        """Let what is in flight end: it is part of what was measured."""
        self._pool.join(timeout=self._load.timeout_s)

    def _next_arrival(self, now: float) -> float:
        """Return when the next request is meant to start: after the last one was, not after it was answered."""
        gap = 1 / self._load.rate_per_user
        last: float | None = getattr(self, "_last", None)
        if last is None:
            self._last = now + gap * float(self._generator.random())
        else:
            self._last = last + (gap if self._load.constant else float(self._generator.exponential(gap)))
        return self._last

    def _call(self) -> Call:
        call = self._load.traffic.draw()
        while call.protocol != self.protocol:
            call = self._load.traffic.draw()
        return call


@dataclass
class LocustLoad:
    """What the locustfile puts into ``environment.lantern`` when a test starts."""

    traffic: Traffic
    closed: bool
    constant: bool
    rate_per_user: float
    timeout_s: float
    seed: int
    users: int = 0

    def next_seed(self) -> int:
        """Return a seed of its own for each user."""
        self.users += 1
        return self.seed + self.users


class RestUser(LanternUser):
    """Sends over REST."""

    abstract = False
    protocol = "rest"


class GrpcUser(LanternUser):
    """Sends over gRPC."""

    abstract = False
    protocol = "grpc"
