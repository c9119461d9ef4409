"""Tiny archives, free ports, run folders, and a stand-in for TorchServe."""

from __future__ import annotations

import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest

from server.endpoints import PortOverrides
from server.rundir import RunDir
from server.settings import StartSettings
from tests import ports

ROOT = Path(__file__).resolve().parents[2]
MakeArchive = Callable[..., Path]


@pytest.fixture
def make_archive(tmp_path: Path) -> MakeArchive:
    """Build an archive around one entry file, with the real gate and the files given by name."""

    def make(entry: str, **files: str) -> Path:
        path = tmp_path / "tiny.mar"
        model = {"modelName": "tiny", "modelVersion": "1.0", "handler": "tiny_entry.py"}
        if "model_config" in files:
            model["configFile"] = "model-config.yaml"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("MAR-INF/MANIFEST.json", json.dumps({"runtime": "python", "model": model}))
            archive.writestr("tiny_entry.py", entry)
            archive.writestr("handlers/__init__.py", "")
            archive.write(ROOT / "handlers" / "gate.py", "handlers/gate.py")
            if "model_config" in files:
                archive.writestr("model-config.yaml", files["model_config"])
            if "metrics" in files:
                archive.writestr("handlers/config/metrics.yaml", files["metrics"])
        return path

    return make


@pytest.fixture
def free_ports() -> PortOverrides:
    """See ``tests.ports.free_ports``."""
    return ports.free_ports()


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    """A run folder that does not exist yet."""
    return RunDir(tmp_path / "run")


@pytest.fixture
def settings(make_archive: MakeArchive, free_ports: PortOverrides, run_dir: RunDir) -> StartSettings:
    """Settings that could start an empty handler with the repository's own configuration."""
    return StartSettings(
        archive=make_archive("class Empty: ..."),
        model="tiny",
        config=ROOT / "config.properties",
        run_dir=run_dir,
        ports=free_ports,
        startup_timeout=30.0,
        drain_timeout=10.0,
    )


@dataclass
class FakeTorchServe:
    """A small HTTP server that answers as TorchServe does: what it answers, to be changed between requests.

    ``questions`` counts how often a worker was to describe itself.
    """

    authority: str = ""
    pending: int = 0
    workers: tuple[str, ...] = ("READY",)
    status: int = 200
    prediction: str = '{"labels": []}'
    pids: tuple[int, ...] = ()
    questions: int = 0
    described: dict[str, Any] = field(default_factory=dict)
    """What the worker says of itself, where it is asked."""

    def description(self) -> list[dict[str, Any]]:
        return [
            {
                "workers": [
                    {"status": status, "pid": pid} for status, pid in zip_longest(self.workers, self.pids, fillvalue=0)
                ],
                "minWorkers": 1,
                "maxBatchDelay": 20,
                "jobQueueStatus": {"pendingRequests": self.pending},
                **self.described,
            }
        ]


@pytest.fixture
def fake() -> Iterator[FakeTorchServe]:
    """A stand-in for TorchServe with one worker that is ready."""
    answers = FakeTorchServe()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers.questions += self.path.endswith("?customized=true")
            self.answer(json.dumps(answers.description()))

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(answers.prediction)

        def answer(self, body: str) -> None:
            self.send_response(answers.status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        answers.authority = f"127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield answers
        server.shutdown()
