from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import LongformerForSequenceClassification

from export.fp16 import HalfLongformer
from export.fp32_layers import TARGET_SHARE, choose_fp32_layers
from export.matrix import Shape, random_model
from export.parity import FP16_TOLERANCE
from export.torch_weights import convert_weights, spec_of
from handlers.runtime.torch_longformer import TorchLongformer
from tests.unit.export.test_fp16_graph import SHAPE, rescaled, widen_hidden, worst

DEEP = Shape(windows=(8, 4, 8, 4, 8), heads=2, head_size=8, labels=3, max_length=140)

Forward = Callable[[Tensor, Tensor], Tensor]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    """The models are too small to share out."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def deep() -> LongformerForSequenceClassification:
    return random_model(DEEP, seed=1)


def in_half(model: LongformerForSequenceClassification) -> Callable[[int], Forward]:
    return lambda count: HalfLongformer(model, fp32_layers=count).eval()


def in_torch(model: LongformerForSequenceClassification) -> Callable[[int], Forward]:
    def make(count: int) -> Forward:
        runtime = TorchLongformer(spec_of(model, fp32_layers=count), convert_weights(model, "fp16", count))
        return lambda ids, mask: runtime(ids, mask, padded=True)

    return make


@pytest.mark.parametrize("made", [in_half, in_torch])
def test_an_ordinary_checkpoint_needs_none(
    made: Callable[[LongformerForSequenceClassification], Callable[[int], Forward]],
) -> None:
    model = random_model(SHAPE, seed=0)
    notes: list[str] = []

    assert choose_fp32_layers(model, made(model), notes.append) == 0
    assert notes == []


def off_by(model: LongformerForSequenceClassification, *deltas: float) -> Callable[[int], Forward]:
    """Answers that are off by so much with none, one, … of the layers in fp32."""

    def make(count: int) -> Forward:
        return lambda ids, mask: model(input_ids=ids, attention_mask=mask).logits + deltas[count]

    return make


def test_no_more_layers_are_kept_than_it_takes(deep: LongformerForSequenceClassification) -> None:
    notes: list[str] = []
    enough = 0.9 * TARGET_SHARE * FP16_TOLERANCE

    assert choose_fp32_layers(deep, off_by(deep, 4e-3, enough, 0.0), notes.append) == 1
    assert notes == ["all fp16: a logit differs by 4.0e-03, more than 1e-03"]


def test_more_than_half_of_the_layers_are_not_kept(deep: LongformerForSequenceClassification) -> None:
    def hopeless(count: int) -> Forward:
        return lambda ids, mask: torch.full((len(ids), 3), float("nan"))

    notes: list[str] = []
    assert choose_fp32_layers(deep, hopeless, notes.append) == 2
    assert "2 of 5 layers in fp32: a logit differs by inf" in notes[-1]


@pytest.mark.parametrize("count", range(len(SHAPE.windows)))
def test_any_number_of_first_layers_may_stay_in_fp32(count: int) -> None:
    model = random_model(SHAPE, seed=2)

    assert worst(model, HalfLongformer(model, fp32_layers=count).eval()) <= TARGET_SHARE * FP16_TOLERANCE
    assert worst(model, in_torch(model)(count)) <= FP16_TOLERANCE  # type: ignore[arg-type]


def test_what_fp32_layers_hand_on_does_not_overflow() -> None:
    model = rescaled(widen_hidden, 2.0**15)

    assert worst(model, HalfLongformer(model, fp32_layers=1).eval()) <= FP16_TOLERANCE


def test_weights_of_the_kept_layers_are_those_of_the_checkpoint(deep: LongformerForSequenceClassification) -> None:
    weights = convert_weights(deep, "fp16", fp32_layers=2)
    stock = deep.state_dict()

    kept = ("longformer.embeddings.", "longformer.encoder.layer.0.", "longformer.encoder.layer.1.")
    for name, tensor in weights.items():
        if name.startswith(kept):
            assert torch.equal(tensor, stock[name])
        elif tensor.is_floating_point():
            assert tensor.dtype == torch.float16
