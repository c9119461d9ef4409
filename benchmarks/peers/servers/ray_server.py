"""Ray Serve: ``POST /`` with ``{"text": …}``, on a local cluster of one replica."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import ray  # type: ignore[import-not-found]
from ray import serve
from starlette.requests import Request  # type: ignore[import-not-found]

from benchmarks.peers.servers.classifier import Classifier, parse_options

QUEUED = 1000
"""Requests that a replica takes at once, so that a batch can form; the default of 5 would bound it."""


class Batched:
    """Dynamic batching by ``serve.batch``."""

    def __init__(self, folder: str, batch_size: int, batch_wait_s: float) -> None:
        self._classifier = Classifier(folder)
        self._classify.set_max_batch_size(batch_size)
        self._classify.set_batch_wait_timeout_s(batch_wait_s)

    @serve.batch  # type: ignore[untyped-decorator]
    async def _classify(self, texts: list[str]) -> list[dict[str, float]]:
        return await asyncio.to_thread(self._classifier.classify, texts)

    async def __call__(self, request: Request) -> dict[str, float]:
        """Answer one request, together with those that came at the same time."""
        answer: dict[str, float] = await self._classify((await request.json())["text"])
        return answer


class Single:
    """One text at a time."""

    def __init__(self, folder: str) -> None:
        self._classifier = Classifier(folder)

    async def __call__(self, request: Request) -> dict[str, float]:
        """Answer one request."""
        text = (await request.json())["text"]
        return (await asyncio.to_thread(self._classifier.classify, [text]))[0]


def main() -> None:
    """Serve until SIGTERM."""
    options = parse_options(__doc__ or "")
    stopped = threading.Event()
    ray.init(
        address="local",
        num_cpus=os.cpu_count(),
        include_dashboard=False,
        object_store_memory=100_000_000,
        _node_ip_address="127.0.0.1",
    )
    serve.start(http_options={"host": "127.0.0.1", "port": options.port})
    if options.batch_size > 1:
        deployment = serve.deployment(max_ongoing_requests=QUEUED)(Batched)
        serve.run(deployment.bind(options.folder, options.batch_size, options.batch_wait_s))
    else:
        serve.run(serve.deployment(max_ongoing_requests=1)(Single).bind(options.folder))
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    stopped.wait()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
