from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor
from transformers import LongformerForSequenceClassification

from export.longformer import ExportableLongformer
from export.matrix import Shape, random_model
from tests.unit.longformer_cases import cases

TOLERANCE = 1e-5
SMALL = Shape(windows=(8, 4), heads=2, head_size=4, labels=3, max_length=128)


@pytest.fixture(scope="module")
def small() -> LongformerForSequenceClassification:
    return random_model(SMALL, seed=1)


def draw_batch(rows: list[int], length: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return ids and mask ``(rows, length)`` with that many real tokens in each row."""
    generator = torch.Generator().manual_seed(seed)
    input_ids = torch.randint(3, 300, (len(rows), length), generator=generator)
    attention_mask = (torch.arange(length) < torch.tensor(rows)[:, None]).long()
    input_ids[:, 0] = 0
    return torch.where(attention_mask == 1, input_ids, 1), attention_mask


@torch.inference_mode()
def difference(model: LongformerForSequenceClassification, graph: Any, rows: list[int], length: int) -> float:
    input_ids, attention_mask = draw_batch(rows, length, seed=length)
    expected = model(input_ids=input_ids, attention_mask=attention_mask).logits
    return float((graph(input_ids, attention_mask) - expected).abs().max())


@settings(max_examples=60)
@given(cases())
def test_any_shape_at_any_length_and_padding_equals_transformers(case: tuple[Shape, int, list[int], int]) -> None:
    shape, block, rows, length = case
    model = random_model(shape, seed=length)

    assert difference(model, ExportableLongformer(model, block).eval(), rows, length) <= TOLERANCE


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, 127, 128])
def test_lengths_around_the_windows_equal_transformers(small: LongformerForSequenceClassification, length: int) -> None:
    graph = ExportableLongformer(small).eval()

    assert difference(small, graph, [length, max(1, length // 2), 1], length) <= TOLERANCE


@torch.inference_mode()
def test_what_is_behind_the_mask_does_not_matter(small: LongformerForSequenceClassification) -> None:
    graph = ExportableLongformer(small, 16).eval()
    input_ids, attention_mask = draw_batch([20], 50, seed=0)
    other = torch.where(attention_mask == 1, input_ids, 7)

    torch.testing.assert_close(graph(other, attention_mask), graph(input_ids, attention_mask), rtol=0, atol=0)


@torch.inference_mode()
def test_every_token_counts(small: LongformerForSequenceClassification) -> None:
    graph = ExportableLongformer(small, 16).eval()
    input_ids, attention_mask = draw_batch([40], 40, seed=0)
    changed = input_ids.repeat(40, 1)
    changed[torch.arange(40), torch.arange(40)] = 299
    logits = graph(changed, attention_mask.repeat(40, 1))

    assert ((logits - graph(input_ids, attention_mask)).abs().max(dim=1).values > 1e-6).all()


def test_the_graph_holds_the_models_own_weights(small: LongformerForSequenceClassification) -> None:
    theirs = {id(parameter) for parameter in small.parameters()}
    own = [id(parameter) for parameter in ExportableLongformer(small).parameters()]

    assert set(own) <= theirs
