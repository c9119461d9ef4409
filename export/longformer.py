"""The exportable Longformer: the stock weights, a graph that is right at every length.

``transformers`` computes Longformer's sliding-window attention with overlapping
``as_strided`` chunks whose shapes are fixed when the model is traced, so one exported file
is silently wrong at any other length (optimum #505 and #776, pytorch #90607). The module
here shares the parameters of a ``LongformerForSequenceClassification`` and computes the same
function (Beltagy et al. 2020, section 3, with the CLS token as the one global token) from
operations whose shapes follow the input: gather, pad, reshape, matmul and an additive mask.

Three identities make it cheaper without changing the result:

* *One global query.* For the CLS query ``q`` of a head, ``q . (K_g x + b)`` is
  ``(K_g^T q) . x + q . b``. The last term is the same for every key, so softmax ignores it,
  and ``sum_i p_i (V_g x_i + b)`` is ``V_g (sum_i p_i x_i) + b`` because the ``p_i`` sum to
  one. ``key_global`` and ``value_global`` therefore act on one vector for each head instead
  of on every token: 2 of the 14 hidden x hidden products of a layer go.
* *One row is read.* The classifier sees the CLS row alone, so the last layer needs neither
  local attention nor anybody else's feed-forward network.
* *No padding to the window.* Queries are cut into blocks and each block is multiplied with
  the keys that its windows can reach; a text shorter than a block is one block of its length.

Notation in shapes: ``B`` batch, ``L`` tokens, ``D`` hidden size, ``H`` heads, ``d = D / H``,
``w`` one-sided attention window, ``N`` blocks of ``b`` queries, ``S`` keys for each block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from transformers import LongformerForSequenceClassification
from transformers.models.longformer.modeling_longformer import LongformerLayer

DEFAULT_BLOCK = 128
"""Queries in one block. Smaller blocks meet fewer keys that are outside a window, larger ones
copy each key less often; half the one-sided window of the base model measured best."""


def masked(dtype: torch.dtype) -> float:
    """Return the additive mask value for scores of ``dtype``.

    Finite even when two masks add up and a score comes on top, so that nothing becomes NaN; and beyond
    any score, so that ``exp`` of a masked one is exactly 0 beside an unmasked one.
    """
    return torch.finfo(dtype).min / 4


@dataclass(frozen=True)
class BlockPlan:
    """Which keys each block of queries meets, for one attention window.

    Attributes:
        block: ``b``, the number of queries in a block: ``min(L, block_size)``.
        count: ``N``, the number of blocks, ``ceil(L / b)``.
        span: ``S``, the number of keys that a block meets besides CLS: ``min(L, b + 2w)``.
        queries: int64 ``(N * b,)``: token positions of the queries; past the end of the text
            the last token again.
        rows: int64 ``(L,)``: where each token's context is among theirs; that of CLS, which has an
            attention of its own, comes after them all.
        keys: int64 ``(N * (S + 1),)``: token positions of the keys of each block; the first
            of each block is the CLS token, the other ``S`` are consecutive.
        bias: float ``(B, 1, N, b, S + 1)``: 0 where the query may attend, ``masked(dtype)`` or
            lower elsewhere.
    """

    block: int
    count: int
    span: int
    queries: Tensor
    rows: Tensor
    keys: Tensor
    bias: Tensor


def plan_blocks(attention_mask: Tensor, window: int, block_size: int, dtype: torch.dtype) -> BlockPlan:
    """Plan the blocks for ``attention_mask`` (int64 ``(B, L)``) and one-sided ``window``.

    The keys of a block that starts at ``s`` are the ``S = min(L, b + 2w)`` tokens from
    ``s - w`` on, moved inwards at both ends of the text, so that keys are never padded. CLS is
    always attended through its own first column; inside the window it is masked, so that it
    counts once.
    """
    length = attention_mask.shape[1]
    device = attention_mask.device
    block = torch.sym_min(length, block_size)
    count = (length + block - 1) // block
    span = torch.sym_min(length, block + 2 * window)

    starts = torch.arange(count, device=device) * block
    first_key = (starts - window).clamp(min=0).minimum(torch.full_like(starts, length - span))
    local_keys = first_key[:, None] + torch.arange(span, device=device)[None, :]
    queries = starts[:, None] + torch.arange(block, device=device)[None, :]

    near = (queries[:, :, None] - local_keys[:, None, :]).abs() <= window
    reachable = near & (local_keys > 0)[:, None, :]
    local_bias = torch.where(reachable, 0.0, masked(dtype)).to(dtype)
    bias = nn.functional.pad(local_bias, (1, 0))  # the CLS column is open to every query

    keys = nn.functional.pad(local_keys, (1, 0)).flatten()
    key_padding = padding_bias(attention_mask, dtype).index_select(1, keys).unflatten(1, (count, span + 1))
    tokens = torch.arange(length, device=device)
    return BlockPlan(
        block=block,
        count=count,
        span=span,
        keys=keys,
        queries=queries.flatten().clamp(max=length - 1),
        rows=torch.where(tokens > 0, tokens, count * block),
        bias=(bias[None] + key_padding[:, :, None, :])[:, None],
    )


def one_sided_window(layer: LongformerLayer) -> int:
    """Return how far a token of ``layer`` sees to one side."""
    return int(layer.attention.self.one_sided_attn_window_size)


def padding_bias(attention_mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Map ``attention_mask`` (int64 ``(B, L)``) to what is added to scores: ``masked(dtype)`` for padding."""
    return (1 - attention_mask).to(dtype) * masked(dtype)


