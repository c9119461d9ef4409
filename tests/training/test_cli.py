from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.cli import main
from training.labels import UNKNOWN
from training.scoring import figures
from training.small import SmallPlan, fingerprint
from training.sources import SOURCES


def test_help_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["small", "--help"])
    assert "--data" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["small", "--out"], ["suites", "--out"]])
def test_a_missing_data_folder_is_a_clear_error(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, str(tmp_path), "--data", str(tmp_path / "nowhere")]) == 1
    error = capsys.readouterr().err
    assert "pass --data DIR" in error
    assert "Traceback" not in error


def test_work_on_another_plan_or_other_data_is_never_resumed(data: Path) -> None:
    first = fingerprint(SmallPlan(), data, "teacher")
    assert first == fingerprint(SmallPlan(), data, "teacher")
    assert first != fingerprint(SmallPlan(), data, "another")
    assert first != fingerprint(SmallPlan(merge_dropout=0.2), data, "teacher")
    data.joinpath("goemotions", "train.tsv").write_text("Nice\t27\tb\n", encoding="utf-8")
    assert first != fingerprint(SmallPlan(), data, "teacher")


def test_the_sources_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sources"]) == 0
    listed = capsys.readouterr().out
    assert all(kind in listed for kind in SOURCES)


@pytest.mark.parametrize("argument", ["kaggle-emotions", "nothing=file.csv", "swmh="])
def test_a_wrong_source_is_refused_with_the_kinds(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--labelled", argument, "--out", "x"])
    assert "suicide-detection" in capsys.readouterr().err


@pytest.mark.parametrize("share", ["1", "-0.1", "half"])
def test_a_wrong_share_is_refused(share: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--labelled", "labelled=x.csv", "--out", "x", "--held-out", share])
    assert "--held-out" in capsys.readouterr().err


def test_figures_count_known_targets_alone() -> None:
    scores = torch.tensor([[0.9, 0.1, 0.2, 0.6], [0.1, 0.8, 0.7, 0.2], [0.2, 0.4, 0.3, 0.1]])
    expected = [(1.0, 0.0, 0.0, UNKNOWN), (0.0, 1.0, 0.0, 0.0), (0.0, 1.0, UNKNOWN, UNKNOWN)]
    found = figures(scores, expected)
    assert (found.texts, found.top_right, found.all_right) == (3, 1.0, pytest.approx(1 / 3))
    assert set(found.labels) == {"neutral", "depressed"}
    depressed = found.labels["depressed"]
    assert (depressed.texts, depressed.positives, depressed.precision, depressed.recall) == (3, 2, 1.0, 0.5)
    assert depressed.f1 == pytest.approx(2 / 3)
