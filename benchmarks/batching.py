"""How sub-batches are cut: what company costs on this engine, and what the order of the line does to waiting.

Two things are measured on the engine itself: runs of one text at several lengths, and runs of several short texts
together against the same texts one by one. The rest is a simulation, exact but for one assumption, that a run takes
as long as one text of its padded tokens would, which the second measurement lets a reader judge: the real
``WaitingLine`` cuts the sub-batches, on a simulated clock, for texts that arrive as a Poisson process.
"""

from __future__ import annotations

import heapq
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from benchmarks.load.workload import Workload
from benchmarks.machine import describe_machine
from benchmarks.spread import Spread
from handlers.core.settings import Settings
from handlers.core.waiting import WaitingLine
from handlers.pipeline import SPECIAL_TOKENS
from handlers.runtime import Runtime

LENGTHS: Final = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
COMPANY_LENGTHS: Final = (16, 32, 64, 128, 256)
COMPANY_SIZES: Final = (1, 2, 4, 8, 16)
COMPANY_TOKENS: Final = 1024
"""Padded tokens up to which company is measured."""
BUDGETS: Final = (1, 128, 256, 512, 1024, 4096)
PADDINGS: Final = (0.0, 0.05, 0.1, 0.2)
LOADS: Final = (0.5, 0.9, 1.2)
"""Offered work over what the engine can do with one text at a time."""
TEXTS: Final = 1500
SHORT_TOKENS: Final = 64
LONG_TOKENS: Final = 1500


@dataclass(frozen=True)
class SingleRun:
    """Seconds of a run of one text of ``tokens`` tokens."""

    tokens: int
    seconds: Spread


@dataclass(frozen=True)
class Company:
    """Milliseconds a text in a run of ``texts`` texts of ``tokens`` tokens, and alone in the same rounds."""

    tokens: int
    texts: int
    ms_a_text: Spread
    alone_ms: Spread


@dataclass(frozen=True)
class Policy:
    """One way to order the line and to cut it; ``name`` is for the report."""

    name: str
    budget: int
    max_padding: float
    patience: float
    express_tokens: int


@dataclass(frozen=True)
class Waits:
    """Seconds from arrival to answer of one kind of text."""

    p50: float
    p95: float
    worst: float

    @classmethod
    def of(cls, waits: Sequence[float]) -> Waits:
        """Summarise ``waits``; nothing where there is none."""
        if not waits:
            return cls(0.0, 0.0, 0.0)
        p50, p95 = np.quantile(waits, [0.5, 0.95])
        return cls(float(p50), float(p95), max(waits))


@dataclass(frozen=True)
class Simulated:
    """What became of the texts under one policy and load.

    Attributes:
        efficiency: real over padded tokens of all runs.
        texts_a_second: answered, from the first arrival to the last answer.
        inputs_a_run: on average.
        short, long: waits of texts up to ``SHORT_TOKENS`` and over ``LONG_TOKENS``.
    """

    policy: Policy
    load: float
    efficiency: float
    texts_a_second: float
    inputs_a_run: float
    short: Waits
    long: Waits


@dataclass(frozen=True)
class BatchingReport:
    """Measurements and simulations of one engine and workload."""

    command: str
    checkpoint: str
    precision: str
    machine: dict[str, Any]
    workload: str
    rounds: int
    single_runs: list[SingleRun]
    company: list[Company]
    simulated: list[Simulated]


def run_batching_benchmark(
    runtime: Runtime,
    names: tuple[str, str, str],
    workload: Workload,
    max_length: int,
    rounds: int,
    progress: Callable[[str], None],
) -> BatchingReport:
    """Measure ``runtime`` and simulate ``workload`` on it.

    Args:
        runtime: the engine, on the device to report of.
        names: checkpoint, precision and command line, for the report.
        workload: lengths of texts; those over ``max_length`` are cut to it.
        max_length: tokens of the longest model input.
        rounds: of every measurement.
        progress: told what is going on.
    """
    checkpoint, precision, command = names
    lengths = [length for length in LENGTHS if length <= max_length]
    singles = _measure_singles(runtime, lengths, rounds, progress)
    company = _measure_company(runtime, rounds, progress)
    curve = CostCurve(singles)
    simulated = []
    for load in LOADS:
        progress(f"simulating {workload.name} at a load of {load:g}")
        arrivals = draw_arrivals(workload, max_length, load, curve)
        compared = policies() if load < max(LOADS) else [*policies(), *other_cuts()]
        simulated += [simulate(policy, load, arrivals, curve) for policy in compared]
    return BatchingReport(
        command=command,
        checkpoint=checkpoint,
        precision=precision,
        machine=describe_machine(runtime.describe().threads),
        workload=workload.name,
        rounds=rounds,
        single_runs=singles,
        company=company,
        simulated=simulated,
    )


