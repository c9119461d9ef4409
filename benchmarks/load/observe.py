"""What a server says and takes while it is loaded: its counters in Prometheus format, and its processes."""

from __future__ import annotations

import re
import time
import urllib.request
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import psutil

from benchmarks.load.results import Batching, Usage
from benchmarks.load.windows import Observed

SCRAPE_S: Final = 3.0
_LINE = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)(?:\{[^}]*\})?\s+(?P<value>[-+0-9.eE]+)(?:\s+[0-9]+)?$")

TEXTS: Final = "lantern_texts_total"
TOKENS: Final = "lantern_tokens_total"
PADDED: Final = "lantern_padded_tokens_total"
REQUESTS: Final = "ts_inference_requests_total"
QUEUE_US: Final = "ts_queue_latency_microseconds"


def parse_metrics(text: str) -> dict[str, float]:
    """Read Prometheus' text format; values of one name are summed over their labels."""
    found: dict[str, float] = defaultdict(float)
    for line in text.splitlines():
        match = _LINE.match(line) if not line.startswith("#") else None
        if match is not None:
            found[match["name"]] += float(match["value"])
    return dict(found)


@dataclass(frozen=True)
class Look:
    """One look: the clock, the counters (empty where there are none), seconds of processor time, and the highest
    resident memory since the look before, in MB (10^6 bytes).
    """

    at: float
    counters: Mapping[str, float]
    server_cpu_s: float | None
    client_cpu_s: float
    server_rss_mb: float
    client_rss_mb: float


class Observer:
    """Looks at a server's metrics and, where it runs on this machine, at its processes.

    Args:
        metrics_url: ``None`` where the server's metrics cannot be reached.
        root: process whose whole tree is the server; ``None`` where it runs elsewhere.
    """

    def __init__(self, metrics_url: str | None, root: int | None) -> None:
        self._metrics_url = metrics_url
        self._root = root
        self._me = psutil.Process()
        self._server_rss = 0.0
        self._client_rss = 0.0

    def look(self) -> Look:
        """Read everything that only grows, and the highest memory since the look before."""
        self.sample()
        me = self._me.cpu_times()
        memory = (self._server_rss, self._client_rss)
        self._server_rss = self._client_rss = 0.0
        return Look(time.perf_counter(), self._counters(), self._server_cpu(), me.user + me.system, *memory)

    def sample(self) -> None:
        """Remember the highest memory since the last look."""
        self._client_rss = max(self._client_rss, self._me.memory_info().rss / 1e6)
        if self._root is not None:
            self._server_rss = max(self._server_rss, sum(_rss_mb(process) for process in tree(self._root)))

    def between(self, before: Look, after: Look) -> Observed:
        """Return what happened between two looks."""
        seconds = max(after.at - before.at, 1e-9)
        server = None
        if before.server_cpu_s is not None and after.server_cpu_s is not None:
            cores = max(0.0, after.server_cpu_s - before.server_cpu_s) / seconds
            server = Usage(cores=round(cores, 3), rss_mb=round(after.server_rss_mb, 1))
        client = Usage(
            cores=round((after.client_cpu_s - before.client_cpu_s) / seconds, 3), rss_mb=round(after.client_rss_mb, 1)
        )
        return Observed(
            batching=_batching(before.counters, after.counters),
            queue_ms=_queue_ms(before.counters, after.counters),
            server=server,
            client=client,
        )

    def _counters(self) -> dict[str, float]:
        if self._metrics_url is None:
            return {}
        try:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(self._metrics_url, timeout=SCRAPE_S) as answer:
                return parse_metrics(answer.read().decode("utf-8", "replace"))
        except (OSError, ValueError):
            return {}  # a window without counters is still a window; the report shows a dash for them

    def _server_cpu(self) -> float | None:
        return None if self._root is None else sum(_cpu_s(process) for process in tree(self._root))


def _grown(before: Mapping[str, float], after: Mapping[str, float], name: str) -> float | None:
    return after[name] - before.get(name, 0.0) if name in after else None


def _batching(before: Mapping[str, float], after: Mapping[str, float]) -> Batching | None:
    texts, tokens, padded = (_grown(before, after, name) for name in (TEXTS, TOKENS, PADDED))
    if not before or tokens is None or padded is None or padded <= 0:
        return None
    return Batching(texts=texts or 0.0, tokens=tokens, padded_tokens=padded)


def _queue_ms(before: Mapping[str, float], after: Mapping[str, float]) -> float | None:
    """Return TorchServe's mean time in its own queue; its counters leave gRPC out, so this is REST's."""
    requests, waited = _grown(before, after, REQUESTS), _grown(before, after, QUEUE_US)
    if not before or not requests or waited is None:
        return None
    return max(0.0, waited / requests / 1e3)


def tree(root: int) -> list[psutil.Process]:
    """Return a process and everything below it that still lives."""
    try:
        parent = psutil.Process(root)
        return [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return []


def _rss_mb(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss) / 1e6
    except psutil.Error:
        return 0.0


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def listener(port: int) -> int | None:
    """Return the topmost process of the server that listens on a port of this machine, where it can be seen."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return None
    for each in connections:
        address = each.laddr
        if each.status == psutil.CONN_LISTEN and address and address[1] == port and each.pid:
            return each.pid
    return None
