"""The commands against a real server of both protocols, in processes of their own: gevent patches what it touches."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest

from benchmarks.load.results import read_result
from client._generated import inference_pb2, inference_pb2_grpc

ROOT = Path(__file__).resolve().parents[2]
FAST = """
name: fast
tokens: [{first: 5, last: 30, share: 1}]
protocols: {rest: 0.5, grpc: 0.5}
entries: {1: 0.9, 2: 0.1}
errors: 0.1
slo: {limit_ms: 400, error_share: 0.01}
"""


class FakeServer:
    """Answers as Lantern does. ``stall``: seconds from ``stall_from`` on in which nobody is answered."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.stall_from = float("inf")
        self.stall_s = 0.0
        self.calls = 0
        self.die: Callable[[], None] = lambda: None

    def answer(self, body: bytes) -> tuple[int, bytes]:
        self.calls += 1
        since = time.monotonic() - self.began
        if self.stall_from <= since < self.stall_from + self.stall_s:
            time.sleep(self.stall_from + self.stall_s - since)
        request = json.loads(body)
        if "entries" in request:
            results = [self._one(entry) | {"status": 200} for entry in request["entries"]]
            return 200, json.dumps({"results": results}).encode()
        result = self._one(request)
        return result.get("error", {}).get("http", 200), json.dumps(result).encode()

    def _one(self, request: dict[str, Any]) -> dict[str, Any]:
        if request.get("context", {}).get("active"):
            return {"error": {"code": "unknown_label", "message": "no such label", "field": None, "http": 400}}
        count = len(request["text"].split())
        return {
            "labels": [{"name": "neutral", "score": 0.9, "threshold": 0.5, "positive": True}],
            "escalation": None,
            "input": {"tokens": count, "tokens_scored": count, "windows": [], "truncated": False},
            "model": {
                "name": "sentiment", "version": "1.0", "checkpoint": "fake", "revision": "r1",
                "runtime": "onnx", "precision": "fp32", "calibration": "none",
            },
            "timing_ms": {"tokenize": 0.1, "queue": 0.2, "run": 1.0, "decide": 0.1},
        }  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    fake: FakeServer

    def do_POST(self) -> None:
        status, body = self.fake.answer(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test output clean."""


class _Servicer(inference_pb2_grpc.InferenceAPIsServiceServicer):
    def __init__(self, fake: FakeServer) -> None:
        self.fake = fake

    def Predictions(self, request: Any, context: Any) -> Any:  # noqa: N802
        return inference_pb2.PredictionResponse(prediction=self.fake.answer(request.input["data"])[1])


@pytest.fixture
def fake() -> Iterator[tuple[FakeServer, list[str]]]:
    server = FakeServer()
    handler = type("Handler", (_Handler,), {"fake": server})
    rest = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    rest.daemon_threads = True
    threading.Thread(target=rest.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    remote = grpc.server(ThreadPoolExecutor(32))
    inference_pb2_grpc.add_InferenceAPIsServiceServicer_to_server(_Servicer(server), remote)  # type: ignore[no-untyped-call]
    port = remote.add_insecure_port("127.0.0.1:0")
    remote.start()

    def die() -> None:
        rest.shutdown()
        rest.server_close()
        remote.stop(None).wait()

    server.die = die
    yield server, [f"--url=http://127.0.0.1:{rest.server_port}", f"--grpc=127.0.0.1:{port}"]
    die()


@pytest.fixture
def workload(tmp_path: Path) -> str:
    path = tmp_path / "fast.yaml"
    path.write_text(FAST, encoding="utf-8")
    return f"--workload={path}"


def bench(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks", "run", f"--out={tmp_path}", "--name=out", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_calls(server: FakeServer, calls: int, process: subprocess.Popen[str]) -> None:
    while server.calls < calls:
        assert process.poll() is None, finish(process)
        time.sleep(0.02)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, err = process.communicate(timeout=90)
    return process.returncode, out + err


def test_a_stall_is_seen_from_the_intended_start_on_both_protocols(
    fake: tuple[FakeServer, list[str]], workload: str, tmp_path: Path
) -> None:
    """Four seconds at 20/s with a stall of one: whoever was meant to start in it waits for its end."""
    server, addresses = fake
    process = bench(tmp_path, *addresses, workload, "--shape=soak:rate=20,seconds=4")
    wait_for_calls(server, 20, process)
    server.stall_s, server.stall_from = 1.0, time.monotonic() - server.began + 1.2
    status, said = finish(process)

    run = read_result(tmp_path / "out" / "result.json")
    [result] = run.results
    windows = [window for window in result.windows if window.purpose == "soak"]
    latencies = [value for window in windows for value in window.columns.latency_ms]
    assert result.configuration.checkpoint == "fake"
    assert set(windows[0].by_protocol) == {"rest", "grpc"}
    assert sum(window.refusals for window in windows) > 0
    assert not any(window.errors for window in windows)
    assert 800 < max(latencies) < 4000, said
    assert sum(value > 400 for value in latencies) >= 5  # 0.6 s of arrivals at 20/s wait for longer than 0.4 s
    assert status in (0, 12), said  # whether the stages of the stall miss the SLO for sure is a matter of chance


def test_ctrl_c_leaves_a_valid_partial_report(
    fake: tuple[FakeServer, list[str]], workload: str, tmp_path: Path
) -> None:
    server, addresses = fake
    process = bench(tmp_path, *addresses, workload, "--budget=30")
    wait_for_calls(server, 100, process)
    process.send_signal(signal.SIGINT)
    status, said = finish(process)

    assert status == 130, said
    assert read_result(tmp_path / "out" / "result.json").partial
    assert "Stopped before its end" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_server_that_dies_half_way_ends_the_run_and_not_the_report(
    fake: tuple[FakeServer, list[str]], workload: str, tmp_path: Path
) -> None:
    server, addresses = fake
    process = bench(tmp_path, *addresses, workload, "--budget=30")
    wait_for_calls(server, 200, process)
    server.die()
    status, said = finish(process)

    run = read_result(tmp_path / "out" / "result.json")
    assert status == 5, said
    assert run.verdict == "server_died"
    assert run.results[0].windows
    assert "The server died under load" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


CANNOT_BE_MEASURED = {
    "server_not_ready": ["--url=http://127.0.0.1:9", "--grpc=127.0.0.1:9", "--ready-timeout=0.1"],
    "refused": ["--url=http://192.0.2.1:80", "--grpc=127.0.0.1:9"],
    "workload_unsatisfiable": ["--url=http://127.0.0.1:9"],
}
IN_TURN = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from benchmarks.__main__ import main

for arguments in json.load(sys.stdin):
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        status = main(["run", *arguments])
    print(json.dumps([status, said.getvalue()]))
"""


@pytest.fixture(scope="module")
def not_measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, Path]]:
    """Status, words and folder of runs that end before their first call; one process for all, as it starts slowly."""
    workload = tmp_path_factory.mktemp("workload") / "fast.yaml"
    workload.write_text(FAST, encoding="utf-8")
    folders = {verdict: tmp_path_factory.mktemp(verdict) for verdict in CANNOT_BE_MEASURED}
    runs = [
        [f"--out={folders[verdict]}", "--name=out", *arguments, f"--workload={workload}"]
        for verdict, arguments in CANNOT_BE_MEASURED.items()
    ]
    done = subprocess.run(
        [sys.executable, "-c", IN_TURN], cwd=ROOT, input=json.dumps(runs), capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    found = map(json.loads, done.stdout.splitlines())
    return {verdict: (*each, folder / "out") for (verdict, folder), each in zip(folders.items(), found, strict=True)}


@pytest.mark.parametrize(
    ("verdict", "status", "words"),
    [("server_not_ready", 4, "rest"), ("refused", 2, "--allow-remote"), ("workload_unsatisfiable", 7, "--grpc")],
)
def test_what_cannot_be_measured_ends_with_a_report_that_says_so(
    not_measured: dict[str, tuple[int, str, Path]], status: int, verdict: str, words: str
) -> None:
    found, said, out = not_measured[verdict]

    assert found == status, said
    assert words in said
    assert read_result(out / "result.json").verdict == verdict
    assert (out / "report.html").exists()


def test_the_locustfile_runs_headless(fake: tuple[FakeServer, list[str]], workload: str, tmp_path: Path) -> None:
    server, (url, target) = fake
    command = [sys.executable, "-m", "locust", "-f", "benchmarks/locustfile.py", "--headless", "--only-summary"]
    options = [f"--host={url.removeprefix('--url=')}", target, workload, "-u25", "-r25", "--stop-timeout=5"]

    process = subprocess.Popen(
        [*command, *options, f"--csv={tmp_path}/locust"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for_calls(server, 80, process)
    process.terminate()
    status, said = finish(process)

    assert status == 0, said
    table = (tmp_path / "locust_stats.csv").read_text(encoding="utf-8")
    assert 'rest,"1–64 tokens"' in table.replace("rest,1–64 tokens", 'rest,"1–64 tokens"')
    assert "grpc,1–64 tokens" in table.replace('"', "")
    assert "refused as asked" in table
