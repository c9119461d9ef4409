"""A real server for tests: an archive, a process with its own ports and run folder, and what can be done to it."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc  # type: ignore[import-untyped]
import httpx
import psutil
from tokenizers import Tokenizer

from client._generated import inference_pb2, inference_pb2_grpc
from handlers.core.manifest import Manifest, parse_manifest
from server.drain import is_busy
from server.endpoints import PortOverrides
from server.rundir import RunDir
from tests.ports import free_ports

ROOT: Final = Path(__file__).resolve().parents[2]
EMBEDDED: Final = ROOT / "export" / "checkpoints" / "small"
CACHE: Final = ROOT / ".lantern" / "test" / "server"
MODEL: Final = "sentiment"
JSON: Final = {"content-type": "application/json"}
PREDICTIONS: Final = f"/predictions/{MODEL}"
PATIENCE_S: Final = 60.0


@dataclass(frozen=True)
class Packed:
    """An archive and what is in it; ``embedded`` tells the trained checkpoint from a random one."""

    archive: Path
    bundle: Path
    embedded: bool

    @property
    def manifest(self) -> Manifest:
        path = self.bundle / "bundle.json"
        return parse_manifest(path.read_bytes(), str(path))

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the bundle, set as it is for serving."""
        tokenizer = Tokenizer.from_file(str(self.bundle / "tokenizer.json"))
        tokenizer.encode_special_tokens = True
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    def ids(self, text: str) -> list[int]:
        """The tokens of ``text``, special tokens not counted."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    @property
    def window(self) -> int:
        """Tokens of a text that one model input holds."""
        return self.manifest.max_length - 2

    def text_of(self, tokens: int) -> str:
        """A text of at least ``tokens`` tokens, and few more."""
        sentence = "After the long walk home in the rain we talked about work, sleep and money again. "
        return sentence * (tokens // (len(self.ids(sentence * 8)) // 8) + 1)


def pack(store: Path) -> Packed:
    """Export, check and pack the embedded checkpoint (or a random one where it is not there), as ``make archive`` does.

    The bundle is kept between runs for as long as the export finds it current; the archive is packed anew each time,
    since it holds the handlers.
    """
    from export.__main__ import main as export  # here, as it imports torch

    embedded = (EMBEDDED / "config.json").is_file()
    folder = CACHE / ("embedded" if embedded else "random")
    folder.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        checkpoint, bundle = EMBEDDED, folder / "bundle"
        if not embedded:
            from tests.checkpoints import make_checkpoint

            checkpoint = make_checkpoint(folder / "checkpoint", max_position_embeddings=4098)
        source = ("--checkpoint", str(checkpoint))
        assert export(["onnx", *source, "--out", str(bundle)]) == 0
        assert export(["parity", *source, "--bundle", str(bundle), "--seeds", "1"]) == 0
        assert export(["archive", "--bundle", str(bundle), "--store", str(store), "--device", "cpu"]) == 0
    return Packed(store / f"{MODEL}.mar", bundle, embedded)


def repack(archive: Path, target: Path, name: str, change: Callable[[bytes], bytes]) -> Path:
    """Copy ``archive`` to ``target`` with the content of one file changed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(target, "w") as new:
        for item in old.infolist():
            content = old.read(item)
            new.writestr(item, change(content) if item.filename == name else content)
    return target


def start_command(archive: Path, run_dir: Path, ports: PortOverrides) -> list[str]:
    """The command line that serves ``archive`` with the repository's own configuration."""
    return [
        *(sys.executable, "-m", "server", "start", "--archive", str(archive), "--run-dir", str(run_dir)),
        *("--http-port", str(ports.http), "--management-port", str(ports.management)),
        *("--metrics-port", str(ports.metrics), "--grpc-port", str(ports.grpc)),
        *("--grpc-management-port", str(ports.grpc_management), "--health-port", str(ports.health)),
    ]


def until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE_S) -> None:
    """Poll ``condition``; fail with ``what`` was waited for when it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.01)


def runs(process: psutil.Process) -> bool:
    """Whether ``process`` is alive."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@dataclass(frozen=True)
