from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer

from tests.training.conftest import EMOTION_LINES
from training.corpus import Mix
from training.errors import QualityError
from training.labels import LABELS
from training.model import Shape
from training.recipe import EMBEDDED
from training.small import SmallPlan, train_small
from training.smoke import write_smoke
from training.stages import Hardware

TINY = SmallPlan(
    recipe=replace(
        EMBEDDED, stages=tuple(replace(stage, rows=100, budget=20_000) for stage in EMBEDDED.stages), save_steps=1000
    ),
    shape=Shape(hidden=16, layers=2, heads=2, intermediate=16, window=8, max_tokens=300, vocab=400),
    mix=Mix(emotion_journals=20, synthetic=60, line_repeats=1, documents=2, longest_document=300, rehearsal=0.01),
)
CPU = Hardware(cuda=False, bf16=False)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Data, checkpoint and working folder of a tiny run."""
    data, out, work = (tmp_path_factory.mktemp(name) for name in ("data", "out", "work"))
    emotions = data / "goemotions"
    emotions.mkdir()
    (emotions / "labels.txt").write_text(EMOTION_LINES, encoding="utf-8")
    rows = "".join(f"Comment {number}\t17\tid{number}\n" for number in range(200))
    (emotions / "train.tsv").write_text(rows, encoding="utf-8")
    (data / "counselchat_questions.csv").write_text("question_id,topic,title,text\n3,stress,a,b\n", encoding="utf-8")
    train_small(TINY, data, out, work, CPU)
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
    train_small(TINY, data, tmp_path, work, CPU)
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


def test_the_folder_says_what_it_was_made_from(folders: tuple[Path, Path, Path]) -> None:
    _, out, _ = folders
    record = json.loads((out / "training.json").read_text(encoding="utf-8"))
    assert record["mix"]["synthetic"] == 60
    assert [stage["name"] for stage in record["recipe"]["stages"]] == [
        "stage1",
        "stage2",
        "stage2_again",
        "stage2_long",
    ]
    assert all(len(digest) == 64 for digest in record["data"].values())
