"""The torch runtime: the function of ``transformers`` from weights alone, in both ways to attend."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.attention.varlen import AuxRequest
from transformers import LongformerForSequenceClassification

from export.matrix import Shape, random_model
from export.torch_weights import spec_of, write_weights
from handlers.core.errors import StartupError
from handlers.runtime import RuntimeDescription, torch_longformer
from handlers.runtime.torch_longformer import ALIGNMENT, Attention, TorchLongformer, plan_blocks, text_runs
from handlers.runtime.torch_runtime import TorchRuntime, graph_shapes, stage
from tests.unit.longformer_cases import cases

SHAPE = Shape(windows=(8, 4, 8), heads=2, head_size=4, labels=3, max_length=128)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    """The models are too small to share out."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def small() -> LongformerForSequenceClassification:
    return random_model(SHAPE, seed=1)


def build(
    model: LongformerForSequenceClassification, block: int = 16, attention: Attention = "blocks"
) -> TorchLongformer:
    return TorchLongformer(spec_of(model, attention, block), model.state_dict())


def draw_batch(rows: list[int], length: int) -> tuple[Tensor, Tensor]:
    """Return ids and mask ``(rows, length)`` with that many real tokens in each row."""
    input_ids = torch.randint(3, 300, (len(rows), length), generator=torch.Generator().manual_seed(length))
    mask = (torch.arange(length) < torch.tensor(rows)[:, None]).long()
    input_ids[:, 0] = 0
    return torch.where(mask == 1, input_ids, 1), mask


@torch.inference_mode()
def difference(
    model: LongformerForSequenceClassification, served: TorchLongformer, rows: list[int], length: int
) -> float:
    input_ids, mask = draw_batch(rows, length)
    expected = model(input_ids=input_ids, attention_mask=mask).logits
    return float((served(input_ids, mask, padded=min(rows) < length) - expected).abs().max())


@settings(max_examples=20)
@given(cases())
def test_any_shape_at_any_length_and_padding_equals_transformers(case: tuple[Shape, int, list[int], int]) -> None:
    shape, block, rows, length = case
    model = random_model(shape, seed=length)

    assert difference(model, build(model, block), rows, length) <= 1e-5


