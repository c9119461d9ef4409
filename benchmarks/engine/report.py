"""The measurements as figures and as Markdown. Pure: nothing is measured here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.engine.ceilings import GEMM_SHAPE, ceiling_precision
from benchmarks.engine.contenders import EAGER_NAME, Contender
from benchmarks.engine.measurements import Measurements
from benchmarks.spread import Spread


@dataclass(frozen=True)
class Cell:
    """One engine at one length, batch 1.

    Attributes:
        seconds: of one run.
        speedup: eager's time over this one's in the same round, so that drift cancels; ``None`` without eager.
        tokens_per_s: tokens of the text a second.
        flops: operations that the algebra needs (``needed_flops``).
        share: rate of needed operations over the machine's matrix rate in the same round (``Ceiling``).
    """

    engine: str
    tokens: int
    seconds: Spread
    speedup: Spread | None
    tokens_per_s: float
    flops: float
    share: Spread


@dataclass(frozen=True)
class BatchCell:
    """Seconds a text, in a batch of ``batch`` texts of ``tokens`` tokens."""

    engine: str
    tokens: int
    batch: int
    seconds_per_text: Spread


@dataclass(frozen=True)
class Ceiling:
    """Operations a second of the dense product in one precision.

    Attributes:
        best: the library with the highest median: what shares refer to.
        rates: by library.
    """

    precision: str
    best: str
    rates: dict[str, Spread]


@dataclass(frozen=True)
class EngineReport:
    """Everything that the tables and the plot show."""

    cells: tuple[Cell, ...]
    batches: tuple[BatchCell, ...]
    ceilings: tuple[Ceiling, ...]

    def cell(self, engine: str, tokens: int) -> Cell | None:
        """Return one engine at one length, if it was measured."""
        return next((cell for cell in self.cells if (cell.engine, cell.tokens) == (engine, tokens)), None)

    def ceiling(self, precision: str) -> Ceiling | None:
        """Return the rate that bounds a graph of ``precision``, if it was measured."""
        bound = ceiling_precision(precision)
        return next((ceiling for ceiling in self.ceilings if ceiling.precision == bound), None)


def summarise(measurements: Measurements) -> EngineReport:
    """Bring the raw samples to medians and quartiles."""
    ceilings = _ceilings(measurements)
    setup = measurements.setup
    return EngineReport(
        cells=tuple(
            _cell(measurements, ceilings, contender, tokens, flops)
            for tokens, flops in zip(setup.lengths, setup.flops, strict=True)
            for contender in setup.contenders
            if measurements.seconds(contender.name, tokens)
        ),
        batches=tuple(
            BatchCell(contender.name, tokens, batch, Spread.of([s / batch for s in seconds]))
            for contender in setup.contenders
            for tokens in setup.batch_lengths
            for batch in setup.batches
            if (seconds := list(measurements.seconds(contender.name, tokens, batch).values()))
            and contender.kind == "bundle"
        ),
        ceilings=tuple(ceilings.values()),
    )


def summary_fields(report: EngineReport) -> dict[str, Any]:
    """Return the report as the JSON file has it."""
    return asdict(report)


def report_markdown(measurements: Measurements, plot: str | None = None) -> str:
    """Return the report for people; ``plot`` is the plot's file name beside it."""
    report = summarise(measurements)
    parts = [_head(measurements), *([f"![Latency over length]({plot})"] if plot else [])]
    if report.cells:
        parts += [_latency_table(measurements, report), _share_table(measurements, report), _ceiling_table(report)]
    if report.batches:
        parts.append(_batch_table(measurements, report))
    if measurements.footprints:
        parts.append(_memory_table(measurements))
    if measurements.first_runs:
        parts.append(_first_runs(measurements))
    if measurements.unmeasured:
        parts.append(_gaps(measurements))
    return "\n\n".join(parts) + "\n"


