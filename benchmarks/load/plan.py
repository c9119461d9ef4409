"""How many replicas, how busy, how slow and at what price, from measured curves. Pure.

A replica is the machine that was measured, with that configuration. Capacity and latencies are read from the curve
between rates that were measured; what lies outside is said to, never guessed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.errors import BenchmarkError
from benchmarks.load.curves import Curve, Level, levels_of
from benchmarks.load.queueing import Queue, disagreement, littles_in_flight
from benchmarks.load.results import ConfigurationResult, RunResult, Slo

QUANTILES: Final = (0.5, 0.95, 0.99)
HOURS_A_MONTH: Final = 730.0
DEFAULT_PEAK: Final = 2.0
DEFAULT_SPARE: Final = 1


@dataclass(frozen=True)
class Demand:
    """What is asked for.

    Attributes:
        rate: requests a second, on the day's average.
        slo: what has to hold.
        peak: the busiest minutes of the day over the average; 2 unless the caller knows better.
        spare: replicas that may be lost at the peak without missing the SLO.
        price: of one replica for an hour, in any currency.
    """

    rate: float
    slo: Slo
    peak: float = DEFAULT_PEAK
    spare: int = DEFAULT_SPARE
    price: float | None = None

    def __post_init__(self) -> None:
        if not (0 < self.rate < math.inf and 1 <= self.peak < math.inf and self.spare >= 0):
            raise BenchmarkError(
                "a plan needs a rate above 0, a peak factor of 1 or more, and 0 or more spare replicas"
            )


@dataclass(frozen=True)
class At:
    """One moment: requests a second on each replica, its utilization, and latencies in ms as text for people.

    ``p50``, ``p95``, ``p99`` are ``None`` where the curve does not reach; ``note`` says so.
    """

    name: str
    rate_each: float
    replicas: int
    utilization: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    note: str


@dataclass(frozen=True)
class Row:
    """The plan for one configuration; ``problem`` is set, and nothing else known, where there can be none.

    Attributes:
        capacity: requests a second that one replica takes under the SLO, and where that comes from.
        replicas: enough for the peak with ``spare`` of them lost.
        at: the average, the peak, and the peak with replicas lost.
        cost_hour, cost_million: for all replicas; for a million entries at the average rate.
        shared_wait_ms, split_wait_ms: mean wait at the peak by M/G/k, one queue for all replicas or one each.
    """

    label: str
    problem: str = ""
    capacity: float = 0.0
    capacity_source: str = ""
    saturation: float = 0.0
    replicas: int = 0
    at: tuple[At, ...] = ()
    cost_hour: float | None = None
    cost_million: float | None = None
    shared_wait_ms: float | None = None
    split_wait_ms: float | None = None


@dataclass(frozen=True)
class Check:
    """One measured rate beside theory: Little's law for the number in flight, M/G/1 for the mean latency."""

    rate: float
    in_flight: float
    little: float
    little_off: float | None
    mean_ms: float
    queue_ms: float
    queue_off: float | None


def plan_rows(runs: Sequence[RunResult], demand: Demand) -> list[Row]:
    """Return a row for every configuration of every run, the cheapest in replicas first."""
    rows = [
        plan_one(result, run, demand)
        for run in runs
        for result in run.results
        if levels_of(result.open_windows()) or result.outcome.reason
    ]
    return sorted(rows, key=lambda row: (bool(row.problem), row.replicas, -row.capacity))


def plan_one(result: ConfigurationResult, run: RunResult, demand: Demand) -> Row:
    """Plan with one configuration."""
    label = result.configuration.label
    levels = levels_of(result.open_windows())
    if not levels:
        return Row(label, problem=f"nothing was measured: {result.outcome.reason}")
    capacity, source = capacity_at(result, levels, run.slo, demand.slo)
    if capacity is None:
        return Row(label, problem=source)
    saturation = max(result.outcome.saturation or 0.0, capacity)
    peak = demand.rate * demand.peak
    replicas = math.ceil(peak / capacity - 1e-9) + demand.spare
    moments = [("average", demand.rate, replicas), ("peak", peak, replicas)]
    if demand.spare:
        moments.append((f"peak, {demand.spare} lost", peak, replicas - demand.spare))
    entries = run.workload.mean_entries if run.workload is not None else 1.0
    hourly = demand.price * replicas if demand.price is not None else None
    shared, split = _theory(result, saturation, peak, replicas)
    return Row(
        label=label,
        capacity=capacity,
        capacity_source=source,
        saturation=saturation,
        replicas=replicas,
        at=tuple(_moment(name, rate / count, count, saturation, levels) for name, rate, count in moments),
        cost_hour=hourly,
        cost_million=hourly / (demand.rate * entries * 3600) * 1e6 if hourly is not None else None,
        shared_wait_ms=shared,
        split_wait_ms=split,
    )