def attend_in_runs(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    runs: Tensor,
    key_runs: Tensor,
    longest: int,
    longest_key: int,
    *,
    return_aux: AuxRequest,
    window_size: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """What ``varlen_attn`` is documented to compute, sequence by sequence; it runs on CUDA alone."""
    assert return_aux.lse
    assert longest == longest_key >= int((runs[1:] - runs[:-1]).max())
    assert torch.equal(runs, key_runs)
    context, log_sum = torch.full_like(query, torch.nan), torch.full(query.shape[1::-1], torch.nan)
    for start, stop in zip(runs.tolist(), runs.tolist()[1:], strict=False):
        places = torch.arange(stop - start)
        apart = places[None, :] - places[:, None]
        outside = (apart < -window_size[0]) | (apart > window_size[1])
        q, k, v = (part[start:stop].transpose(0, 1) for part in (query, key, value))
        scores = (q @ k.transpose(1, 2) * query.shape[2] ** -0.5).masked_fill(outside, -torch.inf)
        context[start:stop] = (scores.softmax(dim=-1) @ v).transpose(0, 1)
        log_sum[:, start:stop] = scores.logsumexp(dim=-1)
    return context, log_sum


@pytest.mark.parametrize("length", [1, 5, 6, 33, 128])
def test_windowed_attention_joined_with_cls_equals_transformers(
    small: LongformerForSequenceClassification, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    monkeypatch.setattr(torch_longformer, "varlen_attn", attend_in_runs)
    rows = [length, max(1, length // 2), 1]

    assert difference(small, build(small, attention="windowed"), rows, length) <= 1e-5


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_runs_are_each_text_and_the_padding_behind_it(rows: list[int]) -> None:
    _, mask = draw_batch(rows, max(rows))
    runs = text_runs(mask)

    assert runs.dtype == torch.int32
    lengths = (runs[1:] - runs[:-1]).tolist()
    assert lengths == [part for row in rows for part in (row, max(rows) - row)]


@torch.inference_mode()
def test_without_padding_it_makes_no_difference_to_be_told_so(small: LongformerForSequenceClassification) -> None:
    served = build(small)
    for length in (3, 50):
        inputs = draw_batch([length, length], length)

        torch.testing.assert_close(served(*inputs, padded=False), served(*inputs, padded=True), rtol=0, atol=1e-6)


@given(length=st.integers(6, 200), batch=st.integers(1, 3), padded=st.booleans())
def test_masks_are_laid_out_as_fused_kernels_take_them(length: int, batch: int, padded: bool) -> None:
    plan = plan_blocks(torch.ones((batch, length), dtype=torch.int64), padded, 4, 16, torch.float16)

    assert plan.bias is not None
    assert plan.bias.isfinite().all()
    assert all(stride % ALIGNMENT == 0 for stride in plan.bias.stride()[:-1])
    assert plan.count * plan.block - length < plan.count


def test_fp16_runs_on_a_cpu_and_is_close(small: LongformerForSequenceClassification, tmp_path: Path) -> None:
    write_weights(small, tmp_path / "full.safetensors", "fp32")
    write_weights(small, tmp_path / "half.safetensors", "fp16")
    input_ids, mask = (part.numpy() for part in draw_batch([60, 7], 60))
    full, half = (
        TorchRuntime(tmp_path / f"{name}.safetensors", "cpu", threads=1).run(input_ids, mask)
        for name in ("full", "half")
    )

    assert half.dtype == np.float32
    assert 0 < np.abs(half - full).max() < 1e-2


def test_it_says_what_it_runs_on_and_prepares_every_length(
    small: LongformerForSequenceClassification, tmp_path: Path
) -> None:
    write_weights(small, tmp_path / "model.safetensors", "fp32")
    runtime = TorchRuntime(tmp_path / "model.safetensors", "cpu", threads=1, special_id=2, max_length=128)
    runtime.prepare([1, 128])

    assert runtime.describe() == RuntimeDescription("torch", "cpu", 1)
    with pytest.raises(IndexError):
        runtime.prepare([200])  # past the last position: what prepare is given, it runs


def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    graph = tmp_path / "model.safetensors"
    for content in (pickle.dumps(Payload()), b"", b"no tensors"):
        graph.write_bytes(content)
        with pytest.raises(StartupError, match=r"model\.safetensors: torch cannot load it"):
            TorchRuntime(graph, "cpu")
    torch.save({"weights": Payload()}, graph)
    with pytest.raises(StartupError, match=r"model\.safetensors: torch cannot load it"):
        TorchRuntime(graph, "cpu")
    assert not (tmp_path / "ran").exists()


def test_what_is_missing_is_named(small: LongformerForSequenceClassification, tmp_path: Path) -> None:
    graph = tmp_path / "model.safetensors"
    with pytest.raises(StartupError, match=r"model\.safetensors: torch cannot load it"):
        TorchRuntime(graph, "cpu")
    weights = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    save_file(weights, graph, metadata={"format": "pt"})
    with pytest.raises(StartupError, match="has no valid 'lantern' entry: export the bundle again"):
        TorchRuntime(graph, "cpu")
    del weights["classifier.dense.bias"]
    save_file(weights, graph, metadata={"lantern": spec_of(small).model_dump_json()})
    with pytest.raises(StartupError, match=r"classifier\.dense\.bias"):
        TorchRuntime(graph, "cpu")


def test_windowed_attention_is_refused_on_a_cpu(small: LongformerForSequenceClassification, tmp_path: Path) -> None:
    graph = tmp_path / "model.safetensors"
    write_weights(small, graph, "fp16", "windowed")

    with pytest.raises(StartupError, match="runs on CUDA alone: export it with --attention blocks"):
        TorchRuntime(graph, "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_without_a_device_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"device cuda was asked for, but torch sees no .*DEVICE=cpu"):
        TorchRuntime(tmp_path / "model.safetensors", "cuda")


def test_kept_shapes_are_a_handful_within_the_models_length() -> None:
    assert len(graph_shapes(4096)) == len(set(graph_shapes(4096))) < 60
    assert (1, 4096) in graph_shapes(4096)
    assert max(length for _, length in graph_shapes(300)) <= 300


def test_a_batch_laid_into_a_larger_shape_leaves_rows_of_one_token(small: LongformerForSequenceClassification) -> None:
    input_ids, mask = draw_batch([5, 3], 5)
    staged = np.full((2, 4, 8), 99, dtype=np.int64)
    stage(staged, input_ids.numpy(), mask.numpy(), special_id=0)
    served = build(small)

    assert staged[1].sum(axis=1).tolist() == [5, 3, 1, 1]
    with torch.inference_mode():
        larger = served(torch.from_numpy(staged[0]), torch.from_numpy(staged[1]), padded=True)
        torch.testing.assert_close(larger[:2], served(input_ids, mask, padded=True), rtol=0, atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("attention", ["blocks", "windowed"])
def test_on_cuda_fp16_equals_transformers(tmp_path: Path, attention: Attention) -> None:
    model = random_model(Shape(windows=(64, 64), heads=2, head_size=32, labels=4, max_length=512), seed=0)
    graph = tmp_path / "model.safetensors"
    write_weights(model, graph, "fp16", attention)
    runtime = TorchRuntime(graph, "cuda", max_length=512)
    for _ in ("eager", "recorded"):
        for rows in ([5], [300], [512, 200, 1]):
            input_ids, mask = draw_batch(rows, max(rows))
            with torch.inference_mode():
                expected = model(input_ids=input_ids, attention_mask=mask).logits.numpy()
            np.testing.assert_allclose(runtime.run(input_ids.numpy(), mask.numpy()), expected, rtol=0, atol=2e-2)
        runtime.prepare([512])
