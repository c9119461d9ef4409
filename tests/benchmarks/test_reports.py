"""Reports say what was measured, in JSON and for a reader."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.engine import EngineReport, LengthRow, Spread, report_markdown, run_engine_benchmark
from benchmarks.reports import write_report
from export.matrix import Shape, random_model
from handlers.runtime import Logits, RuntimeDescription, TokenIds


class InstantRuntime:
    """Answers zeros at once, so that only the benchmark itself is at work."""

    def prepare(self, lengths: object) -> None:
        raise AssertionError("the benchmark warms up by its own first round")

    def run(self, input_ids: TokenIds, attention_mask: TokenIds) -> Logits:
        assert input_ids.shape == attention_mask.shape
        return np.zeros((len(input_ids), 4), dtype=np.float32)

    def describe(self) -> RuntimeDescription:
        return RuntimeDescription(name="instant", device="cpu", threads=1)


def test_a_run_reports_every_length_with_ratios_of_the_same_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.engine.GEMM_SHAPE", (64, 64, 64))
    model = random_model(Shape(windows=(64, 64), heads=2, head_size=8, labels=4), seed=0)
    names = ("tiny", "fp32", "python -m benchmarks engine")
    report = run_engine_benchmark(model, InstantRuntime(), names, lengths=[16, 64], rounds=2, progress=lambda _: None)
    assert [row.tokens for row in report.rows] == [16, 64]
    assert all(row.speedup.median > 1 and row.gemm_share.median > 0 for row in report.rows)
    write_report(report, report_markdown(report), tmp_path, "engine")
    assert json.loads((tmp_path / "engine.json").read_text())["rows"][0]["tokens"] == 16


def test_the_table_shows_medians_with_their_quartiles() -> None:
    row = LengthRow(
        tokens=16,
        eager_s=Spread(1.0, 0.9, 1.1),
        lantern_s=Spread(0.02, 0.019, 0.021),
        speedup=Spread(50.0, 45.0, 55.0),
        flops=2.5e9,
        gemm_share=Spread(0.5, 0.4, 0.6),
    )
    machine = {"cpu": "some processor", "threads": 2, "versions": {"torch": "2"}}
    report = EngineReport("base", "fp32", "the command", machine, 5, Spread(180.0, 170.0, 190.0), (row,))
    table = report_markdown(report)
    assert "| 16 | 1000 (900-1100) | 20.0 (19.0-21.0) | 50.0x (45.0-55.0) | 2.5 | 50 % (40-60) |" in table
    assert "180 GFLOP/s (170-190)" in table
