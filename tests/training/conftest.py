from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

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


@pytest.fixture(scope="session")
def tiny_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT folder of 16 dimensions with random weights."""
    folder = tmp_path_factory.mktemp("teacher")
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'"
    words = ["sad", "fine", "day", "not", "today", "comment", "feel"]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *letters, *("##" + letter for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    BertTokenizerFast(vocab_file=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=256,
    )
    BertModel(config).save_pretrained(folder)
    return folder