def policies() -> list[Policy]:
    """Return what is compared: a queue of single texts, and the settings' own order without and with express lane."""
    own = Settings()
    chosen = Policy(
        "Lantern", own.budget_on("cpu"), own.max_padding, patience=own.patience, express_tokens=own.express_tokens
    )
    return [
        Policy("one text at a time, in order", 1, 0.0, patience=0.0, express_tokens=0),
        replace(chosen, name="Lantern without the express lane", express_tokens=0),
        chosen,
    ]


def other_cuts() -> list[Policy]:
    """Return the settings' own order with other budgets and padding; only under load do they make a difference."""
    *_, chosen = policies()
    return [
        replace(chosen, name="other cut", budget=budget, max_padding=padding)
        for budget in BUDGETS
        for padding in PADDINGS
        if (budget, padding) != (chosen.budget, chosen.max_padding) and (budget > 1 or not padding)
    ]


class CostCurve:
    """Seconds of a run by its padded tokens, between and beyond the measured lengths on a straight line."""

    def __init__(self, singles: Sequence[SingleRun]) -> None:
        self._tokens = [run.tokens for run in singles]
        self._seconds = [run.seconds.median for run in singles]

    def seconds(self, tokens: int) -> float:
        """Return the seconds of a run of ``tokens`` padded tokens."""
        if tokens > self._tokens[-1]:
            return self._seconds[-1] * tokens / self._tokens[-1]
        return float(np.interp(tokens, self._tokens, self._seconds))


# The measurements.


def _measure_singles(
    runtime: Runtime, lengths: Sequence[int], rounds: int, progress: Callable[[str], None]
) -> list[SingleRun]:
    runtime.prepare(lengths)
    samples: dict[int, list[float]] = {length: [] for length in lengths}
    for number in range(rounds):
        for length in lengths:
            progress(f"one text of {length} tokens, round {number + 1} of {rounds}")
            samples[length].append(_seconds(runtime, 1, length))
    return [SingleRun(length, Spread.of(sample)) for length, sample in samples.items()]


def _measure_company(runtime: Runtime, rounds: int, progress: Callable[[str], None]) -> list[Company]:
    found = []
    for length in COMPANY_LENGTHS:
        progress(f"company of texts of {length} tokens")
        sizes = [size for size in COMPANY_SIZES if size * length <= COMPANY_TOKENS]
        samples: dict[int, list[float]] = {size: [] for size in sizes}
        for _ in range(rounds):
            for size in sizes:
                samples[size].append(_seconds(runtime, size, length) * 1e3 / size)
        alone = Spread.of(samples[1])
        found += [Company(length, size, Spread.of(sample), alone) for size, sample in samples.items()]
    return found


def _seconds(runtime: Runtime, texts: int, tokens: int) -> float:
    input_ids = np.full((texts, tokens), 5, dtype=np.int64)
    mask = np.ones_like(input_ids)
    started = time.perf_counter()
    runtime.run(input_ids, mask)
    return time.perf_counter() - started


# The simulation.


@dataclass(frozen=True)
class Arrival:
    """One text: when it comes and how many tokens its model input has."""

    at: float
    tokens: int


def draw_arrivals(workload: Workload, max_length: int, load: float, curve: CostCurve) -> list[Arrival]:
    """Draw ``TEXTS`` texts of ``workload`` that arrive at ``load`` times the rate that single runs could serve."""
    assert workload.tokens is not None  # the command refuses workloads without lengths
    draw = random.Random(workload.seed)
    shares = [one.share for one in workload.tokens]
    bins = draw.choices(workload.tokens, weights=shares, k=TEXTS)
    lengths = [min(draw.randint(one.first, one.last) + SPECIAL_TOKENS, max_length) for one in bins]
    rate = load * TEXTS / sum(curve.seconds(tokens) for tokens in lengths)
    now, arrivals = 0.0, []
    for tokens in lengths:
        now += draw.expovariate(rate)
        arrivals.append(Arrival(now, tokens))
    return arrivals


