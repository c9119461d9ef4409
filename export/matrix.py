"""The parity gate over configurations: proof that nothing in the graph is made for one model.

Small random models of different depth, width, head count, label count and windows, each
exported for real and compared like any checkpoint.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import torch
from transformers import LongformerConfig, LongformerForSequenceClassification
from transformers.utils import logging as transformers_logging

from export.onnx import export_onnx
from export.parity import FP32_TOLERANCE, ParityReport, ParityResult, compare, parity_cases, parity_lengths
from handlers.core.scores import DEFAULT_THRESHOLD
from handlers.runtime.bundle import GRAPH_NAME
from handlers.runtime.onnx import OnnxRuntime

INITIALIZER_RANGE: Final = 0.1
"""Five times the usual, so that attention is peaked and a masking mistake shows in the logits."""


@dataclass(frozen=True)
class Shape:
    """A model shape; ``windows`` are whole attention windows, one for each layer."""

    windows: tuple[int, ...]
    heads: int
    head_size: int
    labels: int
    max_length: int = 4096

    def __str__(self) -> str:
        windows = "/".join(str(window) for window in dict.fromkeys(self.windows))
        size = f"{len(self.windows)} layers, {self.heads} heads of {self.head_size}"
        return f"{size}, window {windows}, {self.labels} labels"


SHAPES: Final = (
    Shape(windows=(64,), heads=2, head_size=8, labels=1),
    Shape(windows=(64, 64), heads=2, head_size=16, labels=4),
    Shape(windows=(128, 128, 128), heads=3, head_size=16, labels=7),
    Shape(windows=(512, 512), heads=4, head_size=16, labels=4),
    Shape(windows=(64, 128, 512, 128), heads=12, head_size=8, labels=2),
    Shape(windows=(64,) * 6 + (512,) * 6, heads=4, head_size=8, labels=4),
)
"""One-sided windows 32, 64 and 256, different per layer; 1 to 12 layers, 2 to 12 heads, 1 to 7 labels."""


def run_matrix(
    seeds: int, shapes: tuple[Shape, ...] = SHAPES, progress: Callable[[ParityResult], None] = lambda _: None
) -> Iterator[ParityReport]:
    """Export and compare a random model of every shape."""
    transformers_logging.set_verbosity_error()
    for number, shape in enumerate(shapes):
        model = random_model(shape, seed=number)
        with tempfile.TemporaryDirectory() as folder:
            graph = Path(folder) / GRAPH_NAME
            export_onnx(model, graph)
            runtime = OnnxRuntime(graph, "cpu")
            lengths = parity_lengths([window // 2 for window in shape.windows], shape.max_length)
            thresholds = [DEFAULT_THRESHOLD] * shape.labels
            results = compare(model, runtime, thresholds, parity_cases(lengths, seeds), progress)
        yield ParityReport(str(shape), "fp32", FP32_TOLERANCE, results)


def random_model(shape: Shape, seed: int) -> LongformerForSequenceClassification:
    """Return a random model of ``shape``, ready for inference."""
    hidden = shape.heads * shape.head_size
    config = LongformerConfig(
        vocab_size=300,
        hidden_size=hidden,
        num_hidden_layers=len(shape.windows),
        num_attention_heads=shape.heads,
        intermediate_size=2 * hidden,
        attention_window=list(shape.windows),
        max_position_embeddings=shape.max_length + 2,
        type_vocab_size=1,
        num_labels=shape.labels,
        initializer_range=INITIALIZER_RANGE,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        sep_token_id=2,
        problem_type="multi_label_classification",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LongformerForSequenceClassification(config)
    return cast(LongformerForSequenceClassification, model.eval())
