"""Intervals, trends, curves and queues against what is known of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.load.arrivals import schedule
from benchmarks.load.curves import Curve, isotonic, knee, levels_of
from benchmarks.load.queueing import Queue, erlang_c, littles_in_flight
from benchmarks.load.statistics import (
    attainment,
    clopper_pearson,
    design_effect,
    quantile,
    requests_to_show,
    trend,
)
from tests.benchmarks.load_results import window


def test_299_requests_without_a_late_one_show_1_percent() -> None:
    assert requests_to_show(0.01) == 299
    assert attainment([False] * 299).share.high == pytest.approx(0.01, abs=1e-4)
    assert attainment([False] * 200).share.high > 0.01


def test_clopper_pearson_as_in_the_tables() -> None:
    low, high = clopper_pearson(3, 20, confidence=0.975)  # 95 % two-sided

    assert (low, high) == pytest.approx((0.0321, 0.3789), abs=1e-4)


def test_requests_that_are_late_together_count_for_less() -> None:
    alternating, block = np.tile([1.0, 2.0], 250), np.repeat([1.0, 2.0], 250)

    assert design_effect(alternating) == 1.0
    assert design_effect(block) > 20


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200), st.floats(0.01, 0.99))
def test_a_quantile_was_seen_and_has_its_share_at_or_below_it(values: list[float], q: float) -> None:
    found = quantile(values, q)

    assert found in values
    assert np.mean(np.asarray(values) <= found) >= q - 1e-12


def test_a_trend_is_seen_and_wandering_is_not() -> None:
    times = np.arange(400.0)
    generator = np.random.default_rng(5)

    growing = trend(times, 0.5 * times + generator.normal(0, 5, 400))
    still = trend(times, generator.normal(0, 5, 400))

    assert growing.slope.low > 0.45
    assert still.slope.low < 0 < still.slope.high


@given(st.sampled_from(["poisson", "constant"]), st.floats(0.1, 500), st.floats(0.1, 20), st.integers(0, 99))
def test_a_schedule_is_sorted_within_its_time_and_the_same_for_a_seed(
    process: str, rate: float, seconds: float, seed: int
) -> None:
    starts = schedule(process, rate, seconds, seed)  # type: ignore[arg-type]

    assert np.all(np.diff(starts) >= 0)
    assert len(starts) == 0 or (starts[0] >= 0 and starts[-1] < seconds)
    assert np.array_equal(starts, schedule(process, rate, seconds, seed))  # type: ignore[arg-type]


def test_poisson_gaps_are_exponential_and_constant_ones_are_not() -> None:
    gaps = np.diff(schedule("poisson", 100, 200, 1))

    assert gaps.mean() == pytest.approx(0.01, rel=0.03)
    assert gaps.std() == pytest.approx(0.01, rel=0.05)
    assert np.ptp(np.diff(schedule("constant", 100, 10, 1))) < 1e-9


def test_pollaczek_khinchine_and_erlang() -> None:
    assert Queue(8, 0.1, 1.0).mean_wait_s == pytest.approx(0.4)  # M/M/1: rho / (mu - lambda)
    assert Queue(8, 0.1, 0.0).mean_wait_s == pytest.approx(0.2)  # M/D/1: half of it
    assert erlang_c(2, 1.0) == pytest.approx(1 / 3)
    assert erlang_c(1, 0.7) == pytest.approx(0.7)
    assert Queue(8, 0.1, 1.0).wait_quantile_s(0.99) == pytest.approx(math.log(0.8 / 0.01) / 2)  # M/M/1, exact
    assert Queue(10, 0.1, 1.0).mean_wait_s == math.inf
    assert Queue(16, 0.1, 1.0, servers=2).mean_wait_s < Queue(8, 0.1, 1.0).mean_wait_s
    assert littles_in_flight(8, 0.5) == 4


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=30))
def test_isotonic_regression_rises_and_keeps_the_mean(values: list[float]) -> None:
    fitted = isotonic(np.array(values), np.ones(len(values)))

    assert np.all(np.diff(fitted) >= -1e-9)
    assert fitted.mean() == pytest.approx(np.mean(values), abs=1e-6)


def test_a_curve_is_read_between_what_was_measured_and_nowhere_else() -> None:
    levels = levels_of([window(rate, [latency] * 50) for rate, latency in ((10, 20.0), (20, 40.0), (40, 400.0))])

    curve = Curve.of(levels, 0.99)

    assert curve.at(15) == pytest.approx(30)
    assert curve.at(5) is None
    assert curve.at(41) is None
    assert curve.highest_rate(100) == pytest.approx(20 + 20 * 60 / 360)
    assert curve.highest_rate(10) is None
    assert curve.highest_rate(1000) == 40


def test_the_knee_is_where_the_curve_bends() -> None:
    points = ((10, 20.0), (20, 21.0), (30, 23.0), (40, 30.0), (44, 300.0), (46, 600.0))

    assert knee(levels_of([window(rate, [latency] * 50) for rate, latency in points])) == 40
    assert knee([]) is None