class _Clockwork:
    """The scheduler's two lanes on a simulated clock; see ``simulate``."""

    def __init__(self, policy: Policy, curve: CostCurve) -> None:
        self._policy, self._curve = policy, curve
        self._line: WaitingLine[Arrival] = WaitingLine(
            policy.budget, policy.max_padding, policy.patience, curve.seconds
        )
        self._batches: dict[str, list[Arrival]] = {}
        self._ends: dict[str, float] = {}
        self.waits: list[tuple[Arrival, float]] = []
        self.real = self.padded = self.runs = 0

    def play(self, arrivals: Sequence[Arrival]) -> float:
        """Run everything; return the second of the last answer."""
        coming = [(arrival.at, number, arrival) for number, arrival in enumerate(arrivals)]
        heapq.heapify(coming)
        now = 0.0
        while coming or self._ends:
            now = min([*self._ends.values(), *([coming[0][0]] if coming else [])])
            for lane in [lane for lane, ends in self._ends.items() if ends <= now]:
                self._end(lane, now)
            while coming and coming[0][0] <= now:
                arrival = heapq.heappop(coming)[2]
                self._line.join(arrival, [arrival.tokens], arrival.at, deadline=float("inf"))
            self._start(now)
        return now

    def _start(self, now: float) -> None:
        if "main" not in self._ends:
            self._begin("main", now, None)
        express = self._policy.express_tokens
        beside_long = max((one.tokens for one in self._batches.get("main", [])), default=0) > express
        if express and beside_long and "express" not in self._ends:
            self._begin("express", now, express)

    def _begin(self, lane: str, now: float, longest: int | None) -> None:
        batch = [waiting.owner for waiting in self._line.take(longest)]
        if not batch:
            return
        padded = max(one.tokens for one in batch) * len(batch)
        seconds = self._curve.seconds(padded)
        self._batches[lane] = batch
        self._ends[lane] = now + seconds
        if lane == "express":  # the lanes share the cores, half each
            self._ends["express"] = now + 2 * seconds
            self._ends["main"] += seconds
        self.real += sum(one.tokens for one in batch)
        self.padded += padded
        self.runs += 1

    def _end(self, lane: str, now: float) -> None:
        del self._ends[lane]
        self.waits += [(arrival, now - arrival.at) for arrival in self._batches.pop(lane)]


def simulate(policy: Policy, load: float, arrivals: Sequence[Arrival], curve: CostCurve) -> Simulated:
    """Serve ``arrivals`` under ``policy`` on a simulated clock."""
    clockwork = _Clockwork(policy, curve)
    end = clockwork.play(arrivals)
    return Simulated(
        policy=policy,
        load=load,
        efficiency=clockwork.real / clockwork.padded,
        texts_a_second=len(arrivals) / (end - arrivals[0].at),
        inputs_a_run=len(arrivals) / clockwork.runs,
        short=Waits.of([wait for arrival, wait in clockwork.waits if arrival.tokens <= SHORT_TOKENS]),
        long=Waits.of([wait for arrival, wait in clockwork.waits if arrival.tokens > LONG_TOKENS]),
    )


# The report.


def report_markdown(report: BatchingReport) -> str:
    """Return the report as Markdown."""
    return "\n".join(
        [
            f"# Batching: {report.checkpoint}, {report.precision}",
            "",
            f"`{report.command}`",
            "",
            f"{report.machine['cpu']}, {report.machine['threads']} threads, medians of {report.rounds} rounds.",
            "",
            "## Does company pay?",
            "",
            "Milliseconds a text, several texts in one run against one by one:",
            "",
            *_company_table(report.company),
            "",
            f"## Order and cut, workload `{report.workload}`",
            "",
            f"Simulated with the measured times. Waits are from arrival to answer; short: up to {SHORT_TOKENS} tokens, "
            f"long: over {LONG_TOKENS}. A load of 1 is what the engine could just serve one text at a time.",
            "",
            *_simulated_table(report.simulated),
            "",
        ]
    )


def _company_table(company: Sequence[Company]) -> list[str]:
    head = ["| tokens | alone | " + " | ".join(f"{size} together" for size in COMPANY_SIZES[1:]) + " |"]
    head.append("|---:" * (len(COMPANY_SIZES) + 1) + "|")
    rows = []
    for tokens in sorted({one.tokens for one in company}):
        by_size = {one.texts: one for one in company if one.tokens == tokens}
        cells = [_gain(by_size.get(size)) for size in COMPANY_SIZES[1:]]
        rows.append(f"| {tokens} | {by_size[1].ms_a_text.median:.1f} | " + " | ".join(cells) + " |")
    return head + rows


def _gain(company: Company | None) -> str:
    if company is None:
        return ""
    return f"{company.ms_a_text.median:.1f} ({company.alone_ms.median / company.ms_a_text.median:.2f}x)"


def _simulated_table(simulated: Sequence[Simulated]) -> list[str]:
    head = [
        "| load | policy | budget | padding | efficiency | texts/s | a run | short p50, s | short p95, s "
        "| long p50, s | long worst, s |",
        "|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    return head + [
        f"| {one.load:g} | {one.policy.name} | {one.policy.budget} | {one.policy.max_padding:.0%} "
        f"| {one.efficiency:.1%} | {one.texts_a_second:.2f} | {one.inputs_a_run:.2f} "
        f"| {one.short.p50:.3f} | {one.short.p95:.3f} | {one.long.p50:.2f} | {one.long.worst:.1f} |"
        for one in simulated
    ]