def _cell(
    measurements: Measurements, ceilings: dict[str, Ceiling], contender: Contender, tokens: int, flops: float
) -> Cell:
    seconds = measurements.seconds(contender.name, tokens)
    eager = measurements.seconds(EAGER_NAME, tokens)
    rates = measurements.rates_at(tokens)
    bound = ceilings[ceiling_precision(contender.precision)]
    paired = [eager[number] / took for number, took in seconds.items() if number in eager]
    spread = Spread.of(list(seconds.values()))
    return Cell(
        engine=contender.name,
        tokens=tokens,
        seconds=spread,
        speedup=Spread.of(paired) if paired else None,
        tokens_per_s=tokens / spread.median,
        flops=flops,
        share=Spread.of(
            [flops / took / rates[number][bound.precision][bound.best] for number, took in seconds.items()]
        ),
    )


def _ceilings(measurements: Measurements) -> dict[str, Ceiling]:
    samples: dict[str, dict[str, list[float]]] = {}
    for rate in measurements.rates:
        for precision, by_library in rate.rates.items():
            for library, value in by_library.items():
                samples.setdefault(precision, {}).setdefault(library, []).append(value)
    ceilings = {}
    for precision, libraries in samples.items():
        rates = {library: Spread.of(values) for library, values in libraries.items()}
        best = max(rates, key=lambda library: rates[library].median)
        ceilings[precision] = Ceiling(precision, best, rates)
    return ceilings


def _head(measurements: Measurements) -> str:
    setup = measurements.setup
    machine = setup.machine
    state = "" if measurements.complete else " **Unfinished: the same command goes on from here.**"
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return (
        f"# Engines: {setup.checkpoint}\n\n`{measurements.command}`\n\n"
        f"{machine['cpu']}, {machine['threads']} threads, {measurements.rounds} rounds, medians (quartiles).{state} "
        f"Every engine ran every length in every round. {versions}."
    )


def _latency_table(measurements: Measurements, report: EngineReport) -> str:
    def cell_text(contender: Contender, tokens: int) -> str:
        cell = report.cell(contender.name, tokens)
        if cell is None:
            return "–"
        faster = f", **{cell.speedup.median:.1f}x**" if cell.speedup and contender.name != EAGER_NAME else ""
        return f"{_ms(cell.seconds)}{faster}"

    title = "## Latency\n\nMilliseconds for one text, and how many times faster than `transformers` eager.\n\n"
    return title + _by_length(measurements, report, measurements.setup.lengths, cell_text)


def _share_table(measurements: Measurements, report: EngineReport) -> str:
    flops = dict(zip(measurements.setup.lengths, measurements.setup.flops, strict=True))

    def cell_text(contender: Contender, tokens: int) -> str:
        cell = report.cell(contender.name, tokens)
        if cell is None:
            return "–"
        low, median, high = (100 * value for value in (cell.share.low, cell.share.median, cell.share.high))
        return f"{cell.tokens_per_s:,.0f}, {median:.0f} % ({low:.0f}-{high:.0f})"

    bounds = "; ".join(
        f"{ceiling.precision}: {_giga(ceiling.rates[ceiling.best])} Gop/s through {ceiling.best}"
        for ceiling in report.ceilings
    )
    title = (
        "## Rate\n\nTokens a second, and needed operations a second as a share of the machine's matrix rate "
        f"timed in the same round ({bounds}; an int8 graph against int8, the others against fp32).\n\n"
    )
    lengths = measurements.setup.lengths
    return title + _by_length(
        measurements,
        report,
        lengths,
        cell_text,
        ("needed GFLOP", lambda n: f"{flops[n] / 1e9:{'.1f' if flops[n] >= 1e9 else '.2g'}}"),
    )


def _ceiling_table(report: EngineReport) -> str:
    shape = "x".join(str(side) for side in GEMM_SHAPE)
    lines = [
        f"## Matrix rate\n\nOne dense product of {shape} through each library, timed beside every length in every "
        "round. The best of a precision is the ceiling.\n",
        "| precision | library | Gop/s |",
        "|---|---|---:|",
    ]
    for ceiling in report.ceilings:
        for library, spread in ceiling.rates.items():
            name = f"**{library}**" if library == ceiling.best else library
            lines.append(f"| {ceiling.precision} | {name} | {_giga(spread)} |")
    return "\n".join(lines)


