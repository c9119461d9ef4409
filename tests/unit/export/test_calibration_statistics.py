from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.calibration import _sigmoid_calibration
from sklearn.metrics import f1_score, precision_score, recall_score

from export.calibration_statistics import (
    Precaution,
    Sample,
    calibrate_label,
    fit_scaling,
    list_cuts,
    place_threshold,
    resamples,
)
from export.errors import ExportRefused
from export.objectives import LeastCost, MaxF1, Objective, PrecisionAtLeast, RecallAtLeast
from handlers.core.calibration import CalibratedLabel, Method
from handlers.core.scores import LabelRule

QUICK = Precaution(hysteresis=0.05, bootstrap=3, seed=7)
METHODS = ("platt", "temperature")


def sample(logits: Sequence[float], targets: Sequence[bool], groups: Sequence[str] | None = None) -> Sample:
    return Sample.of(logits, targets, groups or [f"text {index}" for index in range(len(logits))])


def drawn(seed: int, texts: int = 200, shift: float = 2.5, scale: float = 1.0) -> Sample:
    """Draw logits of texts of which a third are positive, and higher."""
    generator = np.random.default_rng(seed)
    targets = np.arange(texts) % 3 == 0
    logits = scale * (generator.normal(size=texts) + shift * targets - 1.5)
    return sample(logits.tolist(), targets.tolist())


def scores(found: CalibratedLabel, of: Sample) -> np.ndarray[Any, np.dtype[np.float64]]:
    rule = LabelRule("x", found.on, found.scale, found.offset)
    return np.array([rule.score(logit) for logit in of.logits.tolist()])


LOGIT = st.integers(-160, 160).map(lambda steps: steps / 16)
SAMPLES = st.lists(st.tuples(LOGIT, st.booleans(), st.sampled_from("abcdef")), min_size=12, max_size=40).map(
    lambda rows: [*rows, (-11.0, False, "y"), (11.0, True, "z")]
)
OBJECTIVES = st.sampled_from([MaxF1(), RecallAtLeast(0.5), RecallAtLeast(0.9), PrecisionAtLeast(0.5), LeastCost(1, 5)])


def of_rows(rows: list[tuple[float, bool, str]]) -> Sample:
    return sample([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])


def calibrated(rows: list[tuple[float, bool, str]], objective: Objective, **changes: Any) -> CalibratedLabel:
    """Calibrate on ``rows``, twice; examples that have no answer are no examples."""
    fields: dict[str, Any] = {"label": "depressed", "method": "platt", "precaution": QUICK} | changes
    try:
        return calibrate_label(scaling=of_rows(rows), threshold=of_rows(rows), objective=objective, **fields)
    except ExportRefused:
        assume(False)
        raise


@given(SAMPLES, OBJECTIVES, st.sampled_from(METHODS))
def test_a_calibration_keeps_the_ranking_and_off_is_not_above_on(
    rows: list[tuple[float, bool, str]], objective: Objective, method: Method
) -> None:
    found = calibrated(rows, objective, method=method)

    assert found.scale > 0
    assert 0 <= found.off <= found.on <= 1
    split = of_rows(rows)
    assert (np.diff(scores(found, split)[np.argsort(split.logits)]) >= 0).all()


@given(SAMPLES, st.sampled_from([0.3, 0.5, 0.8, 0.9, 0.95]))
def test_a_threshold_for_recall_reaches_it_on_its_split(rows: list[tuple[float, bool, str]], least: float) -> None:
    found = calibrated(rows, RecallAtLeast(least))
    split = of_rows(rows)

    assert recall_score(split.targets, scores(found, split) >= found.on) >= least


@given(SAMPLES, st.sampled_from([0.5, 0.75]))
def test_a_threshold_for_precision_reaches_it_on_its_split(rows: list[tuple[float, bool, str]], least: float) -> None:
    found = calibrated(rows, PrecisionAtLeast(least))
    split = of_rows(rows)

    assert precision_score(split.targets, scores(found, split) >= found.on) >= least


@given(SAMPLES)
def test_no_other_threshold_has_a_higher_f1(rows: list[tuple[float, bool, str]]) -> None:
    found = calibrated(rows, MaxF1())
    split = of_rows(rows)
    all_scores = scores(found, split)

    best = max(f1_score(split.targets, all_scores >= threshold) for threshold in all_scores)
    assert f1_score(split.targets, all_scores >= found.on) == best
    assert found.f1 == round(best, 6)


