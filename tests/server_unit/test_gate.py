"""The gate as a worker and its supervisor see it, across processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from handlers.gate import RUN_DIR_VARIABLE, Gate
from server.diagnosis import worker_failure
from server.drain import is_busy
from server.rundir import RunDir

from .conftest import ROOT

_HOLD_THE_GATE = """
import sys
from handlers.gate import Gate
with Gate.from_environment().busy():
    print("in", flush=True)
    sys.stdin.readline()
print("out", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def prepared(run_dir: RunDir) -> RunDir:
    run_dir.path.mkdir()
    run_dir.prepare()
    return run_dir


def test_unsupervised_gate_is_open_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RUN_DIR_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    gate = Gate.from_environment()
    with gate.busy():
        gate.report_ready()
        gate.report_failure("x")
    assert not gate.draining
    assert list(tmp_path.iterdir()) == []


def test_draining_follows_the_flag(prepared: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RUN_DIR_VARIABLE, str(prepared.path))
    gate = Gate.from_environment()
    assert not gate.draining
    prepared.draining_flag.touch()
    assert gate.draining


def test_busy_is_seen_from_another_process(prepared: RunDir) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", _HOLD_THE_GATE],
        cwd=ROOT,
        env=os.environ | {RUN_DIR_VARIABLE: str(prepared.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    assert not is_busy(prepared.busy_lock)
    assert worker.stdout.readline() == "in\n"
    assert is_busy(prepared.busy_lock)
    worker.stdin.write("\n")
    worker.stdin.flush()
    assert worker.stdout.readline() == "out\n"
    assert not is_busy(prepared.busy_lock)
    worker.communicate("\n")


def test_busy_ends_with_a_killed_worker_and_an_exception(prepared: RunDir) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", _HOLD_THE_GATE],
        cwd=ROOT,
        env=os.environ | {RUN_DIR_VARIABLE: str(prepared.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == "in\n"
    worker.kill()
    worker.communicate()
    assert not is_busy(prepared.busy_lock)
    with pytest.raises(KeyError), Gate(prepared.path).busy():
        raise KeyError
    assert not is_busy(prepared.busy_lock)


def test_nested_batches_hold_the_lock_until_the_last_ends(prepared: RunDir) -> None:
    gate = Gate(prepared.path)
    with gate.busy():
        with gate.busy():
            pass
        assert is_busy(prepared.busy_lock)
    assert not is_busy(prepared.busy_lock)


def test_a_worker_serves_where_no_report_can_be_written(prepared: RunDir) -> None:
    prepared.reports.rmdir()
    prepared.reports.touch()  # in the place of the folder, as a full disk cannot be had everywhere
    Gate(prepared.path).report_ready()
    assert prepared.reports.is_file()


def test_a_report_is_one_whole_file_of_the_process(prepared: RunDir) -> None:
    gate = Gate(prepared.path)
    gate.report_ready()
    assert worker_failure(prepared) is None
    gate.report_failure("no\n  model.onnx " + "x" * 5000)
    (report,) = prepared.reports.iterdir()
    assert report.name == f"{os.getpid()}.json"
    assert json.loads(report.read_text())["pid"] == os.getpid()
    reason = worker_failure(prepared)
    assert reason is not None
    assert reason.startswith("no model.onnx x")
    assert len(reason) == 2000
