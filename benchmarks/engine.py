"""The exported graph beside ``transformers`` eager and the machine's own GEMM rate, in one run.

Everything is interleaved: in each round every length is run by every engine, and the dense
product is timed again, so that a noisy neighbour hits them alike. Figures are medians with the
quartiles around them.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from transformers import LongformerForSequenceClassification

from benchmarks.flops import ModelShape, needed_flops
from handlers.runtime import Runtime, TokenIds

SHORT: Final = 512
"""Up to here a run is repeated within a round, since it is short against the noise."""

REPEATS_SHORT: Final = 5
GEMM_SHAPE: Final = (4096, 768, 3072)
SETTLE_S: Final = 0.05
"""Pause between engines: each lets its threads spin for a moment after a run."""


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of a sample, in the sample's unit."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, sample: Sequence[float]) -> Spread:
        """Summarise ``sample``."""
        low, median, high = np.quantile(sample, [0.25, 0.5, 0.75])
        return cls(float(median), float(low), float(high))


@dataclass(frozen=True)
class LengthRow:
    """One length, batch 1.

    Attributes:
        tokens: length of the input.
        eager_s, lantern_s: seconds for one run.
        speedup: ratio of each round's pair, so that drift cancels.
        flops: needed operations (``needed_flops``).
        gemm_share: achieved rate over the GEMM rate of the same round.
    """

    tokens: int
    eager_s: Spread
    lantern_s: Spread
    speedup: Spread
    flops: float
    gemm_share: Spread


@dataclass(frozen=True)
class EngineReport:
    """A whole run, with what it ran on."""

    checkpoint: str
    precision: str
    command: str
    machine: dict[str, Any]
    rounds: int
    gemm_gflops: Spread
    rows: tuple[LengthRow, ...]


def run_engine_benchmark(
    model: LongformerForSequenceClassification,
    runtime: Runtime,
    names: tuple[str, str, str],
    lengths: Sequence[int],
    rounds: int,
    progress: Callable[[str], None],
) -> EngineReport:
    """Measure; ``names`` are checkpoint, precision and command, for the report."""
    torch.set_num_threads(runtime.describe().threads)
    samples = _Samples(lengths)
    for number in range(-1, rounds):  # round -1 warms up and is not kept
        for length in lengths:
            progress(f"round {number + 1}/{rounds}, {length} tokens")
            measured = _measure_round(model, runtime, length)
            if number >= 0:
                samples.add(length, *measured)
    shape = ModelShape.of(model.config)
    return EngineReport(
        checkpoint=names[0],
        precision=names[1],
        command=names[2],
        machine=describe_machine(runtime.describe().threads),
        rounds=rounds,
        gemm_gflops=Spread.of(samples.all_gemm),
        rows=tuple(samples.row(length, needed_flops(shape, length)) for length in lengths),
    )


def report_markdown(report: EngineReport) -> str:
    """Return the report as a Markdown table."""
    gemm = report.gemm_gflops
    lines = [
        f"# Engine: {report.checkpoint}, {report.precision}, batch 1",
        "",
        f"`{report.command}`",
        "",
        f"{report.machine['cpu']}, {report.machine['threads']} threads, {report.rounds} rounds, medians (quartiles). "
        f"GEMM {'x'.join(str(n) for n in GEMM_SHAPE)} in fp32 through torch: {gemm.median:.0f} GFLOP/s "
        f"({gemm.low:.0f}-{gemm.high:.0f}). "
        + ", ".join(f"{name} {number}" for name, number in report.machine["versions"].items())
        + ".",
        "",
        "| tokens | transformers eager, ms | Lantern, ms | speed-up | needed GFLOP | share of the GEMM rate |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for row in report.rows:
        lines.append(
            f"| {row.tokens} | {_ms(row.eager_s)} | {_ms(row.lantern_s)} "
            f"| {row.speedup.median:.1f}x ({row.speedup.low:.1f}-{row.speedup.high:.1f}) "
            f"| {row.flops / 1e9:.1f} | {100 * row.gemm_share.median:.0f} % "
            f"({100 * row.gemm_share.low:.0f}-{100 * row.gemm_share.high:.0f}) |"
        )
    return "\n".join(lines) + "\n"


def describe_machine(threads: int) -> dict[str, Any]:
    """Return processor, threads and versions."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": threads,
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": {name: version(name) for name in ("torch", "transformers", "onnxruntime")},
    }


class _Samples:
    """What was measured, by length, in the order of the rounds."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self._eager: dict[int, list[float]] = {length: [] for length in lengths}
        self._lantern: dict[int, list[float]] = {length: [] for length in lengths}
        self._gemm: dict[int, list[float]] = {length: [] for length in lengths}

    def add(self, length: int, eager_s: float, lantern_s: float, gemm_gflops: float) -> None:
        self._eager[length].append(eager_s)
        self._lantern[length].append(lantern_s)
        self._gemm[length].append(gemm_gflops)

    @property
    def all_gemm(self) -> list[float]:
        return [rate for rates in self._gemm.values() for rate in rates]

    def row(self, length: int, flops: float) -> LengthRow:
        eager, lantern, gemm = self._eager[length], self._lantern[length], self._gemm[length]
        return LengthRow(
            tokens=length,
            eager_s=Spread.of(eager),
            lantern_s=Spread.of(lantern),
            speedup=Spread.of([e / o for e, o in zip(eager, lantern, strict=True)]),
            flops=flops,
            gemm_share=Spread.of([flops / o / 1e9 / g for o, g in zip(lantern, gemm, strict=True)]),
        )


def _measure_round(
    model: LongformerForSequenceClassification, runtime: Runtime, length: int
) -> tuple[float, float, float]:
    """Return seconds of ``transformers``, seconds of the runtime, and GFLOP/s of the dense product."""
    input_ids = _random_ids(model, length)
    attention_mask = np.ones_like(input_ids)
    ids, mask = torch.from_numpy(input_ids), torch.from_numpy(attention_mask)
    repeats = REPEATS_SHORT if length <= SHORT else 1
    with torch.inference_mode():
        eager_s = _median_time(lambda: model(input_ids=ids, attention_mask=mask), 1)
    lantern_s = _median_time(lambda: runtime.run(input_ids, attention_mask), repeats)
    return eager_s, lantern_s, gemm_rate()


def gemm_rate() -> float:
    """Return GFLOP/s of a dense fp32 product, as a neighbour in time to compare with."""
    rows, inner, columns = GEMM_SHAPE
    left, right = torch.randn(rows, inner), torch.randn(inner, columns)
    seconds = _median_time(lambda: left @ right, REPEATS_SHORT)
    return 2 * rows * inner * columns / seconds / 1e9


def _median_time(action: Callable[[], object], repeats: int) -> float:
    time.sleep(SETTLE_S)
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def _random_ids(model: LongformerForSequenceClassification, length: int) -> TokenIds:
    generator = np.random.default_rng(length)
    ids: TokenIds = generator.integers(3, model.config.vocab_size, (1, length), dtype=np.int64)
    ids[:, 0] = model.config.bos_token_id or 0
    return ids


def _ms(spread: Spread) -> str:
    digits = 1 if spread.median < 1 else 0
    low, median, high = (f"{1e3 * value:.{digits}f}" for value in (spread.low, spread.median, spread.high))
    return f"{median} ({low}-{high})"


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"
