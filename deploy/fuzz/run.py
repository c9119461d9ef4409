"""One run: three senders at once for a given time, and the verdict."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final
from urllib.parse import urlsplit

from deploy.fuzz.grpc_cases import GrpcCase, grpc_cases
from deploy.fuzz.http_cases import HttpCase, http_cases
from deploy.fuzz.largest import ROUNDS, largest_grpc_cases, largest_http_cases, settling_cases
from deploy.fuzz.senders import GrpcSender, HttpSender
from deploy.fuzz.target import Memory, Watched, files_with
from deploy.fuzz.verdicts import is_known_5xx, judge_grpc, judge_rest

GROWTH: Final = 0.05
"""Share by which memory may grow between the end of the warm-up and the end."""

WARM_UP: Final = 0.3
"""Share of the time that is warm-up: every kind of case has been there by then, the largest bodies too."""

_MOST_FINDINGS: Final = 50


@dataclass(frozen=True)
class Finding:
    """Something that must not be: in which case, and what. ``seed`` and ``place`` make the case again."""

    source: str
    seed: int
    place: int
    case: str
    what: str


@dataclass
class Tally:
    """What was sent and what came back; for several threads."""

    sent: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    known: int = 0
    findings: list[Finding] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, finding: Finding, answer: str, *, known: bool = False) -> None:
        """Count one case; ``finding.what`` is empty where all was well."""
        with self.lock:
            self.sent[f"{finding.source}: {finding.case}"] += 1
            self.answers[f"{finding.source} {answer}"] += 1
            self.known += known
            if finding.what and len(self.findings) < _MOST_FINDINGS:
                self.findings.append(finding)


@dataclass(frozen=True)
class Endpoints:
    """Where the server is: ``host:port`` of each protocol, and its model."""

    http: str
    grpc: str
    model: str


Stopped = Callable[[], bool]


def send_http(endpoints: Endpoints, seed: int, canary: str, tally: Tally, stopped: Stopped, most: int = 0) -> None:
    """Send HTTP cases until stopped, or ``most`` of them."""
    sender = _http_sender(endpoints)
    for place, case in enumerate(http_cases(Random(f"http-{seed}"), canary, endpoints.model)):
        if stopped() or place == (most or -1):
            return
        _judge_http(sender, case, Finding("http", seed, place, case.name, ""), tally)


def send_grpc(endpoints: Endpoints, seed: int, canary: str, tally: Tally, stopped: Stopped, most: int = 0) -> None:
    """Send gRPC cases until stopped, or ``most`` of them."""
    with GrpcSender(endpoints.grpc) as sender:
        for place, case in enumerate(grpc_cases(Random(f"grpc-{seed}"), canary, endpoints.model)):
            if stopped() or place == (most or -1):
                return
            _judge_grpc(sender, case, Finding("grpc", seed, place, case.name, ""), tally)


def send_schema(endpoints: Endpoints, seed: int, canary: str, tally: Tally, stopped: Stopped, rounds: int = 0) -> None:
    """Send what schemathesis makes until stopped, or for so many ``rounds`` of one seed each."""
    from deploy.fuzz.schema_cases import SchemaCases

    sender, cases, number = _http_sender(endpoints), SchemaCases(endpoints.model, canary), 0
    while not stopped() and (not rounds or number < rounds):
        place = iter(range(1 << 30))
        current = seed * 100_000 + number

        def send(case: HttpCase, current: int = current, place: Any = place) -> None:
            _judge_http(sender, case, Finding("schemathesis", current, next(place), case.name, ""), tally)

        cases.round(current, send, stopped)
        number += 1


def send_largest_http(endpoints: Endpoints, canary: str, tally: Tally, first: int = 0) -> None:
    """Send the largest HTTP cases, beginning at the place ``first``."""
    sender, cases = _http_sender(endpoints), largest_http_cases(canary, endpoints.model)
    for place in range(first, first + ROUNDS * len(cases)):
        case = cases[place % len(cases)]
        _judge_http(sender, case, Finding("http", 0, place, case.name, ""), tally)


def send_largest_grpc(endpoints: Endpoints, canary: str, tally: Tally) -> None:
    """Send the largest gRPC cases."""
    cases = largest_grpc_cases(canary, endpoints.model) * ROUNDS
    with GrpcSender(endpoints.grpc) as sender:
        for place, case in enumerate(cases):
            _judge_grpc(sender, case, Finding("grpc", 0, place, case.name, ""), tally)


def _http_sender(endpoints: Endpoints) -> HttpSender:
    host, _, port = endpoints.http.rpartition(":")
    return HttpSender(host.strip("[]"), int(port))


def _judge_http(sender: HttpSender, case: HttpCase, found: Finding, tally: Tally) -> None:
    status, body = sender.send(case)
    what = judge_rest(status, body, is_head=case.is_head, reaches=case.reaches)
    tally.add(_with(found, what), str(status or "closed"), known=is_known_5xx(status, body))


def _judge_grpc(sender: GrpcSender, case: GrpcCase, found: Finding, tally: Tally) -> None:
    status, details, body = sender.send(case)
    tally.add(_with(found, judge_grpc(status, details, body, case.expected)), status)


def _with(found: Finding, what: str) -> Finding:
    return Finding(found.source, found.seed, found.place, found.case, what)


@dataclass(frozen=True)
class Report:
    """What a run came to. Where the server was not ours, nothing is known of memory, restarts and logs (``None``).

    ``course`` is the memory of each second.
    """

    command: str
    seed: int
    canary: str
    seconds: float
    requests: int
    sent: dict[str, int]
    answers: dict[str, int]
    known_5xx: int
    findings: list[Finding]
    after_warm_up: Memory | None
    at_end: Memory | None
    course: list[Memory]
    worker_growth: float | None
    jvm_growth: float | None
    restarted: bool | None
    files_with_canary: list[str] | None

    @property
    def failures(self) -> list[str]:
        """Why the run has failed; nothing where it has not."""
        grown = {"worker": self.worker_growth, "JVM": self.jvm_growth}
        return [
            *(["nothing was sent"] if not self.requests else []),
            *([f"{len(self.findings)} answers that must not be"] if self.findings else []),
            *(f"the {name} grew by {share:.1%}" for name, share in grown.items() if share and share > GROWTH),
            *(["the worker or the JVM was restarted"] if self.restarted else []),
            *(f"{name} holds what was sent" for name in self.files_with_canary or []),
        ]


class Fuzzer:
    """Runs the senders for a time.

    Args:
        endpoints: of the server.
        seed: of everything that is sent.
        seconds: how long.
        say: progress.
        watched: the processes, where the server is ours.
    """

    def __init__(
        self, endpoints: Endpoints, seed: int, seconds: float, say: Callable[[str], None], watched: Watched | None
    ) -> None:
        self._endpoints, self._seed, self._seconds = endpoints, seed, seconds
        self._say, self._watched = say, watched
        self.canary = make_canary(seed)
        self.tally = Tally()
        self.course: list[Memory] = []

    def run(self) -> tuple[Memory | None, Memory | None]:
        """Send, and return the memory after the warm-up and at the end, each measured while nothing is sent."""
        self._send_largest()
        self._phase(self._seed, self._seconds * WARM_UP, "warm-up")
        warm = self._settled_memory()
        self._phase(self._seed + 1, self._seconds * (1 - WARM_UP), "fuzz")
        return warm, self._settled_memory()

    def _settled_memory(self) -> Memory | None:
        """Measure after what is the same each time; before that it is chance whether the last body was a large one."""
        if self._watched is None:
            return None
        sender = _http_sender(self._endpoints)
        for case in settling_cases(self._endpoints.model):
            sender.send(case)
        return self._watched.memory()

    def _send_largest(self) -> None:
        with ThreadPoolExecutor(len(_SENDERS)) as pool:
            sending = {
                pool.submit(send_largest_http, self._endpoints, self.canary, self.tally),
                pool.submit(send_largest_http, self._endpoints, self.canary, self.tally, 4),
                pool.submit(send_largest_grpc, self._endpoints, self.canary, self.tally),
            }
            self._watch(sending, lambda: "the largest cases")

    def _phase(self, seed: int, seconds: float, name: str) -> None:
        until = time.monotonic() + seconds
        with ThreadPoolExecutor(len(_SENDERS)) as pool:
            sending = {
                pool.submit(send, self._endpoints, seed, self.canary, self.tally, lambda: time.monotonic() >= until)
                for send in _SENDERS
            }
            self._watch(sending, lambda: f"{name}, {max(0.0, until - time.monotonic()):.0f} s left")

    def _watch(self, sending: set[Future[None]], stage: Callable[[], str]) -> None:
        """Look at the memory and tell of the progress until all is sent."""
        while wait(sending, timeout=1.0).not_done:
            if self._watched is not None and not self._watched.restarts():
                self.course.append(self._watched.look())
            self._say(f"{stage()}: {self.tally.sent.total()} sent, {len(self.tally.findings)} findings")
        for future in sending:
            future.result()


_SENDERS: Final = (send_http, send_grpc, send_schema)


def make_canary(seed: int) -> str:
    """Return a word that is in no file but of this run: letters alone, so that no encoding changes it."""
    random = Random(f"canary-{seed}")
    return "fz" + "".join(random.choice("bcdfghjklmnpqrstvwxz") for _ in range(14))


def fuzz_own(
    archive: Path, model: str, run_dir: Path, seed: int, seconds: float, command: str, say: Callable[[str], None]
) -> Report:
    """Start a server on free ports, fuzz it, stop it, and look into all its files."""
    from benchmarks.load.served import own_server

    with ExitStack() as stack:
        server = stack.enter_context(own_server(archive, model, run_dir, say))
        endpoints = Endpoints(server.url.removeprefix("http://"), server.grpc, model)
        watched = Watched(server.process.pid)
        fuzzer = Fuzzer(endpoints, seed, seconds, say, watched)
        began = time.monotonic()
        warm, end = fuzzer.run()
        took = time.monotonic() - began
        restarted = watched.restarts()
        while_it_runs = files_with(fuzzer.canary, run_dir)
    held = sorted({*while_it_runs, *files_with(fuzzer.canary, run_dir)})
    return _report(fuzzer, command, seed, took, (warm, end), restarted, held)


def fuzz_running(
    url: str, grpc: str, model: str, seed: int, seconds: float, command: str, say: Callable[[str], None]
) -> Report:
    """Fuzz a server that runs already."""
    parts = urlsplit(url)
    endpoints = Endpoints(f"{parts.hostname}:{parts.port or 80}", grpc, model)
    fuzzer = Fuzzer(endpoints, seed, seconds, say, None)
    began = time.monotonic()
    fuzzer.run()
    return _report(fuzzer, command, seed, time.monotonic() - began, (None, None), None, None)


def _report(
    fuzzer: Fuzzer,
    command: str,
    seed: int,
    seconds: float,
    memory: tuple[Memory | None, Memory | None],
    restarted: bool | None,
    files: list[str] | None,
) -> Report:
    warm, end = memory
    tally = fuzzer.tally
    both = warm is not None and end is not None
    return Report(
        command=command,
        seed=seed,
        canary=fuzzer.canary,
        seconds=round(seconds, 1),
        requests=tally.sent.total(),
        sent=dict(sorted(tally.sent.items())),
        answers=dict(sorted(tally.answers.items())),
        known_5xx=tally.known,
        findings=tally.findings,
        after_warm_up=warm,
        at_end=end,
        course=fuzzer.course,
        worker_growth=round(end.worker_mb / warm.worker_mb - 1, 4) if warm and end and both else None,
        jvm_growth=round(end.jvm_mb / warm.jvm_mb - 1, 4) if warm and end and both else None,
        restarted=restarted,
        files_with_canary=files,
    )
