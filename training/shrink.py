"""First weights of the student: what of the teacher's fits into a smaller model.

The teacher's hidden states lie mostly in fewer directions than it has dimensions. Its matrices are turned into
those directions (as in Ashkboos et al. 2024), of its heads and neurons the strongest are kept, and of its
layers some. The layer norms do not turn exactly, so this is where learning starts and not where it ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, cast

import torch
from torch import Tensor, nn
from transformers import LongformerForSequenceClassification, LongformerTokenizerFast, PreTrainedTokenizerFast
from transformers.models.longformer.modeling_longformer import LongformerLayer

from training.batches import Example, TokenBudgetSampler, collate
from training.model import POSITION_OFFSET
from training.teacher import Teacher
from training.tokenizer import SPECIAL_TOKENS

Weights = Mapping[str, Tensor]

_BUDGET: Final = 4096
_ROWS: Final = 128


def principal_directions(teacher: Teacher, texts: Sequence[tuple[int, ...]], width: int) -> Tensor:
    """The ``width`` directions in which the teacher's hidden states are largest, float ``(D, width)``, orthonormal.

    Args:
        teacher: with hidden states of ``D`` dimensions.
        texts: encoded, a sample of what it reads.
        width: at most ``D``.
    """
    teacher.eval()
    size = teacher.head.in_features
    squares = torch.zeros(size, size)
    with torch.inference_mode():
        for batch in TokenBudgetSampler([len(ids) for ids in texts], _BUDGET, _ROWS, seed=0):
            inputs = collate([Example(texts[index], torch.empty(0)) for index in batch])
            inside = inputs["attention_mask"].bool()
            states = teacher.encoder(
                input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], output_hidden_states=True
            ).hidden_states
            for layer in states:
                squares += layer[inside].T @ layer[inside]
    directions: Tensor = torch.linalg.eigh(squares).eigenvectors  # in ascending order of their share
    return directions[:, -width:].flip(1).clone()


def shrink(
    teacher: Teacher,
    student: LongformerForSequenceClassification,
    word_rows: Tensor,
    directions: Tensor,
    layers: Sequence[int],
) -> None:
    """Put what fits of the teacher's weights in the place of the student's, but for its classification head.

    Args:
        teacher: with hidden states of ``D`` dimensions, and heads as wide as the student's.
        student: changed in place.
        word_rows: the teacher's embeddings for the student's tokens, float ``(vocabulary, D)``; see ``word_rows``.
        directions: float ``(D, D')``; see ``principal_directions``.
        layers: which of the teacher's layers become the student's, all but its last: that starts as a mean over the
            tokens, which is what the teacher's head reads.
    """
    weights: Weights = teacher.encoder.state_dict()
    embeddings = student.longformer.embeddings
    with torch.no_grad():
        embeddings.word_embeddings.weight.copy_(word_rows @ directions)
        positions = weights["embeddings.position_embeddings.weight"] @ directions
        known = min(len(positions), embeddings.position_embeddings.weight.shape[0] - POSITION_OFFSET)
        embeddings.position_embeddings.weight[POSITION_OFFSET : POSITION_OFFSET + known] = positions[:known]
        embeddings.token_type_embeddings.weight.copy_(
            weights["embeddings.token_type_embeddings.weight"][:1] @ directions
        )
        _norm(embeddings.LayerNorm, weights, "embeddings.LayerNorm", directions)
        *into, last = cast("list[LongformerLayer]", list(student.longformer.encoder.layer))
        for layer, source in zip(into, layers, strict=True):
            _attention(layer, weights, f"encoder.layer.{source}.attention.", directions)
            _feed_forward(layer, weights, f"encoder.layer.{source}.", directions)
        _mean(last)


def word_rows(
    teacher: Teacher, teacher_tokenizer: PreTrainedTokenizerFast, tokenizer: LongformerTokenizerFast
) -> Tensor:
    """The mean of the teacher's embeddings over the word pieces of each token, float ``(vocabulary, D)``."""
    table = teacher.word_embeddings
    pieces = teacher_tokenizer.get_vocab()
    rows = torch.zeros(len(tokenizer), table.shape[1])
    frame = (teacher_tokenizer.cls_token_id, teacher_tokenizer.pad_token_id, teacher_tokenizer.sep_token_id)
    ids: list[list[int]] = [[number] for number in (*frame, *[teacher_tokenizer.mask_token_id] * 2)]
    for text in _spellings(tokenizer):
        inner = "##" + text
        ids.append([pieces[inner]] if inner in pieces else _pieces(teacher_tokenizer, text))
    for index, found in enumerate(ids):
        if found:
            rows[index] = table[found].mean(dim=0)
    return rows


def _spellings(tokenizer: LongformerTokenizerFast) -> Iterable[str]:
    """What each token but the special ones stands for, in the order of their ids; a first space means a new word."""
    decoder = tokenizer.backend_tokenizer.decoder
    for number in range(len(SPECIAL_TOKENS), len(tokenizer)):
        yield decoder.decode([tokenizer.convert_ids_to_tokens(number)])


def _pieces(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return cast("list[int]", tokenizer(text, add_special_tokens=False)["input_ids"])


def _attention(layer: LongformerLayer, weights: Weights, prefix: str, directions: Tensor) -> None:
    """Keep the heads whose values reach furthest; the CLS token's own attention starts as that of the others."""
    attention = layer.attention.self
    value, output = weights[prefix + "self.value.weight"], weights[prefix + "output.dense.weight"]
    heads = value.unflatten(0, (-1, attention.head_dim)), output.unflatten(1, (-1, attention.head_dim))
    strength = torch.einsum("ohd,hdi->hoi", heads[1], heads[0]).flatten(1).norm(dim=1)
    kept = strength.topk(attention.num_heads).indices.sort().values
    rows = (kept[:, None] * attention.head_dim + torch.arange(attention.head_dim)).flatten()
    for name in ("query", "key", "value"):
        weight, bias = weights[f"{prefix}self.{name}.weight"], weights[f"{prefix}self.{name}.bias"]
        for linear in (getattr(attention, name), getattr(attention, f"{name}_global")):
            _linear(linear, weight[rows] @ directions, bias[rows])
    dense = layer.attention.output.dense
    _linear(dense, directions.T @ output[:, rows], directions.T @ weights[prefix + "output.dense.bias"])
    _norm(layer.attention.output.LayerNorm, weights, prefix + "output.LayerNorm", directions)


def _feed_forward(layer: LongformerLayer, weights: Weights, prefix: str, directions: Tensor) -> None:
    """Keep the neurons with the largest weights."""
    enter, leave = weights[prefix + "intermediate.dense.weight"], weights[prefix + "output.dense.weight"]
    dense = layer.intermediate.dense
    kept = (enter.norm(dim=1) * leave.norm(dim=0)).topk(dense.out_features).indices
    _linear(dense, enter[kept] @ directions, weights[prefix + "intermediate.dense.bias"][kept])
    _linear(layer.output.dense, directions.T @ leave[:, kept], directions.T @ weights[prefix + "output.dense.bias"])
    _norm(layer.output.LayerNorm, weights, prefix + "output.LayerNorm", directions)


def _mean(layer: LongformerLayer) -> None:
    """Let the CLS token attend to all tokens alike, and take their states as they are."""
    attention = layer.attention.self
    one = torch.eye(attention.embed_dim)
    none = torch.zeros(attention.embed_dim)
    _linear(attention.query_global, torch.zeros_like(one), none)
    _linear(attention.value_global, one, none)
    _linear(layer.attention.output.dense, one, none)


def _linear(linear: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    linear.weight.copy_(weight)
    linear.bias.copy_(bias)


def _norm(norm: nn.LayerNorm, weights: Weights, name: str, directions: Tensor) -> None:
    """The scale that the turned dimensions have on the diagonal; what it has beside it is left out."""
    scale = weights[name + ".weight"]
    norm.weight.copy_((directions * scale[:, None] * directions).sum(dim=0))
    norm.bias.copy_(directions.T @ weights[name + ".bias"])
