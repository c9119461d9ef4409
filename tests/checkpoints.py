"""Checkpoint folders made on the spot: small, random, complete."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import LongformerConfig, LongformerForSequenceClassification, LongformerTokenizerFast

LABELS = ("neutral", "depressed", "anxious", "stressed")
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def make_checkpoint(folder: Path, seed: int = 0, labels: tuple[str, ...] = LABELS, **changes: Any) -> Path:
    """Write a random Longformer checkpoint with a byte-level tokenizer; ``changes`` go into its config."""
    fields = {
        "vocab_size": 300,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "attention_window": [32, 64],
        "max_position_embeddings": 258,
        "type_vocab_size": 1,
        "initializer_range": 0.2,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "sep_token_id": 2,
        "problem_type": "multi_label_classification",
        "id2label": dict(enumerate(labels)),
        "label2id": {label: index for index, label in enumerate(labels)},
    }
    config = LongformerConfig(**{**fields, **changes})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        LongformerForSequenceClassification(config).save_pretrained(folder, safe_serialization=True)
    make_tokenizer(config.max_position_embeddings - 2).save_pretrained(folder)
    return folder


def make_tokenizer(max_length: int) -> LongformerTokenizerFast:
    """Return a byte-level tokenizer without merges: every byte is a token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate((*SPECIAL, *alphabet))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(sep=("</s>", 2), cls=("<s>", 0), add_prefix_space=False)
    return LongformerTokenizerFast(tokenizer_object=tokenizer, model_max_length=max_length)


def edit_config(folder: Path, **changes: Any) -> Path:
    """Change ``config.json`` in place; ``None`` removes a key."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}), encoding="utf-8")
    return folder


@dataclass(frozen=True)
class Tiny:
    """What the export commands make of ``make_checkpoint``: paths that every test may read and none may change."""

    checkpoint: Path
    bundle: Path
    archive: Path


def share_tiny(factory: pytest.TempPathFactory) -> Tiny:
    """Export, verify and pack the tiny checkpoint, once for all workers of a test run: it costs ten seconds."""
    with _shared(factory, "lantern-tiny") as root:
        tiny = Tiny(root / "checkpoint", root / "bundle", root / "store" / "sentiment.mar")
        if not tiny.archive.exists():
            _make_tiny(tiny)
    return tiny


def share_half(factory: pytest.TempPathFactory, tiny: Tiny) -> Path:
    """Export the tiny checkpoint's graph in fp16, once for all workers of a test run: it costs five seconds."""
    from export.checkpoint import load_model, open_checkpoint
    from export.onnx import export_onnx

    with _shared(factory, "lantern-half") as root:
        done, graph = root / "done", root / "model.onnx"
        if not done.exists():
            export_onnx(load_model(open_checkpoint(str(tiny.checkpoint))), graph, "fp16")
            done.touch()
    return graph


@contextmanager
def _shared(factory: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """Hold a folder that all workers of a test run share."""
    torch.set_num_threads(1)  # the models are too small to share out, and ONNX Runtime's threads would be in the way
    base = factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    root.mkdir(exist_ok=True)
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield root


def _make_tiny(tiny: Tiny) -> None:
    from export.__main__ import main

    checkpoint, bundle = str(tiny.checkpoint), str(tiny.bundle)
    make_checkpoint(tiny.checkpoint)
    for command in (
        ["onnx", "--checkpoint", checkpoint, "--out", bundle],
        ["parity", "--checkpoint", checkpoint, "--bundle", bundle, "--seeds", "1"],
        ["archive", "--bundle", bundle, "--store", str(tiny.archive.parent), "--device", "cpu"],
    ):
        code = main(command)
        assert code == 0, f"{command[0]} ended with {code}"