def capacity_at(
    result: ConfigurationResult, levels: Sequence[Level], measured: Slo | None, wanted: Slo
) -> tuple[float | None, str]:
    """Return the capacity under ``wanted`` and its source, or ``None`` and why there is none."""
    if measured == wanted and result.outcome.capacity is not None:
        return result.outcome.capacity, "searched for"
    if measured == wanted and result.outcome.verdict == "slo_never_met":
        return None, result.outcome.reason
    curve = Curve.of(levels, wanted.quantile)
    found = curve.highest_rate(wanted.limit_ms)
    name = f"p{100 * wanted.quantile:g}"
    if found is None:
        first = curve.range[0]
        return None, f"at {first:.3g}/s, the lowest rate measured, its {name} is {curve.values_ms[0]:,.0f} ms"
    if found == curve.range[1] and curve.values_ms[-1] <= wanted.limit_ms:
        return found, f"at least: the {name} at the highest rate measured is still {curve.values_ms[-1]:,.0f} ms"
    return found, "read from the measured curve"


def _moment(name: str, rate: float, replicas: int, saturation: float, levels: Sequence[Level]) -> At:
    curves = [Curve.of(levels, q) for q in QUANTILES]
    values = [curve.at(rate) for curve in curves]
    note = ""
    first, last = curves[0].range
    if rate < first:
        values = [float(curve.values_ms[0]) for curve in curves]
        note = f"at most: {first:.3g}/s is the lowest rate measured"
    elif rate > last:
        note = f"{last:.3g}/s is the highest rate measured"
    p50, p95, p99 = values
    return At(name, rate, replicas, rate / saturation, p50, p95, p99, note)


def _theory(
    result: ConfigurationResult, saturation: float, peak: float, replicas: int
) -> tuple[float | None, float | None]:
    """Return the mean wait in ms at the peak behind one queue, and behind one queue for each replica."""
    cv = result.outcome.service_cv
    if cv is None:
        return None, None
    shared = Queue(peak, 1 / saturation, cv, replicas).mean_wait_s
    split = Queue(peak / replicas, 1 / saturation, cv).mean_wait_s
    return _finite_ms(shared), _finite_ms(split)


def _finite_ms(seconds: float) -> float | None:
    return 1e3 * seconds if math.isfinite(seconds) else None


def checks(result: ConfigurationResult) -> list[Check]:
    """Lay every sustained rate beside theory.

    The queue is M/G/1 whose server takes as long for a request as it takes at saturation, where batches are full, with
    the coefficient of variation that one caller alone saw; what one caller waits for anyhow is added.
    """
    saturation, alone, cv = result.outcome.saturation, result.outcome.service_ms, result.outcome.service_cv
    found = []
    for level in levels_of(result.open_windows()):
        mean_s = float(level.latencies.mean()) / 1e3
        seconds = sum(window.seconds for window in level.windows)
        arrived = sum(window.arrived for window in level.windows) / seconds
        in_flight = sum(window.in_flight.mean * window.seconds for window in level.windows) / seconds
        little = littles_in_flight(arrived, mean_s)
        expected = math.inf
        if saturation and alone is not None and cv is not None:
            expected = Queue(level.rate, 1 / saturation, cv).mean_wait_s + alone / 1e3
        found.append(
            Check(
                rate=level.rate,
                in_flight=in_flight,
                little=little,
                little_off=disagreement(in_flight, little),
                mean_ms=1e3 * mean_s,
                queue_ms=1e3 * expected,
                queue_off=disagreement(mean_s, expected),
            )
        )
    return found


# What people type.

_PRICE = re.compile(r"(?P<amount>[0-9]+(\.[0-9]+)?)\s*/\s*(?P<unit>h|hour|month)")
_LIMIT = re.compile(r"(?P<value>[0-9]+(\.[0-9]+)?)(?P<unit>ms|s)")


def parse_price(text: str) -> float:
    """Read ``2.10/h`` or ``1500/month`` (730 hours) as a price for an hour.

    Raises:
        BenchmarkError: it is neither.
    """
    match = _PRICE.fullmatch(text.strip())
    if match is None:
        raise BenchmarkError(f"price {text!r}: write it as 2.10/h or 1500/month")
    amount = float(match["amount"])
    return amount / HOURS_A_MONTH if match["unit"] == "month" else amount


def parse_slo(texts: Sequence[str], default: Slo | None) -> Slo:
    """Read ``p99=800ms`` and ``errors=1%``, each by itself or joined by commas, over a default.

    Raises:
        BenchmarkError: a part that is neither, or no limit at all.
    """
    quantile, limit, errors = (
        (default.quantile, default.limit_ms, default.error_share) if default else (0.99, math.nan, 0.01)
    )
    for part in (part.strip() for text in texts for part in text.split(",")):
        name, _, value = part.partition("=")
        match = _LIMIT.fullmatch(value)
        if re.fullmatch(r"p[0-9]+(\.[0-9]+)?", name) and match is not None and 0 < float(name[1:]) < 100:
            quantile = float(name[1:]) / 100
            limit = float(match["value"]) * (1000 if match["unit"] == "s" else 1)
        elif name == "errors" and re.fullmatch(r"[0-9]+(\.[0-9]+)?%?", value) and _share(value) <= 1:
            errors = _share(value)
        else:
            raise BenchmarkError(f"SLO {part!r}: write it as p99=800ms, p95=2s or errors=1%")
    if not limit > 0:
        raise BenchmarkError("an SLO needs a limit above 0, such as p99=800ms")
    return Slo(quantile=quantile, limit_ms=limit, error_share=errors)


def _share(value: str) -> float:
    return float(value[:-1]) / 100 if value.endswith("%") else float(value)
