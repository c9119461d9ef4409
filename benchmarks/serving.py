"""A running server from outside: what it adds to the model's own time, and the memory it takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import psutil

from benchmarks.errors import BenchmarkError
from benchmarks.machine import describe_machine, peak_bytes
from benchmarks.spread import Spread
from client import LanternClient

WARM_UP: Final = 500
"""Requests before any is counted: the JVM compiles its hot paths only after hundreds of them."""
WORKER_SCRIPT: Final = "model_service_worker.py"


@dataclass(frozen=True)
class ServingReport:
    """What was measured of a server on this machine, unloaded.

    Attributes:
        words: length of the text that was sent, in words.
        requests: requests on each protocol, one after another.
        rest_overhead_ms, grpc_overhead_ms: request time at the client minus ``timing_ms.run``.
        full_length_s: seconds of one request that fills the model's input.
        worker_peak_mb: peak resident memory of the worker (MB, 10^6 bytes), after that request.
        server_mb: resident memory of the Java front end.
    """

    command: str
    model: dict[str, Any]
    machine: dict[str, Any]
    words: int
    requests: int
    rest_overhead_ms: Spread
    grpc_overhead_ms: Spread
    full_length_s: float
    full_length_tokens: int
    worker_peak_mb: float
    server_mb: float


def run_serving_benchmark(
    url: str, grpc: str, requests: int, words: int, command: str, progress: Callable[[str], None]
) -> ServingReport:
    """Measure the server at ``url`` and ``grpc``; it must run on this machine, for its memory."""
    text = " ".join(["today"] * words)
    with LanternClient.rest(url, timeout=600) as rest, LanternClient.grpc(grpc, timeout=600) as remote:
        progress("REST")
        rest_overhead = _overheads(rest, text, requests)
        progress("gRPC")
        grpc_overhead = _overheads(remote, text, requests)
        progress("one full-length text")
        started = time.perf_counter()
        full = rest.classify(" ".join(["today"] * 8000), options={"over_length": "head"})
        full_s = time.perf_counter() - started
    worker = _worker()
    front = worker.parent()
    return ServingReport(
        command=command,
        model=full.model.model_dump(),
        machine=describe_machine(threads=0) | {"threads": "the server's own"},
        words=words,
        requests=requests,
        rest_overhead_ms=Spread.of(rest_overhead),
        grpc_overhead_ms=Spread.of(grpc_overhead),
        full_length_s=full_s,
        full_length_tokens=full.input.tokens_scored,
        worker_peak_mb=peak_bytes(worker.pid) / 1e6,
        server_mb=front.memory_info().rss / 1e6 if front is not None else 0.0,
    )


def report_markdown(report: ServingReport) -> str:
    """Return the report as Markdown."""
    rest, grpc = report.rest_overhead_ms, report.grpc_overhead_ms
    return "\n".join(
        [
            f"# Serving: {report.model['checkpoint']}, {report.model['runtime']} {report.model['precision']}",
            "",
            f"`{report.command}`",
            "",
            f"{report.machine['cpu']}, {report.machine['cores']} cores, client on the same machine, no other load.",
            "",
            "| what | median (quartiles) |",
            "|---|---:|",
            f"| REST: request minus run, {report.words} words, {report.requests} requests "
            f"| {rest.median:.2f} ms ({rest.low:.2f}-{rest.high:.2f}) |",
            f"| gRPC: request minus run | {grpc.median:.2f} ms ({grpc.low:.2f}-{grpc.high:.2f}) |",
            f"| one text of {report.full_length_tokens} tokens | {report.full_length_s:.2f} s |",
            f"| worker, peak resident memory after it | {report.worker_peak_mb:.0f} MB |",
            f"| Java front end, resident memory | {report.server_mb:.0f} MB |",
            "",
        ]
    )


def _overheads(client: LanternClient, text: str, requests: int) -> list[float]:
    overheads = []
    for number in range(WARM_UP + requests):
        started = time.perf_counter()
        answer = client.classify(text)
        took_ms = (time.perf_counter() - started) * 1e3
        if number >= WARM_UP:
            overheads.append(took_ms - answer.timing_ms.run)
    return overheads


def _worker() -> psutil.Process:
    """Find the one TorchServe worker on this machine."""
    workers = [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(part.endswith(WORKER_SCRIPT) for part in process.info["cmdline"] or [])
    ]
    if len(workers) != 1:
        raise BenchmarkError(f"{len(workers)} TorchServe workers run on this machine; exactly one is needed")
    return workers[0]
