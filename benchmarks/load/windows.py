"""From single requests to a ``Window``: quantiles, stages, the queue and the judgement. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from benchmarks.load.results import (
    OK,
    Batching,
    ClientState,
    Columns,
    InFlight,
    Judged,
    Judgement,
    Latencies,
    Purpose,
    Slo,
    Stages,
    Usage,
    Window,
)
from benchmarks.load.statistics import Floats, attainment, design_effect, quantile, trend
from benchmarks.load.workload import PROTOCOLS, class_name, token_classes

MATERIAL_GROWTH: Final = 0.05
"""A queue that grows by less than this share of the arrivals is within what the search can tell apart."""

LATE_FLOOR_MS: Final = 10.0
LATE_SHARE_OF_LIMIT: Final = 0.05
"""Starts later than 5 % of the SLO's limit (10 ms at least) at their p99 mean that the client did not keep up."""

BUSY_CLIENT: Final = 0.9
"""Cores of the client's process from which its one thread is the limit."""


@dataclass(frozen=True)
class Timings:
    """Milliseconds of an answer's ``timing_ms``; for a request of several entries, of the slowest one."""

    tokenize: float = 0.0
    queue: float = 0.0
    run: float = 0.0
    decide: float = 0.0


@dataclass(frozen=True)
class Record:
    """One request. Times in seconds of one clock.

    Attributes:
        intended, started, finished: when it should have begun, did begin, and was answered or given up.
        wire_s: the transport's own time.
        code: ``ok``, or what it was answered with.
        refusal: a refusal that was asked for, so ``code`` is ``ok``.
    """

    intended: float
    started: float
    finished: float
    protocol: str
    tokens: int
    code: str = OK
    refusal: bool = False
    wire_s: float = 0.0
    timings: Timings = Timings()


@dataclass(frozen=True)
class Frame:
    """What a window was meant to be; ``begin`` is the clock at the start of the measured part."""

    number: int
    purpose: Purpose
    loop: Literal["open", "closed"]
    started_s: float
    lead_in_s: float
    begin: float
    seconds: float
    rate: float | None = None
    users: int | None = None
    stopped: str = ""


@dataclass(frozen=True)
class Observed:
    """Everything beside the requests: in-flight samples as ``(clock, count)``, counters and processes."""

    in_flight: Sequence[tuple[float, int]] = ()
    batching: Batching | None = None
    queue_ms: float | None = None
    server: Usage | None = None
    client: Usage = field(default=Usage(cores=0.0, rss_mb=0.0))
    capped: int = 0
    cap: int = 0


def build_window(frame: Frame, records: Sequence[Record], observed: Observed, slo: Slo) -> Window:
    """Return the window of these requests; those outside of the measured part are left out."""
    end = frame.begin + frame.seconds
    kept = sorted((one for one in records if frame.begin <= one.intended < end), key=lambda one: one.intended)
    finished = sum(frame.begin <= one.finished < end for one in records)
    columns = _columns(frame.begin, kept)
    flight = _in_flight([sample for sample in observed.in_flight if frame.begin <= sample[0] < end])
    client = _client(columns, observed, slo)
    return Window(
        number=frame.number,
        purpose=frame.purpose,
        loop=frame.loop,
        started_s=round(frame.started_s, 3),
        lead_in_s=frame.lead_in_s,
        seconds=round(frame.seconds, 4),
        rate=frame.rate,
        users=frame.users,
        stopped=frame.stopped,
        arrived=len(kept),
        answered=sum(one.code == OK for one in kept),
        ok=sum(one.code == OK and not one.refusal for one in kept),
        throughput=finished / frame.seconds if frame.seconds > 0 else 0.0,
        errors=dict(Counter(one.code for one in kept if one.code != OK)),
        refusals=sum(one.refusal for one in kept),
        latency=Latencies.of(columns.latency_ms),
        by_class=_by_class(columns),
        by_protocol=_by_protocol(columns),
        stages=_stages(columns, observed.queue_ms),
        in_flight=flight,
        batching=observed.batching,
        server=observed.server,
        client=client,
        judged=judge(frame, columns, flight, slo),
        columns=columns,
    )


def judge(frame: Frame, columns: Columns, flight: InFlight, slo: Slo) -> Judged:
    """Return what one window says of the SLO."""
    return judge_columns([columns], slo, grows=_grows(frame.rate, flight), hopeless=frame.stopped)


def judge_windows(windows: Sequence[Window], slo: Slo) -> Judged:
    """Return what several windows of one rate say together; the queue grew only if it did in most of them."""
    growing = sum(window.judged.growing for window in windows)
    stopped = next((window.stopped for window in windows if window.stopped), "")
    return judge_columns([window.columns for window in windows], slo, 2 * growing > len(windows), stopped)


def judge_columns(parts: Sequence[Columns], slo: Slo, grows: bool, hopeless: str) -> Judged:
    """Judge requests against an SLO: late ones, wrong ones, and the queue.

    ``held`` and ``missed`` are shown with 95 % confidence; ``undecided`` is not, and its ``late_share`` is the best
    guess. A queue that grows, and a window that had to be stopped, miss whatever the share is so far.
    """
    late = np.array([value > slo.limit_ms for part in parts for value in part.latency_ms], dtype=bool)
    wrong = np.array([code != 0 for part in parts for code in part.code], dtype=bool)
    effect = effective(parts)
    found, errors = attainment(late, effect), attainment(wrong, effect)
    reasons = []
    if found.share.low > slo.late_share:
        reasons.append(f"{100 * found.share.value:.2g} % over the limit")
    if errors.share.low > slo.error_share:
        reasons.append(f"{100 * errors.share.value:.2g} % errors")
    if grows:
        reasons.append("the queue grew")
    if hopeless:
        reasons.append(hopeless)
    return Judged(
        judgement=_judgement(found.total, reasons, found.share.high <= slo.late_share),
        late_share=_or_zero(found.share.value),
        late_low=found.share.low,
        late_high=found.share.high,
        error_share=_or_zero(errors.share.value),
        growing=grows,
        reasons=tuple(reasons),
    )


