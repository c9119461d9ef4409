"""Resampled figures are scikit-learn's over repeated rows, and intervals are what they claim to be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.resampling import (
    Resampling,
    resampled_label,
    resampling_units,
    subset,
    with_interval,
)
from evaluation.statistics import METRICS, Estimate, Observed, bin_count, label_values

DRAWN = st.lists(
    st.tuples(st.booleans(), st.integers(0, 20).map(lambda step: step / 20), st.integers(0, 4)),
    min_size=1,
    max_size=39,
).filter(lambda rows: any(times for *_, times in rows))
"""Truth, score and how often a row is drawn; so few rows that resample and original have one bin."""


def observed(positive: object, scores: object, threshold: float = 0.5) -> Observed:
    truth = np.array(positive, dtype=bool)
    return Observed(truth, np.ones(len(truth), dtype=bool), np.array(scores, dtype=float), threshold)


def sample(rows: int, seed: int = 0) -> Observed:
    generator = np.random.default_rng(seed)
    scores = generator.random(rows)
    return observed(generator.random(rows) < scores, scores)


@given(DRAWN)
def test_a_resample_has_the_figures_of_its_rows(rows: list[tuple[bool, float, int]]) -> None:
    truth, scores, times = (np.array(column) for column in zip(*rows, strict=True))
    repeated = observed(np.repeat(truth, times), np.repeat(scores, times))
    assert bin_count(len(rows)) == 1

    resampled = resampled_label(observed(truth, scores), times[None, :].astype(float))

    for metric, value in label_values(repeated).items():
        if metric == "ece" and bin_count(len(repeated.scores)) > 1:
            continue  # a resample keeps the number of bins of the whole
        expected = np.nan if value.value is None else value.value
        assert resampled[metric][0] == pytest.approx(expected, nan_ok=True), metric


def test_a_resample_of_every_row_once_has_the_calibration_error_of_many_bins() -> None:
    rows = sample(500)

    resampled = resampled_label(rows, np.ones((1, 500)))["ece"][0]

    assert bin_count(500) == 15
    assert resampled == pytest.approx(label_values(rows)["ece"].value)


def test_resamples_of_many_bins_are_those_of_the_repeated_rows() -> None:
    rows = sample(600)
    times = np.random.default_rng(1).multinomial(600, np.full(600, 1 / 600))
    repeated = observed(np.repeat(rows.positive, times), np.repeat(rows.scores, times))

    assert resampled_label(rows, times[None, :].astype(float))["ece"][0] == pytest.approx(
        label_values(repeated)["ece"].value
    )


def test_a_resample_draws_as_many_units_as_there_are_and_is_the_same_again() -> None:
    resampling = Resampling(np.arange(30), resamples=120, seed=3)

    weights = np.concatenate(list(resampling.weights()))

    assert weights.shape == (120, 30)
    assert (weights.sum(axis=1) == 30).all()
    assert np.array_equal(weights, np.concatenate(list(resampling.weights())))
    assert not np.array_equal(weights, np.concatenate(list(Resampling(np.arange(30), 120, seed=4).weights())))


def test_a_group_is_drawn_as_a_whole_and_a_row_without_one_by_itself() -> None:
    unit_of = resampling_units(np.arange(5.0)[:, None], ["a", "b", "a", None, None])

    assert unit_of[0] == unit_of[2]
    assert len(set(unit_of)) == 4
    for weights in Resampling(unit_of, 100, seed=0).weights():
        assert np.array_equal(weights[:, 0], weights[:, 2])


def test_rows_repeated_within_their_group_leave_the_interval_as_it_was() -> None:
    rows = sample(80)
    table = np.column_stack([rows.scores, rows.positive])
    repeated = observed(np.repeat(rows.positive, 4), np.repeat(rows.scores, 4))
    groups = [str(row) for row in range(80) for _ in range(4)]

    alone = _interval(rows, resampling_units(table, [None] * 80))
    grouped = _interval(repeated, resampling_units(np.repeat(table, 4, axis=0), groups))
    apart = _interval(repeated, resampling_units(np.repeat(table, 4, axis=0), [None] * 320))

    assert grouped == alone
    assert _width(apart) < 0.7 * _width(alone)


def _interval(rows: Observed, unit_of: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Estimate:
    resampling = Resampling(unit_of, 400, seed=7)
    resampled = resampling.figures(lambda weights: resampled_label(rows, weights))
    return with_interval(label_values(rows)["f1"], resampled["f1"], resampling.units)


def _width(estimate: Estimate) -> float:
    assert estimate.low is not None and estimate.high is not None
    return estimate.high - estimate.low


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(2, 60))
def test_an_interval_holds_its_value(seed: int, size: int) -> None:
    rows = sample(size, seed)
    resampling = Resampling(np.arange(size), 60, seed=0)
    resampled = resampling.figures(lambda weights: resampled_label(rows, weights))

    for metric in METRICS:
        found = with_interval(label_values(rows)[metric], resampled[metric], resampling.units)
        if found.low is not None and found.high is not None and found.value is not None:
            assert found.low <= found.value <= found.high


def test_the_interval_of_a_share_is_about_as_wide_as_theory_says() -> None:
    positive = np.arange(400) < 100
    rows = observed(positive, np.where(np.arange(400) % 2, 0.9, 0.1))  # recall 1/2 over 100 positives
    resampling = Resampling(np.arange(400), 2000, seed=0)

    resampled = resampling.figures(lambda weights: resampled_label(rows, weights))
    recall = with_interval(label_values(rows)["recall"], resampled["recall"], 400)

    assert (recall.low, recall.high) == pytest.approx((0.5 - 1.96 * 0.05, 0.5 + 1.96 * 0.05), abs=0.012)


def test_an_interval_is_the_middle_of_the_resamples_that_define_the_figure() -> None:
    resampled = np.array([*np.linspace(0.0, 1.0, 41), *[np.nan] * 20])

    assert with_interval(Estimate(0.5), resampled, 9) == Estimate(0.5, pytest.approx(0.025), pytest.approx(0.975))


def test_an_interval_is_widened_to_hold_a_value_beside_it() -> None:
    assert with_interval(Estimate(0.1), np.linspace(0.2, 0.4, 5), 9).low == 0.1


@pytest.mark.parametrize(("defined", "units", "reason"), [(3, 9, "too few rows"), (10, 1, "nothing to resample")])
def test_without_enough_to_draw_from_there_is_no_interval(defined: int, units: int, reason: str) -> None:
    resampled = np.where(np.arange(10) < defined, 0.5, np.nan)

    found = with_interval(Estimate(0.5), resampled, units)

    assert (found.value, found.low, found.high) == (0.5, None, None)
    assert found.note is not None and reason in found.note


def test_units_of_some_rows_keep_their_order_and_count_from_nothing() -> None:
    assert subset(np.array([4, 0, 2, 4]), np.array([True, False, True, True])).tolist() == [1, 0, 1]
