"""Servers under test: spoken to in their own way, refused while wrong, and always stopped."""

from __future__ import annotations

import io
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from benchmarks.__main__ import EXIT_REFUSED, main
from benchmarks.cli.peers import DEFAULT_PEERS
from benchmarks.errors import BenchmarkError
from benchmarks.peers import candidates, environments, exchange
from benchmarks.peers.agreement import check_agreement, digest
from benchmarks.peers.exchange import Caller, Dialect, Sent, closed_loop
from benchmarks.peers.process import Launch, alone, running
from benchmarks.peers.run import Plan, Run
from benchmarks.peers.workload import Text
from benchmarks.ports import free_ports
from export.progress import Progress

RIGHT = {"calm": 0.25, "tense": 0.75}
TEXT = Text("chat", 4, "one two")
REFERENCE = {digest(TEXT.text): RIGHT}


class Answering(BaseHTTPRequestHandler):
    """Answers every POST with what the test put into ``answer``, and keeps the bodies."""

    answer: Any
    status: int
    bodies: list[Any]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.bodies.append((self.path, body))
        data = json.dumps(self.answer).encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        return


@contextmanager
def serving(answer: Any, status: int = 200) -> Iterator[tuple[str, list[Any]]]:
    """Serve ``answer`` on loopback; yields the URL and the requests so far."""
    bodies: list[Any] = []
    handler = type("Fixed", (Answering,), {"answer": answer, "status": status, "bodies": bodies})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", bodies
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(answer: Any, dialect: Dialect, status: int = 200) -> tuple[Sent, list[Any]]:
    with serving(answer, status) as (url, bodies):
        caller = Caller(url, dialect)
        sent = caller.send(TEXT)
        caller.close()
    return sent, bodies


@pytest.mark.parametrize(
    ("dialect", "answer", "request_sent"),
    [
        (exchange.plain("/predict"), RIGHT, ("/predict", {"text": "one two"})),
        (
            exchange.infinity("m"),
            {"data": [[{"label": "tense", "score": 0.75}, {"label": "calm", "score": 0.25}]]},
            ("/classify", {"model": "m", "input": ["one two"]}),
        ),
        (
            exchange.lantern("m"),
            {"labels": [{"name": "calm", "score": 0.25}, {"name": "tense", "score": 0.75}]},
            ("/predictions/m", {"text": "one two"}),
        ),
    ],
)
def test_each_kind_of_server_is_asked_and_read_in_its_own_way(
    dialect: Dialect, answer: Any, request_sent: tuple[str, Any]
) -> None:
    sent, bodies = ask(answer, dialect)

    assert bodies == [request_sent]
    assert sent.scores == RIGHT
    assert check_agreement([sent], REFERENCE, 1e-9) == 0.0


def test_a_server_with_other_scores_is_refused() -> None:
    sent, _ = ask({"calm": 0.25, "tense": 0.76}, exchange.plain("/"))

    assert check_agreement([sent], REFERENCE, 0.02) == pytest.approx(0.01)
    with pytest.raises(BenchmarkError, match=r"scores differ from transformers by 1\.0e-02 \(tolerance 1e-04\)"):
        check_agreement([sent], REFERENCE, 1e-4)


def test_a_server_with_a_score_that_is_no_number_is_refused() -> None:
    sent, _ = ask({"calm": 0.25, "tense": float("nan")}, exchange.plain("/"))

    with pytest.raises(BenchmarkError, match="scores differ from transformers by nan"):
        check_agreement([sent], REFERENCE, 1.0)


def test_a_server_with_other_labels_is_refused() -> None:
    sent, _ = ask({"LABEL_0": 0.25, "LABEL_1": 0.75}, exchange.plain("/"))

    with pytest.raises(BenchmarkError, match="labels are LABEL_0, LABEL_1, but the checkpoint's calm, tense"):
        check_agreement([sent], REFERENCE, 1.0)


@pytest.mark.parametrize(
    ("answer", "status", "failure"),
    [(RIGHT, 503, "HTTP 503"), (["no", "scores"], 200, "an answer without scores"), ({}, 200, None)],
)
def test_an_answer_without_scores_is_a_failure_and_refused(answer: Any, status: int, failure: str | None) -> None:
    sent, _ = ask(answer, exchange.plain("/"), status)

    assert sent.failure == failure
    with pytest.raises(BenchmarkError, match=failure or "labels are"):
        check_agreement([sent], REFERENCE, 1.0)


def test_nothing_sent_is_no_agreement() -> None:
    with pytest.raises(BenchmarkError, match="nothing was sent"):
        check_agreement([], REFERENCE, 1.0)


def test_the_closed_loop_sends_every_text_once_with_so_many_in_flight() -> None:
    texts = [Text("chat", 4, str(number)) for number in range(10)]
    meeting = threading.Barrier(3, timeout=10)  # three must be in flight together, or the barrier breaks
    in_flight, most, lock = 0, 0, threading.Lock()

    def send(text: Text) -> Sent:
        nonlocal in_flight, most
        with lock:
            in_flight += 1
            most = max(most, in_flight)
        if int(text.text) < 9:
            meeting.wait()
        with lock:
            in_flight -= 1
        return Sent(text, 0.0, 1.0, RIGHT)

    counts: list[int] = []
    sent = closed_loop(send, texts, clients=3, progress=counts.append)

    assert sorted(int(one.text.text) for one in sent) == list(range(10))
    assert counts == list(range(1, 11))
    assert most == 3


