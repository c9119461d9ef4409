"""A checkpoint's weights for the torch runtime: one safetensors file that holds tensors and no code.

Why not ``torch.export``: loading such a program (torch 2.13) may unpickle objects, evaluates size
expressions through sympy and resolves any name under ``torch``, so that a changed file runs code;
tracing fixes guards about lengths of one block that other lengths break; and a file is bound to the
torch that wrote it. Weights under their stock names have none of that, and the folder is an ordinary
checkpoint besides: ``LongformerForSequenceClassification.from_pretrained`` loads it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, cast, get_args

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import LongformerForSequenceClassification

from export.errors import ExportRefused
from export.longformer import ExportableLongformer
from handlers.core.manifest import Precision
from handlers.runtime.torch_longformer import DEFAULT_BLOCK, Activation, Attention, TorchSpec
from handlers.runtime.torch_runtime import SPEC_KEY

DTYPES: Final[dict[Precision, torch.dtype]] = {"fp32": torch.float32, "fp16": torch.float16}
"""Precisions of the torch runtime."""

_EMBEDDINGS: Final = "longformer.embeddings."
_ENCODER: Final = "longformer.encoder.layer."


def write_weights(
    model: LongformerForSequenceClassification,
    path: Path,
    precision: Precision,
    attention: Attention = "blocks",
    block_size: int = DEFAULT_BLOCK,
    fp32_layers: int = 0,
) -> None:
    """Write ``model`` to ``path`` in ``precision``, with a ``TorchSpec`` in the header.

    ``fp32_layers`` of the first layers stay in fp32, and the embeddings with them.

    Raises:
        ExportRefused: the runtime knows no such activation, precision or block, a weight is too large
            for fp16, or ``windowed`` is asked for in fp32.
    """
    if precision not in DTYPES:
        raise ExportRefused(f"--precision {precision}: the torch runtime runs {' and '.join(DTYPES)}")
    if attention == "windowed" and precision != "fp16":
        raise ExportRefused("--attention windowed runs in fp16 alone: add --precision fp16")
    if block_size < 1:
        raise ExportRefused(f"--block-size {block_size}: a block holds at least one query")
    spec = spec_of(model, attention, block_size, fp32_layers)
    weights = convert_weights(model, precision, fp32_layers)
    save_file(weights, path, metadata={"format": "pt", SPEC_KEY: spec.model_dump_json()})


def spec_of(
    model: LongformerForSequenceClassification,
    attention: Attention = "blocks",
    block_size: int = DEFAULT_BLOCK,
    fp32_layers: int = 0,
) -> TorchSpec:
    """Return what the torch runtime must know of ``model`` besides its weights.

    Raises:
        ExportRefused: it knows no such activation.
    """
    config = model.config
    if config.hidden_act not in get_args(Activation):
        raise ExportRefused(
            f"hidden_act {config.hidden_act}: the torch runtime knows {', '.join(get_args(Activation))}"
        )
    graph = ExportableLongformer(model)
    return TorchSpec(
        heads=config.num_attention_heads,
        windows=graph.windows,
        padding_idx=graph.padding_idx,
        layer_norm_eps=config.layer_norm_eps,
        activation=cast(Activation, config.hidden_act),
        attention=attention,
        block_size=block_size,
        fp32_layers=fp32_layers,
    )


def convert_weights(
    model: LongformerForSequenceClassification, precision: Precision, fp32_layers: int = 0
) -> dict[str, Tensor]:
    """Return the weights of ``model`` by their names, those of the first ``fp32_layers`` layers in fp32.

    Raises:
        ExportRefused: a weight is too large for fp16.
    """
    kept = [f"{_ENCODER}{index}." for index in range(fp32_layers)]
    if fp32_layers:
        kept.append(_EMBEDDINGS)
    return {
        name: _convert(name, tensor, torch.float32 if name.startswith(tuple(kept)) else DTYPES[precision])
        for name, tensor in model.state_dict().items()
    }


def _convert(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    if not tensor.is_floating_point():
        return tensor.contiguous()
    converted = tensor.to(dtype).contiguous()
    if not converted.isfinite().all():
        raise ExportRefused(f"{name}: a weight does not fit fp16; export with --precision fp32")
    return converted