def _batch_table(measurements: Measurements, report: EngineReport) -> str:
    batches = [batch for batch in measurements.setup.batches if any(cell.batch == batch for cell in report.batches)]
    lines = [
        "## Batches\n\nMilliseconds a text, by texts of equal length in one run.\n",
        "| engine | tokens | " + " | ".join(f"batch {batch}" for batch in batches) + " |",
        "|---|---:|" + "---:|" * len(batches),
    ]
    cells = {(cell.engine, cell.tokens, cell.batch): cell for cell in report.batches}
    for engine, tokens in dict.fromkeys((cell.engine, cell.tokens) for cell in report.batches):
        row = [cells.get((engine, tokens, batch)) for batch in batches]
        texts = [_ms(cell.seconds_per_text) if cell else "–" for cell in row]
        lines.append(f"| {engine} | {tokens} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def _memory_table(measurements: Measurements) -> str:
    lengths = measurements.setup.memory_lengths
    lines = [
        "## Memory\n\nMB (10^6 bytes). Peak resident memory of a fresh process that opens the engine and runs one "
        "text, interpreter and libraries included; resident memory once it is open; graph and weights on disk.\n",
        "| engine | on disk | open | " + " | ".join(f"peak at {tokens} tokens" for tokens in lengths) + " |",
        "|---|---:|---:|" + "---:|" * len(lengths),
    ]
    for contender in measurements.setup.contenders:
        found = [measurements.footprint(contender.name, tokens) for tokens in lengths]
        measured = [one for one in found if one is not None]
        if measured:
            opened = min(one.loaded_bytes for one in measured)
            peaks = [f"{one.peak_bytes / 1e6:.0f}" if one else "–" for one in found]
            sizes = f"{contender.weights_bytes / 1e6:.0f} | {opened / 1e6:.0f}"
            lines.append(f"| {contender.name} | {sizes} | " + " | ".join(peaks) + " |")
    return "\n".join(lines)


def _first_runs(measurements: Measurements) -> str:
    lines = [
        "## First calls\n\nSeconds of each engine's first call at each length, in order; none of it counts above.\n"
    ]
    for engine in dict.fromkeys(first.engine for first in measurements.first_runs):
        calls = [first for first in measurements.first_runs if first.engine == engine]
        texts = ", ".join(f"{first.tokens}: {first.seconds:.2f}" for first in calls)
        lines.append(f"- {engine}: {texts}")
    return "\n".join(lines)


def _gaps(measurements: Measurements) -> str:
    lines = ["## Not measured\n"]
    for gap in measurements.unmeasured:
        where = f" at {gap.tokens} tokens" if gap.tokens is not None else ""
        lines.append(f"- {gap.engine}, {gap.what}{where}: {gap.reason}")
    return "\n".join(lines)


def _by_length(
    measurements: Measurements,
    report: EngineReport,
    lengths: Sequence[int],
    text: Callable[[Contender, int], str],
    extra: tuple[str, Callable[[int], str]] | None = None,
) -> str:
    """Return a table with a row for each length and a column for each engine that was measured."""
    shown = {cell.engine for cell in report.cells}
    contenders = [contender for contender in measurements.setup.contenders if contender.name in shown]
    heads = [*([extra[0]] if extra else []), *(contender.name for contender in contenders)]
    lines = ["| tokens | " + " | ".join(heads) + " |", "|---:|" + "---:|" * len(heads)]
    for tokens in lengths:
        texts = [*([extra[1](tokens)] if extra else []), *(text(contender, tokens) for contender in contenders)]
        lines.append(f"| {tokens} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def _ms(spread: Spread) -> str:
    digits = 1 if spread.median < 1 else 0
    low, median, high = (f"{1e3 * value:.{digits}f}" for value in (spread.low, spread.median, spread.high))
    return f"{median} ({low}-{high})"


def _giga(spread: Spread) -> str:
    return f"{spread.median / 1e9:.0f} ({spread.low / 1e9:.0f}-{spread.high / 1e9:.0f})"
