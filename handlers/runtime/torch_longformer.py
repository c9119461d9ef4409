"""The served Longformer in plain torch: stock weights in, logits out, nothing of ``transformers``.

The function is that of ``export.longformer`` (its docstring has the algebra: one global query, one
row read in the last layer, no padding to the window), written for running instead of tracing: shapes
are plain integers, query, key and value are one product, and attention is a fused kernel. In fp16 what is
one row for each text, the attention of CLS, the last layer and the classifier, stays fp32, and so do
softmax, layer norm and the sums within a product. Two ways to attend, chosen when a bundle is exported
(``TorchSpec.attention``):

* ``blocks``: ``scaled_dot_product_attention`` of blocks of ``b`` queries with the ``b + 2w`` keys in
  their reach and CLS, under an additive mask, as 4-D tensors ``(B * N, H, b, S)``. Runs on any device;
  on CUDA the memory-efficient kernel takes it, because the mask's rows are aligned.
* ``windowed``: flash attention's own sliding window (``varlen_attn``, fp16 on CUDA alone), without
  copies of keys and without a mask. CLS is joined afterwards: with ``l`` the log-sum-exp of a query's
  window and ``s`` its score with CLS, the softmax over both is the window's output moved towards
  CLS's value by ``e^s / (e^l + e^s) = sigmoid(s - l)``.

Why blocks of up to 256 queries (an estimate from traffic and rates, not a measurement on a GPU): for
``w = 256``, 4,096 tokens and fp16, the copies of K and V move ``(b + 2w) / b`` times 25 MB (written and
read) and the products cost ``(b + 2w) / 2w`` of what is needed. At 4.3 TB/s and 200 TFLOP/s a layer's
attention takes about 29 + 40 us with ``b = 128``, 18 + 48 with 256 and 12 + 65 with 512: 128 and 256
are level, more is worse, and on a CPU 256 measured best. ``windowed`` has no copies and multiplies
whole tiles of the window only: about 32 us at 300 TFLOP/s. With about 90 us for a layer's dense
products (58 GFLOP at 650 TFLOP/s) and 40 to 60 us for layer norms, GELU and the CLS row, that makes an
estimated 40 % of a dense rate of 780 TFLOP/s with ``blocks`` at 4,096 tokens, and 47 to 54 % with
``windowed``, the higher figure for several texts in one run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal, cast

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional
from torch.nn.attention.varlen import AuxRequest, varlen_attn

Attention = Literal["blocks", "windowed"]
Activation = Literal["gelu", "gelu_new", "relu", "silu"]

DEFAULT_BLOCK: Final = 256
"""Most queries in one block; see the module's docstring."""

ALIGNMENT: Final = 16
"""Rows of a mask start at multiples of this many elements: CUDA's fused kernels copy it otherwise."""

_ACTIVATIONS: Final[dict[Activation, Callable[[Tensor], Tensor]]] = {
    "gelu": functional.gelu,
    "gelu_new": lambda hidden: functional.gelu(hidden, approximate="tanh"),
    "relu": functional.relu,
    "silu": functional.silu,
}


class TorchSpec(BaseModel):
    """What the weights alone do not tell; it stands in their file's header.

    Attributes:
        heads: attention heads.
        windows: one-sided attention window of each layer.
        padding_idx: position of padding; real positions follow it.
        layer_norm_eps: of every layer norm.
        activation: of the feed-forward network.
        attention: how to attend, see the module.
        block_size: most queries in a block (``blocks``).
        fp32_layers: first layers whose weights are in fp32, and the embeddings with them, where the rest is fp16;
            they attend in ``blocks``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    heads: Annotated[int, Field(ge=1)]
    windows: Annotated[tuple[int, ...], Field(min_length=1)]
    padding_idx: int
    layer_norm_eps: float
    activation: Activation = "gelu"
    attention: Attention = "blocks"
    block_size: Annotated[int, Field(ge=1)] = DEFAULT_BLOCK
    fp32_layers: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True)
class Affine:
    """Weight and bias of a product or a layer norm."""

    weight: Tensor
    bias: Tensor

    def __call__(self, hidden: Tensor) -> Tensor:
        """Map ``(..., in)`` to ``(..., out)``."""
        return functional.linear(hidden, self.weight, self.bias)

    def float(self) -> Affine:
        """Return the same in fp32."""
        return Affine(self.weight.float(), self.bias.float())


@dataclass(frozen=True)
class ClsWeights:
    """Weights of the CLS token's global attention, in fp32: ``(D, D)`` each, and ``(H, d, D)`` for key and value."""

    query: Affine
    key: Tensor
    value: Tensor
    value_bias: Tensor


