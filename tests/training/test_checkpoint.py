"""The committed checkpoint, as its users load it: with ``transformers`` alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, LongformerTokenizerFast

from training.card import probe_table, set_table
from training.labels import LABELS
from training.probes import load_probes

ALLOWED_BYTES = 16 * 2**20


@pytest.fixture(scope="module")
def scores(checkpoint: Path) -> dict[str, list[float]]:
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint, dtype=torch.float32).eval()
    texts = [row["text"] for row in _smoke(checkpoint)]
    with torch.inference_mode():
        found = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits.sigmoid()
    return dict(zip(texts, found.tolist(), strict=True))


def _smoke(checkpoint: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (checkpoint / "smoke.jsonl").read_text(encoding="utf-8").splitlines()]


def test_every_smoke_sentence_is_right(checkpoint: Path, scores: dict[str, list[float]]) -> None:
    for row in _smoke(checkpoint):
        found = scores[row["text"]]
        assert [score >= 0.5 for score in found] == [label == row["expected"] for label in LABELS]


def test_the_smoke_sentences_hold_the_cards_four_and_every_label(checkpoint: Path) -> None:
    rows = _smoke(checkpoint)
    assert 8 <= len(rows) <= 12
    assert {row["expected"] for row in rows} == set(LABELS)
    assert {row["text"] for row in rows} >= {probe.text for probe in load_probes("first") if probe.family == "card"}


def test_the_configuration_names_the_labels(checkpoint: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    assert [config["id2label"][str(index)] for index in range(len(LABELS))] == list(LABELS)
    assert config["architectures"] == ["LongformerForSequenceClassification"]
    assert config["max_position_embeddings"] == 4098
    assert (config["bos_token_id"], config["pad_token_id"], config["eos_token_id"]) == (0, 1, 2)


def test_the_tokenizer_is_longformers(checkpoint: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    assert isinstance(tokenizer, LongformerTokenizerFast)
    assert tokenizer.model_max_length == 4096
    ids = tokenizer("Hello 😂 日本\x00")["input_ids"]
    assert (ids[0], ids[-1]) == (0, 2)
    assert tokenizer.decode(ids[1:-1]) == " hello 😂 日本\x00"


def test_the_folder_is_small_and_holds_no_pickle(checkpoint: Path) -> None:
    files = [path for path in checkpoint.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= ALLOWED_BYTES
    assert {path.suffix for path in files} <= {".json", ".jsonl", ".md", ".txt", ".safetensors"}


def test_the_card_is_what_the_metrics_give(checkpoint: Path) -> None:
    metrics = json.loads((checkpoint / "metrics.json").read_text(encoding="utf-8"))
    card = (checkpoint / "README.md").read_text(encoding="utf-8")
    for line in (*set_table(metrics["suites"]), *probe_table(metrics["suites"])):
        assert line in card
