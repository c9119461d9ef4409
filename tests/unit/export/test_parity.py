from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from transformers import LongformerForSequenceClassification

from export.parity import (
    ParityCase,
    ParityReport,
    ParityResult,
    compare,
    parity_cases,
    parity_lengths,
    report_json,
    report_table,
    write_report,
)
from handlers.runtime import Logits, Runtime, RuntimeDescription, TokenIds
from tests.checkpoints import Tiny

THRESHOLDS = [0.5] * 4
CASES = parity_cases([1, 5, 33], seeds=1)


class Shifted:
    """The real runtime with ``shift`` added to its logits."""

    def __init__(self, runtime: Runtime, shift: float) -> None:
        self._runtime, self._shift = runtime, shift

    def prepare(self, lengths: list[int]) -> None:
        self._runtime.prepare(lengths)

    def run(self, input_ids: TokenIds, attention_mask: TokenIds) -> Logits:
        return self._runtime.run(input_ids, attention_mask) + np.float32(self._shift)

    def describe(self) -> RuntimeDescription:
        return self._runtime.describe()


@pytest.fixture(scope="module")
def model(tiny: Tiny) -> LongformerForSequenceClassification:
    return LongformerForSequenceClassification.from_pretrained(tiny.checkpoint).eval()


def report(*deltas: float, flips: int = 0, tolerance: float = 1e-5) -> ParityReport:
    results = tuple(ParityResult(ParityCase(7, (7,), seed), delta, flips) for seed, delta in enumerate(deltas))
    return ParityReport("c", "fp32", tolerance, results)


def test_lengths_surround_every_window_and_reach_the_end() -> None:
    assert parity_lengths([32], 4096) == sorted(
        {31, 32, 33, 63, 64, 65} | {1, 2, 3, 17, 64, 777, 1024, 2048, 4095, 4096}
    )


def test_no_length_is_past_the_end() -> None:
    assert parity_lengths([256], 100) == [1, 2, 3, 17, 64, 99, 100]


def test_every_length_is_compared_alone_and_in_a_batch_of_mixed_padding_for_every_seed() -> None:
    assert parity_cases([100, 2000], seeds=2) == [
        case
        for seed in range(2)
        for case in (
            ParityCase(100, (100,), seed),
            ParityCase(100, (100, 50, 99, 1), seed),
            ParityCase(2000, (2000,), seed),
        )
    ]


def test_the_right_graph_is_within_the_tolerance(model: LongformerForSequenceClassification, runtime: Runtime) -> None:
    results = compare(model, runtime, THRESHOLDS, CASES)

    assert [result.case for result in results] == CASES
    assert ParityReport("c", "fp32", 1e-5, results).passed


@pytest.mark.parametrize("shift", [1e-3, -1e-3, math.nan, math.inf])
def test_a_graph_that_is_off_by_little_or_not_finite_fails(
    model: LongformerForSequenceClassification, runtime: Runtime, shift: float
) -> None:
    results = compare(model, Shifted(runtime, shift), THRESHOLDS, CASES)

    assert not ParityReport("c", "fp32", 1e-5, results).passed


def test_decisions_that_change_are_counted(model: LongformerForSequenceClassification, runtime: Runtime) -> None:
    case = ParityCase(5, (5,), 0)
    (result,) = compare(model, Shifted(runtime, 1e4), THRESHOLDS, [case])
    (same,) = compare(model, runtime, THRESHOLDS, [case])

    assert result.flips > 0
    assert same.flips == 0


def test_progress_hears_of_every_comparison(model: LongformerForSequenceClassification, runtime: Runtime) -> None:
    heard: list[ParityResult] = []

    assert compare(model, runtime, THRESHOLDS, CASES, heard.append) == tuple(heard)


@pytest.mark.parametrize(
    ("found", "passed"),
    [
        (report(1e-6, 1e-5), True),
        (report(1e-6, 1.1e-5), False),
        (report(0.0, flips=1), False),
        (report(0.0, math.nan), False),
        (report(math.inf), False),
        (report(), False),
    ],
    ids=["on the tolerance", "above it", "a flip", "nan", "infinity", "nothing compared"],
)
def test_the_gate_passes_only_what_is_close_everywhere(found: ParityReport, passed: bool) -> None:
    assert found.passed is passed


def test_the_report_as_json_starts_with_the_verdict() -> None:
    found = json.loads(report_json(report(1e-6, 2e-6)))

    assert list(found)[:4] == ["subject", "precision", "passed", "max_abs_delta_logit"]
    assert (found["passed"], found["max_abs_delta_logit"], len(found["cases"])) == (True, 2e-6, 2)


@pytest.mark.parametrize("delta", [math.nan, math.inf])
def test_a_difference_that_is_not_finite_is_null_in_json(delta: float) -> None:
    text = report_json(report(0.0, delta))
    found = json.loads(text, parse_constant=pytest.fail)

    assert (found["passed"], found["max_abs_delta_logit"]) == (False, None)
    assert found["cases"][1]["max_abs_delta"] is None


@pytest.mark.parametrize(("found", "verdict"), [(report(1e-6, 3e-6), "PASS"), (report(1.0), "FAIL")])
def test_the_report_as_a_table_has_a_verdict_and_a_row_for_each_length(found: ParityReport, verdict: str) -> None:
    lines = report_table(found).splitlines()

    assert lines[0] == f"# Parity of c, fp32: {verdict}"
    assert lines[-1] == f"| 7 | {len(found.results)} | {found.max_abs_delta:.2e} | 0 |"


def test_both_forms_of_the_report_are_written(tmp_path: Path) -> None:
    found = report(1e-6)

    json_path, table_path = write_report(found, tmp_path)

    assert json_path.read_text(encoding="utf-8") == report_json(found)
    assert table_path.read_text(encoding="utf-8") == report_table(found)
