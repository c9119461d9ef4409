from __future__ import annotations

from pathlib import Path

import pytest

from export.labelled import read_labelled
from training.labels import LABELS
from training.suites import counselchat_states, write_suites


@pytest.fixture
def suites(data: Path, tmp_path: Path) -> dict[str, Path]:
    lines = "".join(f"Comment number {number}.\t27\tc{number}\n" for number in range(1000))
    data.joinpath("goemotions", "dev.tsv").write_text(lines, encoding="utf-8")
    return write_suites(data, tmp_path / "suites")


def test_every_suite_is_a_labelled_file(suites: dict[str, Path]) -> None:
    assert {"heldout_grammar", "long_documents", "counselchat_states", "goemotions_dev"} <= suites.keys()
    assert {name for name in suites if name.startswith("probes_second")} >= {"probes_second_negation"}
    for path in suites.values():
        assert read_labelled(path, LABELS).rows


def test_a_question_has_its_topic_for_a_label(data: Path) -> None:
    (row,) = counselchat_states(data)
    assert row.targets == (0.0, 1.0, 0.0, 0.0)
