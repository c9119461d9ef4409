from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification

from training.errors import CheckpointError, DataError
from training.fit import FitPlan, SourceFile, fit, held_out_table, load_base
from training.labels import LABELS
from training.model import Shape, new_model
from training.recipe import PUBLISHED
from training.stages import Hardware
from training.tokenizer import train_tokenizer

CPU = Hardware(cuda=False, bf16=False)
WORDS = ("harbour", "kettle", "violin", "meadow", "ladder", "button", "orchard", "candle", "window", "pepper")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base checkpoint with a masked language model's missing head, as the hub's base has."""
    folder = tmp_path_factory.mktemp("base")
    tokenizer = train_tokenizer([" ".join(WORDS)] * 5, 400, 64)
    shape = Shape(hidden=16, layers=2, heads=2, intermediate=16, window=8, max_tokens=64, vocab=400)
    torch.manual_seed(0)
    new_model(shape, len(tokenizer), 2).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def plan(base: Path, tmp_path: Path) -> FitPlan:
    emotions = tmp_path / "emotions.csv"
    texts = [f"{first} {second} {number}" for number, (first, second) in enumerate(_pairs())]
    emotions.write_text(
        "text,label\n" + "".join(f"{text},{number % 6}\n" for number, text in enumerate(texts[:30])), encoding="utf-8"
    )
    labelled = tmp_path / "labelled.csv"
    rows = [
        f"{text},{','.join(str(int(number % 4 == index)) for index in range(4))}" for number, text in enumerate(texts)
    ]
    labelled.write_text("text," + ",".join(LABELS) + "\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return FitPlan(
        checkpoint=str(base),
        revision=None,
        emotions=(SourceFile("kaggle-emotions", emotions),),
        labelled=(SourceFile("labelled", labelled),),
        emotion_journals=5,
        neutral_journals=5,
        held_out=0.2,
        recipe=replace(PUBLISHED, stages=tuple(replace(stage, epochs=1) for stage in PUBLISHED.stages)),
    )


def _pairs() -> list[tuple[str, str]]:
    return [(first, second) for first in WORDS for second in WORDS]


def test_two_stages_make_a_checkpoint_with_the_four_labels(plan: FitPlan, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = fit(plan, out, tmp_path / "work", CPU)
    model = AutoModelForSequenceClassification.from_pretrained(out)
    assert tuple(model.config.id2label.values()) == LABELS
    assert model.config.problem_type == "multi_label_classification"
    record = json.loads((out / "training.json").read_text(encoding="utf-8"))
    assert record["labelled_rows"]["train"] + record["labelled_rows"]["held_out"] == 100
    assert found is not None and found.texts == record["labelled_rows"]["held_out"] > 5
    assert "all labels right" in held_out_table(found)
    assert not any(word in json.dumps(record) for word in WORDS)
    with pytest.raises(DataError, match="is not empty"):
        fit(plan, out, tmp_path / "work", CPU)


def test_a_finished_run_is_not_trained_again(plan: FitPlan, tmp_path: Path) -> None:
    fit(plan, tmp_path / "first", tmp_path / "work", CPU)
    stages = sorted((tmp_path / "work").glob("*/*/finished.safetensors"))
    before = [path.stat().st_mtime_ns for path in stages]
    fit(plan, tmp_path / "second", tmp_path / "work", CPU)
    assert len(stages) == 2 and [path.stat().st_mtime_ns for path in stages] == before
    first, second = (tmp_path / name / "model.safetensors" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


def test_a_label_that_no_row_has_is_named(plan: FitPlan, tmp_path: Path) -> None:
    path = tmp_path / "few.csv"
    path.write_text("text,neutral,depressed,anxious,stressed\na,1,0,0,0\nb,0,1,0,0\nc,0,0,1,0\n", encoding="utf-8")
    few = replace(plan, labelled=(SourceFile("labelled", path),))
    with pytest.raises(DataError, match="no row of the files has the label stressed"):
        fit(few, tmp_path / "out", tmp_path / "work", CPU)
    assert not (tmp_path / "out").exists()


def test_a_label_that_every_row_has_is_named(plan: FitPlan, tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    path.write_text('{"text": "a", "neutral": 0, "depressed": 1, "anxious": 1, "stressed": 1}\n', encoding="utf-8")
    with pytest.raises(DataError, match="neutral"):
        fit(replace(plan, labelled=(SourceFile("labelled", path),)), tmp_path / "out", tmp_path / "work", CPU)


def test_only_a_longformer_is_taken(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_base(str(tmp_path / "nowhere"), None)
    config = BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="bert"):
        load_base(str(tmp_path), None)
