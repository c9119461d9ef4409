"""Engines in processes of their own, so that one that crashes takes no other with it.

A worker opens one engine and answers requests: logits of a batch, or the time that it takes. All
workers of a check live at once and are asked in turn, which interleaves what is measured. An error
ends a worker, as does a CUDA fault, after which no process can go on; its last words are the reason,
and the next request starts it anew.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, cast

import numpy as np
import torch
from torch import nn

from handlers.core.manifest import Precision
from handlers.core.settings import Device, Settings
from handlers.runtime import Logits, Runtime, RuntimeDescription, TokenIds
from handlers.runtime.bundle import read_bundle

DENSE_SIZE: Final = 8192
"""Rows and columns of the square product that stands for the device's dense rate."""
DENSE_REPEATS: Final = 10
LOST: Final = "the process ended without a word"


@dataclass(frozen=True)
class Engine:
    """What to open.

    Attributes:
        device: where to run.
        bundle: an exported bundle, or ``None`` for ``transformers`` itself.
        checkpoint: as for ``python -m export``; for ``transformers``.
        precision: of ``transformers``; a bundle has its own.
        lengths: to prepare a bundle for.
    """

    device: Device
    bundle: Path | None = None
    checkpoint: str = ""
    precision: Precision = "fp32"
    lengths: tuple[int, ...] = ()


@dataclass(frozen=True)
class Inputs:
    """Ids and mask, int64 ``(batch, length)``."""

    input_ids: TokenIds
    attention_mask: TokenIds


@dataclass(frozen=True)
class Timing:
    """Asks for the seconds of each of ``repeats`` runs, from numpy to numpy."""

    inputs: Inputs
    repeats: int


Request = Inputs | Timing | None
"""``None`` asks for the dense rate."""
Answer = Logits | list[float] | float


class WorkerFailed(Exception):
    """An engine did not open or did not answer; the message is its last line."""


class TransformersRuntime:
    """``transformers`` eager behind the runtime protocol, as its user would run it."""

    def __init__(self, model: nn.Module, precision: Precision, device: str) -> None:
        dtype = torch.float16 if precision == "fp16" else torch.float32
        self._model = model.to(torch.device(device), dtype)
        self._device = device

    def prepare(self, lengths: Sequence[int]) -> None:
        """Nothing is prepared: the first round of a measurement is not counted."""

    def run(self, input_ids: TokenIds, attention_mask: TokenIds) -> Logits:
        """See ``Runtime.run``."""
        ids, mask = (torch.from_numpy(values).to(self._device) for values in (input_ids, attention_mask))
        with torch.inference_mode():
            output = self._model(input_ids=ids, attention_mask=mask)
        return cast(Logits, output.logits.float().cpu().numpy())

    def describe(self) -> RuntimeDescription:
        """See ``Runtime.describe``."""
        return RuntimeDescription("transformers", self._device, torch.get_num_threads())


class Worker:
    """A process that holds one engine, or the device's own rate.

    Args:
        engine: what to open; ``None`` for a worker that times dense products.
        log: file of what the process prints; its last line is the reason of a failure.
    """

    def __init__(self, engine: Engine | None, log: Path) -> None:
        self._engine = engine
        self._log = log
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None

    def logits(self, inputs: Inputs) -> Logits:
        """Return float32 ``(batch, labels)``."""
        return cast(Logits, self._ask(inputs))

    def seconds(self, inputs: Inputs, repeats: int) -> list[float]:
        """Time ``repeats`` runs."""
        return cast("list[float]", self._ask(Timing(inputs, repeats)))

    def dense_rate(self) -> float:
        """Return FLOP/s of a dense fp16 product."""
        return cast(float, self._ask(None))

    def close(self) -> None:
        """End the process."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.join()
        self._process, self._connection = None, None

    def _ask(self, request: Request) -> Answer:
        """Send a request, to a new process where there is none.

        Raises:
            WorkerFailed: the process ended instead of answering.
        """
        connection = self._connection or self._start()
        try:
            connection.send(request)
            return cast(Answer, connection.recv())
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self.close()
            raise WorkerFailed(last_line(self._log)) from None

    def _start(self) -> Connection:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self._engine, self._log), daemon=True)
        process.start()
        theirs.close()
        self._process, self._connection = process, ours
        return ours


def last_line(log: Path) -> str:
    """Return the last line of a log that says anything; of a traceback that is the error."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), LOST)


def dense_rate(size: int = DENSE_SIZE, repeats: int = DENSE_REPEATS) -> float:
    """Return FLOP/s of a square fp16 product of random matrices on the CUDA device, the median of ``repeats``."""
    left, right = (torch.randn(size, size, device="cuda", dtype=torch.float16) for _ in range(2))
    times = []
    for _ in range(repeats + 2):
        started, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        started.record()
        torch.mm(left, right)
        ended.record()
        ended.synchronize()
        times.append(started.elapsed_time(ended) / 1e3)
    return 2 * size**3 / float(np.median(times[2:]))


def _serve(connection: Connection, engine: Engine | None, log: Path) -> None:
    """Answer requests until the other side closes; what is printed goes to ``log``."""
    with log.open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    answer = _answer_dense if engine is None else _open_engine(engine)
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        connection.send(answer(request))


def _answer_dense(request: Request) -> Answer:
    assert request is None
    return dense_rate()


def _open_engine(engine: Engine) -> Callable[[Request], Answer]:
    runtime = _open_runtime(engine)
    runtime.prepare(engine.lengths)

    def answer(request: Request) -> Answer:
        assert request is not None
        if isinstance(request, Timing):
            return _time(runtime, request.inputs, request.repeats)
        return runtime.run(request.input_ids, request.attention_mask)

    return answer


def _open_runtime(engine: Engine) -> Runtime:
    if engine.bundle is None:
        from export.checkpoint import load_model, open_checkpoint  # seconds that no other engine needs

        return TransformersRuntime(load_model(open_checkpoint(engine.checkpoint)), engine.precision, engine.device)
    bundle = read_bundle(engine.bundle)
    return bundle.open_runtime(Settings(runtime=bundle.manifest.runtime, device=engine.device))


def _time(runtime: Runtime, inputs: Inputs, repeats: int) -> list[float]:
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        runtime.run(inputs.input_ids, inputs.attention_mask)
        times.append(time.perf_counter() - started)
    return times
