from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import floor
from benchmarks.floor import FloorReport, Timed, report_markdown

REPORT = FloorReport(
    command="python -m benchmarks.floor",
    machine={"cpu": "A", "cores": 2},
    rounds=3,
    limit=0.02,
    tokens=4096,
    model=Timed("model", 17000, 200.0, 190.0, 230.0),
    floor=Timed("floor", 17000, 2.0, 1.9, 2.5),
    share=0.01,
    lengths=(Timed("calm", 1_000_000, 120.0, 110.0, 130.0),),
    load_s=2.5,
    memory_mb=120.0,
)


def test_the_report_says_share_limit_and_time_a_character() -> None:
    words = report_markdown(REPORT)

    assert "**1.00%** of the model's own time (limit 2%)" in words
    assert "2.00 ms (1.90 to 2.50) beside 200.0 ms" in words
    assert "| calm | 1,000,000 | 120.00 | 110.00 to 130.00 | 120 |" in words


@pytest.mark.parametrize(("share", "status"), [(0.01, 0), (0.02, 0), (0.0201, 1)])
def test_a_share_over_the_limit_fails(
    share: float, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(floor, "run_floor_benchmark", lambda *_: replace(REPORT, share=share))

    assert floor.main(["--out", str(tmp_path)]) == status
    assert json.loads((tmp_path / "floor.json").read_text())["share"] == share
    assert (tmp_path / "floor.md").read_text() == report_markdown(replace(REPORT, share=share))