def split_heads(projected: Tensor, heads: int) -> Tensor:
    """``(B, L, D)`` to ``(B, H, L, d)``."""
    return cast(Tensor, projected.unflatten(2, (heads, -1)).transpose(1, 2))


def block_queries(query: Tensor, plan: BlockPlan) -> Tensor:
    """``(B, H, L, d)`` to ``(B, H, N, b, d)``."""
    return cast(Tensor, query.index_select(2, plan.queries).unflatten(2, (plan.count, plan.block)))


def block_keys(key: Tensor, plan: BlockPlan) -> Tensor:
    """``(B, H, L, d)`` to ``(B, H, N, S + 1, d)``: the rows that each block of queries meets."""
    return cast(Tensor, key.index_select(2, plan.keys).unflatten(2, (plan.count, plan.span + 1)))


def join_context(local: Tensor, cls: Tensor, plan: BlockPlan) -> Tensor:
    """Put the blocks' context ``(B, H, N, b, d)`` and that of CLS ``(B, H, 1, d)`` together: ``(B, L, D)``.

    By copying, not by multiplying one of the two with 0: a value that overflows stays where it is.
    """
    context = torch.cat((local.flatten(2, 3), cls), dim=2).index_select(2, plan.rows)
    return context.transpose(1, 2).flatten(2)


class LocalAttention(nn.Module):
    """Sliding-window attention of every token, plus the CLS token as a key for all of them."""

    def __init__(self, layer: LongformerLayer) -> None:
        super().__init__()
        attention = layer.attention.self
        self.query, self.key, self.value = attention.query, attention.key, attention.value
        self.heads = attention.num_heads
        self.scale = attention.head_dim**-0.5
        self.dropout = nn.Dropout(attention.dropout)

    def forward(self, hidden: Tensor, plan: BlockPlan) -> Tensor:
        """Map ``hidden`` ``(B, L, D)`` to the attention context of each block, ``(B, H, N, b, d)``."""
        query = split_heads(self.query(hidden) * self.scale, self.heads)
        key, value = split_heads(self.key(hidden), self.heads), split_heads(self.value(hidden), self.heads)
        scores = block_queries(query, plan) @ block_keys(key, plan).transpose(-1, -2) + plan.bias
        probabilities = self.dropout(scores.softmax(dim=-1))
        return cast(Tensor, probabilities @ block_keys(value, plan))


