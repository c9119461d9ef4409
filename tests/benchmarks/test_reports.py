"""Reports say what was measured, in JSON and for a reader."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from benchmarks.reports import write_report
from benchmarks.spread import Spread


@dataclass(frozen=True)
class Report:
    seconds: Spread


def test_a_report_is_written_for_programs_and_for_people(tmp_path: Path) -> None:
    write_report(Report(Spread(2.0, 1.0, 3.0)), "# Report\n", tmp_path / "new", "stem")

    assert json.loads((tmp_path / "new" / "stem.json").read_text()) == {
        "seconds": {"median": 2.0, "low": 1.0, "high": 3.0}
    }
    assert (tmp_path / "new" / "stem.md").read_text() == "# Report\n"


def test_a_sample_comes_to_its_median_and_quartiles() -> None:
    assert Spread.of([5.0, 1.0, 3.0, 2.0, 4.0]) == Spread(3.0, 2.0, 4.0)
