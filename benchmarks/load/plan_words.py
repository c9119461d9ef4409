"""The plan as text for a terminal: what to run, then how sure that is. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.load.plan import Demand, Row, checks
from benchmarks.load.results import RunResult


def plan_lines(runs: Sequence[RunResult], rows: Sequence[Row], demand: Demand) -> list[str]:
    """Return the plan as lines of Markdown."""
    return [*_headline(rows, demand), "", *_table(rows, demand), *_moments(rows), *_checks(runs)]


def sentence(row: Row, demand: Demand) -> str:
    """Say in one sentence what a row means."""
    rate = f"{demand.rate:g} requests/s ({demand.peak * demand.rate:g}/s at the peak)"
    spare = f", {demand.spare} of which may be lost at the peak" if demand.spare else ""
    return f"{row.replicas} replicas of {row.label} for {rate} at {demand.slo}{spare}"


def _headline(rows: Sequence[Row], demand: Demand) -> Iterator[str]:
    best = next((row for row in rows if not row.problem), None)
    if best is None:
        yield f"**No configuration holds {demand.slo}.**"
        return
    cost = f"; {best.cost_million:,.2f} a million entries" if best.cost_million is not None else ""
    yield f"**{sentence(best, demand)}{cost}.**"


def _table(rows: Sequence[Row], demand: Demand) -> Iterator[str]:
    price = " cost/h | a million entries |" if demand.price is not None else ""
    yield f"| configuration | replicas | capacity of one | average | peak | worst |{price}"
    yield "|---|---:|---:|---:|---:|---:|" + ("---:|---:|" if price else "")
    for row in rows:
        if row.problem:
            yield f"| {row.label} | – | {row.problem} | | | |" + (" | |" if price else "")
            continue
        busy = [f"{100 * at.utilization:.0f} %" for at in row.at]
        busy += [busy[-1]] * (3 - len(busy))
        money = f" {row.cost_hour:,.2f} | {row.cost_million:,.2f} |" if row.cost_hour is not None else ""
        yield (
            f"| {row.label} | {row.replicas} | {row.capacity:.3g}/s ({row.capacity_source}) | "
            + " | ".join(busy)
            + f" |{money}"
        )


def _moments(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if row.problem:
            continue
        yield from ("", f"{row.label}, expected from the measured curve (each replica gets its share of the arrivals):")
        yield from ("", "| moment | replicas | each | p50 | p95 | p99 | |", "|---|---:|---:|---:|---:|---:|---|")
        for at in row.at:
            cells = " | ".join(milliseconds(value) for value in (at.p50_ms, at.p95_ms, at.p99_ms))
            yield f"| {at.name} | {at.replicas} | {at.rate_each:.3g}/s | {cells} | {at.note} |"
        if row.split_wait_ms is not None and row.shared_wait_ms is not None:
            yield (
                f"M/G/k at the peak: mean wait {milliseconds(row.split_wait_ms)} with a queue for each replica, "
                f"{milliseconds(row.shared_wait_ms)} behind one queue for all."
            )


def _checks(runs: Sequence[RunResult]) -> Iterator[str]:
    for run in runs:
        for result in run.results:
            found = checks(result)
            if found:
                yield from ("", f"{result.configuration.label}: measured beside theory", "")
                yield "| rate | in flight | Little: rate x latency | off | mean latency | M/G/1 | off |"
                yield "|---:|---:|---:|---:|---:|---:|---:|"
                for each in found:
                    yield (
                        f"| {each.rate:.3g}/s | {each.in_flight:.2f} | {each.little:.2f} | {off(each.little_off)} "
                        f"| {milliseconds(each.mean_ms)} | {milliseconds(each.queue_ms)} | {off(each.queue_off)} |"
                    )


def milliseconds(value: float | None) -> str:
    """Write a latency with three digits that say something."""
    if value is None:
        return "–"
    if value == float("inf"):
        return "never settles"
    return f"{value / 1000:.3g} s" if value >= 10_000 else f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"


def off(value: float | None) -> str:
    """Write a disagreement in per cent."""
    return "–" if value is None else f"{100 * value:+.0f} %"
