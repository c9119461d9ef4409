from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from training.card import write_card
from training.errors import CheckpointError


def estimate(value: float | None) -> dict[str, Any]:
    interval = {"low": None, "high": None} if value is None else {"low": value - 0.095, "high": value + 0.095}
    return {"value": value, **interval, "note": None}


def suite(value: float) -> dict[str, Any]:
    label = {
        "counts": {"known": 9, "unknown": 1, "positives": 4, "negatives": 5, "called": 4},
        "not_evaluated": None,
        "metrics": {name: estimate(value) for name in ("precision", "recall", "f1", "auroc", "ece")},
        "curve": [1, 2, 3],
    }
    missing = {**label, "not_evaluated": "no positive"}
    overall = {name: estimate(value) for name in ("macro_f1", "weighted_f1", "exact_match")}
    return {"data": {"rows": 10}, "overall": overall, "labels": {"anxious": label, "stressed": missing}}


@pytest.fixture
def report(tmp_path: Path) -> Path:
    path = tmp_path / "report.json"
    content = {"schema_version": 1, "model": {}, "method": {}, "tools": {}}
    content["suites"] = {"some_set": suite(0.625), "probes_second_voice": suite(0.875)}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path, checkpoint: Path) -> Path:
    copy = tmp_path / "checkpoint"
    copy.mkdir()
    for name in ("config.json", "training.json"):
        (copy / name).write_bytes((checkpoint / name).read_bytes())
    return copy


def test_the_card_tells_the_report(folder: Path, report: Path) -> None:
    write_card(folder, report)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "0 neutral, 1 depressed, 2 anxious, 3 stressed" in card
    assert "| | anxious | 9 | 4 | 0.625 | 0.625 | 0.625 (0.53–0.72) |" in card
    assert "| voice | second | 10 | 0.875" in card
    assert "| | stressed |" not in card and "$" not in card
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert "curve" not in json.dumps(metrics)


def test_a_missing_report_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nothing\.json: no such file"):
        write_card(folder, tmp_path / "nothing.json")
    assert not (folder / "README.md").exists()
