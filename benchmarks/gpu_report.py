"""What a GPU check found, as data, as a table for people and as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.spread import Spread

REFERENCE: Final = "transformers"
"""What names of engines that are not ours begin with."""

GOAL_SHARE: Final = 0.45
GOAL_TOKENS: Final = 4096
"""The goal: this share of the dense fp16 rate at this length."""

A100_DENSE: Final = 250e12
"""Dense fp16 FLOP/s of an A100. Its datasheet says 312; a product that is measured, as ours is, reaches about
four fifths of a datasheet (an H200 790 of 990), and the lower figure is the one that favours the anchors."""

ANCHORS_MS: Final[dict[int, dict[int, float]]] = {
    512: {1: 3.2, 8: 16.0, 16: 29.9},
    1024: {1: 7.2, 8: 48.2, 16: 93.1},
    2048: {1: 11.0, 8: 79.3, 16: 163.8},
    4096: {1: 18.9, 8: 128.2, 16: 232.9},
}
"""Milliseconds of ONNX Runtime's fused ``LongformerAttention``, base model, fp16, A100, by length and batch
(github.com/microsoft/onnxruntime, pull request 12448; read, not measured here)."""


@dataclass(frozen=True)
class Step:
    """Something that was made or skipped on the way: an export, an engine build."""

    what: str
    outcome: str
    succeeded: bool


@dataclass(frozen=True)
class ParityRow:
    """One engine against ``transformers`` fp32 on the same device.

    Attributes:
        max_abs_delta: largest ``|delta logit|``; ``None`` where the engine failed.
        tolerance: that it may have; ``None`` for ``transformers`` fp16, which is there to compare with.
        error: why there is no figure.
    """

    engine: str
    comparisons: int
    max_abs_delta: float | None
    tolerance: float | None
    error: str | None = None

    @property
    def passed(self) -> bool:
        """Whether there is a figure and it is within the tolerance."""
        if self.max_abs_delta is None:
            return False
        return self.tolerance is None or self.max_abs_delta <= self.tolerance


@dataclass(frozen=True)
class Speed:
    """How fast an engine runs one shape.

    Attributes:
        latency_s: seconds of one run, from numpy to numpy.
        texts_per_s: of the batch.
        tflops: of needed operations (``needed_flops``), in 10^12 a second.
        share: of the dense rate of the same round.
    """

    latency_s: Spread
    texts_per_s: float
    tflops: float
    share: Spread


@dataclass(frozen=True)
class SpeedRow:
    """One engine at one shape; without ``speed``, ``error`` says why."""

    engine: str
    tokens: int
    batch: int
    speed: Speed | None
    error: str | None = None


@dataclass(frozen=True)
class AnchorRow:
    """The best of our engines beside a published figure, each as a share of its device's dense rate."""

    tokens: int
    batch: int
    published_ms: float
    published_share: float
    engine: str
    latency_ms: float
    share: float

    @property
    def ratio(self) -> float:
        """How many times the published work per TFLOP/s of device ours is."""
        return self.share / self.published_share


@dataclass(frozen=True)
class GpuReport:
    """A whole check. Without a GPU there are no speeds, ``reason`` says what was missing, ``not_run`` what needs it."""

    checkpoint: str
    command: str
    device: dict[str, Any] | None
    reason: str | None
    not_run: tuple[str, ...]
    machine: dict[str, Any]
    rounds: int
    dense_tflops: Spread | None
    steps: tuple[Step, ...]
    parity: tuple[ParityRow, ...]
    speed: tuple[SpeedRow, ...]
    anchors: tuple[AnchorRow, ...]

    @property
    def passed(self) -> bool:
        """Whether every step succeeded or was skipped with a reason, and every engine that ran agrees."""
        return all(step.succeeded for step in self.steps) and all(row.passed for row in self.parity)


def best_at(rows: Sequence[SpeedRow], tokens: int, batch: int | None = None) -> tuple[SpeedRow, Speed] | None:
    """Return the row of the highest share at a length, of ours alone, with its figures."""
    ours = [
        (row, row.speed)
        for row in rows
        if row.speed is not None
        and row.tokens == tokens
        and batch in (None, row.batch)
        and not row.engine.startswith(REFERENCE)
    ]
    return max(ours, key=lambda found: found[1].share.median, default=None)


def compare_anchors(rows: Sequence[SpeedRow], flops: dict[int, float]) -> tuple[AnchorRow, ...]:
    """Put the best of ours beside each published figure that has one.

    Args:
        flops: needed operations of one text of the base model, by length; empty for any other
            model, with which the figures cannot be compared.
    """
    found = []
    for tokens, batches in ANCHORS_MS.items():
        for batch, published_ms in batches.items():
            best = best_at(rows, tokens, batch)
            if best is None or tokens not in flops:
                continue
            row, speed = best
            published = flops[tokens] * batch / (published_ms / 1e3) / A100_DENSE
            latency_ms = 1e3 * speed.latency_s.median
            found.append(AnchorRow(tokens, batch, published_ms, published, row.engine, latency_ms, speed.share.median))
    return tuple(found)


def report_markdown(report: GpuReport) -> str:
    """Return the report as Markdown."""
    sections = [
        [f"# GPU check: {report.checkpoint}", "", f"`{report.command}`", ""],
        _device_lines(report),
        _step_lines(report.steps),
        _parity_lines(report.parity),
        _speed_lines(report) if report.speed else [],
        _anchor_lines(report.anchors) if report.anchors else [],
    ]
    return "\n".join(line for section in sections for line in section)


