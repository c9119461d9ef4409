"""The report's drawings, as inline SVG in the colours of the page (the style of ``evaluation.plots``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from benchmarks.load.curves import Level
from benchmarks.load.results import ConfigurationResult, Latencies, Outcome, Slo, Stages, Window
from evaluation.plots import FAINT, INK, MARKERS, NEGATIVE, SERIES, style, svg

SIZE: Final = (5.6, 3.5)
QUANTILES: Final = ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
STAGES: Final = (
    ("late_ms", "client was late"),
    ("queue_ms", "queue"),
    ("tokenize_ms", "tokenize"),
    ("run_ms", "run"),
    ("decide_ms", "decide"),
    ("other_ms", "batch and transport"),
)
HATCHES: Final = ("", "//", "", "..", "", "\\\\")


def latency_curve(name: str, levels: Sequence[Level], outcome: Outcome, slo: Slo | None) -> str:
    """Draw p50, p95 and p99 over the arrival rate, with the limit, the capacity and the knee."""
    with style():
        figure, axes = _figure("Latency over the arrival rate", "requests a second", "latency, ms")
        rates = [level.rate for level in levels]
        for index, (q, text) in enumerate(QUANTILES):
            values = [max(level.quantile_ms(q), 0.1) for level in levels]
            axes.plot(rates, values, color=SERIES[index], marker=MARKERS[index], label=text)
        lost = [level for level in levels if not level.sustained]
        if lost:
            points = [max(level.quantile_ms(0.99), 0.1) for level in lost]
            axes.plot([level.rate for level in lost], points, "x", color=INK, markersize=9, label="queue grew")
        _mark_limits(axes, outcome, slo)
        _log_ms(axes)
        _from_zero(axes)
        figure.legend(loc="outside lower center", ncols=4)
        return svg(figure, f"{name}: latency quantiles over the arrival rate")


def throughput_curve(name: str, levels: Sequence[Level], outcome: Outcome) -> str:
    """Draw answers a second over arrivals a second; below the diagonal the server does not keep up."""
    with style():
        figure, axes = _figure("Throughput over the arrival rate", "requests a second", "answers a second")
        rates = [level.rate for level in levels]
        top = max(rates) * 1.05
        axes.plot([0, top], [0, top], color=FAINT, linestyle="--", linewidth=1, label="all are answered")
        axes.plot(rates, [level.throughput for level in levels], color=SERIES[0], marker="o", label="open loop")
        if outcome.saturation:
            axes.axhline(
                outcome.saturation, color=SERIES[1], linestyle=":", label=f"highest: {outcome.saturation:.3g}/s"
            )
        if outcome.capacity:
            axes.axvline(outcome.capacity, color=SERIES[2], linewidth=1.2, label=f"capacity: {outcome.capacity:.3g}/s")
        _from_zero(axes)
        axes.set_ylim(bottom=0)
        figure.legend(loc="outside lower center", ncols=2)
        return svg(figure, f"{name}: throughput over the arrival rate")


def latency_by_length(name: str, alone: dict[str, Latencies], loaded: dict[str, Latencies], when: str) -> str:
    """Draw p50 and p99 of every length class, one caller alone and near the capacity."""
    classes = _ordered(alone, loaded)
    at = np.arange(len(classes))
    with style():
        figure, axes = _figure("Latency by length", "tokens", "latency, ms")
        for index, (label, found) in enumerate((("one caller", alone), (when, loaded))):
            shift = (index - 0.5) * 0.3
            points = [(place + shift, found[each]) for place, each in enumerate(classes) if each in found]
            for marker, attribute, text in (("o", "p50_ms", "p50"), ("^", "p99_ms", "p99")):
                values = [max(getattr(each, attribute), 0.1) for _, each in points]
                axes.plot([x for x, _ in points], values, marker, color=SERIES[index], label=f"{label}, {text}")
            axes.vlines(
                [x for x, _ in points],
                [max(each.p50_ms, 0.1) for _, each in points],
                [max(each.p99_ms, 0.1) for _, each in points],
                color=SERIES[index],
                linewidth=1,
            )
        axes.set_xticks(at, classes)
        _log_ms(axes)
        figure.legend(loc="outside lower center", ncols=2)
        return svg(figure, f"{name}: latency by text length")


def stages_over_rate(name: str, levels: Sequence[Level]) -> str:
    """Draw where the mean latency goes, stacked, over the arrival rate."""
    found = [(level.rate, stages) for level in levels if (stages := mean_stages(level.windows)) is not None]
    with style():
        figure, axes = _figure("Where the time goes", "requests a second", "mean latency, ms")
        below = np.zeros(len(found))
        at = np.arange(len(found))
        for index, (attribute, text) in enumerate(STAGES):
            values = np.array([getattr(stages, attribute) for _, stages in found])
            if values.max(initial=0) > 0.005 * max(1e-9, below.max(initial=0) + values.max(initial=0)):
                color = SERIES[index % len(SERIES)]
                axes.bar(at, values, bottom=below, color=color, width=0.7, label=text, hatch=HATCHES[index], alpha=0.85)
            below += values
        axes.set_xticks(at, [f"{rate:.3g}" for rate, _ in found], fontsize=8)
        axes.grid(visible=False, axis="x")
        figure.legend(loc="outside lower center", ncols=3)
        return svg(figure, f"{name}: mean latency by stage, stacked, over the arrival rate")


def batch_efficiency(name: str, levels: Sequence[Level]) -> str:
    """Draw the share of computed tokens that were tokens of texts, over the arrival rate."""
    points = [(level.rate, efficiency(level.windows)) for level in levels]
    known = [(rate, value) for rate, value in points if value is not None]
    with style():
        figure, axes = _figure("Batch efficiency", "requests a second", "tokens of texts, % of computed")
        axes.plot([rate for rate, _ in known], [100 * value for _, value in known], color=SERIES[2], marker="o")
        axes.set_ylim(0, 104)
        _from_zero(axes)
        return svg(figure, f"{name}: share of computed tokens that were not padding, over the arrival rate")


def resources(name: str, levels: Sequence[Level]) -> str:
    """Draw busy cores of server and client, and the server's memory, over the arrival rate."""
    with style():
        figure = Figure(figsize=(SIZE[0], SIZE[1] + 0.7), layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        rates = [level.rate for level in levels]
        server = [_mean([w.server.cores for w in level.windows if w.server]) for level in levels]
        client = [_mean([w.client.cores for w in level.windows]) for level in levels]
        memory = [max([w.server.rss_mb for w in level.windows if w.server], default=float("nan")) for level in levels]
        top.plot(rates, server, color=SERIES[0], marker="o", label="server")
        top.plot(rates, client, color=SERIES[1], marker="s", label="this client")
        top.set(title="Processor and memory", ylabel="cores busy", ylim=(0, None))
        bottom.plot(rates, memory, color=SERIES[0], marker="o")
        bottom.set(xlabel="requests a second", ylabel="server, MB", ylim=(0, None))
        bottom.yaxis.set_major_locator(MaxNLocator(4))
        _from_zero(bottom)
        figure.legend(loc="outside lower center", ncols=2)
        return svg(figure, f"{name}: busy cores and memory over the arrival rate")


def errors_over_rate(name: str, levels: Sequence[Level]) -> str:
    """Draw unexpected answers by kind, in per cent of requests, over the arrival rate."""
    codes = sorted({code for level in levels for window in level.windows for code in window.errors})
    at = np.arange(len(levels))
    with style():
        figure, axes = _figure("Errors by kind", "requests a second", "% of requests")
        below = np.zeros(len(levels))
        for index, code in enumerate(codes):
            counts = np.array([sum(window.errors.get(code, 0) for window in level.windows) for level in levels])
            shares = 100 * counts / np.array([sum(window.arrived for window in level.windows) for level in levels])
            axes.bar(at, shares, bottom=below, color=SERIES[index % len(SERIES)], width=0.7, label=code)
            below += shares
        axes.set_xticks(at, [f"{level.rate:.3g}" for level in levels], fontsize=8)
        axes.set_ylim(0, max(1.0, float(below.max(initial=0)) * 1.1))
        if codes:
            figure.legend(loc="outside lower center", ncols=3)
        else:
            axes.text(0.5, 0.5, "no unexpected answer", ha="center", transform=axes.transAxes)
        return svg(figure, f"{name}: unexpected answers by kind")


def search_path(name: str, windows: Sequence[Window]) -> str:
    """Draw which rate was tried when, and what came of it."""
    kinds = {"held": ("o", SERIES[2]), "missed": ("X", SERIES[1]), "undecided": ("s", SERIES[0])}
    tried = [window for window in windows if window.rate is not None]
    with style():
        figure, axes = _figure("What was tried, when", "seconds since the first request", "requests a second")
        axes.plot([w.started_s for w in tried], [w.offered for w in tried], color=FAINT, linewidth=0.8)
        for judgement, (marker, color) in kinds.items():
            points = [window for window in tried if window.judged.judgement == judgement]
            if points:
                label = {"held": "shown to hold", "missed": "missed", "undecided": "holds or misses by little"}[
                    judgement
                ]
                xs, ys = [w.started_s for w in points], [w.offered for w in points]
                axes.plot(xs, ys, marker, color=color, markersize=7, label=label, linestyle="none")
        axes.set_ylim(bottom=0)
        figure.legend(loc="outside lower center", ncols=3)
        return svg(figure, f"{name}: rates over the time of the search")


def course_over_time(name: str, windows: Sequence[Window], slo: Slo | None) -> str:
    """Draw every request's latency over time, with the arrival rate below: for a soak, a spike or steps."""
    with style():
        figure = Figure(figsize=(2 * SIZE[0], SIZE[1] + 0.6), layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        for window in windows:
            begin = window.started_s + window.lead_in_s
            at = begin + np.asarray(window.columns.intended_s)
            top.plot(
                at, np.maximum(window.latencies, 0.1), ".", color=SERIES[0], markersize=2, alpha=0.5, rasterized=False
            )
            top.hlines(
                window.latency.p99_ms if window.latency else np.nan, begin, begin + window.seconds, color=SERIES[1]
            )
            bottom.hlines(window.offered, begin, begin + window.seconds, color=SERIES[2], linewidth=3)
        if slo is not None:
            top.axhline(slo.limit_ms, color=INK, linestyle=":", linewidth=1.2)
        top.set(title="Latency over time (a point a request, a line the p99 of its stage)", ylabel="latency, ms")
        bottom.set(xlabel="seconds", ylabel="requests/s", ylim=(0, None))
        _log_ms(top)
        return svg(figure, f"{name}: latency over time")


def configurations(results: Sequence[ConfigurationResult], slo: Slo | None, levels: dict[str, list[Level]]) -> str:
    """Draw the p99 of all configurations over the arrival rate in one picture."""
    with style():
        figure, axes = _figure("All configurations: p99 over the arrival rate", "requests a second", "p99, ms")
        for index, result in enumerate(results):
            mine = levels[result.configuration.label]
            values = [max(level.quantile_ms(0.99), 0.1) for level in mine]
            color, marker = SERIES[index % len(SERIES)], MARKERS[index % len(MARKERS)]
            axes.plot(
                [level.rate for level in mine], values, color=color, marker=marker, label=result.configuration.label
            )
        if slo is not None:
            axes.axhline(slo.limit_ms, color=INK, linestyle=":", linewidth=1.2)
        _log_ms(axes)
        _from_zero(axes)
        figure.legend(loc="outside lower center", ncols=2)
        return svg(figure, "p99 of every configuration over the arrival rate")


def mean_stages(windows: Sequence[Window]) -> Stages | None:
    """Return the stages of several windows, weighted by their requests."""
    kept = [window for window in windows if window.stages is not None]
    total = sum(window.arrived for window in kept)
    if not total:
        return None
    means = {
        attribute: sum(getattr(window.stages, attribute) * window.arrived for window in kept) / total
        for attribute, _ in STAGES
    }
    return Stages(**means)


def efficiency(windows: Sequence[Window]) -> float | None:
    """Return the batch efficiency over several windows; ``None`` where the server did not say."""
    known = [window.batching for window in windows if window.batching is not None]
    padded = sum(each.padded_tokens for each in known)
    return sum(each.tokens for each in known) / padded if padded else None


def _ordered(*found: dict[str, Latencies]) -> list[str]:
    from benchmarks.load.workload import class_name, token_classes

    return [name for name in map(class_name, token_classes()) if any(name in each for each in found)]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _mark_limits(axes: Axes, outcome: Outcome, slo: Slo | None) -> None:
    if slo is not None:
        axes.axhline(slo.limit_ms, color=INK, linestyle=":", linewidth=1.2, label=f"limit: {slo.limit_ms:g} ms")
    if outcome.capacity:
        axes.axvline(outcome.capacity, color=NEGATIVE, linewidth=1.2, label=f"capacity: {outcome.capacity:.3g}/s")
        if outcome.capacity_low and outcome.capacity_high:
            axes.axvspan(outcome.capacity_low, outcome.capacity_high, color=NEGATIVE, alpha=0.12, linewidth=0)
    if outcome.knee:
        axes.axvline(outcome.knee, color=FAINT, linestyle="--", linewidth=1, label=f"knee: {outcome.knee:.3g}/s")


def _figure(title: str, xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    return figure, axes


def _log_ms(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(FuncFormatter(_minor))


def _minor(value: float, _: Any) -> str:
    """Label 2 and 5 of each decade: a curve often spans less than one."""
    digit = value / 10 ** np.floor(np.log10(value))
    return f"{value:g}" if round(float(digit), 3) in (2.0, 5.0) else ""


def _from_zero(axes: Axes) -> None:
    axes.set_xlim(left=0)
