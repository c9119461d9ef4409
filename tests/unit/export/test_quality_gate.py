from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import export.quality
from export.errors import ExportRefused
from export.quality import (
    F1_LIMIT,
    FLIP_LIMIT,
    RANDOM_FLIP_LIMIT,
    RANDOM_TEXTS,
    SHIPPED_TEXTS,
    Limits,
    QualityGate,
    QualityReport,
    TextSet,
    default_limits,
    read_texts,
    record_quality,
    report_json,
    report_table,
)
from export.served import ServedRow
from handlers.core.errors import StartupError
from handlers.runtime.bundle import Bundle, has_passed_parity, read_bundle, verify_bundle
from tests.checkpoints import LABELS, Tiny
from tests.unit.conftest import copy_folder

KNOWN = np.array([[1.0, 0.0, 0.0, 0.0]] * 3 + [[0.0, 1.0, np.nan, 0.0]] * 3)
TEXTS = TextSet("own.jsonl", "0" * 64, tuple("abcdef"), KNOWN)
FP32 = np.array([[1.0, -1.0, -2.0, -3.0]] * 3 + [[-1.0, 1.0, -2.0, -3.0]] * 3)


def report(flips: int = 0, decisions: int = 1000, loss: float | None = 0.0) -> QualityReport:
    f1 = (None, None) if loss is None else (0.9, 0.9 - loss)
    return QualityReport(
        "c", "own.jsonl", "0" * 64, 250, 999, (0.5,) * 4, "bundle", flips, decisions, 0.1, 0.01, *f1, Limits(), ("w",)
    )


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Logits that the pipeline gives, one array for each reading."""
    readings: list[np.ndarray] = []

    def served_rows(*_: object) -> list[ServedRow]:
        return [ServedRow(tuple(row), 7, 1) for row in readings.pop(0).tolist()]

    monkeypatch.setattr(export.quality, "served_rows", served_rows)
    return readings


def compare(bundle: Bundle, served: list[np.ndarray], int8: np.ndarray, flips: float = FLIP_LIMIT) -> QualityReport:
    served += [FP32, int8]
    return QualityGate(bundle, TEXTS, Limits(flips)).compare(bundle, ())


@pytest.mark.parametrize(
    ("found", "passed"),
    [
        (report(5), True),
        (report(6), False),
        (report(0, loss=0.0049), True),
        (report(0, loss=0.0051), False),
        (report(0, loss=-0.1), True),
        (report(0, loss=None), True),
        (report(6, loss=None), False),
        (report(0, decisions=0, loss=None), False),
    ],
)
def test_the_verdict_is_about_flips_and_macro_f1(found: QualityReport, passed: bool) -> None:
    assert found.passed is passed


def test_the_same_logits_pass(bundle: Bundle, served: list[np.ndarray]) -> None:
    found = compare(bundle, served, FP32)

    assert (found.flips, found.decisions, found.macro_f1_fp32, found.macro_f1_loss) == (0, 24, 1.0, 0.0)
    assert found.passed


def test_a_decision_that_flips_is_counted_and_costs_f1(bundle: Bundle, served: list[np.ndarray]) -> None:
    moved = FP32.copy()
    moved[0, 0] = -0.01
    found = compare(bundle, served, moved)

    assert (found.flips, found.passed) == (1, False)
    # one of three positives is missed: F1 of that label is 2 * 2 / (2 * 2 + 1)
    assert found.macro_f1_loss == pytest.approx((1 - 0.8) / 2)
    assert found.largest_delta == pytest.approx(1.01)


def test_a_label_that_the_file_says_nothing_about_costs_no_f1(bundle: Bundle, served: list[np.ndarray]) -> None:
    moved = FP32.copy()
    moved[3, 2] = 1.0
    found = compare(bundle, served, moved, flips=1.0)

    assert (found.flips, found.macro_f1_loss) == (1, 0.0)


def test_random_weights_are_decided_at_the_medians(bundle: Bundle, served: list[np.ndarray]) -> None:
    random = Bundle(bundle.folder, bundle.manifest.model_copy(update={"checkpoint": "random:longformer-base"}))
    near_one_value = np.linspace(0.1, 0.2, 24).reshape(6, 4)
    served += [near_one_value, near_one_value[::-1]]
    found = QualityGate(random, TEXTS, default_limits("random:longformer-base")).compare(random, ())

    assert (found.thresholds_from, found.flips, found.decisions) == ("medians", 24, 24)
    assert not found.passed


def test_limits_of_random_weights_are_their_own() -> None:
    assert default_limits("small") == Limits(FLIP_LIMIT, F1_LIMIT)
    assert default_limits("random:longformer-base").flips == RANDOM_FLIP_LIMIT < 0.5


def test_the_shipped_texts_are_labelled_varied_and_small() -> None:
    found = read_texts(SHIPPED_TEXTS, "small", LABELS)
    lengths = sorted(len(text) for text in found.texts)

    assert found.targets is not None
    assert found.targets.shape == (len(found.texts), 4)
    assert (found.targets.sum(axis=0) >= 50).all()
    assert len(set(found.texts)) == len(found.texts) > 400
    assert (lengths[0] < 50, lengths[-1] > 10_000) == (True, True)
    assert SHIPPED_TEXTS.stat().st_size < 600_000


def test_the_shipped_texts_serve_a_checkpoint_of_other_labels_without_theirs() -> None:
    found = read_texts(SHIPPED_TEXTS, "small", ["calm", "low"])

    assert (found.targets, len(found.texts) > 400) == (None, True)


def test_random_weights_read_a_sample_without_labels() -> None:
    found = read_texts(SHIPPED_TEXTS, "random:longformer-base", LABELS)

    assert (len(found.texts), found.targets) == (RANDOM_TEXTS, None)


def test_plain_texts_are_lines(tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    path.write_text("one\n\ntwo\n", encoding="utf-8")

    found = read_texts(path, "small", LABELS)
    assert (found.name, found.texts, found.targets) == ("own.txt", ("one", "two"), None)


@pytest.mark.parametrize("content", ['{"text": "one"}\n{"text": "two"}\n'])
def test_rows_without_labels_are_plain_texts(tmp_path: Path, content: str) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(content, encoding="utf-8")

    assert read_texts(path, "small", LABELS).targets is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.txt", None, "no such file"),
        ("empty.txt", b"\n", "there is no text in it"),
        ("bytes.txt", b"\xff", "not UTF-8"),
        ("x.parquet", b"x", "give a .csv, .tsv or .jsonl"),
    ],
)
def test_a_file_that_is_not_fit_is_refused_by_name(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)

    with pytest.raises(ExportRefused, match=f"{name}: {message}"):
        read_texts(tmp_path / name, "small", LABELS)


def test_the_reports_begin_with_the_verdict() -> None:
    assert json.loads(report_json(report(9)))["passed"] is False
    assert report_table(report(9)).startswith("# Quality of c, int8: FAIL")
    assert "| weights kept in fp32 | w |" in report_table(report())


@pytest.mark.parametrize(("flips", "passed"), [(1, True), (900, False)])
def test_the_verdict_decides_whether_an_int8_bundle_is_served(
    tiny: Tiny, tmp_path: Path, flips: int, passed: bool
) -> None:
    bundle = read_bundle(copy_folder(tiny.bundle, tmp_path / "bundle"))
    int8 = Bundle(bundle.folder, bundle.manifest.model_copy(update={"precision": "int8"}))
    with pytest.raises(StartupError, match="gate has not run"):
        verify_bundle(int8)  # though it carries the parity record of an fp32 graph

    recorded = record_quality(int8, report(flips))

    assert has_passed_parity(recorded) is passed
    assert read_bundle(bundle.folder).manifest == recorded.manifest
    assert recorded.manifest.quality is not None
    assert recorded.manifest.quality.kept_fp32 == ("w",)
