from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn
from transformers import LongformerForSequenceClassification

from export.fp16 import LARGEST, SMALLEST, Bounds, HalfLinear, HalfLongformer, exponent_of
from export.longformer import ExportableLongformer
from export.matrix import Shape, random_model
from export.parity import FP16_TOLERANCE
from handlers.runtime.onnx import OnnxRuntime
from tests.checkpoints import Tiny
from tests.unit.export.test_longformer_graph import draw_batch
from tests.unit.export.test_onnx_graph import TENSORRT_REFUSES, signature

SHAPE = Shape(windows=(8, 4, 8), heads=2, head_size=8, labels=3, max_length=128)
LENGTHS = (1, 2, 5, 9, 17, 33, 128)

Rescale = Callable[[LongformerForSequenceClassification, float], None]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    """The models are too small to share out."""
    torch.set_num_threads(1)


@torch.inference_mode()
def worst(model: LongformerForSequenceClassification, graph: nn.Module, lengths: tuple[int, ...] = LENGTHS) -> float:
    """Return the largest difference of a logit over batches of ``lengths`` with padded rows; NaN if one is."""
    deltas = []
    for length in lengths:
        input_ids, attention_mask = draw_batch([length, max(1, length // 2), 1], length, seed=length)
        expected = model(input_ids=input_ids, attention_mask=attention_mask).logits
        deltas.append(float((graph(input_ids, attention_mask) - expected).abs().max()))
    return float(np.max(deltas))


def widen_feed_forward(model: LongformerForSequenceClassification, factor: float) -> None:
    """Scale what a ReLU network holds inside, not what it gives."""
    for layer in model.longformer.encoder.layer:
        layer.intermediate.intermediate_act_fn = nn.ReLU()
        layer.intermediate.dense.weight *= factor
        layer.intermediate.dense.bias *= factor
        layer.output.dense.weight /= factor


def widen_values(model: LongformerForSequenceClassification, factor: float) -> None:
    """Scale attention's context, not what its output product gives."""
    for layer in model.longformer.encoder.layer:
        for linear in (layer.attention.self.value, layer.attention.self.value_global):
            linear.weight *= factor
            linear.bias *= factor
        layer.attention.output.dense.weight /= factor


def widen_hidden(model: LongformerForSequenceClassification, factor: float) -> None:
    """Scale every layer norm's output, and back in what reads it, residual sums included."""
    model.longformer.embeddings.LayerNorm.weight *= factor
    model.longformer.embeddings.LayerNorm.bias *= factor
    for layer in model.longformer.encoder.layer:
        attention = layer.attention
        for name in ("query", "key", "value", "query_global", "key_global", "value_global"):
            getattr(attention.self, name).weight /= factor
        for output in (attention.output, layer.output):
            output.dense.weight *= factor
            output.dense.bias *= factor
            output.LayerNorm.eps *= factor**2
            output.LayerNorm.weight *= factor
            output.LayerNorm.bias *= factor
        layer.intermediate.dense.weight /= factor
    model.classifier.dense.weight /= factor


def widen_scores(model: LongformerForSequenceClassification, factor: float) -> None:
    """Scale attention scores: attention picks one token, as ``transformers`` does."""
    for layer in model.longformer.encoder.layer:
        for name in ("query", "query_global"):
            linear = getattr(layer.attention.self, name)
            linear.weight *= factor
            linear.bias *= factor


def widen_queries_against_keys(model: LongformerForSequenceClassification, factor: float) -> None:
    """Scale queries up and keys down: the scores stay."""
    widen_scores(model, factor)
    for layer in model.longformer.encoder.layer:
        for name in ("key", "key_global"):
            linear = getattr(layer.attention.self, name)
            linear.weight /= factor
            linear.bias /= factor


def rescaled(rescale: Rescale, factor: float) -> LongformerForSequenceClassification:
    model = random_model(SHAPE, seed=3)
    with torch.no_grad():
        rescale(model, factor)
    return model


def naive(model: LongformerForSequenceClassification) -> nn.Module:
    """The graph with everything in fp16, as a converter makes it."""

    class Naive(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.graph = ExportableLongformer(model).half()

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            return self.graph(input_ids, attention_mask).float()

    return Naive().eval()


@pytest.mark.parametrize("seed", [0, 1])
def test_logits_are_within_the_tolerance_at_awkward_lengths_and_padding(seed: int) -> None:
    model = random_model(SHAPE, seed)

    assert worst(model, HalfLongformer(model).eval()) <= FP16_TOLERANCE


FACTORS = {
    widen_feed_forward: 2.0**18,
    widen_values: 2.0**18,
    widen_hidden: 2.0**15,
    widen_queries_against_keys: 2.0**18,
}


@pytest.mark.parametrize(("rescale", "factor"), FACTORS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_weights_that_overflow_a_naive_conversion_do_not_overflow_this_one(rescale: Rescale, factor: float) -> None:
    model = rescaled(rescale, factor)
    half = HalfLongformer(model).eval()
    found = worst(model, half)  # before the naive graph, which turns the model's own weights into fp16

    assert found <= FP16_TOLERANCE
    assert not worst(rescaled(rescale, factor), naive(model)) < 1.0


def test_scores_that_overflow_a_naive_conversion_are_finite_and_right() -> None:
    model = rescaled(widen_scores, 2.0**20)
    input_ids, attention_mask = draw_batch([60, 31, 1], 60, seed=0)
    with torch.inference_mode():
        half = HalfLongformer(model).eval()(input_ids, attention_mask)
        expected = model(input_ids=input_ids, attention_mask=attention_mask).logits
        found = naive(model)(input_ids, attention_mask)

    assert not torch.isfinite(found).all()
    # One token wins each softmax, and fp16 may see another winner where two are close: logits, not ties.
    assert torch.isfinite(half).all()
    assert float((half - expected).abs().median()) <= 0.05


@pytest.mark.parametrize("factor", [2.0**-12, 2.0**12])
@pytest.mark.parametrize("rescale", [widen_feed_forward, widen_values, widen_queries_against_keys])
def test_scale_alone_changes_nothing(rescale: Rescale, factor: float) -> None:
    model = rescaled(rescale, factor)

    assert worst(model, HalfLongformer(model).eval(), (1, 40)) <= FP16_TOLERANCE


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-6, 1e6), st.floats(1e-4, 1e4))
def test_no_input_of_a_layer_norm_passes_the_bound(seed: int, weight_scale: float, gamma_scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    norm = nn.LayerNorm(12)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(12, generator=generator) * gamma_scale)
        norm.bias.copy_(torch.randn(12, generator=generator))
    weight = torch.randn(5, 12, generator=generator) * weight_scale
    bias = torch.randn(5, generator=generator)
    spread = torch.randn(200, 12, generator=generator)
    spread[:12] = torch.eye(12) * 1e6  # the least spread-out inputs come closest to the bound
    spread[12:17] = weight * norm.weight.detach()
    rows = norm(spread).detach().double()
    bounds = Bounds.of_norm(norm)

    assert (rows.abs() <= bounds.channels * 1.000001).all()
    assert ((rows @ weight.double().T + bias).abs() <= bounds.product(weight, bias) * 1.000001).all()


@given(st.floats(1e-30, 1e30))
def test_a_power_of_two_brings_any_bound_into_the_range(bound: float) -> None:
    held = bound * 2.0 ** -exponent_of(bound)

    assert SMALLEST <= held <= LARGEST
    assert exponent_of(held) == 0


def test_a_half_linear_layer_stands_for_the_right_values() -> None:
    linear = nn.Linear(16, 8)
    with torch.no_grad():
        linear.weight *= 1e6
    bounds = Bounds(torch.full((16,), 2.0, dtype=torch.float64))
    half = HalfLinear(linear, 0, bounds)
    values = torch.rand(5, 16) * 2

    assert half.exponent > 0
    found = half(values.half()).float() * 2.0**half.exponent
    torch.testing.assert_close(found, linear(values).detach(), rtol=0, atol=1e-3 * float(half.bound.max()))


def test_an_ordinary_checkpoint_needs_no_powers(tiny: Tiny) -> None:
    model = LongformerForSequenceClassification.from_pretrained(tiny.checkpoint).eval()
    exponents = [module.exponent for module in HalfLongformer(model).modules() if hasattr(module, "exponent")]

    assert len(exponents) == 10
    assert set(exponents) == {0}


def test_weights_are_in_half_precision_but_for_layer_norms_and_what_is_one_row(tiny: Tiny, half: Path) -> None:
    model = LongformerForSequenceClassification.from_pretrained(tiny.checkpoint).eval()
    module = HalfLongformer(model)
    held = dict([*module.named_parameters(), *module.named_buffers()])
    wide = [name for name, tensor in held.items() if tensor.dtype == torch.float32]
    graph = onnx.load(half)
    stored = [t for t in graph.graph.initializer if t.data_type == TensorProto.FLOAT16 and len(t.dims) == 2]

    one_row = ("classifier.", "last_layer.", "token_layers.0.cls.")
    assert all(name.startswith(one_row) or "norm" in name or "middle" in name for name in wide), wide
    assert sum(int(np.prod(tensor.dims)) for tensor in stored) == sum(
        tensor.numel() for tensor in held.values() if tensor.dtype == torch.float16 and tensor.ndim == 2
    )


def test_softmax_and_layer_norm_compute_in_fp32_and_the_signature_is_that_of_every_precision(half: Path) -> None:
    graph = onnx.shape_inference.infer_shapes(onnx.load(half))
    types = {v.name: v.type.tensor_type.elem_type for v in graph.graph.value_info}
    kinds: dict[str, set[int]] = {}
    for node in graph.graph.node:
        kinds.setdefault(node.op_type, set()).add(types.get(node.output[0], 0))
    ids = (TensorProto.INT64, ["batch", "length"])

    assert kinds["Softmax"] == kinds["LayerNormalization"] == {TensorProto.FLOAT}
    assert TensorProto.FLOAT16 in kinds["MatMul"]
    assert signature(graph.graph.input) == {"input_ids": ids, "attention_mask": ids}
    assert signature(graph.graph.output) == {"logits": (TensorProto.FLOAT, ["batch", 4])}
    assert TENSORRT_REFUSES.isdisjoint(kinds)


def test_every_constant_is_finite(half: Path) -> None:
    graph = onnx.load(half)
    tensors = itertools.chain(
        graph.graph.initializer, (a.t for node in graph.graph.node for a in node.attribute if a.HasField("t"))
    )

    assert all(np.isfinite(numpy_helper.to_array(tensor).astype(np.float64)).all() for tensor in tensors)


@pytest.mark.parametrize("length", [1, 2, 31, 33, 65, 129, 256])
def test_onnx_runtime_runs_it_on_the_cpu(tiny: Tiny, half: Path, length: int) -> None:
    model = LongformerForSequenceClassification.from_pretrained(tiny.checkpoint).eval()
    runtime = OnnxRuntime(half, "cpu", threads=1)
    input_ids, attention_mask = draw_batch([length, max(1, length // 3)], length, seed=1)
    input_ids = input_ids.clamp(max=260)
    with torch.inference_mode():
        expected = model(input_ids=input_ids, attention_mask=attention_mask).logits.numpy()

    found = runtime.run(input_ids.numpy(), attention_mask.numpy())
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=2 * FP16_TOLERANCE)
