from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from transformers import LongformerForSequenceClassification

import export
from handlers.runtime import Runtime
from handlers.runtime.bundle import GRAPH_NAME
from tests.checkpoints import Tiny

TENSORRT_REFUSES = {
    "NonZero",
    "SequenceAt",
    "SequenceConstruct",
    "SplitToSequence",
    "ConcatFromSequence",
    "Loop",
    "If",
    "Scan",
    "Unique",
    "StringNormalizer",
}


@pytest.fixture(scope="module")
def graph(tiny: Tiny) -> onnx.ModelProto:
    """The exported graph without its weights."""
    return onnx.load(tiny.bundle / GRAPH_NAME, load_external_data=False)


def signature(values: list[onnx.ValueInfoProto]) -> dict[str, tuple[int, list[str | int]]]:
    return {
        value.name: (
            value.type.tensor_type.elem_type,
            [dimension.dim_param or dimension.dim_value for dimension in value.type.tensor_type.shape.dim],
        )
        for value in values
    }


def test_inputs_are_ids_and_mask_of_any_batch_and_length(graph: onnx.ModelProto) -> None:
    expected = (onnx.TensorProto.INT64, ["batch", "length"])

    assert signature(graph.graph.input) == {"input_ids": expected, "attention_mask": expected}


def test_the_output_is_one_float_for_each_label(graph: onnx.ModelProto) -> None:
    assert signature(graph.graph.output) == {"logits": (onnx.TensorProto.FLOAT, ["batch", 4])}


def test_the_graph_is_valid_at_its_opset(tiny: Tiny, graph: onnx.ModelProto) -> None:
    onnx.checker.check_model(str(tiny.bundle / GRAPH_NAME))

    assert {(opset.domain, opset.version) for opset in graph.opset_import if opset.domain == ""} == {("", 20)}


def test_only_standard_operators_that_tensorrt_parses_are_used(graph: onnx.ModelProto) -> None:
    assert {node.domain for node in graph.graph.node} == {""}
    assert TENSORRT_REFUSES.isdisjoint({node.op_type for node in graph.graph.node})
    assert not graph.functions


def test_nothing_tells_of_the_machine_that_exported_it(tiny: Tiny, graph: onnx.ModelProto) -> None:
    content = (tiny.bundle / GRAPH_NAME).read_bytes()
    places = [Path(export.__file__).parent, Path(torch.__file__).parent, Path.home(), tiny.bundle]

    assert [place for place in places if str(place).encode() in content] == []
    assert b".py" not in content
    assert not graph.metadata_props
    assert not any(node.metadata_props or node.doc_string for node in graph.graph.node)


def test_weights_lie_in_a_file_beside_the_graph(tiny: Tiny, graph: onnx.ModelProto) -> None:
    places = {
        entry.value for tensor in graph.graph.initializer for entry in tensor.external_data if entry.key == "location"
    }

    assert places == {"model.onnx.data"}
    assert (tiny.bundle / GRAPH_NAME).stat().st_size < (tiny.bundle / "model.onnx.data").stat().st_size


@pytest.mark.parametrize("length", [1, 2, 31, 33, 65, 129, 255, 256])
def test_optimum_loads_the_bundle_and_agrees_with_transformers(tiny: Tiny, length: int) -> None:
    from optimum.onnxruntime import ORTModelForSequenceClassification

    loaded = ORTModelForSequenceClassification.from_pretrained(tiny.bundle)
    model = LongformerForSequenceClassification.from_pretrained(tiny.checkpoint).eval()
    input_ids = torch.randint(5, 260, (2, length), generator=torch.Generator().manual_seed(length))
    input_ids[:, 0] = 0
    mask = torch.ones_like(input_ids)
    with torch.inference_mode():
        expected = model(input_ids=input_ids, attention_mask=mask).logits

    assert loaded.config.id2label == {0: "neutral", 1: "depressed", 2: "anxious", 3: "stressed"}
    torch.testing.assert_close(loaded(input_ids=input_ids, attention_mask=mask).logits, expected, rtol=0, atol=1e-5)


def test_rows_of_a_batch_do_not_touch_each_other(runtime: Runtime) -> None:
    input_ids = np.random.default_rng(0).integers(5, 260, (3, 90))
    mask = np.ones_like(input_ids)
    mask[1, 40:] = 0
    mask[2, 1:] = 0
    alone = [runtime.run(input_ids[row : row + 1, :n], mask[row : row + 1, :n])[0] for row, n in enumerate((90, 40, 1))]

    np.testing.assert_allclose(runtime.run(input_ids, mask), alone, atol=1e-5, rtol=0)
