"""SIGTERM with the model at work: what is in flight is answered, what comes later is refused, nothing is left."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import psutil
import pytest

from client import LanternClient, Unavailable
from handlers.core.schema import MAX_ENTRIES
from server.errors import ExitCode
from server.readiness import why_not_ready
from tests.server.live import Live, Packed, runs, serve, until

_LONG_S = 0.7
"""Seconds of work of each long request; the drain is asked for within them."""


@dataclass(frozen=True)
class Drained:
    """What became of everybody."""

    live: Live
    rest: httpx.Response
    remote: Any
    queued: httpx.Response
    late_rest: httpx.Response
    late_remote: Any
    readiness: str
    exit_code: int
    processes: list[psutil.Process]


@pytest.fixture(scope="module")
def drained(packed: Packed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drained]:
    """Stop a server of its own with a long request of each protocol in its worker, and one more in its queue.

    The worker is held while the stop is asked for, and the supervisor while the late requests are sent, so that the
    order of events does not hang on the speed of the machine.
    """
    with serve(packed.archive, tmp_path_factory.mktemp("drain") / "run") as live, ThreadPoolExecutor(4) as callers:
        processes = live.descendants()
        long = _long_call(live, packed)
        held = live.hold(callers, packed.text_of(packed.window * 3))
        rest, remote = callers.submit(live.post, long), callers.submit(live.call, long)
        until(lambda: live.pending() == 2, "both requests to be queued")
        held.worker.resume()
        until(lambda: live.pending() == 0, "both requests to be in the worker")
        held.worker.suspend()
        try:
            assert live.busy(), "the batch had ended before the stop was asked for"
            queued = callers.submit(live.post, {"text": "a"})
            until(lambda: live.pending() == 1, "a third request to be queued")
            live.process.send_signal(signal.SIGTERM)
            until(lambda: any(line.startswith("Draining") for line in live.lines), "the drain to begin")
        finally:
            held.worker.resume()
        until(live.run_dir.draining_flag.exists, "the refusal of new requests")
        live.process.send_signal(signal.SIGSTOP)
        try:
            late_rest, late_remote = live.post({"text": "a"}), live.call({"text": "a"})
            readiness = why_not_ready(live.run_dir, 1.0, canary=False)
        finally:
            live.process.send_signal(signal.SIGCONT)
        assert held.answer.result().status_code == 200
        yield Drained(
            live=live,
            rest=rest.result(),
            remote=json.loads(remote.result()),
            queued=queued.result(),
            late_rest=late_rest,
            late_remote=json.loads(late_remote),
            readiness=readiness,
            exit_code=live.process.wait(30),
            processes=processes,
        )


def _long_call(live: Live, packed: Packed) -> dict[str, Any]:
    """Return entries that keep the worker busy for about ``_LONG_S``, as measured on the spot."""
    text = packed.text_of(packed.window)
    live.post({"text": text})
    run_ms = live.post({"text": text}).json()["timing_ms"]["run"]
    return {"entries": [{"text": text}] * min(MAX_ENTRIES, math.ceil(_LONG_S * 1e3 / run_ms))}


def _statuses(answer: Any) -> set[int]:
    return {result["status"] for result in answer["results"]}


def test_rest_request_in_flight_is_answered(drained: Drained) -> None:
    assert drained.rest.status_code == 200
    assert _statuses(drained.rest.json()) == {200}


def test_grpc_request_in_flight_is_answered(drained: Drained) -> None:
    assert _statuses(drained.remote) == {200}


def test_request_that_was_queued_before_the_stop_is_answered(drained: Drained) -> None:
    assert drained.queued.status_code == 200


def test_late_rest_request_is_told_to_go_elsewhere(drained: Drained) -> None:
    assert drained.late_rest.status_code == 503
    assert drained.late_rest.json()["error"]["code"] == "draining"
    assert drained.late_rest.headers["retry-after"] == "1"
    assert drained.late_rest.json()["escalation"]["lines"]


def test_late_grpc_request_is_told_to_go_elsewhere(drained: Drained) -> None:
    assert drained.late_remote["error"]["code"] == "draining"
    assert drained.late_remote["escalation"]["lines"]


def test_draining_server_is_not_ready(drained: Drained) -> None:
    assert drained.readiness == "the server is stopping"


def test_stop_is_clean_and_says_so(drained: Drained) -> None:
    assert drained.exit_code == ExitCode.OK
    until(lambda: "nothing was cut off" in drained.live.lines[-1], "the last line")


def test_no_process_is_left(drained: Drained) -> None:
    assert {process.pid for process in drained.processes if runs(process)} == set()
    assert len(drained.processes) == 2


def test_nothing_but_logs_and_the_lock_is_left(drained: Drained) -> None:
    assert {path.parent.name for path in drained.live.files() if path.name != "supervisor.lock"} == {"logs"}


def test_stopped_server_is_out_of_reach_on_both_protocols(drained: Drained) -> None:
    live = drained.live
    with LanternClient.rest(live.url, retries=0) as rest, LanternClient.grpc(live.target, retries=0) as remote:
        for client in (rest, remote):
            with pytest.raises(Unavailable):
                client.classify("a", timeout=5.0)


def test_stopped_server_is_not_ready(drained: Drained) -> None:
    ready = drained.live.readiness()
    assert ready.returncode == ExitCode.NOT_READY
    assert ready.stdout.startswith("not ready: no server runs from")
