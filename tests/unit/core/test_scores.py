from __future__ import annotations

import math
import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from handlers.core.errors import LanternError
from handlers.core.scores import LabelRule, combine_windows, score_labels, sigmoid

RULES = [LabelRule("neutral"), LabelRule("depressed"), LabelRule("stressed", 0.25)]
LOGITS = st.floats(-50, 50)
CALIBRATED = st.builds(
    LabelRule, st.just("stressed"), st.floats(0.001, 0.999), st.floats(0.05, 20.0), st.floats(-10.0, 10.0)
)
ROWS = st.lists(st.tuples(LOGITS, LOGITS, LOGITS).map(list), min_size=1, max_size=6)


@pytest.mark.parametrize(("logit", "score"), [(0.0, 0.5), (math.log(3), 0.75), (-math.log(3), 0.25)])
def test_sigmoid_is_exact_at_known_points(logit: float, score: float) -> None:
    assert sigmoid(logit) == pytest.approx(score, abs=1e-15)


@pytest.mark.parametrize(("logit", "score"), [(1e308, 1.0), (-1e308, 0.0), (800.0, 1.0), (-800.0, 0.0)])
def test_sigmoid_does_not_overflow(logit: float, score: float) -> None:
    assert sigmoid(logit) == score


@given(st.floats(-700, 700))
def test_sigmoid_is_symmetric(logit: float) -> None:
    assert sigmoid(logit) + sigmoid(-logit) == pytest.approx(1.0, abs=1e-15)


@given(LOGITS, LOGITS)
def test_sigmoid_is_monotone(one: float, other: float) -> None:
    low, high = sorted((one, other))

    assert sigmoid(low) <= sigmoid(high)


def test_a_risk_label_takes_the_highest_window_and_neutral_the_lowest() -> None:
    assert combine_windows([[3.0, -1.0, 0.5], [-2.0, 4.0, 0.1]], RULES) == [-2.0, 4.0, 0.5]


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_windows_does_not_matter(rows: list[list[float]], shuffler: random.Random) -> None:
    shuffled = list(rows)
    shuffler.shuffle(shuffled)

    assert combine_windows(shuffled, RULES) == combine_windows(rows, RULES)


@given(ROWS, st.tuples(LOGITS, LOGITS, LOGITS).map(list))
def test_one_more_window_never_lowers_a_risk(rows: list[list[float]], more: list[float]) -> None:
    before, after = combine_windows(rows, RULES), combine_windows([*rows, more], RULES)

    assert after[0] <= before[0]
    assert all(new >= old for new, old in zip(after[1:], before[1:], strict=True))


@pytest.mark.parametrize("logit", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("window", [0, 1])
def test_a_logit_that_is_not_finite_is_refused_in_any_window(logit: float, window: int) -> None:
    rows = [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    rows[window][1] = logit

    with pytest.raises(LanternError, match="non_finite_scores") as caught:
        combine_windows(rows, RULES)
    assert caught.value.kind.http == 500


@pytest.mark.parametrize("row", [[0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
def test_a_row_of_another_number_of_labels_is_refused(row: list[float]) -> None:
    with pytest.raises(LanternError, match="non_finite_scores"):
        combine_windows([row], RULES)


def test_a_score_on_the_threshold_is_positive() -> None:
    below = math.nextafter(0.0, -1.0) - 1e-9

    assert score_labels([0.0], [LabelRule("stressed", 0.5)], False)[0].positive
    assert not score_labels([below], [LabelRule("stressed", 0.5)], False)[0].positive


def test_each_label_is_held_against_its_own_threshold() -> None:
    labels = score_labels([-0.5, -0.5, -0.5], RULES, False)

    assert [(label.name, label.threshold, label.positive) for label in labels] == [
        ("neutral", 0.5, False),
        ("depressed", 0.5, False),
        ("stressed", 0.25, True),
    ]


@pytest.mark.parametrize(("asked", "logit"), [(True, 0.3), (False, None)])
def test_the_logit_is_there_only_where_it_was_asked_for(asked: bool, logit: float | None) -> None:
    assert score_labels([0.3], [LabelRule("stressed")], asked)[0].logit == logit


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_without_a_calibration_a_score_is_the_sigmoid_to_the_last_bit(logit: float) -> None:
    assert LabelRule("stressed").score(logit) == sigmoid(logit)


@pytest.mark.parametrize(("logit", "score"), [(0.0, 0.25), (math.log(3), 0.5), (2 * math.log(3), 0.75)])
def test_a_calibrated_score_is_the_sigmoid_of_the_scaled_logit(logit: float, score: float) -> None:
    rule = LabelRule("stressed", 0.5, scale=1.0, offset=-math.log(3))
    (label,) = score_labels([logit], [rule], True)

    assert label.score == pytest.approx(score, abs=1e-12)
    assert label.positive == (label.score >= 0.5)
    assert label.logit == logit


@given(CALIBRATED, LOGITS, LOGITS)
def test_a_calibration_never_changes_the_ranking(rule: LabelRule, one: float, other: float) -> None:
    low, high = sorted((one, other))

    assert rule.score(low) <= rule.score(high)


@given(CALIBRATED, st.floats(-1e308, 1e308))
def test_a_calibrated_score_is_a_share_even_of_a_huge_logit(rule: LabelRule, logit: float) -> None:
    assert 0.0 <= rule.score(logit) <= 1.0


@given(CALIBRATED, st.floats(-30, 30))
def test_the_uncalibrated_threshold_decides_as_the_calibrated_one(rule: LabelRule, logit: float) -> None:
    margin = abs(rule.scale * logit + rule.offset - math.log(rule.threshold / (1 - rule.threshold)))
    assume(margin > 1e-6 and abs(logit) < 20)

    assert (sigmoid(logit) >= rule.uncalibrated_threshold) == (rule.score(logit) >= rule.threshold)


@pytest.mark.parametrize(("threshold", "uncalibrated"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_a_threshold_without_calibration_is_its_own(threshold: float, uncalibrated: float) -> None:
    assert LabelRule("stressed", threshold).uncalibrated_threshold == uncalibrated
