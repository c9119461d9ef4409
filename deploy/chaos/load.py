"""Callers on both protocols, through the gateway, as a platform's own code would call: the Python client."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from client import LanternClient, LanternClientError, RetryPolicy
from deploy.chaos.answers import Known
from deploy.chaos.tally import ANSWERED, LOST, WRONG, Sample
from handlers.core.errors import DEADLINE_EXCEEDED

TIMEOUT_S: Final = 20.0
_POLL_S: Final = 0.01

Connect = Callable[[RetryPolicy], LanternClient]


@dataclass(frozen=True)
class LoadSettings:
    """How much is sent: calls a second on both protocols together, and callers on each."""

    rate: float = 100.0
    callers: int = 8
    timeout_s: float = TIMEOUT_S


class Load(AbstractContextManager["Load"]):
    """Load for the length of a ``with`` block; all calls have ended when it is left.

    Each caller has a connection of its own and sends the next text when it is its turn and the last one is answered.

    Args:
        connect: makes a client with a retry policy, by protocol.
        known: what is sent, and what must come back.
        settings: how much.
        seed: of the order of texts.
    """

    def __init__(
        self, connect: dict[str, Connect], known: Sequence[Known], settings: LoadSettings, seed: int = 7
    ) -> None:
        self._known = tuple(known)
        self._settings = settings
        self._samples: list[Sample] = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._call, args=(protocol, make, _Pace(self._interval(connect)), seed + number))
            for protocol, make in connect.items()
            for number in range(settings.callers)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def samples(self) -> list[Sample]:
        """The calls that have ended."""
        return list(self._samples)

    def wait_for(self, calls: int, timeout: float) -> None:
        """Return when ``calls`` more calls have ended, or after ``timeout`` seconds."""
        target, deadline = len(self._samples) + calls, time.monotonic() + timeout
        while len(self._samples) < target and time.monotonic() < deadline:
            time.sleep(_POLL_S)

    def _interval(self, connect: dict[str, Connect]) -> float:
        return len(connect) * self._settings.callers / self._settings.rate

    def _call(self, protocol: str, make: Connect, pace: _Pace, seed: int) -> None:
        draw = random.Random(f"{protocol} {seed}")
        retries = _Retries()
        with make(RetryPolicy(sleep=retries.sleep)) as client:
            while not self._stop.is_set():
                pace.wait(self._stop)
                retries.count = 0
                self._samples.append(self._sample(protocol, client, draw.choice(self._known), retries))

    def _sample(self, protocol: str, client: LanternClient, known: Known, retries: _Retries) -> Sample:
        began = time.monotonic()
        decision = ""
        try:
            answer = client.classify(known.text, timeout=self._settings.timeout_s)
            outcome = ANSWERED if known.is_answered_by(answer) else WRONG
            decision = str((answer.escalation or {}).get("decision_id", ""))
        except LanternClientError as error:
            outcome = self._outcome(error, time.monotonic() - began)
        return Sample(protocol, began, time.monotonic() - began, outcome, retries.count, decision)

    def _outcome(self, error: LanternClientError, took_s: float) -> str:
        """Tell a call that nothing came back for from one that was told of a deadline."""
        silent = error.kind is DEADLINE_EXCEEDED and took_s >= self._settings.timeout_s * 0.99
        return LOST if silent else error.kind.code


class _Pace:
    """Turns at a steady interval; those that are missed are not made up for."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next = time.monotonic() + random.Random(id(self)).uniform(0.0, interval)

    def wait(self, stop: threading.Event) -> None:
        stop.wait(max(0.0, self._next - time.monotonic()))
        self._next = max(self._next, time.monotonic() - self._interval) + self._interval


class _Retries:
    """Counts the waits of one caller's retry policy."""

    def __init__(self) -> None:
        self.count = 0

    def sleep(self, seconds: float) -> None:
        self.count += 1
        time.sleep(seconds)
