"""The search on servers whose capacity is known, in virtual time."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.load.capacity import estimate_capacity
from benchmarks.load.results import Outcome, Slo
from benchmarks.load.search import Search, SearchSettings
from tests.benchmarks.load_results import SLO, window
from tests.benchmarks.simulated import Draw, SimulatedServer, constant, exponential, fifo

P99 = Slo(quantile=0.99, limit_ms=25, error_share=0.01)


def searched(draw: Draw, seed: int, slo: Slo = P99, **server: float) -> tuple[Outcome, Search]:
    search = Search(SimulatedServer(draw, slo, seed, **server), slo, SearchSettings(), lambda line: None)
    return search.run(), search


def md1_capacity(service_s: float, limit_s: float) -> float:
    """The rate at which a p99 of M/D/1 is the limit, from one very long simulation of each rate."""
    low, high = 0.2 / service_s, 0.999 / service_s
    for _ in range(12):
        rate = (low + high) / 2
        arrivals = np.cumsum(np.random.default_rng(1).exponential(1 / rate, 200_000))
        late = fifo(arrivals, np.full(200_000, service_s)) - arrivals > limit_s
        low, high = (rate, high) if late.mean() <= 0.01 else (low, rate)
    return low


@pytest.mark.parametrize("seed", [1, 2])
def test_it_finds_the_capacity_of_a_constant_server_within_5_percent(seed: int) -> None:
    outcome, _ = searched(constant(0.0025), seed)

    assert outcome.verdict == "capacity_found"
    assert outcome.capacity == pytest.approx(md1_capacity(0.0025, 0.025), rel=0.05)


def test_it_finds_the_capacity_of_an_exponential_server_and_draws_a_curve_beside_it_within_its_budget() -> None:
    outcome, search = searched(exponential(0.0025), 2)

    true = 400 - math.log(100) / 0.025  # latency in M/M/1 is exponential with rate mu - lambda
    rates = [each.rate for each in search.windows if each.rate is not None]
    assert outcome.capacity == pytest.approx(true, rel=0.05)
    assert outcome.capacity is not None and outcome.capacity_low is not None and outcome.capacity_high is not None
    assert outcome.capacity_low < true < outcome.capacity_high
    assert outcome.searched_s <= 330
    assert min(rates) < 0.4 * true
    assert max(rates) > true
    assert outcome.knee is not None
    assert sum(abs(rate / outcome.capacity - 1) < 0.06 for rate in rates) >= 3


def test_an_slo_below_the_service_time_is_never_met() -> None:
    outcome, search = searched(constant(0.2), 1)

    assert outcome.verdict == "slo_never_met"
    assert outcome.capacity is None
    assert "one caller alone has a p99 of 200 ms" in outcome.reason
    assert any(each.purpose == "curve" for each in search.windows)


def test_a_server_that_dies_leaves_what_was_measured() -> None:
    outcome, search = searched(exponential(0.005), 1, dies_at=60.0)

    assert outcome.verdict == "server_died"
    assert search.windows


def test_a_client_that_cannot_send_so_fast_is_said_to_be_the_limit() -> None:
    outcome, _ = searched(constant(0.005), 1, client_s=0.02)

    assert outcome.verdict == "client_limited"
    assert "locust --worker" in outcome.reason


def test_a_highest_rate_that_holds_is_an_end_of_its_own() -> None:
    search = Search(SimulatedServer(exponential(0.005), P99, 1), P99, SearchSettings(max_rate=50.0), lambda line: None)

    outcome = search.run()

    assert outcome.verdict == "above_range"
    assert outcome.capacity == 50.0


def test_a_server_that_stalls_makes_everything_late_that_was_meant_to_start_meanwhile() -> None:
    """10 requests a second, each served in 1 ms, but nothing at all from second 5 to 10 (no coordinated omission)."""
    arrivals = np.arange(0, 20, 0.1)
    starts = np.where((arrivals >= 5) & (arrivals < 10), 10.0, arrivals)
    latencies_ms = 1e3 * (fifo(starts, np.full(len(arrivals), 0.001)) - arrivals)

    found = window(10, latencies_ms.tolist(), seconds=20.0)

    assert found.judged.late_share == pytest.approx(0.245, abs=0.01)
    assert found.latency is not None
    assert found.latency.max_ms == pytest.approx(5000, abs=60)
    assert found.judged.judgement == "missed"


@pytest.mark.parametrize("make", [lambda: [], lambda: [window(10, [5.0] * 100)], lambda: [window(10, [500.0] * 100)]])
def test_there_is_no_estimate_without_a_rate_that_holds_and_one_that_does_not(make: Callable[[], list]) -> None:  # type: ignore[type-arg]
    assert estimate_capacity(make(), SLO) is None


def test_an_estimate_stays_within_the_rates_that_were_measured() -> None:
    windows = [window(10, [5.0] * 100), window(20, [500.0] * 200), window(5, [5.0] * 49 + [500.0])]

    estimate = estimate_capacity(windows, SLO)

    assert estimate is not None
    assert 4.99 <= estimate.rate.value <= 20.01
    assert estimate.rate.low < estimate.rate.value < estimate.rate.high
