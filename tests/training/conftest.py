from __future__ import annotations

from pathlib import Path

import pytest

CHECKPOINT = Path(__file__).resolve().parents[2] / "export" / "checkpoints" / "small"

EMOTION_LINES = (
    "admiration amusement anger annoyance approval caring confusion curiosity desire disappointment disapproval "
    "disgust embarrassment excitement fear gratitude grief joy love nervousness optimism pride realization relief "
    "remorse sadness surprise neutral\n"
).replace(" ", "\n")


@pytest.fixture(scope="session")
def checkpoint() -> Path:
    """The committed checkpoint folder."""
    return CHECKPOINT


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder of the right shape, with two rows in each file."""
    emotions = tmp_path / "goemotions"
    emotions.mkdir()
    emotions.joinpath("labels.txt").write_text(EMOTION_LINES, encoding="utf-8")
    for split in ("train", "dev"):
        emotions.joinpath(f"{split}.tsv").write_text("I feel sad\t25\ta\nNice day\t27\tb\n", encoding="utf-8")
    tmp_path.joinpath("counselchat_questions.csv").write_text(
        'question_id,topic,title,text\n1,depression,Why?,"I am low.\nEvery day."\n2,family-conflict,How?,They argue.\n',
        encoding="utf-8",
    )
    return tmp_path
