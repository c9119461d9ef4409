"""Every runtime on this machine's GPU: parity, latency, throughput, and the share of the device's own rate.

One command for a machine that has a GPU and nothing else: it makes random weights, exports what the
runtimes need to a cache, and asks each engine, in a process of its own, for the same logits and the
same shapes in turn. An engine that fails is a row with its error, and the others go on. Without a GPU
the exports and the parity of each graph on the CPU are checked, and the report says so.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from transformers import LongformerConfig

from benchmarks.errors import BenchmarkError
from benchmarks.flops import ModelShape, needed_flops
from benchmarks.gpu_report import (
    REFERENCE,
    GpuReport,
    ParityRow,
    Speed,
    SpeedRow,
    Step,
    compare_anchors,
)
from benchmarks.gpu_worker import Engine, Inputs, Worker, WorkerFailed, last_line
from benchmarks.machine import describe_machine
from benchmarks.spread import Spread
from export.checkpoint import open_checkpoint
from export.parity import LONGEST_MIXED_BATCH, MIXED_FRACTIONS, TOLERANCES
from export.progress import Progress
from export.random_base import RANDOM_BASE
from handlers.core.manifest import Precision
from handlers.core.settings import Device
from handlers.runtime import Logits, TokenIds

REPEATS: Final = 5
"""Runs of one engine at one shape within a round; the round's figure is their median."""

FACTS: Final = ("name", "driver_version", "memory.total", "clocks.max.sm", "clocks.sm", "clocks.mem", "power.limit")
PACKAGES: Final = ("torch", "transformers", "onnxruntime", "onnxruntime-gpu", "tensorrt", "tensorrt-rtx-cu13")

Shape = tuple[int, int]
"""Batch and length."""


@dataclass(frozen=True)
class Subject:
    """An engine that is checked.

    Attributes:
        name: runtime and precision.
        runtime: what ``--runtimes`` calls it.
        export: options of ``python -m export`` that make its bundle; none for ``transformers``.
        source: name of the subject whose bundle, once the parity gate has passed it, is made into this one.
        modules: of which one must be installed.
        needs_gpu: whether there is nothing to run without a GPU.
    """

    name: str
    runtime: str
    precision: Precision
    export: tuple[str, ...] = ()
    source: str | None = None
    modules: tuple[str, ...] = ()
    needs_gpu: bool = False

    @property
    def tolerance(self) -> float | None:
        """What its logits may differ by; ``transformers`` is here to compare with, and is not judged."""
        if self.runtime == REFERENCE:
            return None
        return TOLERANCES[self.precision]


SUBJECTS: Final = (
    Subject("transformers fp32", REFERENCE, "fp32"),
    Subject("transformers fp16", REFERENCE, "fp16"),
    Subject("torch fp32", "torch", "fp32", ("torch", "--precision", "fp32")),
    Subject("torch fp16", "torch", "fp16", ("torch", "--precision", "fp16")),
    Subject(
        "torch windowed fp16",
        "windowed",
        "fp16",
        ("torch", "--precision", "fp16", "--attention", "windowed"),
        needs_gpu=True,
    ),
    Subject("onnx fp32", "onnx", "fp32", ("onnx", "--precision", "fp32")),
    Subject("onnx fp16", "onnx", "fp16", ("onnx", "--precision", "fp16")),
    Subject(
        "tensorrt fp16",
        "tensorrt",
        "fp16",
        ("tensorrt",),
        source="onnx fp16",
        modules=("tensorrt", "tensorrt_rtx"),
        needs_gpu=True,
    ),
)


@dataclass(frozen=True)
class CheckPlan:
    """What to check.

    Attributes:
        checkpoint: as for ``python -m export``.
        runtimes: of the subjects; ``transformers`` is always there.
        lengths: tokens of the inputs.
        batches: rows; a shape of more padded tokens than ``token_budget`` is left out.
        rounds: of measurement.
        cache: folder of bundles and logs, kept between checks.
    """

    checkpoint: str
    runtimes: tuple[str, ...]
    lengths: tuple[int, ...]
    batches: tuple[int, ...]
    token_budget: int
    rounds: int
    cache: Path

    @property
    def subjects(self) -> list[Subject]:
        """The engines to check, the reference first, and those that one of them is made of."""
        chosen = [subject for subject in SUBJECTS if subject.runtime in (REFERENCE, *self.runtimes)]
        sources = {subject.source for subject in chosen}
        return [subject for subject in SUBJECTS if subject in chosen or subject.name in sources]

    @property
    def shapes(self) -> list[Shape]:
        """The shapes to time."""
        return [
            (batch, length)
            for length in self.lengths
            for batch in self.batches
            if batch == 1 or batch * length <= self.token_budget
        ]

    def bundle(self, name: str) -> Path:
        """The folder of the bundle of the subject called ``name``."""
        return self.cache / name.replace(" ", "-")

    def log(self, name: str) -> Path:
        """The file for what ``name`` prints."""
        return self.cache / "logs" / f"{name.replace(' ', '-')}.log"

    def commands(self, subject: Subject, device: Device) -> list[list[str]]:
        """Return the options of the ``python -m export`` commands that make a subject's bundle."""
        out = ["--out", str(self.bundle(subject.name))]
        if subject.source is None:
            return [[*subject.export, "--checkpoint", self.checkpoint, *out]]
        source = ["--bundle", str(self.bundle(subject.source))]
        gate = ["parity", "--checkpoint", self.checkpoint, *source, "--seeds", "1", "--device", device]
        return [gate, [*subject.export, *source, *out]]