SERVER_WITH_A_CHILD = """
import http.server, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
class Answering(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_response(200); self.send_header("Content-Length", "2"); self.end_headers(); self.wfile.write(b"{}")
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answering).serve_forever()
"""


def test_a_server_is_stopped_with_children_that_left_its_session(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    launch = Launch((sys.executable, "-c", SERVER_WITH_A_CHILD, str(port)), {}, tmp_path / "logs" / "server.log")
    caller = Caller(f"http://127.0.0.1:{port}", exchange.plain("/"))

    with pytest.raises(RuntimeError, match="measured"), running(launch, caller.is_ready, timeout_s=30) as server:
        family = [server, *server.children(recursive=True)]
        raise RuntimeError("measured")
    caller.close()

    assert len(family) == 2
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in family)
    assert launch.log.is_file()


def test_a_server_that_ends_is_named_with_its_log(tmp_path: Path) -> None:
    launch = Launch((sys.executable, "-c", "raise SystemExit(3)"), {}, tmp_path / "server.log")

    with pytest.raises(BenchmarkError, match=r"ended with 3; see .*server\.log"), running(launch, lambda: False, 30):
        pass


def test_a_server_that_is_never_ready_is_stopped(tmp_path: Path) -> None:
    launch = Launch((sys.executable, "-c", "import signal; signal.pause()"), {}, tmp_path / "server.log")

    with pytest.raises(BenchmarkError, match="was not ready within 0 s"), running(launch, lambda: False, 0.0):
        pass


def test_a_wrong_server_is_a_failure_and_is_not_timed(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    script = SERVER_WITH_A_CHILD.replace('b"{}"', "b'{\"calm\": 1}'").replace('"2"', '"11"')
    launch = Launch((sys.executable, "-c", script, str(port)), {}, tmp_path / "server.log")
    start = candidates.Start(launch, f"http://127.0.0.1:{port}", exchange.plain("/"))
    wrong = candidates.Candidate("wrong", False, "", (), 1e-4, lambda workplace, progress: lambda: start)
    kept: list[Any] = []
    run = Run(Plan((TEXT,), (TEXT,), 1, 1, 1.0), REFERENCE, kept.append, Progress(io.StringIO()), gemm_rate=lambda: 1.0)

    outcome = run.run_rounds([wrong], candidates.Workplace(tmp_path, tmp_path, "base"))

    assert outcome.rounds == ()
    assert [(one.server, one.reason) for one in outcome.failures] == [
        ("wrong", "labels are calm, but the checkpoint's calm, tense")
    ]
    assert kept == [outcome]


def test_every_peer_has_a_name_and_all_are_measured_unless_some_are_named() -> None:
    peers = candidates.peers()

    assert DEFAULT_PEERS.split(",") == list(peers)
    assert all(name == peer.name and not peer.is_lantern for name, peer in peers.items())
    assert candidates.lantern("fp32").tolerance < candidates.lantern("int8").tolerance


def test_the_stock_server_is_on_loopback_with_the_batching_that_its_name_says(tmp_path: Path) -> None:
    archive_config = candidates.torchserve_model_config(tmp_path, batch=4)
    properties = candidates.torchserve_properties([1, 2, 3, 4, 5])

    assert archive_config["batchSize"] == 4
    assert archive_config["maxWorkers"] == 1
    assert yaml.safe_load(yaml.safe_dump(archive_config)) == archive_config
    addresses = [line for line in properties.splitlines() if "_address=" in line]
    assert len(addresses) == 3
    assert all("=http://127.0.0.1:" in line for line in addresses)


def test_bundles_are_found_where_make_export_puts_them() -> None:
    assert candidates.bundle_folder("random:longformer-base", "int8") == Path(
        ".lantern/bundles/random-longformer-base-int8"
    )
    assert candidates.bundle_folder("owner/name", "fp32") == Path(".lantern/bundles/owner-name-fp32")


@pytest.mark.parametrize("name", ["litserve", "ray", "infinity"])
def test_everything_that_a_peer_needs_is_pinned(name: str) -> None:
    lines = environments.requirements_of(name).read_text(encoding="utf-8").splitlines()

    packages = [line for line in lines if line and not line.startswith("#")]
    assert packages
    assert all(line.count("==") == 1 for line in packages)


def test_a_version_is_that_of_the_peer_or_of_the_project() -> None:
    assert environments.version_of("litserve") in environments.requirements_of("litserve").read_text(encoding="utf-8")
    assert environments.version_of("torchserve") == "0.12.0"
    with pytest.raises(BenchmarkError, match="no version of nothing-of-that-name is known"):
        environments.version_of("nothing-of-that-name")


def test_an_environment_that_is_complete_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_pip(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing was to be installed")

    marker = tmp_path / environments.COMPLETE
    marker.write_text(environments.fingerprint(environments.requirements_of("litserve")), encoding="utf-8")
    monkeypatch.setattr("benchmarks.peers.environments.venv.create", no_pip)

    python = environments.ensure_environment("litserve", tmp_path, Progress(io.StringIO()))

    assert python == tmp_path / "bin" / "python"
    with pytest.raises(AssertionError, match="nothing was to be installed"):  # its requirements are others
        environments.ensure_environment("infinity", tmp_path, Progress(io.StringIO()))


def test_an_unknown_peer_is_refused_before_anything_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["peers", "--peers", "litserve,nobody", "--out", str(tmp_path)]) == EXIT_REFUSED

    assert "--peers nobody: there is no such peer; there are torchserve-stock, " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(BenchmarkError, match="another run uses"), alone(tmp_path):
        pass
    with alone(tmp_path):
        assert (tmp_path / "run.lock").is_file()
