"""``random:longformer-base``: the true shape of the reference checkpoint, with random weights.

For measuring and for parity where the real weights cannot be had. It is written as an ordinary
checkpoint folder once, so that everything else treats it like any other.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import torch
from transformers import LongformerConfig, LongformerForSequenceClassification

RANDOM: Final = "random:"
"""What the name of a checkpoint of random weights begins with."""

RANDOM_BASE: Final = f"{RANDOM}longformer-base"
SEED: Final = 20200410
CACHE: Final = Path(".lantern/checkpoints/random-longformer-base")
SMALL: Final = Path(__file__).parent / "checkpoints" / "small"
LABELS: Final = ("neutral", "depressed", "anxious", "stressed")
TOKENIZER_FILES: Final = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
)


def base_config() -> LongformerConfig:
    """Return the configuration of ``allenai/longformer-base-4096`` with four sigmoid labels."""
    return LongformerConfig(
        vocab_size=50265,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        max_position_embeddings=4098,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        attention_window=[512] * 12,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        sep_token_id=2,
        problem_type="multi_label_classification",
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
    )


def materialize_random_base(folder: Path = CACHE) -> Path:
    """Write the checkpoint folder, unless it is there, and return it.

    The tokenizer is the embedded checkpoint's: its ids lie within the larger vocabulary.
    """
    if (folder / "model.safetensors").is_file():
        return folder
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        model = LongformerForSequenceClassification(base_config())
    model.save_pretrained(unfinished, safe_serialization=True)
    for name in TOKENIZER_FILES:
        shutil.copy(SMALL / name, unfinished / name)
    shutil.rmtree(folder, ignore_errors=True)
    return unfinished.rename(folder)