def run_gpu_check(plan: CheckPlan, command: str, progress: Progress) -> GpuReport:
    """Export, compare and, where there is a GPU, measure.

    Raises:
        BenchmarkError: ``transformers`` itself, the reference, does not run.
    """
    reason = missing_gpu()
    device: Device = "cpu" if reason else "cuda"
    config = LongformerConfig.from_pretrained(open_checkpoint(plan.checkpoint).folder)
    exports = {subject: _export(subject, plan, device, progress) for subject in plan.subjects}
    present = [subject for subject, step in exports.items() if _can_run(subject, step, device)]
    with _workers(present, plan, device) as workers:
        parity = _compare(workers, plan, config, progress)
        sound = {row.engine for row in parity if row.error is None}
        measured = {subject: worker for subject, worker in workers.items() if subject.name in sound}
        dense, speed = ([], []) if reason else _measure(measured, plan, config, progress)
    return GpuReport(
        checkpoint=plan.checkpoint,
        command=command,
        device=None if reason else describe_device(),
        reason=reason,
        not_run=tuple(subject.name for subject in plan.subjects if reason and subject.needs_gpu),
        machine=describe_machine(threads=torch.get_num_threads(), packages=PACKAGES),
        rounds=plan.rounds,
        dense_tflops=Spread.of(dense) if dense else None,
        steps=tuple(step for step in exports.values() if step is not None),
        parity=tuple(parity),
        speed=tuple(speed),
        anchors=compare_anchors(speed, _anchor_flops(plan, config)),
    )


def missing_gpu() -> str | None:
    """Say why no GPU can be used; ``None`` where one can."""
    if torch.cuda.is_available():
        return None
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    return f"torch {torch.__version__} sees no CUDA device"