@dataclass(frozen=True)
class LayerWeights:
    """Weights of one layer; ``local`` is query, key and value in one, and ``None`` in the last layer."""

    local: Affine | None
    cls: ClsWeights
    attended: Affine
    attended_norm: Affine
    intermediate: Affine
    output: Affine
    output_norm: Affine

    @property
    def dtype(self) -> torch.dtype:
        """What the layer computes in."""
        return self.attended.weight.dtype


@dataclass(frozen=True)
class WindowPlan:
    """What the attention of one window needs, for one batch.

    Attributes:
        block: ``b``, queries in a block; ``count``: ``N``, blocks of a text.
        keys: int64 ``(N * S,)``, positions of the keys of each block, or ``None`` where each block
            is a whole text.
        bias: additive mask that broadcasts to ``(B * N, H, b, S)``, or ``None`` where all attend to all.
        runs: int32 ``(2B + 1,)`` (``windowed``): where each text and its padding start.
    """

    window: int
    block: int = 0
    count: int = 1
    keys: Tensor | None = None
    bias: Tensor | None = None
    runs: Tensor | None = None


class TorchLongformer:
    """A Longformer for sequence classification, for inference.

    Args:
        spec: how the weights are to be read.
        weights: tensors by the names that ``transformers`` gives them, on the device and in the
            precision (float32 or float16) to run each layer in.

    Raises:
        KeyError: a weight is missing.
        ValueError: weights and ``spec`` do not fit each other.
    """

    def __init__(self, spec: TorchSpec, weights: Mapping[str, Tensor]) -> None:
        self._spec = spec
        embeddings = "longformer.embeddings."
        self._words = weights[f"{embeddings}word_embeddings.weight"]
        self._positions = weights[f"{embeddings}position_embeddings.weight"]
        self._token_type = weights[f"{embeddings}token_type_embeddings.weight"][0]
        self._embedding_norm = _affine(weights, f"{embeddings}LayerNorm")
        if self._words.shape[1] % spec.heads:
            raise ValueError(f"hidden size {self._words.shape[1]} is no multiple of {spec.heads} heads")
        last = len(spec.windows) - 1
        self._layers = [_layer(weights, index, spec.heads, index == last) for index in range(last + 1)]
        self._dense = _affine(weights, "classifier.dense").float()
        self._classes = _affine(weights, "classifier.out_proj").float()
        self._activation = _ACTIVATIONS[spec.activation]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._words.device

    def __call__(self, input_ids: Tensor, attention_mask: Tensor, padded: bool) -> Tensor:
        """Compute logits.

        Args:
            input_ids: int64 ``(B, L)``, CLS first.
            attention_mask: int64 ``(B, L)``: 1 for tokens, then 0 for padding; the first column is 1.
            padded: whether there may be a 0 in the mask; ``False`` allows faster kernels.

        Returns:
            float32 ``(B, labels)``, before the sigmoid.
        """
        positions = attention_mask.cumsum(dim=1) * attention_mask + self._spec.padding_idx
        summed = functional.embedding(input_ids, self._words) + functional.embedding(positions, self._positions)
        hidden = self._norm(summed + self._token_type, self._embedding_norm)
        cls_bias = (1 - attention_mask)[:, None, :] * masked(torch.float32)
        plans: dict[tuple[int, torch.dtype], WindowPlan] = {}
        for layer, window in zip(self._layers, self._spec.windows, strict=True):
            hidden = hidden.to(layer.dtype)
            if layer.local is not None and (window, layer.dtype) not in plans:
                plans[window, layer.dtype] = self._plan(attention_mask, padded, window, layer.dtype)
            hidden = self._run_layer(layer, hidden, plans.get((window, layer.dtype)), cls_bias)
        pooled = torch.tanh(self._dense(hidden[:, 0]))
        return self._classes(pooled)

    def _run_layer(self, layer: LayerWeights, hidden: Tensor, plan: WindowPlan | None, cls_bias: Tensor) -> Tensor:
        """Map ``(B, L, D)`` to the same shape, or to ``(B, 1, D)`` in fp32 in the last layer."""
        context = self._cls_context(layer.cls, hidden, cls_bias)
        if layer.local is None or plan is None:
            hidden = hidden[:, :1].float()
        else:
            cls_context, context = context, self._local_context(layer.local(hidden), plan)
            context[:, :1] = cls_context
        attended = self._norm(layer.attended(context) + hidden, layer.attended_norm)
        widened = self._activation(layer.intermediate(attended))
        return self._norm(layer.output(widened) + attended, layer.output_norm)

    def _local_context(self, projected: Tensor, plan: WindowPlan) -> Tensor:
        """Map query, key and value ``(B, L, 3D)`` to the context of every token ``(B, L, D)``."""
        split = projected.unflatten(2, (3, self._spec.heads, -1))
        context = _attend_windowed(split, plan) if plan.runs is not None else _attend_blocks(split, plan)
        return context.flatten(2)

    def _cls_context(self, cls: ClsWeights, hidden: Tensor, bias: Tensor) -> Tensor:
        """Return the context of the CLS token ``(B, 1, D)``, computed in fp32; ``bias`` is ``(B, 1, L)``."""
        wide = hidden.float()
        scale = (hidden.shape[2] // self._spec.heads) ** -0.5
        query = (cls.query(wide[:, :1]) * scale).unflatten(2, (self._spec.heads, -1))  # (B, 1, H, d)
        probe = (query.transpose(1, 2) @ cls.key).squeeze(2)  # (B, H, D)
        probabilities = (probe @ wide.transpose(1, 2) + bias).softmax(dim=-1)
        mixed = (probabilities @ wide).unsqueeze(2)  # (B, H, 1, D)
        context = (mixed @ cls.value.transpose(1, 2)).squeeze(2).flatten(1) + cls.value_bias
        return cast(Tensor, context[:, None])

    def _norm(self, hidden: Tensor, norm: Affine) -> Tensor:
        """Layer norm; torch computes mean, variance and quotient in fp32 for fp16 too."""
        return functional.layer_norm(hidden, norm.weight.shape, norm.weight, norm.bias, self._spec.layer_norm_eps)

    def _plan(self, mask: Tensor, padded: bool, window: int, dtype: torch.dtype) -> WindowPlan:
        if self._spec.attention == "windowed" and dtype == torch.float16:
            return WindowPlan(window, runs=text_runs(mask))
        return plan_blocks(mask, padded, window, self._spec.block_size, dtype)


def masked(dtype: torch.dtype) -> float:
    """Return the additive mask value of ``dtype``: finite even when two add up, and beyond any score."""
    return torch.finfo(dtype).min / 4


def plan_blocks(mask: Tensor, padded: bool, window: int, block_size: int, dtype: torch.dtype) -> WindowPlan:
    """Plan the blocks of texts of ``L`` tokens.

    The fewest blocks of at most ``block_size`` queries are made equally long, so that at most
    ``N - 1`` queries are padding. A text within one window's reach is one block without copies.

    Args:
        mask: int64 ``(B, L)``.
        padded: whether there may be a 0 in it.
        window: one-sided.
        dtype: of the bias.
    """
    padding = (1 - mask).to(dtype) * masked(dtype) if padded else None
    length = mask.shape[1]
    if length <= window + 1:
        return WindowPlan(window, block=length, bias=None if padding is None else padding[:, None, None, :])
    count = math.ceil(length / block_size)
    block = math.ceil(length / count)
    span = min(length, block + 2 * window)
    starts = torch.arange(count, device=mask.device) * block
    first = (starts - window).clamp(min=0, max=length - span)
    local = first[:, None] + torch.arange(span, device=mask.device)  # (N, S - 1)
    queries = starts[:, None] + torch.arange(block, device=mask.device)
    far = (queries[:, :, None] - local[:, None, :]).abs() > window
    closed = far | (local == 0)[:, None, :]  # CLS has the column of its own
    keys = functional.pad(local, (1, 0))
    width = math.ceil((span + 1) / ALIGNMENT) * ALIGNMENT
    bias = torch.zeros((mask.shape[0], count, block, width), dtype=dtype, device=mask.device)[..., : span + 1]
    bias[..., 1:].masked_fill_(closed, masked(dtype))
    if padding is not None:
        bias += padding[:, keys][:, :, None, :]
    return WindowPlan(window, block, count, keys.flatten(), bias.flatten(0, 1)[:, None])


def text_runs(mask: Tensor) -> Tensor:
    """Return where each text and each run of padding starts in the flattened batch, and its end.

    Padding counts as a sequence of its own, perhaps an empty one, so that no shape depends on how
    much of it there is: int32 ``(2B + 1,)`` for a mask ``(B, L)``.
    """
    batch, length = mask.shape
    starts = torch.arange(batch, device=mask.device) * length
    inner = torch.stack([starts, starts + mask.sum(dim=1)], dim=1).flatten()
    return functional.pad(inner, (0, 1), value=batch * length).int()


def _attend_blocks(split: Tensor, plan: WindowPlan) -> Tensor:
    """Attend within blocks: ``(B, L, 3, H, d)`` to ``(B, L, H, d)``."""
    batch, length = split.shape[:2]
    query, pair = split[:, :, 0], split[:, :, 1:]
    if plan.keys is not None:
        query = functional.pad(query, (0, 0, 0, 0, 0, plan.count * plan.block - length))
        query = query.unflatten(1, (plan.count, plan.block)).flatten(0, 1)
        pair = pair.index_select(1, plan.keys).unflatten(1, (plan.count, -1)).flatten(0, 1)
    key, value = pair.unbind(2)
    context = functional.scaled_dot_product_attention(
        query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), attn_mask=plan.bias
    )
    return cast(Tensor, context.transpose(1, 2).unflatten(0, (batch, plan.count)).flatten(1, 2)[:, :length])


