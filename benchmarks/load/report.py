"""The report of a run: one HTML page that needs nothing else, JSON, and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from benchmarks.load import plots
from benchmarks.load.compare import Comparison
from benchmarks.load.curves import Level, levels_of
from benchmarks.load.plan import Check, Demand, checks, plan_rows
from benchmarks.load.plan_words import milliseconds, off, sentence
from benchmarks.load.results import ConfigurationResult, Latencies, Outcome, RunResult, Verdict, Window, to_json
from benchmarks.load.windows import judge_windows
from export.manifests import replace_text

TEMPLATE: Final = "report.html.j2"
PLAN_RATES: Final = (10.0, 40.0, 100.0)

HEADLINES: Final[dict[Verdict, str]] = {
    "capacity_found": "Capacity found",
    "above_range": "Holds at the highest rate that was allowed",
    "measured": "Measured",
    "slo_missed": "The SLO was missed",
    "slo_never_met": "The SLO is met at no rate",
    "client_limited": "The client was the limit, not the server",
    "server_not_ready": "The server was not ready",
    "server_died": "The server died under load",
    "refused": "Nothing was measured: what was asked for was refused",
    "workload_unsatisfiable": "The workload cannot be satisfied",
    "out_of_time": "Time was up before the capacity was found",
    "interrupted": "Stopped before its end",
}
GOOD: Final = ("capacity_found", "above_range", "measured")


@dataclass(frozen=True)
class Section:
    """One configuration as the page shows it."""

    result: ConfigurationResult
    headline: str
    good: bool
    levels: tuple[Level, ...]
    rates: tuple[dict[str, Any], ...]
    lengths: tuple[dict[str, Any], ...]
    checks: tuple[Check, ...]
    drawings: tuple[Markup, ...]
    wide: tuple[Markup, ...]


def render_report(run: RunResult, demands: Sequence[Demand], comparison: Comparison | None) -> str:
    """Return the page. It holds no text of a request, no token, no script and nothing to load."""
    environment = Environment(
        loader=PackageLoader("benchmarks.load", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"ms": milliseconds, "off": off, "rate": rate_words, "percent": percent}
    sections = [section_of(result, run) for result in run.results]
    overview = _overview(run, sections)
    return environment.get_template(TEMPLATE).render(
        run=run,
        sections=sections,
        plans=[(demand, plan_rows([run], demand), _first_sentence(run, demand)) for demand in demands],
        comparison=comparison,
        overview=overview,
        facts=list(_facts(run)),
        title=_title(run),
    )


def _title(run: RunResult) -> str:
    checkpoints = {result.configuration.checkpoint for result in run.results if result.configuration.checkpoint}
    what = ", ".join(sorted(checkpoints)) or "the server"
    return f"Capacity of {what} under {run.workload.name}" if run.workload is not None else f"Capacity of {what}"


def _first_sentence(run: RunResult, demand: Demand) -> str:
    rows = plan_rows([run], demand)
    best = next((row for row in rows if not row.problem), None)
    return sentence(best, demand) if best is not None else f"no configuration holds {demand.slo}"


def _overview(run: RunResult, sections: Sequence[Section]) -> Markup | None:
    drawn = [section for section in sections if section.levels]
    if len(drawn) < 2:
        return None
    levels = {section.result.configuration.label: list(section.levels) for section in drawn}
    return Markup(plots.configurations([section.result for section in drawn], run.slo, levels))


def section_of(result: ConfigurationResult, run: RunResult) -> Section:
    """Prepare one configuration."""
    levels = levels_of(result.open_windows())
    verdict = result.outcome.verdict
    return Section(
        result=result,
        headline=HEADLINES[verdict],
        good=verdict in GOOD,
        levels=tuple(levels),
        rates=tuple(_rate_rows(levels, run)),
        lengths=tuple(_length_rows(result, levels)),
        checks=tuple(checks(result)),
        drawings=tuple(_drawings(result, levels, run)),
        wide=tuple(_wide_drawings(result, run)),
    )


def _drawings(result: ConfigurationResult, levels: Sequence[Level], run: RunResult) -> Iterator[Markup]:
    if not levels:
        return
    name, outcome = result.configuration.label, result.outcome
    yield Markup(plots.latency_curve(name, levels, outcome, run.slo))
    yield Markup(plots.throughput_curve(name, levels, outcome))
    alone, loaded, when = _by_length(result, levels)
    if alone or loaded:
        yield Markup(plots.latency_by_length(name, alone, loaded, when))
    if any(plots.mean_stages(level.windows) for level in levels):
        yield Markup(plots.stages_over_rate(name, levels))
    if any(plots.efficiency(level.windows) is not None for level in levels):
        yield Markup(plots.batch_efficiency(name, levels))
    yield Markup(plots.resources(name, levels))
    yield Markup(plots.errors_over_rate(name, levels))
    yield Markup(plots.search_path(name, result.windows))


def _wide_drawings(result: ConfigurationResult, run: RunResult) -> Iterator[Markup]:
    course = [window for window in result.windows if window.purpose in ("soak", "spike", "step", "closed")]
    if course:
        yield Markup(plots.course_over_time(result.configuration.label, course, run.slo))


def _by_length(
    result: ConfigurationResult, levels: Sequence[Level]
) -> tuple[dict[str, Latencies], dict[str, Latencies], str]:
    """Return latencies by length of one caller alone, and of the windows nearest to the capacity."""
    alone = next((window.by_class for window in result.windows if window.purpose == "service"), {})
    level = _near_capacity(result.outcome, levels)
    if level is None:
        return alone, {}, ""
    largest = max(level.windows, key=lambda window: window.arrived)
    return alone, largest.by_class, f"at {level.rate:.3g}/s"


def _near_capacity(outcome: Outcome, levels: Sequence[Level]) -> Level | None:
    sustained = [level for level in levels if level.sustained] or list(levels)
    if not sustained:
        return None
    wanted = outcome.capacity if outcome.capacity is not None else sustained[-1].rate
    return min(sustained, key=lambda level: abs(level.rate - wanted))


def _rate_rows(levels: Sequence[Level], run: RunResult) -> Iterator[dict[str, Any]]:
    for level in levels:
        judged = judge_windows(level.windows, run.slo) if run.slo is not None else None
        yield {
            "rate": level.rate,
            "throughput": level.throughput,
            "windows": len(level.windows),
            "requests": len(level.latencies),
            "p50": level.quantile_ms(0.5),
            "p95": level.quantile_ms(0.95),
            "p99": level.quantile_ms(0.99),
            "late": judged.late_share if judged else 0.0,
            "late_high": judged.late_high if judged else 1.0,
            "errors": judged.error_share if judged else 0.0,
            "judgement": judged.judgement if judged else "",
            "reasons": ", ".join(judged.reasons) if judged else "",
            "efficiency": plots.efficiency(level.windows),
            "server_cores": _most(window.server.cores for window in level.windows if window.server is not None),
            "server_mb": _most(window.server.rss_mb for window in level.windows if window.server is not None),
            "client_late": max(window.client.late_p99_ms for window in level.windows),
        }


def _most(values: Iterator[float]) -> float | None:
    return max(values, default=None)


def _length_rows(result: ConfigurationResult, levels: Sequence[Level]) -> Iterator[dict[str, Any]]:
    alone, loaded, when = _by_length(result, levels)
    for name in dict.fromkeys([*alone, *loaded]):
        yield {"tokens": name, "alone": alone.get(name), "loaded": loaded.get(name), "when": when}


def _facts(run: RunResult) -> Iterator[tuple[str, str]]:
    """Yield everything that a reader needs to judge or repeat the run."""
    yield "Command", run.command
    yield "Measured", run.generated_at
    yield "Commit", run.commit or "not in a repository"
    yield "Machine", ", ".join(f"{name} {value}" for name, value in run.machine.items())
    yield "Versions", ", ".join(f"{name} {number}" for name, number in run.versions.items())
    yield "Server", ", ".join(f"{name}: {_plain(value)}" for name, value in run.target.items())
    yield "SLO", str(run.slo)
    if run.workload is not None:
        yield "Workload", json.dumps(run.workload.model_dump(mode="json"), ensure_ascii=False)
    yield "Settings", ", ".join(f"{name}: {_plain(value)}" for name, value in run.settings.items())


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def rate_words(value: float | None) -> str:
    """Write a rate."""
    return "–" if value is None else f"{value:.3g}/s"


def percent(value: float | None) -> str:
    """Write a share in per cent."""
    return "–" if value is None else f"{100 * value:.2g} %" if value < 0.995 else f"{100 * value:.0f} %"


# Files.


def write_report(run: RunResult, page: str, folder: Path) -> None:
    """Write ``report.html``, ``result.json``, ``windows.csv`` and ``requests.csv``; each appears complete or not."""
    folder.mkdir(parents=True, exist_ok=True)
    replace_text(folder / "result.json", to_json(run))
    replace_text(folder / "windows.csv", windows_csv(run))
    replace_text(folder / "requests.csv", requests_csv(run))
    replace_text(folder / "report.html", page)


WINDOW_COLUMNS: Final = (
    "configuration number purpose loop started_s seconds rate users arrived answered throughput p50_ms p95_ms p99_ms "
    "late_share late_high error_share judgement stopped in_flight growth queue_ms tokenize_ms run_ms decide_ms "
    "other_ms batch_efficiency server_cores server_rss_mb client_cores client_late_p99_ms client_limited"
)


def windows_csv(run: RunResult) -> str:
    """Return one line for each window."""
    rows = [_window_row(result.configuration.label, window) for result in run.results for window in result.windows]
    return _csv(WINDOW_COLUMNS.split(), rows)


def _window_row(label: str, window: Window) -> list[Any]:
    latency, stages, server, batching = window.latency, window.stages, window.server, window.batching
    quantiles = [latency.p50_ms, latency.p95_ms, latency.p99_ms] if latency is not None else ["", "", ""]
    parts = ("queue_ms", "tokenize_ms", "run_ms", "decide_ms", "other_ms")
    return [
        *(label, window.number, window.purpose, window.loop, window.started_s, window.seconds, window.rate),
        *(window.users, window.arrived, window.answered, round(window.throughput, 4), *quantiles),
        *(window.judged.late_share, window.judged.late_high, window.judged.error_share, window.judged.judgement),
        *(window.stopped, window.in_flight.mean, window.in_flight.growth),
        *([getattr(stages, part) for part in parts] if stages is not None else [""] * len(parts)),
        batching.efficiency if batching is not None else "",
        *([server.cores, server.rss_mb] if server is not None else ["", ""]),
        *(window.client.cores, window.client.late_p99_ms, window.client.limited),
    ]


REQUEST_COLUMNS: Final = (
    "configuration window intended_s late_ms latency_ms wire_ms tokens protocol code tokenize_ms queue_ms run_ms "
    "decide_ms"
)


def requests_csv(run: RunResult) -> str:
    """Return one line for each request of a measured part; no text, no token."""
    return _csv(REQUEST_COLUMNS.split(), _request_rows(run))


def _request_rows(run: RunResult) -> Iterator[list[Any]]:
    for result in run.results:
        for window in result.windows:
            of = window.columns
            numbers = (of.intended_s, of.late_ms, of.latency_ms, of.wire_ms, of.tokens)
            timings = (of.tokenize_ms, of.queue_ms, of.run_ms, of.decide_ms)
            for place in range(len(of.latency_ms)):
                yield [
                    *(result.configuration.label, window.number, *(column[place] for column in numbers)),
                    *(of.protocols[of.protocol[place]], of.codes[of.code[place]]),
                    *(column[place] for column in timings),
                ]


def _csv(header: Sequence[str], rows: Any) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()
