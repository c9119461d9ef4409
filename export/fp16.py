"""The Longformer in half precision, as a graph that says so itself.

A strongly typed runtime computes what the graph's types say, so precision is decided here, in the
open, and not by a converter or a builder's flag. Weights, matrix products and what lies in memory
between layers are fp16; softmax, layer norm, activations and residual sums are fp32, and so is what is one
row for each text: the attention of CLS, the last layer and the classifier.

*Nothing overflows, whatever the text.* fp16 ends at 65504, and a checkpoint may be within its rights
beyond that: the same function can be written with weights a thousand times larger before an activation
and smaller behind it. How large each value can get follows from the weights alone:

* layer norm gives ``x = gamma * z + beta`` with ``|z|_2 <= sqrt(D)``, so by Cauchy-Schwarz
  ``|w . x + b| <= sqrt(D) * |w * gamma|_2 + |w . beta + b|``;
* of inputs ``|x_j| <= m_j``, ``|w . x + b| <= sum_j |w_j| m_j + |b|``;
* attention's output is a convex combination of values, and ``|q . k| <= |q|_2 |k|_2``.

Where such a bound is outside fp16's comfortable range, the value is stored divided by a power of two,
which is exact: the power goes into the weights before it and is put back in fp32. An ordinary
checkpoint needs none, and then there is no trace of it in the graph.

*The first layers may stay in fp32* (``fp32_layers``), because a checkpoint may turn rounding errors of its first
layers into many times as much: ``export.fp32_layers`` chooses how many.

Notation as in ``export.longformer``; a *half* is an fp16 tensor that stands for ``2**exponent`` times
what it holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

import torch
from torch import Tensor, nn
from transformers import LongformerForSequenceClassification
from transformers.models.longformer.modeling_longformer import LongformerLayer

from export.longformer import (
    DEFAULT_BLOCK,
    BlockPlan,
    ClsAttention,
    ClsLayer,
    TokenLayer,
    block_keys,
    block_queries,
    join_context,
    one_sided_window,
    padding_bias,
    plan_blocks,
    split_heads,
)

LARGEST: Final = 2.0**15
"""Bound of what a half holds: half of fp16's range, the rest is for rounding."""

SMALLEST: Final = 2.0**-4
"""A value whose bound is lower is scaled up: much below it fp16 has fewer digits."""


