"""Figures of one label against values worked out by hand, and what must hold of any."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.statistics import (
    METRICS,
    Estimate,
    Floats,
    Observed,
    bin_count,
    calibration_error,
    label_values,
    point_at,
    precision_recall_points,
    reliability_bins,
    score_histogram,
    wilson_interval,
)

ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 50).map(lambda step: step / 50)), min_size=1, max_size=120)


def observed(positive: list[bool], scores: list[float], threshold: float = 0.5, known: object = True) -> Observed:
    flags = np.broadcast_to(np.array(known, dtype=bool), len(positive))
    return Observed(np.array(positive), np.array(flags), np.array(scores), threshold)


def rows_of(rows: list[tuple[bool, float]]) -> Observed:
    return observed([truth for truth, _ in rows], [score for _, score in rows])


def ece(rows: Observed, weights: Floats | None = None) -> float:
    once = np.ones((1, len(rows.scores))) if weights is None else weights
    return float(calibration_error(rows.positive, rows.scores, once)[0])


def test_figures_are_those_worked_out_by_hand() -> None:
    values = label_values(observed([True, True, False, False], [0.9, 0.4, 0.6, 0.1]))

    expected = {
        "precision": 1 / 2,
        "recall": 1 / 2,
        "f1": 1 / 2,
        "auroc": 3 / 4,
        "auprc": 1 / 2 * 1 + 1 / 2 * 2 / 3,
        "brier": (0.1**2 + 0.6**2 + 0.6**2 + 0.1**2) / 4,
        "ece": 0.0,
    }
    assert {name: value.value for name, value in values.items()} == pytest.approx(expected)


def test_a_score_at_the_threshold_is_a_positive_decision() -> None:
    assert label_values(observed([True, False], [0.5, 0.49]))["f1"] == Estimate(1.0)


def test_the_calibration_error_is_the_mean_gap_of_its_bins() -> None:
    positive = [True] * 8 + [False] * 12 + [True] * 20

    assert ece(observed(positive, [0.2] * 20 + [0.7] * 20)) == pytest.approx((0.2 + 0.3) / 2)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=6))
def test_groups_whose_score_is_their_share_have_no_calibration_error(hits: list[int]) -> None:
    positive = [row < hit for hit in hits for row in range(20)]
    scores = [hit / 20 for hit in hits for _ in range(20)]

    assert ece(observed(positive, scores)) == pytest.approx(0.0, abs=1e-12)


@given(ROWS)
def test_the_calibration_error_is_bounded_by_the_brier_score(rows: list[tuple[bool, float]]) -> None:
    brier = label_values(rows_of(rows))["brier"].value

    assert brier is not None
    assert 0.0 <= ece(rows_of(rows)) <= np.sqrt(brier) + 1e-12 <= 1.0 + 1e-12


@given(ROWS)
def test_reliability_bins_hold_every_row_once_and_make_up_the_calibration_error(rows: list[tuple[bool, float]]) -> None:
    found = rows_of(rows)
    bins = reliability_bins(found.positive, found.scores)

    assert sum(bin_.count for bin_ in bins) == len(rows)
    assert [bin_.mean_score for bin_ in bins] == sorted({bin_.mean_score for bin_ in bins})
    gaps = sum(bin_.count * abs(bin_.mean_score - bin_.share) for bin_ in bins) / len(rows)
    assert gaps == pytest.approx(ece(found))


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_no_figure(rows: list[tuple[bool, float]], random: object) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    before, after = label_values(rows_of(rows)), label_values(rows_of(shuffled))
    for metric in METRICS:
        assert after[metric].note == before[metric].note
        assert after[metric].value == pytest.approx(before[metric].value)


@given(ROWS, ROWS)
def test_unknown_rows_change_no_figure(rows: list[tuple[bool, float]], others: list[tuple[bool, float]]) -> None:
    both = rows_of(rows + others)
    known = np.arange(len(rows) + len(others)) < len(rows)
    with_unknown = Observed(both.positive & known, known, both.scores, both.threshold)

    assert label_values(with_unknown) == label_values(rows_of(rows))


def test_bins_are_as_many_as_get_twenty_rows_and_at_most_fifteen() -> None:
    assert [bin_count(rows) for rows in (1, 19, 39, 40, 300, 100_000)] == [1, 1, 1, 2, 15, 15]


def test_rows_of_different_scores_fill_bins_evenly() -> None:
    scores = np.linspace(0.01, 0.99, 90)

    assert [bin_.count for bin_ in reliability_bins(scores > 0.5, scores)] == [22, 23, 22, 23]


@pytest.mark.parametrize(
    ("positive", "scores", "notes"),
    [
        ([True, True], [0.9, 0.2], {"auroc": "only positives", "auprc": "only positives"}),
        ([False, False], [0.9, 0.2], dict.fromkeys(("precision", "recall", "f1", "auroc", "auprc"), "only negatives")),
        ([True, False], [0.3, 0.2], {"precision": "no score reaches the threshold"}),
    ],
    ids=["only positives", "only negatives", "nothing called"],
)
def test_what_is_not_defined_says_why_and_the_rest_is_there(
    positive: list[bool], scores: list[float], notes: dict[str, str]
) -> None:
    values = label_values(observed(positive, scores))

    assert {name: value.note for name, value in values.items() if value.value is None} == notes


def test_a_label_that_nobody_knows_has_no_figure() -> None:
    values = label_values(observed([False, False], [0.9, 0.1], known=False))

    assert {value.value for value in values.values()} == {None}


def test_the_interval_of_a_share_is_wilsons() -> None:
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson_interval(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    with pytest.raises(ValueError, match="nothing"):
        wilson_interval(0, 0)


@given(st.integers(1, 5000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_the_interval_of_a_share_holds_it_and_stays_a_share(pair: tuple[int, int]) -> None:
    low, high = wilson_interval(*pair)

    assert 0.0 <= low <= pair[0] / pair[1] <= high <= 1.0


@given(ROWS)
def test_points_of_the_curve_are_what_their_threshold_gives(rows: list[tuple[bool, float]]) -> None:
    found = rows_of(rows)
    points = precision_recall_points(found.positive, found.scores)

    if found.positive.all() or not found.positive.any():
        assert points == ()
        return
    assert points[-1].recall == 1.0
    assert [point.recall for point in points] == sorted(point.recall for point in points)
    for point in points:
        there = point_at(found.positive, found.scores, point.threshold)
        assert there is not None
        assert (point.precision, point.recall) == pytest.approx((there.precision, there.recall))


def test_a_long_curve_is_thinned() -> None:
    scores = np.linspace(0.0, 1.0, 5000)

    assert len(precision_recall_points(scores**2 > 0.3, scores)) <= 102


def test_there_is_no_point_on_the_curve_where_nothing_is_called() -> None:
    assert point_at(np.array([True, False]), np.array([0.4, 0.2]), 0.5) is None


@given(ROWS)
def test_the_histogram_counts_every_row_by_truth(rows: list[tuple[bool, float]]) -> None:
    found = rows_of(rows)
    histogram = score_histogram(found.positive, found.scores)

    assert sum(histogram.positives) == found.positive.sum()
    assert sum(histogram.negatives) == (~found.positive).sum()