@settings(max_examples=30)
@given(SAMPLES, OBJECTIVES, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(
    rows: list[tuple[float, bool, str]], objective: Objective, shuffler: random.Random
) -> None:
    shuffled = list(rows)
    shuffler.shuffle(shuffled)

    assert calibrated(shuffled, objective) == calibrated(rows, objective)


@given(SAMPLES, st.sampled_from([0.0, 0.05, 0.2, 1.0]))
def test_off_finds_more_than_on_by_no_more_than_it_must(rows: list[tuple[float, bool, str]], margin: float) -> None:
    found = calibrated(rows, MaxF1(), precaution=Precaution(margin, 1, 7))
    split = of_rows(rows)
    positive = scores(found, split)[split.targets]

    def recall(threshold: float) -> float:
        return float((positive >= threshold).mean())

    wanted = recall(found.on) + min(margin, (1 - recall(found.on)) / 2)
    assert recall(found.off) >= wanted
    assert recall(found.off) == min(recall(score) for score in positive if recall(score) >= wanted)


def test_platt_is_that_of_scikit_learn() -> None:
    of = drawn(1)
    scale, offset = fit_scaling("x", of, "platt")
    slope, intercept = _sigmoid_calibration(of.logits, of.targets.astype(float))

    assert (scale, offset) == pytest.approx((-slope, -intercept), rel=1e-3)


def test_temperature_finds_the_factor_that_logits_are_off_by() -> None:
    generator = np.random.default_rng(3)
    true_logits = generator.normal(size=20_000) * 2
    targets = generator.random(20_000) < 1 / (1 + np.exp(-true_logits))
    scale, offset = fit_scaling("x", sample((true_logits * 4).tolist(), targets.tolist()), "temperature")

    assert offset == 0.0
    assert scale == pytest.approx(0.25, rel=0.05)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [0.01, 1.0, 30.0, 1e4])
def test_separable_data_stays_finite(method: Method, size: float) -> None:
    logits = [size * step for step in (*range(-20, 0), *range(1, 21))]
    scale, offset = fit_scaling("x", sample(logits, [logit > 0 for logit in logits]), method)

    assert scale > 0
    assert math.isfinite(scale)
    assert math.isfinite(offset)
    assert LabelRule("x", 0.5, scale, offset).score(logits[-1]) < 1


def test_scores_against_the_truth_are_refused() -> None:
    of = drawn(1)

    with pytest.raises(ExportRefused, match=r"^stressed: its scores run against its truth on the scaling split"):
        fit_scaling("stressed", sample((-of.logits).tolist(), of.targets.tolist()), "platt")


def test_logits_that_are_all_the_same_are_refused() -> None:
    with pytest.raises(ExportRefused, match=r"^stressed: every logit of the scaling split is the same"):
        fit_scaling("stressed", sample([1.0] * 20, [True, False] * 10), "platt")


def test_a_precision_out_of_reach_is_refused_by_the_name_of_the_label() -> None:
    of = drawn(1, shift=0.5)

    with pytest.raises(ExportRefused, match=r"^stressed: no threshold reaches precision 0\.95 on 20 texts or more"):
        calibrate_label("stressed", of, of, "platt", PrecisionAtLeast(0.95), QUICK)


def test_figures_are_those_of_the_threshold_split_and_inside_their_intervals() -> None:
    found = calibrate_label("stressed", drawn(1), drawn(2), "platt", MaxF1(), Precaution(0.05, 200, 7))
    decisions = scores(found, drawn(2)) >= found.on

    assert (found.positives, found.negatives) == (67, 133)
    assert found.precision == round(precision_score(drawn(2).targets, decisions), 6)
    assert found.recall == round(recall_score(drawn(2).targets, decisions), 6)
    assert found.intervals is not None
    for name in ("precision", "recall", "f1"):
        low, high = getattr(found.intervals, name)
        assert low < getattr(found, name) < high
    assert found.intervals.on[0] < found.intervals.on[1]


def test_intervals_narrow_with_more_texts() -> None:
    def width(texts: int) -> float:
        of = drawn(5, texts)
        intervals = calibrate_label("stressed", of, of, "platt", MaxF1(), Precaution(0.05, 200, 7)).intervals
        assert intervals is not None
        return intervals.recall[1] - intervals.recall[0]

    assert width(3000) < width(150) / 2


def test_a_seed_gives_the_same_intervals_again() -> None:
    def intervals(seed: int) -> object:
        return calibrate_label("x", drawn(1), drawn(2), "platt", MaxF1(), Precaution(0.05, 20, seed)).intervals

    assert intervals(1) == intervals(1) != intervals(2)


@given(SAMPLES)
def test_a_resample_draws_whole_groups_and_never_lacks_positives(rows: list[tuple[float, bool, str]]) -> None:
    of = of_rows(rows)
    for weights in resamples(of, 5, seed=1):
        assert weights @ of.targets > 0
        assert all(len({weights[i] for i, name in enumerate(of.groups) if name == group}) == 1 for group in of.groups)


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30))
def test_a_threshold_calls_positive_exactly_what_its_cut_does(values: list[float]) -> None:
    all_scores = np.array(values)
    cuts = list_cuts(all_scores, np.arange(len(values)) % 2 == 0)

    for index, score in enumerate(cuts.scores):
        threshold = place_threshold(cuts, index)
        assert 0 <= threshold <= 1
        assert ((all_scores >= threshold) == (all_scores >= score)).all()


def test_a_threshold_lies_in_the_middle_of_its_gap_and_is_short() -> None:
    cuts = list_cuts(np.array([0.9, 0.61234, 0.38765, 0.1]), np.array([True, True, False, False]))

    assert place_threshold(cuts, 1) == 0.5