class Held:
    """A stopped worker and the answer that its caller waits for."""

    worker: psutil.Process
    answer: Future[httpx.Response]


@dataclass
class Live:
    """A server that was started as a user would, and the ways to talk to it."""

    process: subprocess.Popen[str]
    run_dir: RunDir
    ports: PortOverrides
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.url, trust_env=False, timeout=PATIENCE_S)
        self._channel = grpc.insecure_channel(self.target, options=[("grpc.enable_http_proxy", 0)])
        self._stub = inference_pb2_grpc.InferenceAPIsServiceStub(self._channel)  # type: ignore[no-untyped-call]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports.http}"

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.ports.grpc}"

    @property
    def management(self) -> str:
        return f"http://127.0.0.1:{self.ports.management}"

    @property
    def health(self) -> str:
        return f"http://127.0.0.1:{self.ports.health}"

    def post(self, body: Any, **fields: Any) -> httpx.Response:
        """Send ``body`` (bytes as they are, anything else as JSON) to the model over REST."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.http.post(PREDICTIONS, content=content, **{"headers": JSON, **fields})

    def call(self, body: Any, key: str = "data", model: str = MODEL, **more: bytes) -> bytes:
        """Send ``body``, and ``more`` beside it, to the model over gRPC and return the bytes of the answer."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = inference_pb2.PredictionsRequest(model_name=model, input={key: content, **more})
        return bytes(self._stub.Predictions(request, timeout=PATIENCE_S).prediction)

    def metrics(self) -> bytes:
        """The page that Prometheus scrapes."""
        return httpx.get(f"http://127.0.0.1:{self.ports.metrics}/metrics", trust_env=False, timeout=PATIENCE_S).content

    def pending(self) -> int:
        """How many requests wait in the queue."""
        described = httpx.get(f"{self.management}/models/{MODEL}", trust_env=False, timeout=PATIENCE_S).json()
        return int(described[0]["jobQueueStatus"]["pendingRequests"])

    def descendants(self) -> list[psutil.Process]:
        """Java and the workers."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def worker(self) -> psutil.Process:
        """The only worker."""
        (worker,) = (process for process in self.descendants() if process.name() != "java")
        return worker

    def busy(self) -> bool:
        """Whether the worker is inside a batch."""
        return is_busy(self.run_dir.busy_lock)

    def hold(self, callers: Executor, text: str) -> Held:
        """Send ``text`` and stop the worker while it is inside the batch, so that what comes next waits in the queue.

        ``text`` needs to be a few windows long, or the worker is done with it before it is stopped.
        """
        answer = callers.submit(self.post, {"text": text})
        until(self.busy, "the worker to take a request")
        worker = self.worker()
        worker.suspend()
        if not self.busy():
            worker.resume()
            raise AssertionError("the worker had answered before it was stopped")
        return Held(worker, answer)

    def readiness(self) -> subprocess.CompletedProcess[str]:
        """Run ``python -m server ready``."""
        command = [sys.executable, "-m", "server", "ready", "--run-dir", str(self.run_dir.path)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)

    def files(self) -> Iterator[Path]:
        """Every file that the server has made and that is still there."""
        folders = (self.run_dir.path, self.run_dir.temp)  # where the path is too long, the second is not in the first
        yield from {path for folder in folders for path in folder.rglob("*") if path.is_file()}

    def close(self) -> None:
        """Close the connections."""
        self.http.close()
        self._channel.close()

    def _collect_lines(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(self.process.stdout)


@contextmanager
def serve(archive: Path, run_dir: Path) -> Iterator[Live]:
    """Start a server, wait until it says that it is ready, and leave nothing of it behind."""
    ports = free_ports()
    process = subprocess.Popen(
        start_command(archive, run_dir, ports),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    live = Live(process, RunDir(run_dir), ports)
    reader = threading.Thread(target=live._collect_lines)
    reader.start()
    try:
        until(lambda: any("curl" in line for line in live.lines) or process.poll() is not None, "the server's start")
        assert process.poll() is None, live.lines
        yield live
    finally:
        live.close()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE_S)
        finally:
            process.kill()
            process.wait()
            reader.join()
