"""The small Longformer: its shape, its training graph, its position embeddings and its file."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from transformers import LongformerConfig, LongformerForSequenceClassification

from training.labels import LABELS
from training.tokenizer import UNKNOWN_ID

Loss = Callable[[Tensor, Tensor], Tensor]
"""Maps logits ``(B, N)`` and targets ``(B, N)``, NaN: unknown, to a scalar."""

POSITION_OFFSET: Final = 2
"""RoBERTa's positions start after the padding id: token 0 has position 2."""


@dataclass(frozen=True)
class Shape:
    """Size of the model.

    ``window`` counts both sides; ``max_tokens`` includes the special tokens. ``initial_std`` is that of the weights
    for which the teacher has nothing.
    """

    hidden: int = 256
    layers: int = 4
    heads: int = 8
    intermediate: int = 1024
    window: int = 128
    max_tokens: int = 4096
    vocab: int = 8000
    dropout: float = 0.1
    initial_std: float = 0.04


def new_model(shape: Shape, vocab: int, heads_out: int) -> LongformerForSequenceClassification:
    """A model with random weights and ``heads_out`` logits, of which the first are ``LABELS``."""
    config = LongformerConfig(
        vocab_size=vocab,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate,
        attention_window=[shape.window] * shape.layers,
        max_position_embeddings=shape.max_tokens + POSITION_OFFSET,
        type_vocab_size=1,
        hidden_dropout_prob=shape.dropout,
        attention_probs_dropout_prob=shape.dropout,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        sep_token_id=2,
        num_labels=heads_out,
        problem_type="multi_label_classification",
        initializer_range=shape.initial_std,
    )
    return LongformerForSequenceClassification(config)


@dataclass(frozen=True)
class LogitGroup:
    """Logits with a loss of their own: how many, the weight of their mean loss, and its kind."""

    size: int
    weight: float
    loss: Loss


class TrainingModel(nn.Module):
    """A graph with a loss, in the form that ``transformers.Trainer`` calls.

    Args:
        graph: maps token ids and mask, int64 ``(B, L)``, to logits ``(B, T)``; trained in place.
        groups: the groups of logits in their order.
        token_dropout: share of the tokens that are hidden as ``<unk>`` while training, so that no single
            word decides.
    """

    def __init__(self, graph: nn.Module, groups: Sequence[LogitGroup], token_dropout: float = 0.0) -> None:
        super().__init__()
        self.graph = graph
        self.groups = tuple(groups)
        self.token_dropout = token_dropout

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compute the loss (a scalar) and the logits ``(B, T)`` for ``labels`` float ``(B, T)``, NaN: unknown."""
        logits = self.graph(self._with_gaps(input_ids), attention_mask)
        return {"loss": grouped_loss(logits, labels, self.groups), "logits": logits}

    def _with_gaps(self, input_ids: Tensor) -> Tensor:
        if not self.training or not self.token_dropout:
            return input_ids
        hidden = (torch.rand(input_ids.shape, device=input_ids.device) < self.token_dropout) & (input_ids > UNKNOWN_ID)
        return input_ids.masked_fill(hidden, UNKNOWN_ID)


def grouped_loss(logits: Tensor, targets: Tensor, groups: Sequence[LogitGroup]) -> Tensor:
    """The weighted sum of the groups' losses, for logits and targets ``(B, T)``, NaN: unknown."""
    sizes = [group.size for group in groups]
    pairs = zip(groups, logits.split(sizes, dim=1), targets.split(sizes, dim=1), strict=True)
    losses = [group.weight * group.loss(scored.float(), target) for group, scored, target in pairs if group.weight]
    return torch.stack(losses).sum()


def known_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy with the one-hot rows of ``targets`` that are not NaN; 0 where there are none."""
    known = ~targets.isnan().any(dim=1)
    losses = nn.functional.cross_entropy(logits, targets.nan_to_num(), reduction="none")
    return (losses * known).sum() / known.sum().clamp(min=1)


def known_bce(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean binary cross-entropy over the targets that are not NaN; 0 where there are none."""
    known = ~targets.isnan()
    losses = nn.functional.binary_cross_entropy_with_logits(logits, targets.nan_to_num(), reduction="none")
    return (losses * known).sum() / known.sum().clamp(min=1)


def known_square(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared difference over the targets that are not NaN; 0 where there are none."""
    known = ~targets.isnan()
    losses = nn.functional.mse_loss(outputs, targets.nan_to_num(), reduction="none")
    return (losses * known).sum() / known.sum().clamp(min=1)


def tile_positions(model: LongformerForSequenceClassification, trained: int) -> None:
    """Repeat the first ``trained`` position embeddings over all others (Beltagy et al. 2020, section 5)."""
    with torch.no_grad():
        weight = model.longformer.embeddings.position_embeddings.weight
        learned = weight[POSITION_OFFSET : POSITION_OFFSET + trained].clone()
        for start in range(POSITION_OFFSET, weight.shape[0], trained):
            target = weight[start : start + trained]
            target.copy_(learned[: target.shape[0]])


def average_weights(model: nn.Module, before: Mapping[str, Tensor], share: float) -> None:
    """Put ``share`` of the weights that ``model`` has and the rest of those ``before`` in their place."""
    with torch.no_grad():
        for name, weight in model.state_dict().items():
            weight.lerp_(before[name].to(weight.dtype), 1 - share)


def without_auxiliary(model: LongformerForSequenceClassification) -> LongformerForSequenceClassification:
    """A copy of ``model`` that keeps the logits of ``LABELS`` alone, and knows their names."""
    kept = copy.deepcopy(model)
    head = kept.classifier.out_proj
    smaller = nn.Linear(head.in_features, len(LABELS))
    smaller.load_state_dict({name: value[: len(LABELS)] for name, value in head.state_dict().items()})
    kept.classifier.out_proj = smaller
    kept.num_labels = len(LABELS)
    kept.config.id2label = dict(enumerate(LABELS))
    kept.config.label2id = {label: index for index, label in enumerate(LABELS)}
    return kept


def save_half(model: LongformerForSequenceClassification, folder: Path) -> None:
    """Write ``config.json`` and ``model.safetensors`` in fp16; loading them as fp32 is exact."""
    copy.deepcopy(model).half().save_pretrained(folder)


def load_model(folder: Path) -> LongformerForSequenceClassification:
    """Load a checkpoint folder in fp32, ready to evaluate."""
    model: LongformerForSequenceClassification = LongformerForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32
    )
    model.eval()
    return model
