"""Latency over length, both logarithmic, with the line below which the machine's matrix rate allows nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from benchmarks.engine.measurements import Measurements
from benchmarks.engine.report import Ceiling, EngineReport, summarise

COLOURS: Final = ("#6b7280", "#b45309", "#1d4ed8", "#047857", "#be185d", "#6d28d9", "#0e7490")
MARKERS: Final = ("o", "s", "D", "^", "v", "P", "X")
ROOF: Final = "#111111"
DASHES: Final = ("--", ":")
_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "lantern",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica"],
    "font.size": 13.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_ROW: Final = 0.052
"""Height of a label, as a share of the axes: labels at the lines' ends are moved apart by as much."""


def draw_latency(measurements: Measurements, path: Path) -> None:
    """Write the plot to ``path``; its suffix says as what (``.svg``, ``.png``)."""
    report = summarise(measurements)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(10.0, 6.2), facecolor="white")
        axes = figure.add_axes((0.085, 0.105, 0.665, 0.83))
        ends = _draw_engines(axes, measurements, report)
        ends += _draw_roofs(axes, measurements, report)
        _scale(axes, measurements)
        _label_ends(axes, ends)
        axes.set_title(f"{measurements.setup.checkpoint}: milliseconds for one text", loc="left", weight="bold")
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, dpi=110, metadata=metadata)


_End = tuple[tuple[float, float], str, str]
"""Tokens and milliseconds where a line ends, its label and its colour."""


def _draw_engines(axes: Axes, measurements: Measurements, report: EngineReport) -> list[_End]:
    ends: list[_End] = []
    engines = list(dict.fromkeys(cell.engine for cell in report.cells))
    order = [contender.name for contender in measurements.setup.contenders if contender.name in engines]
    for index, engine in enumerate(order):
        cells = [cell for cell in report.cells if cell.engine == engine]
        tokens = [cell.tokens for cell in cells]
        colour = COLOURS[index % len(COLOURS)]
        medians = [1e3 * cell.seconds.median for cell in cells]
        bold = engine.startswith("Lantern")
        axes.fill_between(
            tokens,
            [1e3 * cell.seconds.low for cell in cells],
            [1e3 * cell.seconds.high for cell in cells],
            color=colour,
            alpha=0.18,
            linewidth=0,
        )
        marker = MARKERS[index % len(MARKERS)]
        axes.plot(tokens, medians, color=colour, marker=marker, markersize=6, linewidth=3.0 if bold else 1.8)
        ends.append(((tokens[-1], medians[-1]), engine, colour))
    return ends


def _draw_roofs(axes: Axes, measurements: Measurements, report: EngineReport) -> list[_End]:
    """Draw needed operations over the matrix rate, for each precision that an engine has."""
    ends: list[_End] = []
    bounds: dict[str, Ceiling] = {}
    shown = {cell.engine for cell in report.cells}
    for contender in measurements.setup.contenders:
        ceiling = report.ceiling(contender.precision)
        if ceiling is not None and contender.name in shown:
            bounds[ceiling.precision] = ceiling
    setup = measurements.setup
    for dash, ceiling in zip(DASHES, bounds.values(), strict=False):
        rate = ceiling.rates[ceiling.best].median
        floor = [1e3 * flops / rate for flops in setup.flops]
        axes.plot(setup.lengths, floor, color=ROOF, linestyle=dash, linewidth=1.5, zorder=1)
        ends.append(((setup.lengths[-1], floor[-1]), f"{ceiling.precision} matrix rate", ROOF))
    return ends


def _scale(axes: Axes, measurements: Measurements) -> None:
    lengths = measurements.setup.lengths
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(list(lengths)))
    axes.xaxis.set_major_formatter(FixedFormatter([str(tokens) for tokens in lengths]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("tokens")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.grid(True, which="major", color="#d1d5db", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.margins(x=0.02)


def _label_ends(axes: Axes, ends: list[_End]) -> None:
    """Write each line's name at its end, moved apart where lines end close to each other."""
    low, high = axes.get_ylim()
    heights = [axes.transAxes.inverted().transform(axes.transData.transform(end))[1] for end, _, _ in ends]
    order = sorted(range(len(ends)), key=lambda i: heights[i])
    places = spread_apart([heights[i] for i in order], _ROW)
    for place, i in zip(places, order, strict=True):
        end, text, colour = ends[i]
        axes.annotate(
            text,
            xy=end,
            xytext=(1.03, place),
            xycoords="data",
            textcoords="axes fraction",
            color=colour,
            va="center",
            weight="bold" if text.startswith("Lantern") else "normal",
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.8, "shrinkA": 1, "shrinkB": 5},
            annotation_clip=False,
        )
    axes.set_ylim(low, high)


def spread_apart(heights: list[float], gap: float) -> list[float]:
    """Move ascending ``heights`` apart to at least ``gap``, each crowd around its own middle."""
    groups: list[list[float]] = []
    for height in heights:
        groups.append([height])
        while len(groups) > 1 and _top(groups[-2], gap) + gap > _bottom(groups[-1], gap):
            last = groups.pop()
            groups[-1] = groups[-1] + last
    return [_bottom(group, gap) + gap * index for group in groups for index in range(len(group))]


def _bottom(group: list[float], gap: float) -> float:
    return sum(group) / len(group) - gap * (len(group) - 1) / 2


def _top(group: list[float], gap: float) -> float:
    return _bottom(group, gap) + gap * (len(group) - 1)