def _attend_windowed(split: Tensor, plan: WindowPlan) -> Tensor:
    """Attend through flash attention's window and join CLS: ``(B, L, 3, H, d)`` to ``(B, L, H, d)``."""
    batch, length, _, heads, size = split.shape
    query, key, value = split.unbind(2)
    runs = plan.runs
    assert runs is not None  # what makes a plan windowed
    local, log_sum = varlen_attn(
        query.flatten(0, 1),
        key.flatten(0, 1),
        value.flatten(0, 1),
        runs,
        runs,
        length,
        length,
        return_aux=AuxRequest(lse=True),
        window_size=(plan.window, plan.window),
    )
    log_sum = log_sum.view(heads, batch, length).permute(1, 2, 0)
    score = (query * (key[:, :1] * size**-0.5)).sum(dim=-1, dtype=torch.float32)  # (B, L, H)
    score[:, : plan.window + 1] = -math.inf  # these meet CLS in their window
    share = torch.sigmoid(score - log_sum)[..., None].to(split.dtype)
    return torch.lerp(local.unflatten(0, (batch, length)), value[:, :1], share)


def _affine(weights: Mapping[str, Tensor], name: str) -> Affine:
    return Affine(weights[f"{name}.weight"], weights[f"{name}.bias"])


def _layer(weights: Mapping[str, Tensor], index: int, heads: int, last: bool) -> LayerWeights:
    layer = f"longformer.encoder.layer.{index}."
    attention = f"{layer}attention.self."
    parts = [_affine(weights, f"{attention}{name}") for name in ("query", "key", "value")]
    together = Affine(torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts]))

    def part(name: str) -> Affine:
        found = _affine(weights, f"{layer}{name}")
        return found.float() if last else found

    return LayerWeights(
        local=None if last else together,
        cls=_cls(weights, attention, heads),
        attended=part("attention.output.dense"),
        attended_norm=part("attention.output.LayerNorm"),
        intermediate=part("intermediate.dense"),
        output=part("output.dense"),
        output_norm=part("output.LayerNorm"),
    )


def _cls(weights: Mapping[str, Tensor], attention: str, heads: int) -> ClsWeights:
    return ClsWeights(
        query=_affine(weights, f"{attention}query_global").float(),
        key=weights[f"{attention}key_global.weight"].float().unflatten(0, (heads, -1)),
        value=weights[f"{attention}value_global.weight"].float().unflatten(0, (heads, -1)),
        value_bias=weights[f"{attention}value_global.bias"].float(),
    )
