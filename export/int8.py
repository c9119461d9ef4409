"""The graph in int8: dynamic quantization of its large products, chosen by what the quality gate finds.

Optimum's quantizer replaces a product with a constant weight by integers: the weight as int8 with a scale
for each output channel, the activations as uint8 with one scale for a whole tensor that is measured at
every run. ONNX Runtime fuses what comes out (``DynamicQuantizeMatMul``; q, k and v share the quantization of
their input) and runs it with the CPU's integer dot products. Attention scores, softmax, layer norm and the
embeddings stay in fp32, and so does the classifier: it reads one row, and its outputs are the logits.

Where the gate fails, the weights that hurt are found by simulating the quantization of one weight at a time,
and the worst are kept in fp32: one, then three, seven, fifteen, … up to half of them.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnxruntime.quantization import QuantFormat, QuantizationMode, QuantType
from optimum.onnxruntime import ORTQuantizer
from optimum.onnxruntime.configuration import QuantizationConfig
from torch import Tensor, nn
from transformers import LongformerForSequenceClassification

from export.errors import ExportRefused
from export.longformer import ExportableLongformer
from export.quality import QualityReport
from handlers.runtime.bundle import GRAPH_NAME

PROBED_TEXTS: Final = 16
PROBED_TOKENS: Final = 128
"""Texts that one weight after another is tried on, and where they are cut: a bound on the time that takes."""

KEPT_SHARE: Final = 0.5
"""Largest share of the weights that may stay in fp32; with more the graph is not worth having."""

_LEVELS: Final = 255
_WEIGHT_LEVELS: Final = 127


@dataclass(frozen=True)
class Product:
    """A matrix product of the graph with a 2-D constant weight: its node and its parameter in the checkpoint."""

    node: str
    parameter: str


@dataclass(frozen=True)
class Harm:
    """What quantizing one weight alone does: the root mean square of the logits' change."""

    parameter: str
    error: float


def find_products(graph: Path, model: LongformerForSequenceClassification) -> list[Product]:
    """Return the products that can be quantized, in the graph's order; parameters are told by their content.

    Args:
        graph: ``model.onnx`` in fp32, as exported of ``model``.
    """
    proto = onnx.load(graph)
    weights = {tensor.name: tensor for tensor in proto.graph.initializer if len(tensor.dims) == 2}
    parameters: dict[str, list[str]] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            parameters.setdefault(_digest(module.weight.detach().numpy().T), []).append(f"{name}.weight")
    products = []
    for node in proto.graph.node:
        if node.op_type == "MatMul" and node.input[1] in weights:
            names = parameters[_digest(numpy_helper.to_array(weights[node.input[1]]))]
            # Equal weights, as of an untrained copy, are told apart by their order, which is the graph's.
            products.append(Product(node.name, names.pop(0) if len(names) > 1 else names[0]))
    return products


def quantize(graph: Path, folder: Path, nodes: Collection[str]) -> None:
    """Write the graph with ``nodes`` quantized to ``folder``, as ``model.onnx`` and its weights beside it.

    Args:
        graph: ``model.onnx`` in fp32, in a folder with its ``config.json``.
        nodes: names of products.
    """
    config = QuantizationConfig(
        is_static=False,
        format=QuantFormat.QOperator,
        mode=QuantizationMode.IntegerOps,
        activations_dtype=QuantType.QUInt8,
        weights_dtype=QuantType.QInt8,
        per_channel=True,
        nodes_to_quantize=sorted(nodes),
        operators_to_quantize=["MatMul"],
    )
    quantizer = ORTQuantizer.from_pretrained(graph.parent, file_name=graph.name)
    with tempfile.TemporaryDirectory(prefix="quantized-", dir=folder) as work:
        quantizer.quantize(config, work, file_suffix=None, use_external_data_format=True)
        for path in sorted(Path(work).glob(f"{GRAPH_NAME}*")):
            shutil.move(path, folder / path.name)