class ClsAttention(nn.Module):
    """Global attention of the CLS token over the whole text, without projecting any token."""

    def __init__(self, layer: LongformerLayer) -> None:
        super().__init__()
        attention = layer.attention.self
        self.query, self.key, self.value = attention.query_global, attention.key_global, attention.value_global
        self.heads = attention.num_heads
        self.scale = attention.head_dim**-0.5
        self.dropout = nn.Dropout(attention.dropout)

    def forward(self, hidden: Tensor, padding: Tensor) -> Tensor:
        """Map ``hidden`` ``(B, L, D)`` and ``padding`` ``(B, 1, L)`` to ``(B, H, 1, d)``."""
        query = (self.query(hidden[:, :1]) * self.scale).unflatten(2, (self.heads, -1))  # (B, 1, H, d)
        key = self.key.weight.unflatten(0, (self.heads, -1))  # (H, d, D)
        probe = (query.transpose(1, 2) @ key).squeeze(2)  # K_g^T q: (B, H, D)
        scores = probe @ hidden.transpose(1, 2) + padding
        probabilities = self.dropout(scores.softmax(dim=-1))
        mixed = (probabilities @ hidden).unsqueeze(2)  # (B, H, 1, D)
        value = self.value.weight.unflatten(0, (self.heads, -1)).transpose(1, 2)  # (H, D, d)
        bias = self.value.bias.unflatten(0, (self.heads, -1))
        if self.training:  # dropout leaves probabilities that no longer sum to one
            bias = bias * probabilities.sum(dim=-1, keepdim=True)
        return cast(Tensor, mixed @ value + bias[..., None, :])


class TokenLayer(nn.Module):
    """A whole Longformer layer: every token, CLS with its own attention."""

    def __init__(self, layer: LongformerLayer) -> None:
        super().__init__()
        self.local = LocalAttention(layer)
        self.cls = ClsAttention(layer)
        self.attention_output = layer.attention.output
        self.intermediate, self.output = layer.intermediate, layer.output

    def forward(self, hidden: Tensor, plan: BlockPlan, padding: Tensor) -> Tensor:
        """Map ``(B, L, D)`` to ``(B, L, D)``."""
        context = join_context(self.local(hidden, plan), self.cls(hidden, padding), plan)
        attended = self.attention_output(context, hidden)
        return cast(Tensor, self.output(self.intermediate(attended), attended))


class ClsLayer(nn.Module):
    """The last layer, for the one row that the classifier reads."""

    def __init__(self, layer: LongformerLayer) -> None:
        super().__init__()
        self.cls = ClsAttention(layer)
        self.attention_output = layer.attention.output
        self.intermediate, self.output = layer.intermediate, layer.output

    def forward(self, hidden: Tensor, padding: Tensor) -> Tensor:
        """Map ``(B, L, D)`` to the CLS row ``(B, 1, D)``."""
        context = self.cls(hidden, padding).transpose(1, 2).flatten(2)
        attended = self.attention_output(context, hidden[:, :1])
        return cast(Tensor, self.output(self.intermediate(attended), attended))


class ExportableLongformer(nn.Module):
    """A ``LongformerForSequenceClassification`` as a graph of dynamic batch and length.

    It holds the given model's own modules, not copies, so training one trains the other.

    Args:
        model: the checkpoint; any depth, width, head count, label count and windows.
        block_size: queries in one attention block; a matter of speed alone.
    """

    def __init__(self, model: LongformerForSequenceClassification, block_size: int = DEFAULT_BLOCK) -> None:
        super().__init__()
        layers = cast("list[LongformerLayer]", list(model.longformer.encoder.layer))
        self.windows = tuple(one_sided_window(layer) for layer in layers)
        self.block_size = block_size
        self.padding_idx = cast(int, model.config.pad_token_id)
        self.embeddings = model.longformer.embeddings
        self.token_layers = nn.ModuleList(TokenLayer(layer) for layer in layers[:-1])
        self.last_layer = ClsLayer(layers[-1])
        self.classifier = model.classifier

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Compute logits.

        Args:
            input_ids: int64 ``(B, L)``, CLS first, ``1 <= L <= max_position_embeddings - 2``.
            attention_mask: int64 ``(B, L)``: 1 for tokens, then 0 for padding. The first
                column is CLS and must be 1.

        Returns:
            float ``(B, labels)``, before the sigmoid.
        """
        positions = attention_mask.cumsum(dim=1) * attention_mask + self.padding_idx
        hidden = self.embeddings(input_ids=input_ids, position_ids=positions)
        padding = padding_bias(attention_mask, hidden.dtype)[:, None, :]
        plans = {
            window: plan_blocks(attention_mask, window, self.block_size, hidden.dtype)
            for window in sorted(set(self.windows[:-1]))
        }
        for layer, window in zip(self.token_layers, self.windows, strict=False):
            hidden = layer(hidden, plans[window], padding)
        return cast(Tensor, self.classifier(self.last_layer(hidden, padding)))
