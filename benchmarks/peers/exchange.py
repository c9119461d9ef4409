"""What is sent to each kind of server and how its scores are read, and the closed loop that sends it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import httpx

from benchmarks.peers.workload import Text

Scores = Mapping[str, float]
"""Sigmoid score by label."""

REQUEST_TIMEOUT_S: Final = 900.0
PROBE_TIMEOUT_S: Final = 240.0
"""Of the prediction that shows that a server is ready; it queues while the model loads."""


@dataclass(frozen=True)
class Dialect:
    """The URL path of one kind of server, its request for a text, and the scores in its answer."""

    path: str
    request: Callable[[str], dict[str, Any]]
    scores: Callable[[Any], Scores]


def _plain_scores(answer: Any) -> Scores:
    return {str(label): float(score) for label, score in answer.items()}


def _named_scores(key: str) -> Callable[[Any], Scores]:
    return lambda rows: {str(row[key]): float(row["score"]) for row in rows}


def plain(path: str) -> Dialect:
    """``{"text": …}`` to ``{label: score}``: what the scripts in ``benchmarks/peers/servers`` speak."""
    return Dialect(path, lambda text: {"text": text}, _plain_scores)


def infinity(model: str) -> Dialect:
    """infinity's ``/classify``, one text a request."""
    read = _named_scores("label")
    return Dialect("/classify", lambda text: {"model": model, "input": [text]}, lambda answer: read(answer["data"][0]))


def lantern(model: str) -> Dialect:
    """Lantern's REST (DESIGN section 4)."""
    read = _named_scores("name")
    return Dialect(f"/predictions/{model}", lambda text: {"text": text}, lambda answer: read(answer["labels"]))


@dataclass(frozen=True)
class Sent:
    """One request as the client saw it.

    Attributes:
        text: what was sent.
        started_s, ended_s: by a monotonic clock.
        scores: ``None`` where there was no right answer.
        failure: why not, without the text.
    """

    text: Text
    started_s: float
    ended_s: float
    scores: Scores | None
    failure: str | None = None

    @property
    def seconds(self) -> float:
        """From sending to the last byte of the answer."""
        return self.ended_s - self.started_s


class Caller:
    """Sends texts to one server; used by many threads."""

    def __init__(self, url: str, dialect: Dialect) -> None:
        self._url, self._dialect = url + dialect.path, dialect
        self._http = httpx.Client(timeout=REQUEST_TIMEOUT_S, limits=httpx.Limits(max_connections=None))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def is_ready(self) -> bool:
        """Whether a prediction comes back."""
        try:
            body = self._dialect.request("Is anybody there?")
            return self._http.post(self._url, json=body, timeout=PROBE_TIMEOUT_S).is_success
        except httpx.TransportError:
            return False

    def send(self, text: Text) -> Sent:
        """Send one text and wait for its answer; a failure is part of the result."""
        started = time.perf_counter()
        try:
            response = self._http.post(self._url, json=self._dialect.request(text.text))
        except httpx.TransportError as error:
            return Sent(text, started, time.perf_counter(), None, type(error).__name__)
        ended = time.perf_counter()
        if not response.is_success:
            return Sent(text, started, ended, None, f"HTTP {response.status_code}")
        try:
            return Sent(text, started, ended, self._dialect.scores(response.json()))
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            return Sent(text, started, ended, None, "an answer without scores")


def closed_loop(
    send: Callable[[Text], Sent], texts: Sequence[Text], clients: int, progress: Callable[[int], None]
) -> list[Sent]:
    """Send every text once, in order, ``clients`` at a time: whoever has an answer sends the next text at once.

    Args:
        progress: is called with the number of answers so far.
    """
    waiting = iter(texts)
    lock = threading.Lock()
    stopped = threading.Event()
    sent: list[Sent] = []

    def work() -> None:
        while not stopped.is_set():
            with lock:
                text = next(waiting, None)
            if text is None:
                return
            outcome = send(text)
            with lock:
                sent.append(outcome)
                progress(len(sent))

    pool = ThreadPoolExecutor(clients)
    try:
        for worker in [pool.submit(work) for _ in range(clients)]:
            worker.result()
    finally:
        # Not waited for: at a Ctrl-C the caller stops the server, which ends what is in flight.
        stopped.set()
        pool.shutdown(wait=False, cancel_futures=True)
    return sent
