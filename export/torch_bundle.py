"""Checkpoint to a bundle for the torch runtime, which holds weights and no code."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from transformers import LongformerForSequenceClassification

from export import fp32_layers, torch_weights
from export.bundle import (
    begin_folder,
    check_smoke_entries,
    is_intact,
    present_bundle,
    put_in_place,
    tool_versions,
    write_bundle,
)
from export.checkpoint import Checkpoint, load_model
from export.fp32_layers import Forward, choose_fp32_layers
from export.progress import Progress
from export.torch_weights import convert_weights, spec_of, write_weights
from handlers.core.manifest import GRAPH_NAMES, Precision
from handlers.runtime import torch_longformer
from handlers.runtime.bundle import Bundle
from handlers.runtime.torch_longformer import DEFAULT_BLOCK, Attention, TorchLongformer

GRAPH_CODE: Final = (torch_longformer, torch_weights, fp32_layers)
"""Modules whose change makes a bundle another one: the graph is code here, and a verdict of the gate is on it too."""


@dataclass(frozen=True)
class TorchOptions:
    """How a torch bundle is made; see ``handlers.runtime.torch_longformer`` for the two ways to attend."""

    precision: Precision = "fp32"
    attention: Attention = "blocks"
    block_size: int = DEFAULT_BLOCK


def export_torch(
    checkpoint: Checkpoint, folder: Path, options: TorchOptions, progress: Progress, force: bool = False
) -> Bundle:
    """Write the torch bundle of ``checkpoint`` to ``folder``.

    A bundle that is there and was made of the same checkpoint with the same options and code is kept;
    anything else in its place is replaced only once the new one is complete.

    Raises:
        ExportRefused: the weights or options do not fit the runtime, a smoke entry comes out wrong, or
            ``folder`` holds something that is not a bundle.
    """
    present = present_bundle(folder)
    tools = tool_versions() | {"graph": _graph_digest(), "attention": f"{options.attention}-{options.block_size}"}
    if present is not None and not force and _is_current(present, checkpoint, options, tools):
        progress.note(f"{folder} is up to date")
        return present
    unfinished = begin_folder(folder)
    with progress.step(f"loading {checkpoint.name}"):
        model = load_model(checkpoint)
    kept = _choose_fp32_layers(model, options, progress) if options.precision == "fp16" else 0
    with progress.step("writing the weights"):
        path = unfinished / GRAPH_NAMES["torch"]
        write_weights(model, path, options.precision, options.attention, options.block_size, kept)
    bundle = write_bundle(checkpoint, model, unfinished, tools, "torch", options.precision, kept)
    if options.attention == "blocks":
        with progress.step(f"checking {len(checkpoint.smoke)} smoke entries"):
            check_smoke_entries(bundle)
    else:
        progress.note("the smoke entries are checked when the bundle is served: this attention runs on CUDA alone")
    return put_in_place(bundle, folder, present, progress)


def _choose_fp32_layers(model: LongformerForSequenceClassification, options: TorchOptions, progress: Progress) -> int:
    """Choose by the attention that runs anywhere; the other one's rounding is of the same size."""

    def in_half(count: int) -> Forward:
        spec = spec_of(model, block_size=options.block_size, fp32_layers=count)
        return partial(TorchLongformer(spec, convert_weights(model, "fp16", count)), padded=True)

    with progress.step("finding the layers that fp16 hurts"):
        return choose_fp32_layers(model, in_half, progress.note)


def _graph_digest() -> str:
    sources = b"".join(Path(module.__file__ or "").read_bytes() for module in GRAPH_CODE)
    return hashlib.sha256(sources).hexdigest()[:16]


def _is_current(present: Bundle, checkpoint: Checkpoint, options: TorchOptions, tools: dict[str, str]) -> bool:
    manifest = present.manifest
    same = (manifest.revision, manifest.labels, manifest.smoke, manifest.runtime, manifest.precision, manifest.tools)
    wanted = (checkpoint.revision, checkpoint.labels, checkpoint.smoke, "torch", options.precision, tools)
    return same == wanted and is_intact(present)
