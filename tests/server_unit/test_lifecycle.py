"""The real TorchServe with a tiny handler: it drains, leaves nothing behind, and says why it cannot load."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx
import psutil
import pytest

from server import probe
from server.drain import is_busy
from server.errors import ExitCode
from server.settings import StartSettings

from .conftest import ROOT, MakeArchive

_SLEEPY = """
import json, os, time
from pathlib import Path
from handlers.gate import Gate

class Sleepy:
    def initialize(self, context):
        self.gate = Gate.from_environment()
        self.gate.report_ready()

    def handle(self, rows, context):
        return [self.answer(row, i, context) for i, row in enumerate(rows)]

    def answer(self, row, index, context):
        if self.gate.draining:
            context.set_response_status(503, "draining", index)
            return json.dumps({"error": {"code": "draining"}})
        with self.gate.busy():
            asked = json.loads(bytes(row.get("body") or row["data"]))
            if asked.get("sleep"):
                Path(os.environ["TMPDIR"], f"asleep-{os.getpid()}").touch()
            time.sleep(asked.get("sleep", 0))
            return json.dumps({"labels": []})
"""
_REPORTS_FAILURE = """
from handlers.gate import Gate

class Failing:
    def initialize(self, context):
        Gate.from_environment().report_failure("bundle.json: sha256 of model.onnx differs")
        raise RuntimeError("refused")

    def handle(self, rows, context): ...
