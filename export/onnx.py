"""The exportable graph as ``model.onnx``: one file for every batch size and length."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import onnx
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from torch import Tensor
from torch.onnx import ONNXProgram
from transformers import LongformerForSequenceClassification

from export.fp16 import HalfLongformer
from export.longformer import ExportableLongformer

FloatPrecision = Literal["fp32", "fp16"]

OPSET: Final = 20
"""The first opset with Gelu as one node; LayerNormalization is one since 17."""

TRACE_SHAPE: Final = (2, 77)
"""Batch and length of the traced example; any other works as well, since both stay symbols."""


def export_onnx(
    model: LongformerForSequenceClassification, path: Path, precision: FloatPrecision = "fp32", fp32_layers: int = 0
) -> None:
    """Write the graph of ``model`` to ``path``, its weights beside it in ``path``.data.

    Inputs ``input_ids`` and ``attention_mask`` (int64, batch x length), output ``logits``
    (float32, batch x labels) in either precision. The weights are in a file of their own because a runtime can map
    that into memory instead of parsing it.
    """
    module = HalfLongformer(model, fp32_layers=fp32_layers) if precision == "fp16" else ExportableLongformer(model)
    dimensions = {0: "batch", 1: "length"}
    with _quiet():
        program = torch.onnx.export(
            module.eval(),
            _example(model),
            dynamo=True,
            opset_version=OPSET,
            input_names=["input_ids", "attention_mask"],
            output_names=["logits"],
            dynamic_shapes={"input_ids": dimensions, "attention_mask": dimensions},
        )
    assert program is not None  # dynamo=True returns the program
    _strip(program)
    program.save(str(path), external_data=True)
    _forget_shapes(path)


def _example(model: LongformerForSequenceClassification) -> tuple[Tensor, Tensor]:
    input_ids = torch.full(TRACE_SHAPE, int(model.config.bos_token_id or 0), dtype=torch.int64)
    return input_ids, torch.ones_like(input_ids)


def _strip(program: ONNXProgram) -> None:
    """Drop what the exporter leaves behind: stack traces with local paths, and inferred shapes."""
    ClearMetadataAndDocStringPass()(program.model)
    graph = program.model.graph
    for node in graph:
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape, value.type = None, None


def _forget_shapes(path: Path) -> None:
    """Drop the shapes of inner values and weights: a quantizer transposes weights, and then they would be wrong."""
    graph = onnx.load(path, load_external_data=False)
    del graph.graph.value_info[:]
    onnx.save(graph, path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back the exporter's banners and its warnings about packages that are not needed."""
    exporter = logging.getLogger("torch.onnx._internal.exporter")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(level)
