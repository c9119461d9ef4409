"""Drain decisions and probes against a stand-in for TorchServe."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from handlers.gate import Gate
from server import probe
from server.console import Console
from server.drain import Drain
from server.endpoints import Endpoint, Endpoints
from server.process import JavaServer
from server.rundir import RunDir
from server.signals import StopSignals

from .conftest import FakeTorchServe


@pytest.fixture
def drain(fake: FakeTorchServe, run_dir: RunDir) -> Iterator[Drain]:
    run_dir.path.mkdir()
    run_dir.prepare()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        host, port = fake.authority.split(":")
        endpoint = Endpoint(host, int(port), "--port", "address")
        endpoints = Endpoints(*[endpoint] * 6)
        yield Drain(JavaServer(process), run_dir, endpoints, "tiny", Console())
        process.kill()


def test_an_idle_server_drains_at_once(drain: Drain, run_dir: RunDir) -> None:
    started = time.monotonic()
    with StopSignals() as signals:
        assert drain.run(signals, timeout=10).unfinished == ""
    assert time.monotonic() - started < 2
    assert run_dir.draining_flag.exists()
    assert run_dir.stopping_flag.exists()


def test_a_batch_that_does_not_end_is_named(drain: Drain, run_dir: RunDir, fake: FakeTorchServe) -> None:
    fake.pending = 2
    with StopSignals() as signals, Gate(run_dir.path).busy():
        assert drain.run(signals, timeout=0.3).unfinished == "2 queued and a batch in a worker"


def test_a_stream_of_refused_requests_does_not_hold_the_stop(drain: Drain, fake: FakeTorchServe) -> None:
    fake.pending = 1
    with StopSignals() as signals:
        assert drain.run(signals, timeout=10).unfinished == ""


def test_jobs_that_wait_for_a_restarting_worker_are_in_flight(drain: Drain, fake: FakeTorchServe) -> None:
    fake.pending, fake.workers = 1, ("UNLOADED",)
    with StopSignals() as signals:
        assert drain.run(signals, timeout=3).unfinished == "1 queued"


@pytest.mark.parametrize(
    ("workers", "ready"),
    [((), False), (("READY",), True), (("READY", "UNLOADED"), False), (("READY", "READY"), True)],
)
def test_ready_means_every_worker(fake: FakeTorchServe, workers: tuple[str, ...], ready: bool) -> None:
    fake.workers = workers
    description = probe.describe(fake.authority, "tiny")
    assert description is not None
    assert description.is_ready is ready


def test_a_model_that_was_not_registered(fake: FakeTorchServe) -> None:
    fake.status = 404
    with pytest.raises(probe.ModelMissingError):
        probe.describe(fake.authority, "tiny")


@pytest.mark.parametrize(
    ("status", "prediction", "words", "final"),
    [
        (200, '{"labels": []}', "", True),
        (200, '{"labels": null}', "without `labels`", True),
        (200, "no json", "without `labels`", True),
        (500, "{}", "HTTP 500", True),
        (503, "{}", "HTTP 503", False),
    ],
)
def test_the_canary_is_judged(fake: FakeTorchServe, status: int, prediction: str, words: str, final: bool) -> None:
    fake.status, fake.prediction = status, prediction
    answer = probe.ask_canary(fake.authority, "tiny", timeout=5)
    assert words in answer.fault
    assert bool(answer.fault) is bool(words)
    assert answer.final is final


def test_nobody_listens(fake: FakeTorchServe) -> None:
    assert probe.describe("127.0.0.1:1", "tiny") is None
    assert "failed" in probe.ask_canary("127.0.0.1:1", "tiny", timeout=1).fault
