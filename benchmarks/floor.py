"""``python -m benchmarks.floor``: what the floor costs beside the embedded model, and whether it is linear."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.machine import describe_machine, resident_bytes
from benchmarks.reports import write_report
from handlers.core.settings import Settings
from handlers.floor.matcher import Floor, load_floor
from handlers.runtime.bundle import read_bundle

RESULTS: Final = Path("benchmarks/results")
BUNDLE: Final = Path(".lantern/bundles/export-checkpoints-small-fp32")
LIMIT: Final = 0.02
"""What the floor may take of the model's own time at its full length."""

SENTENCE: Final = "Today I wasn't able to finish it, so I walked home by the river, slept badly and called my sister. "
STATED: Final = "I want to die. "
LENGTHS: Final = (1_000, 10_000, 100_000, 1_000_000)


@dataclass(frozen=True)
class Timed:
    """Milliseconds of one text: median, least and most of the rounds."""

    text: str
    characters: int
    median: float
    least: float
    most: float


@dataclass(frozen=True)
class FloorReport:
    """How it was measured, and what came out.

    Attributes:
        tokens: of the text that both read.
        model, floor: of that text; in turns, in one process.
        share: medians, floor over model.
        lengths: the floor alone, on calm texts and on texts that are nothing but statements.
        load_s: seconds to load the phrases, and ``memory_mb`` that they take.
    """

    command: str
    machine: dict[str, Any]
    rounds: int
    limit: float
    tokens: int
    model: Timed
    floor: Timed
    share: float
    lengths: tuple[Timed, ...]
    load_s: float
    memory_mb: float


def run_floor_benchmark(bundle: Path, rounds: int, command: str) -> FloorReport:
    """Time model and floor in turns on one text of the model's full length, then the floor on longer ones."""
    started, before = time.perf_counter(), resident_bytes(os.getpid())
    floor = load_floor()
    load_s, memory = time.perf_counter() - started, resident_bytes(os.getpid()) - before
    served = read_bundle(bundle)
    tokenizer, runtime = served.open_tokenizer(), served.open_runtime(Settings())
    length = served.manifest.max_length
    text, ids = _full_text(tokenizer, length)
    batch = np.array([ids], dtype=np.int64)
    mask = np.ones_like(batch)
    model_ms, floor_ms = _in_turns(lambda: runtime.run(batch, mask), lambda: floor.find(text), rounds)
    model, own = _timed("model", len(text), model_ms), _timed("floor", len(text), floor_ms)
    return FloorReport(
        command=command,
        machine=describe_machine(0),
        rounds=rounds,
        limit=LIMIT,
        tokens=length,
        model=model,
        floor=own,
        share=own.median / model.median,
        lengths=tuple(
            _floor_alone(floor, name, unit, size, rounds)
            for name, unit in (("calm", SENTENCE), ("statements alone", STATED))
            for size in LENGTHS
        ),
        load_s=load_s,
        memory_mb=memory / 1e6,
    )


def report_markdown(report: FloorReport) -> str:
    """Return the tables for people."""
    rows = "\n".join(
        f"| {one.text} | {one.characters:,} | {one.median:.2f} | {one.least:.2f} to {one.most:.2f} | "
        f"{1e6 * one.median / one.characters:.0f} |"
        for one in report.lengths
    )
    machine = ", ".join(f"{key} {value}" for key, value in report.machine.items() if key != "versions")
    return (
        "# What the floor costs\n\n"
        f"`{report.command}`: {report.rounds} rounds, model and floor in turns in one process; {machine}.\n\n"
        f"At {report.tokens:,} tokens ({report.floor.characters:,} characters) the floor takes "
        f"**{report.share:.2%}** of the model's own time (limit {report.limit:.0%}): {report.floor.median:.2f} ms "
        f"({report.floor.least:.2f} to {report.floor.most:.2f}) beside {report.model.median:.1f} ms "
        f"({report.model.least:.1f} to {report.model.most:.1f}). Loading the phrases of all languages takes "
        f"{report.load_s:.1f} s and {report.memory_mb:.0f} MB.\n\n"
        "| text | characters | median ms | least to most | ns a character |\n|---|---:|---:|---:|---:|\n"
        f"{rows}\n"
    )


def _full_text(tokenizer: Any, length: int) -> tuple[str, list[int]]:
    """Return a text of ``length`` tokens, special ones included, and its model input."""
    text = SENTENCE * (length // 10)
    tokenized = tokenizer.tokenize(text)
    span = (0, length - 2)
    return text[: tokenized.char_span(span).end_char], tokenizer.model_input(tokenized, [span])


def _in_turns(one: Callable[[], object], other: Callable[[], object], rounds: int) -> tuple[list[float], list[float]]:
    one(), other()  # warm
    taken = [(_milliseconds(one), _milliseconds(other)) for _ in range(rounds)]
    return [pair[0] for pair in taken], [pair[1] for pair in taken]


def _floor_alone(floor: Floor, name: str, unit: str, size: int, rounds: int) -> Timed:
    text = unit * (size // len(unit))
    floor.find(text)
    return _timed(name, len(text), [_milliseconds(lambda: floor.find(text)) for _ in range(max(3, rounds // 3))])


def _milliseconds(work: Callable[[], object]) -> float:
    started = time.perf_counter_ns()
    work()
    return (time.perf_counter_ns() - started) / 1e6


def _timed(name: str, characters: int, taken: Sequence[float]) -> Timed:
    return Timed(name, characters, statistics.median(taken), min(taken), max(taken))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables and write the report; 1 where the floor takes more than its share."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.floor", description=__doc__)
    parser.add_argument("--bundle", type=Path, default=BUNDLE, help="the model to compare with; `make parity` makes it")
    parser.add_argument("--rounds", type=int, default=15, help="rounds, model and floor in turns (default: 15)")
    parser.add_argument("--out", type=Path, help=f"folder for the report, such as {RESULTS}")
    options = parser.parse_args(arguments)
    report = run_floor_benchmark(
        options.bundle, max(3, options.rounds), f"python -m benchmarks.floor --rounds {options.rounds}"
    )
    print(report_markdown(report), end="")
    if options.out is not None:
        write_report(report, report_markdown(report), options.out, "floor")
    return 1 if report.share > report.limit else 0


if __name__ == "__main__":
    sys.exit(main())
