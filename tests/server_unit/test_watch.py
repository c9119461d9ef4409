"""The watch against a stand-in for TorchServe and a process that can hang."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from handlers.gate import Gate
from server import watch
from server.console import Console
from server.endpoints import Endpoint, Endpoints
from server.health import Board, Limits, Status
from server.process import JavaServer
from server.rundir import RunDir
from server.watch import Watch

from .conftest import FakeTorchServe

_STAY = [sys.executable, "-c", "input()"]


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """Java and its worker in one."""
    with subprocess.Popen(_STAY, stdin=subprocess.PIPE, start_new_session=True) as process:
        yield process
        process.kill()


@pytest.fixture
def board(
    process: subprocess.Popen[bytes], fake: FakeTorchServe, run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Board]:
    """The board of a watch that looks all the time and asks at once, and gives a hang a moment."""
    monkeypatch.setattr(watch, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(watch, "_ASK_SECONDS", 0.0)
    monkeypatch.setattr(watch, "_NOTE_SECONDS", 0.5)
    run_dir.path.mkdir()
    run_dir.prepare()
    fake.pids = (process.pid,)
    host, port = fake.authority.split(":")
    endpoints = Endpoints(*[Endpoint(host, int(port), "--port", "address")] * 6)
    board = Board(lambda: False)
    limits = Limits(hang=0.05, recovery=60.0)
    with Watch(JavaServer(process), run_dir, endpoints, "tiny", limits, board, Console()):
        yield board


def test_a_worker_with_nothing_to_do_is_asked_to_describe_itself(board: Board, fake: FakeTorchServe) -> None:
    _until(lambda: fake.questions > 1)
    assert board.ready().good


def test_what_the_worker_says_of_the_policy_is_shown_beside_readiness(board: Board, fake: FakeTorchServe) -> None:
    fake.described = {"customizedMetadata": {"policy_notes": ["policy_expired: valid until 2029-12-31"]}}
    _until(lambda: board.ready().details == ("policy_expired: valid until 2029-12-31",))
    assert board.ready().good

    fake.described = {"customizedMetadata": "nothing of the kind"}
    _until(lambda: board.ready().details == ())


def test_a_worker_that_is_always_busy_is_asked_of_the_policy_too(
    board: Board, fake: FakeTorchServe, run_dir: RunDir
) -> None:
    fake.described = {"customizedMetadata": {"policy_notes": ["unsigned_reader: conditions"]}}
    with Gate(run_dir.path).busy():
        _until(lambda: board.ready().details == ("unsigned_reader: conditions",))


def test_a_worker_with_something_to_do_is_left_alone(board: Board, fake: FakeTorchServe, run_dir: RunDir) -> None:
    with Gate(run_dir.path).busy():
        _until(lambda: _looks_do_not_ask(fake))
    _until(lambda: fake.questions > 1)


def _looks_do_not_ask(fake: FakeTorchServe) -> bool:
    before = fake.questions
    time.sleep(0.1)  # some looks
    return fake.questions == before


def test_a_process_that_stays_stopped_is_killed(board: Board, process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGSTOP)
    assert process.wait(20) == -signal.SIGKILL


def test_a_process_that_is_not_of_the_server_is_left_alone(
    board: Board, fake: FakeTorchServe, process: subprocess.Popen[bytes]
) -> None:
    with subprocess.Popen(_STAY, stdin=subprocess.PIPE, start_new_session=True) as other:
        try:
            for stopped in (other, process):
                stopped.send_signal(signal.SIGSTOP)
            fake.workers, fake.pids = ("READY", "READY"), (other.pid, process.pid)
            assert process.wait(20) == -signal.SIGKILL  # the second of the two
            assert other.poll() is None
        finally:
            other.kill()


def test_a_worker_that_has_gone_is_seen_before_torchserve_says_so(
    board: Board, process: subprocess.Popen[bytes]
) -> None:
    process.kill()
    _until(lambda: board.ready().status is Status.WORKER_DOWN)
