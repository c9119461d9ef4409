from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training.card import table
from training.cli import main
from training.evaluation import Report
from training.labels import UNKNOWN
from training.scoring import figures
from training.small import Recipe, fingerprint


def test_help_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["small", "--help"])
    assert "--data" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["small", "--out"], ["evaluate", "--checkpoint"]])
def test_a_missing_data_folder_is_a_clear_error(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, str(tmp_path), "--data", str(tmp_path / "nowhere")]) == 1
    error = capsys.readouterr().err
    assert "pass --data DIR" in error
    assert "Traceback" not in error


def test_a_missing_checkpoint_is_a_clear_error(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--checkpoint", str(data), "--data", str(data)]) == 1
    assert "config.json" in capsys.readouterr().err


def test_work_on_another_recipe_or_other_data_is_never_resumed(data: Path) -> None:
    first = fingerprint(Recipe(), data)
    assert first == fingerprint(Recipe(), data)
    assert first != fingerprint(replace(Recipe(), seed=8), data)
    data.joinpath("goemotions", "train.tsv").write_text("Nice\t27\tb\n", encoding="utf-8")
    assert first != fingerprint(Recipe(), data)


def test_figures_count_known_targets_alone() -> None:
    scores = torch.tensor([[0.9, 0.1, 0.2, 0.6], [0.1, 0.8, 0.7, 0.2], [0.2, 0.4, 0.3, 0.1]])
    expected = [(1.0, 0.0, 0.0, UNKNOWN), (0.0, 1.0, 0.0, 0.0), (0.0, 1.0, UNKNOWN, UNKNOWN)]
    found = figures(scores, expected)
    assert (found.texts, found.top_right, found.all_right) == (3, 1.0, pytest.approx(1 / 3))
    assert set(found.labels) == {"neutral", "depressed"}
    depressed = found.labels["depressed"]
    assert (depressed.texts, depressed.positives, depressed.precision, depressed.recall) == (3, 2, 1.0, 0.5)
    assert depressed.f1 == pytest.approx(2 / 3)


def test_the_table_shows_every_set() -> None:
    found = figures(torch.tensor([[0.9, 0.1, 0.1, 0.1]]), [(1.0, 0.0, 0.0, 0.0)])
    shown = table(Report({"some_set": found}, {"card": found}, ()))
    assert "| some_set |" in shown and "| card | 1 | 1.000 | 1.000 |" in shown