def plot_speed(rows: Sequence[SpeedRow], path: Path) -> None:
    """Draw milliseconds over tokens at batch 1, both logarithmic, one line for each engine.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for engine in dict.fromkeys(row.engine for row in rows):
        lone = [row for row in rows if row.engine == engine and row.batch == 1]
        points = sorted((row.tokens, 1e3 * row.speed.latency_s.median) for row in lone if row.speed is not None)
        if points:
            tokens, milliseconds = zip(*points, strict=True)
            axes.loglog(tokens, milliseconds, marker="o", label=engine)
    axes.set_xlabel("tokens")
    axes.set_ylabel("milliseconds, batch 1")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(path)


def _device_lines(report: GpuReport) -> list[str]:
    machine = report.machine
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    versions = f"{machine['cpu']}, {machine['cores']} cores, {versions}"
    if report.device is None:
        return [
            f"**No GPU: {report.reason}.** Nothing was timed, and engines that run on a GPU alone were not run",
            f"({', '.join(report.not_run) or 'none was asked for'}). What can be checked without one was: the exports,",
            "and each other graph against `transformers` on the CPU. Run the same command on a machine with an NVIDIA",
            "GPU (requirements/gpu.txt) for the rest.",
            "",
            f"{versions}.",
            "",
        ]
    facts = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in report.device.items())
    dense = report.dense_tflops
    rate = f"Dense fp16 product in the same rounds: {dense.median / 1e12:.0f} TFLOP/s " if dense else ""
    spread = f"({dense.low / 1e12:.0f}-{dense.high / 1e12:.0f}). " if dense else ""
    lines = f"{rate}{spread}{_goal(report)} Medians of {report.rounds} rounds (quartiles)."
    return [f"{facts}. {versions}.", "", lines, ""]


def _goal(report: GpuReport) -> str:
    best = best_at(report.speed, GOAL_TOKENS)
    if best is None:
        return f"The goal, {100 * GOAL_SHARE:.0f} % of it at {GOAL_TOKENS} tokens, was not measured."
    row, speed = best
    met = "met" if speed.share.median >= GOAL_SHARE else "not met"
    return (
        f"Goal of {100 * GOAL_SHARE:.0f} % of it at {GOAL_TOKENS} tokens: **{met}**, "
        f"{100 * speed.share.median:.0f} % ({row.engine}, batch {row.batch})."
    )


def _step_lines(steps: Sequence[Step]) -> list[str]:
    rows = [f"| {step.what} | {'' if step.succeeded else '**failed**: '}{step.outcome} |" for step in steps]
    return ["| step | outcome |", "|---|---|", *rows, ""]


def _parity_lines(rows: Sequence[ParityRow]) -> list[str]:
    lines = [
        "| against transformers fp32 | comparisons | largest \\|Δlogit\\| | tolerance | |",
        "|---|---:|---:|---:|---|",
    ]
    for row in rows:
        delta = "" if row.max_abs_delta is None else f"{row.max_abs_delta:.1e}"
        tolerance = "" if row.tolerance is None else f"{row.tolerance:.0e}"
        verdict = row.error or ("" if row.tolerance is None else "pass" if row.passed else "**fail**")
        lines.append(f"| {row.engine} | {row.comparisons} | {delta} | {tolerance} | {verdict} |")
    return [*lines, ""]


def _speed_lines(report: GpuReport) -> list[str]:
    lines = [
        "| tokens | batch | engine | ms | texts/s | TFLOP/s | share of the dense rate |",
        "|---:|---:|---|---:|---:|---:|---:|",
    ]
    for row in report.speed:
        figures = f"{row.error} | | |" if row.speed is None else _figures(row.speed)
        lines.append(f"| {row.tokens} | {row.batch} | {row.engine} | {figures} |")
    return [*lines, ""]


def _figures(speed: Speed) -> str:
    latency, share = speed.latency_s, speed.share
    return (
        f"{1e3 * latency.median:.2f} ({1e3 * latency.low:.2f}-{1e3 * latency.high:.2f}) "
        f"| {speed.texts_per_s:.1f} | {speed.tflops:.1f} "
        f"| {100 * share.median:.1f} % ({100 * share.low:.1f}-{100 * share.high:.1f})"
    )


def _anchor_lines(rows: Sequence[AnchorRow]) -> list[str]:
    lines = [
        "ONNX Runtime's fused LongformerAttention (base, fp16, A100; onnxruntime pull request 12448, read, not run",
        "here) beside the best of ours, each per TFLOP/s of its device; an A100 is taken as "
        f"{A100_DENSE / 1e12:.0f} TFLOP/s.",
        "",
        "| tokens | batch | theirs, ms | share | ours, ms | share | engine | ratio |",
        "|---:|---:|---:|---:|---:|---:|---|---:|",
    ]
    for row in rows:
        lines.append(
            f"| {row.tokens} | {row.batch} | {row.published_ms} | {100 * row.published_share:.1f} % "
            f"| {row.latency_ms:.2f} | {100 * row.share:.1f} % | {row.engine} | {row.ratio:.1f}x |"
        )
    return [*lines, ""]