def describe_device() -> dict[str, Any]:
    """Return name, compute capability, driver, memory and clocks of the first CUDA device."""
    major, minor = torch.cuda.get_device_capability(0)
    facts = {"name": torch.cuda.get_device_name(0), "compute_capability": f"{major}.{minor}"}
    program = shutil.which("nvidia-smi")
    if program is None:
        return facts
    query = [program, "--id=0", f"--query-gpu={','.join(FACTS)}", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    if done.returncode:
        return facts
    return facts | dict(zip(FACTS, (value.strip() for value in done.stdout.split(",")), strict=False))


def draw(rows: Sequence[int], config: LongformerConfig, seed: int) -> Inputs:
    """Draw random texts of ``rows`` tokens each: CLS first, padding last."""
    generator = np.random.default_rng([seed, *rows])
    mask: TokenIds = (np.arange(max(rows)) < np.array(rows)[:, None]).astype(np.int64)
    ids = generator.integers(3, config.vocab_size, mask.shape, dtype=np.int64)
    ids[:, 0] = config.bos_token_id or 0
    return Inputs(np.where(mask == 1, ids, config.pad_token_id or 0), mask)


def parity_rows(lengths: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the batches to compare: each length alone, and the shorter ones with mixed padding."""
    mixed = [length for length in lengths if length <= LONGEST_MIXED_BATCH]
    fractions = [tuple(max(1, round(length * share)) for share in MIXED_FRACTIONS) for length in mixed]
    return [*((length,) for length in lengths), *fractions]


def _export(subject: Subject, plan: CheckPlan, device: Device, progress: Progress) -> Step | None:
    """Make a subject's bundle, which ``python -m export`` leaves alone where it is up to date."""
    if not subject.export:
        return None
    what = f"export for {subject.name}"
    if subject.modules and not any(importlib.util.find_spec(name) for name in subject.modules):
        return Step(what, f"skipped: {' or '.join(subject.modules)} is not installed", succeeded=True)
    log = plan.log(what)
    log.parent.mkdir(parents=True, exist_ok=True)
    with progress.step(what), log.open("w", encoding="utf-8") as file:
        for options in plan.commands(subject, device):
            arguments = [sys.executable, "-m", "export", *options]
            if subprocess.run(arguments, stdout=file, stderr=subprocess.STDOUT, check=False).returncode:
                return Step(what, last_line(log), succeeded=False)
    return Step(what, "made", succeeded=True)


def _can_run(subject: Subject, step: Step | None, device: Device) -> bool:
    made = step is None or step.outcome == "made"
    return made and not (subject.needs_gpu and device == "cpu")


@contextmanager
def _workers(subjects: Sequence[Subject], plan: CheckPlan, device: Device) -> Iterator[dict[Subject, Worker]]:
    """Give each subject a process, which starts with its first request, and end them all."""
    workers = {}
    for subject in subjects:
        bundle = plan.bundle(subject.name) if subject.export else None
        engine = Engine(device, bundle, plan.checkpoint, subject.precision, plan.lengths)
        workers[subject] = Worker(engine, plan.log(subject.name))
    try:
        yield workers
    finally:
        for worker in workers.values():
            worker.close()


def _compare(
    workers: Mapping[Subject, Worker], plan: CheckPlan, config: LongformerConfig, progress: Progress
) -> list[ParityRow]:
    batches = [draw(rows, config, seed=0) for rows in parity_rows(plan.lengths)]
    reference = next(worker for subject, worker in workers.items() if subject == SUBJECTS[0])
    try:
        with progress.step(f"{SUBJECTS[0].name}: {len(batches)} comparisons"):
            expected = [reference.logits(batch) for batch in batches]
    except WorkerFailed as error:
        raise BenchmarkError(f"{SUBJECTS[0].name}, the reference, does not run: {error}") from error
    rows = [ParityRow(SUBJECTS[0].name, len(batches), 0.0, None)]
    for subject, worker in workers.items():
        if subject != SUBJECTS[0]:
            with progress.step(subject.name):
                rows.append(_compare_one(subject, worker, batches, expected))
    return rows


def _compare_one(subject: Subject, worker: Worker, batches: Sequence[Inputs], expected: Sequence[Logits]) -> ParityRow:
    try:
        deltas = [np.abs(worker.logits(batch) - logits).max() for batch, logits in zip(batches, expected, strict=True)]
    except WorkerFailed as error:
        return ParityRow(subject.name, 0, None, subject.tolerance, str(error))
    worst = float(np.max(deltas))
    if not np.isfinite(worst):
        return ParityRow(subject.name, len(batches), None, subject.tolerance, "a logit is not finite")
    return ParityRow(subject.name, len(batches), worst, subject.tolerance)


class _Samples:
    """Medians of the rounds for each engine and shape, and the dense rate beside them."""

    def __init__(self) -> None:
        self.seconds: dict[tuple[str, Shape], list[float]] = {}
        self.dense: dict[Shape, list[float]] = {}
        self.errors: dict[tuple[str, Shape], str] = {}

    def row(self, engine: str, shape: Shape, flops: float) -> SpeedRow:
        """Summarise one engine at one shape; ``flops`` are those of the batch."""
        batch, length = shape
        error = self.errors.get((engine, shape))
        if error is not None:
            return SpeedRow(engine, length, batch, None, error)
        seconds = self.seconds[engine, shape]
        rates = [flops / second for second in seconds]
        latency = Spread.of(seconds)
        share = Spread.of([rate / dense for rate, dense in zip(rates, self.dense[shape], strict=True)])
        speed = Speed(latency, batch / latency.median, flops / latency.median / 1e12, share)
        return SpeedRow(engine, length, batch, speed)


def _measure(
    workers: Mapping[Subject, Worker], plan: CheckPlan, config: LongformerConfig, progress: Progress
) -> tuple[list[float], list[SpeedRow]]:
    """Time every shape by every engine in turn, the dense product among them; the first round is not kept."""
    samples = _Samples()
    dense = Worker(None, plan.log("dense"))
    try:
        for number in range(-1, plan.rounds):
            for shape in plan.shapes:
                progress.update(f"round {number + 1}/{plan.rounds}, batch {shape[0]}, {shape[1]} tokens")
                _measure_shape(workers, dense, shape, config, samples, keep=number >= 0)
    except WorkerFailed as error:
        raise BenchmarkError(f"the dense product does not run: {error}") from error
    finally:
        dense.close()
    progress.clear()
    shape_flops = ModelShape.of(config)
    rows = [
        samples.row(subject.name, shape, shape[0] * needed_flops(shape_flops, shape[1]))
        for shape in plan.shapes
        for subject in workers
    ]
    return [rate for rates in samples.dense.values() for rate in rates], rows


def _measure_shape(
    workers: Mapping[Subject, Worker],
    dense: Worker,
    shape: Shape,
    config: LongformerConfig,
    samples: _Samples,
    keep: bool,
) -> None:
    inputs = draw([shape[1]] * shape[0], config, seed=1)
    rate = dense.dense_rate()
    if keep:
        samples.dense.setdefault(shape, []).append(rate)
    for subject, worker in workers.items():
        key = (subject.name, shape)
        if key in samples.errors:
            continue
        try:
            seconds = float(np.median(worker.seconds(inputs, REPEATS)))
        except WorkerFailed as error:
            samples.errors[key] = str(error)
            continue
        if keep:
            samples.seconds.setdefault(key, []).append(seconds)


def _anchor_flops(plan: CheckPlan, config: LongformerConfig) -> dict[int, float]:
    """Return needed operations by length where the model is the base model of the anchors."""
    if plan.checkpoint != RANDOM_BASE:
        return {}
    shape = ModelShape.of(config)
    return {length: needed_flops(shape, length) for length in plan.lengths}
