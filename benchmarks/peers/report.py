"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.peers.figures import PeersReport, Quantiles, ServerSummary, Verdict
from benchmarks.peers.workload import CLASSES
from benchmarks.spread import Spread


def report_markdown(report: PeersReport) -> str:
    """Return goals first, then the servers, then what each ran with."""
    return "\n".join(
        [
            f"# Peers: {report.checkpoint} behind Lantern and behind others",
            "",
            f"`{report.command}`",
            "",
            *_setting(report),
            "",
            "| goal | measured | |",
            "|---|---:|---|",
            *(_verdict_row(verdict) for verdict in report.verdicts),
            "",
            "| server | rounds | texts/s | over the best peer's | short texts p50, over the best peer's "
            "| overhead | largest \\|Δscore\\| | memory, MB | start, s |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
            *(_server_row(one) for one in report.summaries),
            "",
            "Seconds at the client, p50 / p95 over all rounds (texts):",
            "",
            "| server | " + " | ".join(kind.name for kind in CLASSES) + " |",
            "|---|" + "---:|" * len(CLASSES),
            *(f"| {one.server} | " + " | ".join(_class_cells(one.classes)) + " |" for one in report.summaries),
            "",
            *_failures(report),
            *(f"- {server}: {settings}" for server, settings in report.settings.items()),
            "",
        ]
    )


def _setting(report: PeersReport) -> list[str]:
    machine, workload = report.machine, report.workload
    rates = [one.dense_gflops for one in report.rounds]
    noise = f" The machine's dense rate before each server: {min(rates):.0f}-{max(rates):.0f} GFLOP/s." if rates else ""
    unfinished = "" if report.complete else " **The run was cut short: what follows is what there is.**"
    classes = ", ".join(f"{name} {first}-{last}" for name, (first, last) in workload["tokens"].items())
    return [
        f"{machine['cpu']}, {machine['cores']} cores, every server on all of them, one server at a time, the client "
        f"beside it. {workload['texts']} texts a round ({classes} tokens, as many of each, seed {workload['seed']}), "
        f"the same in the same order for each server; {workload['clients']} clients, each sends its next text when it "
        "has an answer. In each round every server is started, warmed up and checked against `transformers` eager, "
        "measured and stopped; peers far behind the best one are measured in the first round only. "
        "Medians over rounds (quartiles); ratios are between servers of one round." + noise + unfinished
    ]


def _verdict_row(verdict: Verdict) -> str:
    outcome = {None: "not measured", True: "met", False: "**missed**"}[verdict.met]
    value = "" if verdict.value is None else f"{verdict.value:.3g}"
    return f"| {verdict.goal} | {value} | {outcome} |"


def _server_row(one: ServerSummary) -> str:
    short = "" if one.short_to_best_peer is None else f"{one.short_to_best_peer:.2f}x"
    overhead = "" if one.overhead is None else f"{one.overhead.median:.1%}"
    return (
        f"| {one.server} | {one.rounds} | {_spread(one.throughput, 3)} | {_spread(one.to_best_peer, 2, 'x')} | {short} "
        f"| {overhead} | {one.worst_difference:.1e} | {one.memory_mb:.0f} | {one.start_s:.0f} |"
    )


def _spread(spread: Spread | None, digits: int, unit: str = "") -> str:
    if spread is None:
        return ""
    return f"{spread.median:.{digits}f}{unit} ({spread.low:.{digits}f}-{spread.high:.{digits}f})"


def _class_cells(classes: Mapping[str, Quantiles]) -> list[str]:
    cells = []
    for kind in CLASSES:
        seconds = classes.get(kind.name)
        cells.append("" if seconds is None else f"{seconds.p50:.2f} / {seconds.p95:.2f} ({seconds.count})")
    return cells


def _failures(report: PeersReport) -> list[str]:
    lines = [f"- {one.server}, round {one.round}: {one.reason}" for one in report.failures]
    for one in report.summaries:
        lines += [f"- {one.server}: {count} requests failed: {reason}" for reason, count in one.failures.items()]
    return ["Failures:", "", *lines, ""] if lines else []