def effective(parts: Sequence[Columns]) -> float:
    """Return the design effect of several windows: all their requests over all their effective ones."""
    counts = [len(part.latency_ms) for part in parts if part.latency_ms]
    effects = [design_effect(part.latency_ms) for part in parts if part.latency_ms]
    independent = sum(count / effect for count, effect in zip(counts, effects, strict=True))
    return sum(counts) / independent if independent else 1.0


def _judgement(total: int, reasons: Sequence[str], shown: bool) -> Judgement:
    if reasons:
        return "missed"
    if total == 0:
        return "not judged"
    return "held" if shown else "undecided"


def _or_zero(value: float) -> float:
    return 0.0 if value != value else value


def _grows(rate: float | None, flight: InFlight) -> bool:
    return rate is not None and flight.growth_low is not None and flight.growth_low > MATERIAL_GROWTH * rate


def _columns(begin: float, kept: Sequence[Record]) -> Columns:
    codes = (OK, *sorted({one.code for one in kept} - {OK}))
    return Columns(
        protocols=PROTOCOLS,
        codes=codes,
        intended_s=tuple(round(one.intended - begin, 4) for one in kept),
        late_ms=tuple(_ms(one.started - one.intended) for one in kept),
        latency_ms=tuple(_ms(one.finished - one.intended) for one in kept),
        wire_ms=tuple(_ms(one.wire_s) for one in kept),
        tokens=tuple(one.tokens for one in kept),
        protocol=tuple(PROTOCOLS.index(one.protocol) for one in kept),
        code=tuple(codes.index(one.code) for one in kept),
        tokenize_ms=tuple(round(one.timings.tokenize, 3) for one in kept),
        queue_ms=tuple(round(one.timings.queue, 3) for one in kept),
        run_ms=tuple(round(one.timings.run, 3) for one in kept),
        decide_ms=tuple(round(one.timings.decide, 3) for one in kept),
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)


def _in_flight(samples: Sequence[tuple[float, int]]) -> InFlight:
    if not samples:
        return InFlight(mean=0.0, most=0, growth=0.0, growth_low=None, growth_high=None)
    times, counts = zip(*samples, strict=True)
    slope = trend(times, counts).slope
    known = np.isfinite(slope.low)
    return InFlight(
        mean=round(float(np.mean(counts)), 4),
        most=max(counts),
        growth=slope.value,
        growth_low=slope.low if known else None,
        growth_high=slope.high if known else None,
    )


def _client(columns: Columns, observed: Observed, slo: Slo) -> ClientState:
    late = quantile(columns.late_ms, 0.99) if columns.late_ms else 0.0
    slow = late > max(LATE_FLOOR_MS, LATE_SHARE_OF_LIMIT * slo.limit_ms) and not observed.capped
    return ClientState(
        cores=observed.client.cores,
        rss_mb=observed.client.rss_mb,
        late_p99_ms=late,
        capped=observed.capped,
        cap=observed.cap,
        limited=slow or observed.client.cores > BUSY_CLIENT,
    )


def _by_class(columns: Columns) -> dict[str, Latencies]:
    tokens, latency = np.asarray(columns.tokens), np.asarray(columns.latency_ms)
    found = {}
    for first, last in token_classes():
        part = Latencies.of(latency[(tokens >= first) & (tokens <= last)])
        if part is not None:
            found[class_name((first, last))] = part
    return found


def _by_protocol(columns: Columns) -> dict[str, Latencies]:
    protocol, latency = np.asarray(columns.protocol), np.asarray(columns.latency_ms)
    parts = {name: Latencies.of(latency[protocol == place]) for place, name in enumerate(columns.protocols)}
    return {name: part for name, part in parts.items() if part is not None}


def _stages(columns: Columns, queue_ms: float | None) -> Stages | None:
    """Split the mean latency of right answers. The answers' own queue time wins over TorchServe's mean."""
    good = (np.asarray(columns.code, dtype=int) == 0) & (np.asarray(columns.run_ms, dtype=float) > 0)
    if not good.any():
        return None

    def mean(values: tuple[float, ...]) -> float:
        return float(np.asarray(values, dtype=float)[good].mean())

    parts = {name: mean(getattr(columns, name)) for name in ("late_ms", "tokenize_ms", "run_ms", "decide_ms")}
    left = mean(columns.latency_ms) - sum(parts.values())
    queue = min(max(0.0, left), mean(columns.queue_ms) + (queue_ms or 0.0))
    rounded = {name: round(value, 3) for name, value in parts.items()}
    return Stages(**rounded, queue_ms=round(queue, 3), other_ms=round(max(0.0, left - queue), 3))


def pooled(windows: Sequence[Window]) -> Floats:
    """Return the latencies of several windows, in ms."""
    return np.concatenate([window.latencies for window in windows]) if windows else np.empty(0)