@dataclass(frozen=True)
class Bounds:
    """How large the values of a half can get, whatever the input.

    Attributes:
        channels: float64 ``(D,)``: of each channel's absolute value.
        gamma, beta: float64 ``(D,)``: of the layer norm that made the values, if one did; a convex
            combination of such rows keeps them.
    """

    channels: Tensor
    gamma: Tensor | None = None
    beta: Tensor | None = None

    @staticmethod
    def of_norm(norm: nn.LayerNorm) -> Bounds:
        """Bounds of what ``norm`` gives."""
        gamma, beta = norm.weight.detach().double(), norm.bias.detach().double()
        return Bounds(gamma.abs() * math.sqrt(len(gamma)) + beta.abs(), gamma, beta)

    def product(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Bounds of ``weight @ x + bias`` for ``weight`` ``(out, D)``: float64 ``(out,)``."""
        weight, bias = weight.detach().double(), bias.detach().double()
        if self.gamma is None or self.beta is None:
            return weight.abs() @ self.channels + bias.abs()
        return _norm(weight * self.gamma) * math.sqrt(len(self.gamma)) + (weight @ self.beta + bias).abs()


def _norm(rows: Tensor) -> Tensor:
    """Return the Euclidean norm of each row."""
    return rows.square().sum(dim=1).sqrt()


def exponent_of(bound: float) -> int:
    """Return the power of two that a value up to ``bound`` is divided by to be a half; 0 for an ordinary one."""
    if bound > LARGEST:
        return math.ceil(math.log2(bound / LARGEST))
    if 0.0 < bound < SMALLEST:
        return math.floor(math.log2(bound / SMALLEST))
    return 0


def widen(half: Tensor, exponent: int) -> Tensor:
    """Return the fp32 value that ``half`` stands for."""
    wide = half.float()
    return wide if exponent == 0 else wide * 2.0**exponent


def narrow(wide: Tensor, exponent: int) -> Tensor:
    """Return the half of ``exponent`` that stands for the fp32 value ``wide``."""
    return (wide if exponent == 0 else wide * 2.0**-exponent).half()


def store(weight: Tensor, exponent: int) -> Tensor:
    """Return ``weight`` divided by ``2**exponent`` in fp16, for a buffer."""
    return (weight.detach().double() * 2.0**-exponent).half()


class HalfLinear(nn.Module):
    """A linear layer from half to half.

    Args:
        linear: the fp32 layer.
        exponent, bounds: of the input.
        least: exponent that the output must have at least.
        scale: factor of the output, such as that of attention's queries.
    """

    weight: Tensor
    bias: Tensor

    def __init__(
        self, linear: nn.Linear, exponent: int, bounds: Bounds, least: int | None = None, scale: float = 1.0
    ) -> None:
        super().__init__()
        weight, bias = linear.weight.detach() * scale, linear.bias.detach() * scale
        self.bound = bounds.product(weight, bias)
        # The weight itself must fit as well: it is multiplied by 2**(exponent - self.exponent).
        largest_weight = float(weight.abs().max()) * 2.0**exponent
        self.exponent = exponent_of(max(float(self.bound.max()), largest_weight))
        if least is not None:
            self.exponent = max(self.exponent, least)
        self.register_buffer("weight", store(weight, self.exponent - exponent))
        self.register_buffer("bias", store(bias, self.exponent))

    def forward(self, half: Tensor) -> Tensor:
        """Map ``(…, in)`` to ``(…, out)``."""
        return nn.functional.linear(half, self.weight, self.bias)


class HalfNorm(nn.Module):
    """Layer norm of the fp32 sum of two halves, to a half."""

    weight: Tensor
    bias: Tensor

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.bounds = Bounds.of_norm(norm)
        self.exponent = exponent_of(float(self.bounds.channels.max()))
        self.eps = norm.eps
        self.register_buffer("weight", norm.weight.detach() * 2.0**-self.exponent)
        self.register_buffer("bias", norm.bias.detach() * 2.0**-self.exponent)

    def forward(self, wide: Tensor) -> Tensor:
        """Map fp32 ``(…, D)`` to a half."""
        return nn.functional.layer_norm(wide, self.weight.shape, self.weight, self.bias, self.eps).half()


class HalfEmbeddings(nn.Module):
    """Word, position and type embeddings: tables in fp16, their sum in fp32."""

    def __init__(self, model: LongformerForSequenceClassification) -> None:
        super().__init__()
        embeddings = model.longformer.embeddings
        self.words, self.word_exponent = self._table(embeddings.word_embeddings.weight)
        # One type of token is ever used, so its embedding is a part of every position's.
        positions = embeddings.position_embeddings.weight + embeddings.token_type_embeddings.weight[:1]
        self.positions, self.position_exponent = self._table(positions)
        self.norm = HalfNorm(embeddings.LayerNorm)

    def forward(self, input_ids: Tensor, positions: Tensor) -> Tensor:
        """Map int64 ``(B, L)`` to a half ``(B, L, D)``."""
        words = widen(self.words(input_ids), self.word_exponent)
        return cast(Tensor, self.norm(words + widen(self.positions(positions), self.position_exponent)))

    @staticmethod
    def _table(weight: Tensor) -> tuple[nn.Embedding, int]:
        exponent = exponent_of(float(weight.detach().abs().max()))
        return nn.Embedding.from_pretrained(store(weight, exponent), freeze=True), exponent


class HalfLocalAttention(nn.Module):
    """Sliding-window attention: products in fp16, mask and softmax in fp32.

    Args:
        layer: the fp32 layer.
        norm: what made the layer's input.
        least: exponent that the context must have at least.
    """

    def __init__(self, layer: LongformerLayer, norm: HalfNorm, least: int) -> None:
        super().__init__()
        attention = layer.attention.self
        self.heads = int(attention.num_heads)
        self.key = HalfLinear(attention.key, norm.exponent, norm.bounds)
        scale = attention.head_dim**-0.5
        query = HalfLinear(attention.query, norm.exponent, norm.bounds, scale=scale)
        score = self._head_norms(query.bound) * self._head_norms(self.key.bound)
        # A score is held divided by the powers of its query and its key; the query takes what is missing.
        self.exponent = max(exponent_of(float(score.max())), query.exponent + self.key.exponent)
        missing = self.exponent - self.key.exponent
        self.query = HalfLinear(attention.query, norm.exponent, norm.bounds, least=missing, scale=scale)
        self.value = HalfLinear(attention.value, norm.exponent, norm.bounds, least=least)

    def forward(self, half: Tensor, plan: BlockPlan) -> Tensor:
        """Map a half ``(B, L, D)`` to the context of each block, a half ``(B, H, N, b, d)``."""
        query, key = split_heads(self.query(half), self.heads), split_heads(self.key(half), self.heads)
        scores = block_queries(query, plan) @ block_keys(key, plan).transpose(-1, -2)
        probabilities = (widen(scores, self.exponent) + plan.bias).softmax(dim=-1).half()
        return probabilities @ block_keys(split_heads(self.value(half), self.heads), plan)

    def _head_norms(self, bound: Tensor) -> Tensor:
        return _norm(bound.unflatten(0, (self.heads, -1)))


class HalfAttended(nn.Module):
    """What follows attention in every layer: its output product, and the feed-forward network.

    Args:
        layer: the fp32 layer.
        norm: what made the layer's input.
        exponent, bounds: of the attention's context.
    """

    def __init__(self, layer: LongformerLayer, norm: HalfNorm, exponent: int, bounds: Bounds) -> None:
        super().__init__()
        output = layer.attention.output
        self.input_exponent = norm.exponent
        self.dense = HalfLinear(output.dense, exponent, bounds)
        self.middle = HalfNorm(output.LayerNorm)
        self.widening = HalfLinear(layer.intermediate.dense, self.middle.exponent, self.middle.bounds)
        self.activation = layer.intermediate.intermediate_act_fn
        activated = Bounds(self.widening.bound.clamp(min=1.0))  # no activation in use makes a larger value larger
        self.narrowing = HalfLinear(layer.output.dense, self.widening.exponent, activated)
        self.norm = HalfNorm(layer.output.LayerNorm)

    def forward(self, context: Tensor, half: Tensor) -> Tensor:
        """Map the context and the layer's input, both halves ``(B, L, D)``, to the layer's output."""
        attended = self.middle(widen(self.dense(context), self.dense.exponent) + widen(half, self.input_exponent))
        output = self.narrowing(self._activated(self.widening(attended)))
        return cast(Tensor, self.norm(widen(output, self.narrowing.exponent) + widen(attended, self.middle.exponent)))

    def _activated(self, half: Tensor) -> Tensor:
        # In fp32: a runtime without a kernel for it falls back on its definition, and for negative x the 1 + erf(x)
        # of GELU cancels, which in fp16 leaves few digits.
        return narrow(self.activation(widen(half, self.widening.exponent)), self.widening.exponent)


class HalfTokenLayer(nn.Module):
    """A whole layer: every token, CLS with its own attention, which is one row and so is fp32."""

    def __init__(self, layer: LongformerLayer, norm: HalfNorm) -> None:
        super().__init__()
        self.input_exponent = norm.exponent
        self.cls = ClsAttention(layer)
        cls_bound = norm.bounds.product(self.cls.value.weight, self.cls.value.bias)
        self.local = HalfLocalAttention(layer, norm, least=exponent_of(float(cls_bound.max())))
        self.context_exponent = self.local.value.exponent
        bounds = Bounds(torch.maximum(self.local.value.bound, cls_bound))
        self.attended = HalfAttended(layer, norm, self.context_exponent, bounds)

    def forward(self, half: Tensor, plan: BlockPlan, padding: Tensor) -> Tensor:
        """Map a half ``(B, L, D)`` and fp32 ``padding`` ``(B, 1, L)`` to a half ``(B, L, D)``."""
        cls = narrow(self.cls(widen(half, self.input_exponent), padding), self.context_exponent)
        return cast(Tensor, self.attended(join_context(self.local(half, plan), cls, plan), half))


class Fp32Layers(nn.Module):
    """Embeddings and first layers in fp32, as ``ExportableLongformer`` has them; the last output as a half.

    Args:
        model: the checkpoint.
        layers: its first layers, at least one.
    """

    def __init__(self, model: LongformerForSequenceClassification, layers: Sequence[LongformerLayer]) -> None:
        super().__init__()
        self.embeddings = model.longformer.embeddings
        self.layers = nn.ModuleList(TokenLayer(layer) for layer in layers)
        self.windows = [one_sided_window(layer) for layer in layers]
        self.norm = HalfNorm(layers[-1].output.LayerNorm)

    def forward(self, input_ids: Tensor, positions: Tensor, plans: Mapping[int, BlockPlan], padding: Tensor) -> Tensor:
        """Map int64 ``(B, L)`` to a half ``(B, L, D)``."""
        hidden = self.embeddings(input_ids=input_ids, position_ids=positions)
        for layer, window in zip(self.layers, self.windows, strict=True):
            hidden = layer(hidden, plans[window], padding)
        return narrow(hidden, self.norm.exponent)


class HalfLongformer(nn.Module):
    """A ``LongformerForSequenceClassification`` in half precision, for inference and export.

    It holds fp16 copies of the weights, and the model's own modules where they stay in fp32.

    Args:
        model: the checkpoint in fp32; any depth, width, head count, label count and windows.
        block_size: queries in one attention block; a matter of speed alone.
        fp32_layers: first layers that stay in fp32, and the embeddings with them; never the last layer.
    """

    def __init__(
        self, model: LongformerForSequenceClassification, block_size: int = DEFAULT_BLOCK, fp32_layers: int = 0
    ) -> None:
        super().__init__()
        layers = cast("list[LongformerLayer]", list(model.longformer.encoder.layer))
        self.windows = [one_sided_window(layer) for layer in layers[:-1]]
        self.first_half = fp32_layers
        self.block_size = block_size
        self.padding_idx = cast(int, model.config.pad_token_id)
        self.fp32_layers = Fp32Layers(model, layers[:fp32_layers]) if fp32_layers else None
        self.embeddings = None if fp32_layers else HalfEmbeddings(model)
        token_layers: list[HalfTokenLayer] = []
        norm = cast("Fp32Layers | HalfEmbeddings", self.fp32_layers or self.embeddings).norm
        for layer in layers[fp32_layers:-1]:
            token_layers.append(HalfTokenLayer(layer, norm))
            norm = token_layers[-1].attended.norm
        self.token_layers = nn.ModuleList(token_layers)
        self.last_exponent = norm.exponent
        self.last_layer = ClsLayer(layers[-1])
        self.classifier = model.classifier

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Compute logits, fp32 ``(B, labels)``; arguments as those of ``ExportableLongformer``."""
        positions = attention_mask.cumsum(dim=1) * attention_mask + self.padding_idx
        padding = padding_bias(attention_mask, torch.float32)[:, None, :]
        plans = {
            window: plan_blocks(attention_mask, window, self.block_size, torch.float32)
            for window in sorted(set(self.windows))
        }
        if self.fp32_layers is not None:
            half = self.fp32_layers(input_ids, positions, plans, padding)
        else:
            half = cast(HalfEmbeddings, self.embeddings)(input_ids, positions)
        for layer, window in zip(self.token_layers, self.windows[self.first_half :], strict=True):
            half = layer(half, plans[window], padding)
        return cast(Tensor, self.classifier(self.last_layer(widen(half, self.last_exponent), padding)))
