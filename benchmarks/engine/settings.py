"""Session settings of ONNX Runtime by measurement: one at a time against the served ones, each in fresh processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from benchmarks.engine.child import ask_child
from benchmarks.spread import Spread
from handlers.runtime.session_settings import SessionSettings

CHILD: Final = "benchmarks.engine.settings_child"
CHILD_TIMEOUT_S: Final = 1200.0
SERVED: Final = "as served"
MIX, PEAK = "the mix", "the peak"
"""What is compared besides the single lengths: the time of the mixed lengths, and peak memory."""

NOTABLE: Final = 0.02
"""Differences in time below this share are called none, whatever the quartiles say."""


@dataclass(frozen=True)
class Variant:
    """A session with one setting unlike the served ones."""

    name: str
    threads: int
    session: SessionSettings


@dataclass(frozen=True)
class Visit:
    """What one fresh process measured of one variant.

    Attributes:
        seconds: of one run, by length, batch 1 (the median of its repeats).
        mix_s: seconds for the mixed lengths, one after another.
        load_s: seconds to open the session.
        loaded_bytes: resident once it was open.
        peak_bytes: the most that was resident after the mixed lengths, the longest of them included.
        after_bytes: resident at the end.
    """

    variant: str
    round: int
    seconds: dict[str, float]
    mix_s: float
    load_s: float
    loaded_bytes: int
    peak_bytes: int
    after_bytes: int


NOT_JUDGED: Final = "too few rounds to tell"
FEWEST_ROUNDS: Final = 3


@dataclass(frozen=True)
class SettingsRow:
    """One variant beside the served settings.

    Attributes:
        seconds: by length.
        ratio: its time over that of the served settings in the same round, by length and ``MIX``;
            peak memory likewise, under ``PEAK``.
        verdict: on its time and its peak; see ``judge``.
    """

    variant: str
    seconds: dict[str, Spread]
    ratio: dict[str, Spread]
    load_s: Spread
    loaded_bytes: Spread
    peak_bytes: Spread
    after_bytes: Spread
    verdict: str


@dataclass(frozen=True)
class SettingsReport:
    """Every variant, with what it ran on."""

    checkpoint: str
    precision: str
    command: str
    machine: dict[str, Any]
    rounds: int
    mix: int
    rows: tuple[SettingsRow, ...]
    visits: tuple[Visit, ...]


def variants(cores: int) -> list[Variant]:
    """Return the served settings, and each of them changed by itself."""
    served = SessionSettings()
    changes: dict[str, SessionSettings] = {
        "arena off": replace(served, arena=False),
        "arena shrunk after each run": replace(served, shrink_arena=True),
        "memory pattern on": replace(served, memory_pattern=True),
        "spinning off": replace(served, spinning=False),
        "prepacking off": replace(served, prepacking=False),
        "weights outside the arena": replace(served, device_initializers=True),
    }
    changed = [Variant(name, cores, session) for name, session in changes.items() if session != served]
    fewer = [Variant(f"{count} thread{'s' * (count > 1)}", count, served) for count in _thread_counts(cores)]
    return [Variant(SERVED, cores, served), *fewer, *changed]


def run_settings_benchmark(
    graph: Path,
    lengths: Sequence[int],
    mix: int,
    rounds: int,
    chosen: Sequence[Variant],
    vocabulary: int,
    progress: Callable[[str], None],
    keep: Callable[[Sequence[Visit]], None],
) -> list[Visit]:
    """Visit every variant once in each round, each time in a fresh process; ``keep`` is given all visits so far."""
    visits: list[Visit] = []
    started = time.monotonic()
    for number in range(1, rounds + 1):
        for variant in [*chosen[number % len(chosen) :], *chosen[: number % len(chosen)]]:
            left = _time_left(time.monotonic() - started, len(visits), rounds * len(chosen))
            progress(f"round {number}/{rounds}, {variant.name}{left}")
            order = {
                "variant": asdict(variant),
                "graph": str(graph),
                "round": number,
                "lengths": list(lengths),
                "mix": mix,
                "vocabulary": vocabulary,
            }
            visits.append(Visit(**ask_child(CHILD, order, CHILD_TIMEOUT_S)))
        keep(visits)
    return visits


def settings_rows(visits: Sequence[Visit]) -> tuple[SettingsRow, ...]:
    """Summarise the visits, variant by variant, each beside the served settings of the same round."""
    served = {visit.round: visit for visit in visits if visit.variant == SERVED}
    others = sorted({visit.variant for visit in visits} - {SERVED})
    return tuple(
        _row(name, [visit for visit in visits if visit.variant == name and visit.round in served], served)
        for name in (SERVED, *others)
    )


def judge(ratios: Mapping[str, Spread], rounds: int) -> str:
    """Say where a variant differs from the served settings beyond noise.

    Args:
        ratios: its figure over that of the served settings in the same round, by what is compared.
        rounds: how many the quartiles come from; under ``FEWEST_ROUNDS`` they show no noise.

    Returns:
        Where the quartiles lie on one side of 1 and the median is off by more than ``NOTABLE``:
        such as ``more at 16, 128; less at 4096``.
    """
    if rounds < FEWEST_ROUNDS:
        return NOT_JUDGED
    more = [key for key, ratio in ratios.items() if ratio.low > 1 and ratio.median > 1 + NOTABLE]
    less = [key for key, ratio in ratios.items() if ratio.high < 1 and ratio.median < 1 - NOTABLE]
    found = [f"{word} at {', '.join(keys)}" for word, keys in (("more", more), ("less", less)) if keys]
    return "; ".join(found) or "no difference"


def settings_markdown(report: SettingsReport) -> str:
    """Return the report as a table."""
    lengths = list(report.rows[0].seconds)
    machine = report.machine
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    lines = [
        f"# Session settings: {report.checkpoint}, {report.precision}",
        "",
        f"`{report.command}`",
        "",
        f"{machine['cpu']}, {machine['threads']} threads as served, {report.rounds} rounds, each variant in a fresh "
        f"process in each; medians (quartiles). {versions}. Time is the share of the served settings' time in the "
        f"same round; memory is MB (10^6 bytes) of the process: the peak of {report.mix} mixed lengths after the "
        "single ones, and what is resident afterwards. The verdict names what differs: where the quartiles "
        f"of the ratio leave 1 out and its median is off by more than {100 * NOTABLE:.0f} %.",
        "",
        f"| setting | {' | '.join(f'{length} tokens' for length in lengths)} | mix | load, s | peak | after "
        "| more or less than served |",
        "|---|" + "---:|" * (len(lengths) + 4) + "---|",
    ]
    lines += [_line(row, lengths) for row in report.rows]
    return "\n".join(lines) + "\n"


def _row(name: str, visits: Sequence[Visit], served: dict[int, Visit]) -> SettingsRow:
    lengths = list(visits[0].seconds)
    ratio = {
        length: Spread.of([visit.seconds[length] / served[visit.round].seconds[length] for visit in visits])
        for length in lengths
    }
    if all(visit.mix_s and served[visit.round].mix_s for visit in visits):
        ratio[MIX] = Spread.of([visit.mix_s / served[visit.round].mix_s for visit in visits])
    ratio[PEAK] = Spread.of([visit.peak_bytes / served[visit.round].peak_bytes for visit in visits])
    return SettingsRow(
        variant=name,
        seconds={length: Spread.of([visit.seconds[length] for visit in visits]) for length in lengths},
        ratio=ratio,
        load_s=Spread.of([visit.load_s for visit in visits]),
        loaded_bytes=Spread.of([visit.loaded_bytes for visit in visits]),
        peak_bytes=Spread.of([visit.peak_bytes for visit in visits]),
        after_bytes=Spread.of([visit.after_bytes for visit in visits]),
        verdict="" if name == SERVED else judge(ratio, len(visits)),
    )


def _line(row: SettingsRow, lengths: Sequence[str]) -> str:
    memory = f"{row.peak_bytes.median / 1e6:.0f} | {row.after_bytes.median / 1e6:.0f}"
    if row.variant == SERVED:
        times = [f"{1e3 * row.seconds[length].median:.1f} ms" for length in lengths] + ["1"]
    else:
        times = [_share(row.ratio[key]) if key in row.ratio else "" for key in (*lengths, MIX)]
    return f"| {row.variant} | {' | '.join(times)} | {row.load_s.median:.2f} | {memory} | {row.verdict} |"


def _share(ratio: Spread) -> str:
    return f"{ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})"


def _thread_counts(cores: int) -> list[int]:
    """Return the counts below ``cores`` that are tried: all of few, powers of two of many."""
    return list(range(1, cores)) if cores <= 4 else [1 << n for n in range(cores.bit_length()) if 1 << n < cores]


def _time_left(spent: float, done: int, total: int) -> str:
    return f", about {spent / done * (total - done) / 60:.1f} min left" if done else ""