"""
_CANNOT_BE_IMPORTED = "import a_module_that_nobody_has\n"
_TWO_WORKERS = "minWorkers: 2\nmaxWorkers: 2\nmaxBatchDelay: 20\n"
_SECRET = "my quiet words 5d1f"


@dataclass
class Supervised:
    """A supervisor in its own process group, as a terminal would start it."""

    process: subprocess.Popen[str]
    settings: StartSettings
    lines: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.ports.http}/predictions/tiny"

    def collect_lines(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@contextmanager
def _started(settings: StartSettings, *options: str) -> Iterator[Supervised]:
    ports = settings.ports
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "server", "start", "--archive", settings.archive, "--model", settings.model),
            *("--config", settings.config, "--run-dir", settings.run_dir.path),
            *("--http-port", str(ports.http), "--management-port", str(ports.management)),
            *("--metrics-port", str(ports.metrics), "--grpc-port", str(ports.grpc)),
            *("--grpc-management-port", str(ports.grpc_management), "--health-port", str(ports.health)),
            *options,
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    supervised = Supervised(process, settings)
    reader = threading.Thread(target=supervised.collect_lines)
    reader.start()
    try:
        yield supervised
    finally:
        process.kill()
        process.wait()
        reader.join()


def _until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def _until_ready(supervised: Supervised) -> None:
    _until(lambda: any("curl" in line for line in supervised.lines) or supervised.process.poll() is not None)
    assert supervised.process.poll() is None, supervised.lines


def _all_gone(processes: list[psutil.Process]) -> bool:
    return not any(_runs(process) for process in processes)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _rest(url: str, sleep: float) -> httpx.Response:
    return httpx.post(url, json={"text": _SECRET, "sleep": sleep}, timeout=30, trust_env=False)


def _grpc(port: int | None, sleep: float) -> bytes:
    """Call Predictions with a message written by hand, so that this test needs no generated stubs."""
    body = json.dumps({"text": _SECRET, "sleep": sleep}).encode()
    entry = b"\x0a\x04data\x12" + bytes([len(body)]) + body
    message = b"\x0a\x04tiny\x1a" + bytes([len(entry)]) + entry
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions")
        answer: bytes = call(message, timeout=30)
    return answer


def _in_flight(supervised: Supervised, pool: ThreadPoolExecutor) -> tuple[Future[httpx.Response], Future[bytes]]:
    """Start one request of each protocol, and return when each is in a worker of its own."""
    rest = pool.submit(_rest, supervised.url, 2.0)
    remote = pool.submit(_grpc, supervised.settings.ports.grpc, 2.0)
    _until(lambda: len(list(supervised.settings.run_dir.temp.glob("asleep-*"))) == 2)
    return rest, remote


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_lets_requests_in_flight_finish_and_leaves_nothing(
    settings: StartSettings, make_archive: MakeArchive, number: signal.Signals
) -> None:
    make_archive(_SLEEPY, model_config=_TWO_WORKERS)
    with _started(settings) as supervised, ThreadPoolExecutor() as pool:
        _until_ready(supervised)
        curl = next(line for line in supervised.lines if line.startswith("  curl"))
        assert json.loads(subprocess.check_output(curl, shell=True)) == {"labels": []}
        descendants = supervised.descendants()
        rest, remote = _in_flight(supervised, pool)
        os.killpg(supervised.process.pid, number)
        _until(settings.run_dir.draining_flag.exists)
        late = _rest(supervised.url, 0)
        assert (late.status_code, late.json()["error"]["code"]) == (503, "draining")
        assert (rest.result().status_code, rest.result().json()) == (200, {"labels": []})
        assert b'"labels"' in remote.result()
        assert supervised.process.wait(15) == ExitCode.OK
    assert len(descendants) == 3
    assert _all_gone(descendants)
    assert "nothing was cut off" in supervised.lines[-1]
    assert not settings.run_dir.temp.exists()
    assert not _quotes(settings.run_dir.path, _SECRET)


def test_a_stop_lets_requests_in_the_queue_finish(settings: StartSettings, make_archive: MakeArchive) -> None:
    make_archive(_SLEEPY)
    with _started(settings) as supervised, ThreadPoolExecutor(4) as pool:
        _until_ready(supervised)
        running = pool.submit(_rest, supervised.url, 1.0)
        _until(lambda: is_busy(settings.run_dir.busy_lock))
        queued = [pool.submit(_rest, supervised.url, 0.2) for _ in range(3)]
        management = f"127.0.0.1:{settings.ports.management}"
        _until(lambda: _pending(management, settings.model) == len(queued))
        supervised.process.terminate()
        assert [future.result().status_code for future in (running, *queued)] == [200] * 4
        assert supervised.process.wait(15) == ExitCode.OK


def _pending(management: str, model: str) -> int:
    description = probe.describe(management, model)
    return description.pending if description is not None else 0


def test_a_killed_supervisor_leaves_no_java_and_the_next_one_starts(
    settings: StartSettings, make_archive: MakeArchive
) -> None:
    make_archive(_SLEEPY)
    with _started(settings) as killed, ThreadPoolExecutor() as pool:
        _until_ready(killed)
        descendants = killed.descendants()
        cut_off = pool.submit(_rest, killed.url, 20)
        _until(lambda: is_busy(settings.run_dir.busy_lock))
        killed.process.kill()
        with pytest.raises(httpx.TransportError):
            cut_off.result()
    _until(lambda: _all_gone([process for process in descendants if process.name() == "java"]), 5)
    with _started(settings) as restarted:
        _until_ready(restarted)
        assert _all_gone(descendants)
        os.kill(restarted.descendants()[0].pid, signal.SIGKILL)
        assert restarted.process.wait(15) == ExitCode.JAVA_ENDED
    assert "TorchServe was killed by signal 9" in restarted.lines[-1]


def _health(settings: StartSettings, path: str = "/readyz") -> tuple[int, str]:
    url = f"http://127.0.0.1:{settings.ports.health}{path}"
    answer = httpx.get(url, timeout=30, trust_env=False)
    return answer.status_code, answer.json()["status"]


def _worker(supervised: Supervised) -> psutil.Process:
    (worker,) = (process for process in supervised.descendants() if process.name() != "java")
    return worker


def test_a_hang_and_a_stop_show_in_readiness_and_the_worker_comes_back(
    settings: StartSettings, make_archive: MakeArchive
) -> None:
    make_archive(_SLEEPY)
    options = ("--hang-timeout", "1", "--drain-grace", "1", "--log-format", "json", "--log-to", "stdout")
    with _started(settings, *options) as supervised:
        _until_ready(supervised)
        assert _health(settings) == (200, "ready")

        hangs = _worker(supervised)
        hangs.suspend()
        _until(lambda: _health(settings) == (503, "worker_hung"))
        assert _health(settings, "/livez") == (200, "alive")
        _until(lambda: not _runs(hangs))
        _until(lambda: _health(settings) == (200, "ready"))

        supervised.process.terminate()
        _until(lambda: _health(settings) == (503, "draining"))
        assert not settings.run_dir.draining_flag.exists()
        assert _rest(supervised.url, 0).status_code == 200
        assert supervised.process.wait(15) == ExitCode.OK
    _assert_json(supervised.lines, f"Process {hangs.pid} hangs: killed.")
    for log in settings.run_dir.logs.glob("*.log"):
        if log != settings.run_dir.java_log:
            _assert_json(log.read_text(encoding="utf-8").splitlines(), "")


def _assert_json(lines: list[str], message: str) -> None:
    entries = [json.loads(line) for line in lines]
    assert {tuple(entry) for entry in entries} <= {("time", "level", "logger", "thread", "message", "exception")}
    assert any(message in entry["message"] for entry in entries) or not entries


def test_a_worker_that_does_not_come_back_ends_the_server(settings: StartSettings, make_archive: MakeArchive) -> None:
    make_archive(_SLEEPY)
    with _started(settings, "--recovery-timeout", "1") as supervised:
        _until_ready(supervised)
        descendants = supervised.descendants()
        httpx.put(
            f"http://127.0.0.1:{settings.ports.management}/models/tiny?min_worker=0&max_worker=0", trust_env=False
        )
        assert supervised.process.wait(15) == ExitCode.WORKER_LOST
        assert "0 of 1 workers are ready" in supervised.lines[-1]
        assert _all_gone(descendants)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (_REPORTS_FAILURE, "bundle.json: sha256 of model.onnx differs"),
        (_CANNOT_BE_IMPORTED, "ModuleNotFoundError: No module named 'a_module_that_nobody_has'"),
    ],
)
def test_a_worker_that_cannot_load_is_one_line(
    settings: StartSettings, make_archive: MakeArchive, entry: str, reason: str
) -> None:
    make_archive(entry)
    with _started(settings) as supervised:
        assert supervised.process.wait(20) == ExitCode.LOAD_FAILED
    assert supervised.lines[-1] == f"server: the model could not be loaded: {reason}\n"
    assert not settings.run_dir.temp.exists()


def _quotes(folder: Path, words: str) -> bool:
    return any(words.encode() in file.read_bytes() for file in folder.rglob("*") if file.is_file())