def search(
    products: Sequence[Product],
    attempt: Callable[[Sequence[Product], Sequence[str]], QualityReport],
    harms: Callable[[], Sequence[Harm]],
    note: Callable[[str], None],
) -> QualityReport:
    """Quantize as much as the gate lets pass.

    Args:
        products: that can be quantized.
        attempt: quantizes the given products, leaves the named parameters, and asks the gate.
        harms: ranks the parameters, worst first; asked once, and only if the first attempt fails.
        note: told about every attempt that fails, and what is kept next.

    Returns:
        the report that passed; its graph is the one that ``attempt`` made last.

    Raises:
        ExportRefused: half of the weights are in fp32 and the gate still fails, naming the worst.
    """
    report = attempt(products, ())
    ranking: Sequence[Harm] = ()
    kept: list[str] = []
    while not report.passed:
        ranking = ranking or harms()
        count = 2 * len(kept) + 1
        if count > KEPT_SHARE * len(products):
            worst = ", ".join(harm.parameter for harm in ranking[: max(1, len(kept))])
            raise ExportRefused(f"int8 changes too much: {report.outcome} with these in fp32: {worst}; serve fp32")
        added = ", ".join(f"{harm.parameter} ({harm.error:.1e})" for harm in ranking[len(kept) : count])
        kept = [harm.parameter for harm in ranking[:count]]
        note(f"the gate fails: {report.outcome}; keeping in fp32 what changes logits most by itself: {added}")
        report = attempt([product for product in products if product.parameter not in kept], kept)
    return report


def rank_harms(
    model: LongformerForSequenceClassification,
    parameters: Collection[str],
    texts: Sequence[Sequence[int]],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Harm]:
    """Measure what quantizing each parameter alone does to the logits, worst first.

    The quantization is simulated in fp32: the same rounding of the same values, without the integers.

    Args:
        parameters: names of linear layers' weights.
        texts: model inputs; ``PROBED_TEXTS`` of them, evenly, are cut to ``PROBED_TOKENS``.
    """
    graph = ExportableLongformer(model).eval()
    input_ids, attention_mask = _probe_batch(texts, int(model.config.pad_token_id or 0))
    modules = dict(model.named_modules())
    harms = []
    with torch.inference_mode():
        expected = graph(input_ids, attention_mask)
        for number, parameter in enumerate(parameters, start=1):
            linear = modules[parameter.removesuffix(".weight")]
            assert isinstance(linear, nn.Linear)  # find_products names nothing else
            with _quantized(linear):
                delta = graph(input_ids, attention_mask) - expected
            harms.append(Harm(parameter, float(delta.square().mean().sqrt())))
            progress(number, len(parameters))
    return sorted(harms, key=lambda harm: (-harm.error, harm.parameter))


def _digest(weight: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> str:
    return hashlib.sha256(repr(weight.shape).encode() + np.ascontiguousarray(weight).tobytes()).hexdigest()


def _probe_batch(texts: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Return ids and mask, int64 ``(texts, longest)``."""
    places = np.linspace(0, len(texts) - 1, min(PROBED_TEXTS, len(texts))).round().astype(int)
    chosen = [torch.tensor(texts[place][:PROBED_TOKENS]) for place in places]
    input_ids = nn.utils.rnn.pad_sequence(chosen, batch_first=True, padding_value=pad)
    tokens = torch.tensor([len(text) for text in chosen])
    return input_ids, (torch.arange(input_ids.shape[1]) < tokens[:, None]).long()


@contextmanager
def _quantized(linear: nn.Linear) -> Iterator[None]:
    """Let ``linear`` compute what it would with int8 weights and dynamically quantized inputs."""
    original = linear.weight.data
    hook = linear.register_forward_pre_hook(lambda _, inputs: (_rounded_input(inputs[0]),))
    linear.weight.data = _rounded_weight(original)
    try:
        yield
    finally:
        linear.weight.data = original
        hook.remove()


def _rounded_weight(weight: Tensor) -> Tensor:
    """Round each output channel to its own symmetric int8 scale."""
    scale = weight.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny) / _WEIGHT_LEVELS
    return (weight / scale).round() * scale


def _rounded_input(values: Tensor) -> Tensor:
    """Round a tensor as ONNX's DynamicQuantizeLinear does: uint8, with a scale and a zero point for all of it."""
    low, high = values.min().clamp(max=0.0), values.max().clamp(min=0.0)
    scale = ((high - low) / _LEVELS).clamp(min=torch.finfo(values.dtype).tiny)
    zero = (-low / scale).round()
    return ((values / scale).round() + zero).clamp(0, _LEVELS).sub(zero) * scale
