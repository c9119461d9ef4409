"""The figures of one labelled file, put together from what several bundles answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.figures import Scored, Truth, suite_report
from evaluation.report import DataReport, Method, SuiteReport, Threshold
from evaluation.statistics import Estimate

LABELS = ("calm", "sad")
DATA = DataReport("some.csv", "0" * 64, 4, None, is_calibration_data=False)
FAST = Method(resamples=40, seed=7)


def truth(rows: list[tuple[int | None, int | None]], groups: tuple[str | None, ...] | None = None) -> Truth:
    return Truth(
        labels=LABELS,
        positive=np.array([[value == 1 for value in row] for row in rows]),
        known=np.array([[value is not None for value in row] for row in rows]),
        groups=groups or (None,) * len(rows),
    )


def scored(scores: list[tuple[float, float]], name: str = "fp32", **changes: object) -> Scored:
    table = np.array(scores)
    plain = Scored(
        name=name,
        logits=np.log(table / (1 - table)),
        scores=table,
        thresholds=dict.fromkeys(LABELS, Threshold(0.5, None)),
        tokens=np.full(len(scores), 10),
        windows=np.ones(len(scores), dtype=np.intp),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def values(suite: SuiteReport) -> dict[str, float | None]:
    return {name: estimate.value for name, estimate in suite.overall.items()}


def test_all_labels_together_are_worked_out_by_hand() -> None:
    known = truth([(1, 0), (1, 1), (0, 1), (None, 1)])
    answers = scored([(0.9, 0.1), (0.8, 0.2), (0.7, 0.9), (0.9, 0.9)])

    suite = suite_report(DATA, known, [answers], FAST)

    calm, sad = 2 * 2 / (3 + 2), 2 * 2 / (2 + 3)
    assert suite.labels["calm"].metrics["f1"].value == pytest.approx(calm)
    assert suite.labels["sad"].metrics["f1"].value == pytest.approx(sad)
    expected = {"macro_f1": (calm + sad) / 2, "weighted_f1": (2 * calm + 3 * sad) / 5, "exact_match": 2 / 4}
    assert values(suite) == pytest.approx(expected)


def test_counts_tell_known_from_unknown() -> None:
    suite = suite_report(DATA, truth([(1, 0), (0, None), (0, 1)]), [scored([(0.9, 0.1)] * 3)], FAST)

    counts = suite.labels["sad"].counts
    assert (counts.known, counts.unknown, counts.positives, counts.negatives, counts.called) == (2, 1, 1, 1, 0)


def test_a_label_that_is_never_known_is_not_evaluated_and_spoils_nothing() -> None:
    suite = suite_report(DATA, truth([(1, None), (0, None)]), [scored([(0.9, 0.9), (0.1, 0.1)])], FAST)

    assert suite.labels["sad"].not_evaluated is not None
    assert suite.labels["sad"].metrics["f1"].value is None
    assert values(suite) == {"macro_f1": 1.0, "weighted_f1": 1.0, "exact_match": 1.0}


def test_a_row_of_which_nothing_is_known_is_no_match_and_no_miss() -> None:
    suite = suite_report(DATA, truth([(1, 0), (1, 0), (None, None)]), [scored([(0.9, 0.1)] * 3)], FAST)

    assert suite.overall["exact_match"] == Estimate(1.0, 1.0, 1.0)


def test_a_label_without_positives_is_left_out_of_the_means() -> None:
    suite = suite_report(DATA, truth([(1, 0), (0, 0)]), [scored([(0.9, 0.9), (0.1, 0.1)])], FAST)

    assert values(suite) == {"macro_f1": 1.0, "weighted_f1": 1.0, "exact_match": 0.5}


def test_without_any_positive_the_means_say_that_there_is_none() -> None:
    suite = suite_report(DATA, truth([(0, 0), (0, 0)]), [scored([(0.9, 0.1), (0.1, 0.1)])], FAST)

    assert suite.overall["macro_f1"] == Estimate(None, note="no label has a positive row")


def test_slices_share_the_rows_out_by_size() -> None:
    answers = scored([(0.9, 0.1)] * 6, tokens=np.array([0, 16, 17, 300, 4094, 4095]), windows=np.array([1] * 5 + [2]))

    suite = suite_report(DATA, truth([(1, 0)] * 6), [answers], FAST)

    assert [(part.first, part.last, part.rows) for part in suite.by_tokens] == [
        (0, 16, 2),
        (17, 64, 1),
        (257, 1024, 1),
        (1025, 4094, 1),
        (4095, None, 1),
    ]
    assert [(part.first, part.last, part.rows) for part in suite.by_windows] == [(1, 1, 5), (2, 2, 1)]
    assert suite.by_tokens[0].f1["calm"].value == 1.0
    assert suite.by_tokens[0].f1["sad"].note == "only negatives"
    assert suite.by_tokens[1].f1["calm"] == Estimate(1.0, note=suite.by_tokens[1].macro_f1.note)


def test_a_slice_of_which_nothing_is_known_has_rows_and_no_figure() -> None:
    answers = scored([(0.9, 0.1)] * 3, tokens=np.array([5, 5, 50]))

    part = suite_report(DATA, truth([(1, 0), (0, 1), (None, None)]), [answers], FAST).by_tokens[1]

    assert (part.rows, part.macro_f1.value, part.f1["calm"].value) == (1, None, None)


def test_bundles_are_compared_in_pairs_over_every_row() -> None:
    one = scored([(0.6, 0.1), (0.4, 0.1)])
    other = scored([(0.4, 0.1), (0.4, 0.2)], name="int8")
    third = scored([(0.4, 0.1), (0.4, 0.2)], name="fp16")

    suite = suite_report(DATA, truth([(1, 0), (None, None)]), [one, other, third], FAST)

    assert [(pair.first, pair.second) for pair in suite.comparisons] == [
        ("fp32", "int8"),
        ("fp32", "fp16"),
        ("int8", "fp16"),
    ]
    pair = suite.comparisons[0]
    assert (pair.all_labels.rows, pair.all_labels.flips, pair.all_labels.flip_share) == (4, 1, 0.25)
    assert (pair.labels["calm"].flips, pair.labels["sad"].flips) == (1, 0)
    calm, sad = 2 * np.log(0.6 / 0.4), np.log(0.2 / 0.8) - np.log(0.1 / 0.9)
    assert pair.all_labels.max_abs_delta_logit == pytest.approx(max(calm, sad))
    assert pair.all_labels.mean_abs_delta_logit == pytest.approx((calm + sad) / 4)
    assert suite.comparisons[2].all_labels.flips == 0
    assert suite.bundles["fp32"].labels["calm"]["recall"].value == 1.0
    assert suite.bundles["int8"].labels["calm"]["recall"].value == 0.0


def test_each_bundle_is_judged_by_its_own_thresholds() -> None:
    strict = scored([(0.6, 0.1), (0.4, 0.1)], name="strict", thresholds={**dict.fromkeys(LABELS, Threshold(0.7, 0.65))})

    suite = suite_report(DATA, truth([(1, 0), (0, 1)]), [strict, scored([(0.6, 0.1), (0.4, 0.1)])], FAST)

    assert suite.labels["calm"].counts.called == 0
    assert suite.labels["calm"].threshold == Threshold(0.7, 0.65)
    assert suite.bundles["fp32"].labels["calm"]["f1"].value == 1.0
    assert suite.comparisons[0].all_labels.flips == 1


def test_operating_points_lie_where_the_thresholds_are() -> None:
    lower = {label: Threshold(0.8, 0.5) for label in LABELS}
    answers = scored([(0.9, 0.1), (0.6, 0.1), (0.55, 0.1), (0.2, 0.1)], thresholds=lower)

    operating = suite_report(DATA, truth([(1, 1), (1, 0), (0, 0), (0, 0)]), [answers], FAST).labels["calm"].operating

    assert operating.on is not None and operating.off is not None
    assert (operating.on.precision, operating.on.recall) == (1.0, 0.5)
    assert (operating.off.precision, operating.off.recall) == (pytest.approx(2 / 3), 1.0)


ROW = st.tuples(
    st.sampled_from([0, 1, None]),
    st.sampled_from([0, 1]),
    st.integers(1, 9).map(lambda step: step / 10),
    st.sampled_from(["a", "b", "c", None]),
)


@settings(max_examples=12)
@given(st.lists(ROW, min_size=2, max_size=25), st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_neither_figures_nor_intervals(
    rows: list[tuple[int | None, int, float, str | None]], random: object
) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    one, other = (
        suite_report(
            DATA,
            truth([(calm, sad) for calm, sad, *_ in part], tuple(group for *_, group in part)),
            [scored([(score, 1 - score) for _, _, score, _ in part])],
            FAST,
        )
        for part in (rows, shuffled)
    )

    for name, estimate in one.overall.items():
        _same(estimate, other.overall[name])
    for label in LABELS:
        for metric, estimate in one.labels[label].metrics.items():
            _same(estimate, other.labels[label].metrics[metric])


def _same(one: Estimate, other: Estimate) -> None:
    assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high))
    assert one.note == other.note
