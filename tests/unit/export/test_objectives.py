from __future__ import annotations

import numpy as np
import pytest

from export.errors import ExportRefused
from export.objectives import (
    Cuts,
    LeastCost,
    MaxF1,
    Objective,
    PrecisionAtLeast,
    RecallAtLeast,
    parse_objective,
    parse_objectives,
)

LABELS = ("neutral", "depressed", "anxious")


def cuts(truth: str) -> Cuts:
    """Return the cuts of texts whose scores fall from left to right: ``+`` for positive, ``-`` for negative."""
    positive = np.array([mark == "+" for mark in truth], dtype=np.float64)
    tp, fp = positive.cumsum(), (1 - positive).cumsum()
    return Cuts(np.linspace(0.9, 0.1, len(truth)), tp, fp, tp[-1] - tp)


def called_positive(truth: str, objective: Objective, prefer_low: bool = True) -> str:
    """Return the texts that the chosen cut calls positive."""
    chosen = objective.choose(cuts(truth), prefer_low)
    return "" if chosen is None else truth[: chosen + 1]


@pytest.mark.parametrize(
    ("truth", "objective", "expected"),
    [
        ("++-+---", MaxF1(), "++-+"),
        ("++--+---", RecallAtLeast(0.6), "++"),
        ("++--+---", RecallAtLeast(0.7), "++--+"),
        ("++-+-+--", PrecisionAtLeast(0.75), "++-+"),
        ("++-+---", LeastCost(1, 1), "++-+"),
        ("++---+--", LeastCost(1, 1), "++"),
        ("++---+--", LeastCost(1, 9), "++---+"),
    ],
)
def test_an_objective_takes_the_cut_that_its_name_says(truth: str, objective: Objective, expected: str) -> None:
    assert called_positive(truth, objective) == expected


@pytest.mark.parametrize(
    ("truth", "objective", "low", "high"),
    [
        ("+--+----", MaxF1(), "+--+", "+"),
        ("++--++", RecallAtLeast(0.2), "++", "+"),
        ("+-+-", LeastCost(1, 1), "+-+", "+"),
    ],
)
def test_among_equals_the_lower_threshold_wins_where_it_is_preferred(
    truth: str, objective: Objective, low: str, high: str
) -> None:
    assert (called_positive(truth, objective, True), called_positive(truth, objective, False)) == (low, high)


def test_precision_must_stand_on_so_many_texts_that_one_false_alarm_would_be_allowed() -> None:
    few = cuts("++-+-----")

    assert PrecisionAtLeast(0.9).choose(few, True) is None
    assert "no threshold reaches precision 0.9 on 10 texts or more" in PrecisionAtLeast(0.9).refusal(few)
    assert called_positive("+++++++++-" + "-" * 9, PrecisionAtLeast(0.9)) == "+++++++++-"


def test_a_cost_that_is_lowest_when_nothing_is_found_chooses_nothing() -> None:
    assert LeastCost(10, 1).choose(cuts("-+-+--"), True) is None
    assert "cheapest never to find it: raise fn" in LeastCost(10, 1).refusal(cuts("-+-+--"))


@pytest.mark.parametrize(
    ("objective", "needed"),
    [
        (MaxF1(), 1),
        (LeastCost(1, 5), 1),
        (RecallAtLeast(0.5), 2),
        (RecallAtLeast(0.9), 10),
        (RecallAtLeast(0.95), 20),
        (PrecisionAtLeast(0.8), 4),
        (PrecisionAtLeast(0.9), 9),
        (PrecisionAtLeast(0.99), 99),
    ],
)
def test_a_claim_needs_so_many_positives_that_one_error_leaves_it_true(objective: Objective, needed: int) -> None:
    assert objective.positives_needed[0] == needed


@pytest.mark.parametrize("text", ["max_f1", "recall>=0.95", "precision>=0.9", "cost:fp=1,fn=5", "cost:fp=0.5,fn=2.25"])
def test_an_objective_is_written_as_it_is_read(text: str) -> None:
    assert str(parse_objective(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "max", "recall>0.9", "recall>=1", "recall>=0", "recall>=-0.5", "recall>=0.9x", "recall>=nan"),
        *("precision>=1.5", "cost:fp=1", "cost:fp=0,fn=1", "cost:fn=1,fp=1"),
    ],
)
def test_what_is_no_objective_is_none(text: str) -> None:
    assert parse_objective(text) is None


def test_one_objective_is_for_all_labels_and_others_for_their_own() -> None:
    found = parse_objectives(["recall>=0.9", "anxious:cost:fp=1,fn=5", "neutral: max_f1"], LABELS)

    assert {label: str(objective) for label, objective in found.items()} == {
        "neutral": "max_f1",
        "depressed": "recall>=0.9",
        "anxious": "cost:fp=1,fn=5",
    }
    assert set(parse_objectives([], LABELS).values()) == {MaxF1()}


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        (["foo"], "--objective foo: expected max_f1, recall>=R"),
        (["anxious:foo"], "--objective anxious:foo: expected max_f1"),
        (["joy:max_f1"], "--objective joy:max_f1: joy is none of the labels neutral, depressed, anxious"),
        (["max_f1", "recall>=0.9"], "--objective recall>=0.9: there is one for all labels already, max_f1"),
        (["anxious:max_f1", "anxious:recall>=0.9"], "anxious has one already, max_f1"),
    ],
)
def test_a_wrong_option_is_named(stated: list[str], message: str) -> None:
    with pytest.raises(ExportRefused, match=message):
        parse_objectives(stated, LABELS)
