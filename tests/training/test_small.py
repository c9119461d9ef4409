from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer

from training.card import write_card
from training.corpus import Mix
from training.errors import QualityError
from training.evaluation import Report
from training.labels import LABELS
from training.model import Shape
from training.scoring import Scorer, figures
from training.small import Recipe, train_small
from training.smoke import write_smoke

TINY = replace(
    Recipe(),
    shape=Shape(hidden=16, layers=2, heads=2, intermediate=16, window=8, max_tokens=300, vocab=400),
    mix=Mix(synthetic=60, documents=2, longest_document=300),
    save_steps=1,
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Data, checkpoint and working folder of a tiny run."""
    data, out, work = (tmp_path_factory.mktemp(name) for name in ("data", "out", "work"))
    emotions = data / "goemotions"
    emotions.mkdir()
    names = "admiration amusement approval caring curiosity desire excitement gratitude joy love optimism pride "
    names += "realization relief surprise neutral sadness grief fear nervousness"
    (emotions / "labels.txt").write_text(names.replace(" ", "\n"), encoding="utf-8")
    rows = "".join(f"Comment {number}\t15\tid{number}\n" for number in range(200))
    (emotions / "train.tsv").write_text(rows, encoding="utf-8")
    (data / "counselchat_questions.csv").write_text("question_id,topic,title,text\n3,stress,a,b\n", encoding="utf-8")
    train_small(TINY, data, out, work)
    return data, out, work


def test_a_run_writes_a_checkpoint_for_transformers(folders: tuple[Path, Path, Path]) -> None:
    _, out, _ = folders
    model = AutoModelForSequenceClassification.from_pretrained(out)
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tuple(model.config.id2label.values()) == LABELS
    assert model.config.vocab_size == len(tokenizer)
    assert len(tokenizer("word " * 1000)["input_ids"]) > TINY.shape.max_tokens
    assert json.loads((out / "tokenizer.json").read_text(encoding="utf-8"))["truncation"] is None
    assert {path.suffix for path in out.iterdir()} == {".json", ".txt", ".safetensors"}


def test_finished_stages_are_not_repeated(
    folders: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out, work = folders
    monkeypatch.setattr(Trainer, "train", _refuse)
    train_small(TINY, data, tmp_path, work)
    first, second = (load_file(folder / "model.safetensors") for folder in (out, tmp_path))
    assert first.keys() == second.keys()
    assert all(first[name].equal(second[name]) for name in first)


def _refuse(*_: object, **__: object) -> None:
    raise AssertionError("a finished stage was trained again")


def test_a_checkpoint_that_fails_the_cards_examples_is_refused(folders: tuple[Path, Path, Path]) -> None:
    _, out, _ = folders
    with pytest.raises(QualityError, match="model card's example wrong"):
        write_smoke(out)
    assert not (out / "smoke.jsonl").exists()


def test_the_card_tells_the_figures(folders: tuple[Path, Path, Path], tmp_path: Path) -> None:
    _, out, _ = folders
    (tmp_path / "config.json").write_bytes((out / "config.json").read_bytes())
    found = figures(Scorer(out).scores(["a text"]), [(1.0, 0.0, 0.0, 0.0)])
    write_card(tmp_path, TINY, Report({"some_set": found}, {"card": found}, ()))
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "0 neutral, 1 depressed, 2 anxious, 3 stressed" in card
    assert "| some_set |" in card and "$" not in card
