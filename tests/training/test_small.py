from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer

from tests.training.conftest import EMOTION_LINES
from training import small
from training.corpus import Mix, TeacherMix
from training.errors import QualityError
from training.labels import LABELS
from training.model import Shape
from training.recipe import EMBEDDED, TEACHER
from training.small import SmallPlan, TeacherPlan, train_small
from training.smoke import write_smoke
from training.stages import Hardware

TINY = SmallPlan(
    teacher=TeacherPlan(
        replace(TEACHER, stages=tuple(replace(stage, rows=200, budget=40_000) for stage in TEACHER.stages)),
        TeacherMix(emotion_comments=20, journals=20, lines=0, comments=20),
    ),
    recipe=replace(
        EMBEDDED, stages=tuple(replace(stage, rows=200, budget=40_000, epochs=1) for stage in EMBEDDED.stages)
    ),
    shape=Shape(hidden=8, layers=2, heads=1, intermediate=16, window=8, max_tokens=300, vocab=400),
    teacher_layers=(1,),
    mix=Mix(journals=40, lines=0, changed_lines=0, comments=20, documents=2, rehearsal=0.1, longest_document=300),
)
CPU = Hardware(cuda=False, bf16=False)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, tiny_teacher: Path) -> tuple[Path, Path, Path]:
    """Data, checkpoint and working folder of a tiny run."""
    data, out, work = (tmp_path_factory.mktemp(name) for name in ("data", "out", "work"))
    emotions = data / "goemotions"
    emotions.mkdir()
    (emotions / "labels.txt").write_text(EMOTION_LINES, encoding="utf-8")
    rows = "".join(f"Comment {number}\t17\tid{number}\n" for number in range(200))
    (emotions / "train.tsv").write_text(rows, encoding="utf-8")
    (data / "counselchat_questions.csv").write_text("question_id,topic,title,text\n3,stress,a,b\n", encoding="utf-8")
    train_small(TINY, data, str(tiny_teacher), out, work, CPU)
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
    folders: tuple[Path, Path, Path], tiny_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out, work = folders
    monkeypatch.setattr(Trainer, "train", _refuse)
    monkeypatch.setattr(small, "what_it_says", _refuse)
    train_small(TINY, data, str(tiny_teacher), tmp_path, work, CPU)
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
    assert record["mix"]["journals"] == 40
    names = [stage["name"] for recipe in (record["teacher"]["recipe"], record["recipe"]) for stage in recipe["stages"]]
    assert names == ["teacher_stage1", "teacher_stage2", "distil", "distil_long"]
    assert all(len(digest) == 64 for digest in record["teacher_files"].values())
    assert all(len(digest) == 64 for digest in record["data"].values())
