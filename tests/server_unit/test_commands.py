"""`ready` and `stop` against run folders whose server is gone, and why a worker died, read from the logs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from server import diagnosis
from server.__main__ import main
from server.errors import ExitCode
from server.rundir import RunDir, ServerState, started_after_boot
from server.signals import StopSignals

_IMPORT_FAILURE = """\
2026-01-01T00:00:00,001 W-9000-tiny_1.0-stdout - Torch worker started.
2026-01-01T00:00:00,002 W-9000-tiny_1.0-stdout - Backend worker process died.
2026-01-01T00:00:00,002 W-9001-tiny_1.0-stdout - Torch worker started.
2026-01-01T00:00:00,003 W-9000-tiny_1.0-stdout - Traceback (most recent call last):
2026-01-01T00:00:00,003 W-9000-tiny_1.0-stdout -   File "model_loader.py", line 108, in load
2026-01-01T00:00:00,003 W-9000-tiny_1.0-stdout - ModuleNotFoundError: No module named 'tokenizers'
2026-01-01T00:00:00,003 W-9000-tiny_1.0-stdout - During handling of the above exception, another exception occurred:
2026-01-01T00:00:00,003 W-9000-tiny_1.0-stdout - Traceback (most recent call last):
2026-01-01T00:00:00,003 W-9000-tiny_1.0-stdout - ModuleNotFoundError: No module named 'ts.torch_handler.tiny_entry'
"""


def _state(pid: int, started: float) -> ServerState:
    return ServerState(pid, started, "tiny", "127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", 1.0)


def _write_state(run_dir: RunDir, state: ServerState) -> None:
    run_dir.path.mkdir()
    run_dir.write_state(state)


def test_nothing_runs(run_dir: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stop", "--run-dir", str(run_dir.path)]) == ExitCode.OK
    assert main(["ready", "--run-dir", str(run_dir.path)]) == ExitCode.NOT_READY
    captured = capsys.readouterr()
    assert "No server runs" in captured.err
    assert captured.out.startswith("not ready: no server runs")


def test_stale_pid_file_is_removed(run_dir: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    _write_state(run_dir, _state(ended.pid, 0.0))
    assert main(["stop", "--run-dir", str(run_dir.path)]) == ExitCode.OK
    assert f"stale pid file of process {ended.pid}" in capsys.readouterr().err
    assert not run_dir.state_file.exists()


def test_a_pid_given_to_another_process_is_left_alone(run_dir: RunDir) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        _write_state(run_dir, _state(other.pid, started_after_boot(other.pid) - 100))
        assert main(["stop", "--run-dir", str(run_dir.path)]) == ExitCode.OK
        assert other.poll() is None
        other.communicate(b"\n")
    assert other.returncode == 0


def test_a_clock_that_jumps_hides_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    state = _state(os.getpid(), started_after_boot(os.getpid()))
    boot, created = psutil.boot_time(), psutil.Process().create_time()
    monkeypatch.setattr(psutil, "boot_time", lambda: boot + 3600)
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: created + 3600)
    assert state.is_alive()


def test_a_damaged_pid_file_is_none(run_dir: RunDir) -> None:
    run_dir.path.mkdir()
    for text in ("", "{}", "[1]", '{"pid": 1}'):
        run_dir.state_file.write_text(text)
        assert run_dir.read_state() is None


def test_stop_waits_for_the_process(run_dir: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as server:
        _write_state(run_dir, _state(server.pid, started_after_boot(server.pid)))
        assert main(["stop", "--run-dir", str(run_dir.path)]) == ExitCode.OK
    assert server.returncode == -signal.SIGTERM
    assert f"Server stopped (process {server.pid}" in capsys.readouterr().err


def test_ready_says_that_the_server_drains(run_dir: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    _write_state(run_dir, _state(os.getpid(), started_after_boot(os.getpid())))
    run_dir.stopping_flag.touch()
    assert main(["ready", "--run-dir", str(run_dir.path)]) == ExitCode.NOT_READY
    run_dir.stopping_flag.unlink()
    assert main(["ready", "--run-dir", str(run_dir.path)]) == ExitCode.NOT_READY
    assert (
        capsys.readouterr().out == "not ready: the server is stopping\nnot ready: its health endpoint does not answer\n"
    )


def test_the_missing_module_is_named_and_not_the_one_torchserve_tried_after_it(run_dir: RunDir) -> None:
    run_dir.logs.mkdir(parents=True)
    run_dir.model_log.write_text(_IMPORT_FAILURE)
    assert diagnosis.worker_failure(run_dir) == "ModuleNotFoundError: No module named 'tokenizers'"


def test_java_is_quoted_without_its_usual_lines(run_dir: RunDir) -> None:
    run_dir.logs.mkdir(parents=True)
    assert diagnosis.java_failure(run_dir) is None
    run_dir.java_log.write_text("WARNING: sun.reflect.X\nError: Could not create the VM\nError: second\n")
    assert diagnosis.java_failure(run_dir) == "Error: Could not create the VM"


def test_long_run_folders_get_a_short_temporary_one(tmp_path: Path) -> None:
    long = RunDir(tmp_path / ("x" * 150))
    assert len(str(long.temp)) < 90
    assert long.temp != RunDir(tmp_path / ("y" * 150)).temp


def test_only_ctrl_c_after_a_stop_forces() -> None:
    before = signal.getsignal(signal.SIGINT)  # a shell in the background starts its children with it ignored
    with StopSignals() as signals:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        signals.wait(5)
        assert (signals.requested, signals.forced) == (True, False)
        signal.raise_signal(signal.SIGINT)
        assert signals.forced
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("command", ["start", "ready", "stop"])
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert "--run-dir" in capsys.readouterr().out
