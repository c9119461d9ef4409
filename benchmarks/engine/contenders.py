"""Engines that run the same checkpoint, opened one way in the benchmark and in the children that measure memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import numpy as np

from benchmarks.errors import BenchmarkError
from benchmarks.machine import installed_version
from handlers.core.settings import Settings
from handlers.runtime import Logits, TokenIds
from handlers.runtime.bundle import read_bundle

if TYPE_CHECKING:
    from transformers import LongformerForSequenceClassification

# transformers and torch take seconds and 200 MB to import: a child that measures another engine does without them.

Kind = Literal["eager", "compile", "openvino", "bundle"]
Run = Callable[[TokenIds, TokenIds], Logits]
"""Maps ``input_ids`` and ``attention_mask``, int64 ``(batch, length)``, to logits, float32 ``(batch, labels)``."""

EAGER_NAME: Final = "transformers eager"
COMPILE_NAME: Final = "torch.compile"


@dataclass(frozen=True)
class Contender:
    """One engine over one checkpoint.

    Attributes:
        name: as the tables have it.
        kind: how it is opened.
        source: checkpoint of the ``transformers`` engines, bundle folder of the others.
        precision: of its matrix products.
        weights_bytes: of graph and weights on disk.
    """

    name: str
    kind: Kind
    source: str
    precision: str
    weights_bytes: int


class Unavailable(BenchmarkError):
    """A contender cannot run here; the message says why."""


def peer_contenders(checkpoint: str, folder: Path) -> list[Contender]:
    """Return the engines that run the checkpoint itself; ``folder`` holds its weights."""
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    return [
        Contender(EAGER_NAME, "eager", checkpoint, "fp32", size),
        Contender(COMPILE_NAME, "compile", checkpoint, "fp32", size),
    ]


def bundle_contender(folder: Path) -> Contender:
    """Return Lantern's own engine over a bundle, in the runtime and precision that it was made for."""
    bundle = read_bundle(folder)
    manifest = bundle.manifest
    runtime = "" if manifest.runtime == "onnx" else f" {manifest.runtime}"
    return Contender(
        f"Lantern{runtime} {manifest.precision}", "bundle", str(folder), manifest.precision, _graph_bytes(folder)
    )


def openvino_contender(folder: Path) -> Contender:
    """Return OpenVINO over the fp32 graph of a bundle."""
    return Contender("OpenVINO", "openvino", str(folder), read_bundle(folder).manifest.precision, _graph_bytes(folder))


def open_contender(contender: Contender, threads: int) -> Run:
    """Load a contender on the CPU.

    Raises:
        Unavailable: what it needs is not installed.
        StartupError: its bundle does not load.
    """
    return _OPENERS[contender.kind](contender, threads)


def random_inputs(batch: int, length: int, vocabulary: int) -> tuple[TokenIds, TokenIds]:
    """Return ``input_ids`` and ``attention_mask`` of full rows, ``<s>`` (id 0) first; the same for the same shape."""
    ids: TokenIds = np.random.default_rng(length).integers(3, vocabulary, (batch, length), dtype=np.int64)
    ids[:, 0] = 0
    return ids, np.ones_like(ids)


def _graph_bytes(folder: Path) -> int:
    name = read_bundle(folder).manifest.graph_name
    return sum(path.stat().st_size for path in folder.glob(f"{name}*"))


def _open_eager(contender: Contender, threads: int) -> Run:
    import torch

    torch.set_num_threads(threads)
    return _torch_run(_load_model(contender.source))


def _open_compiled(contender: Contender, threads: int) -> Run:
    """``torch.compile`` as a user calls it: its first call at a length may compile for minutes."""
    import torch

    torch.set_num_threads(threads)
    return _torch_run(cast(Callable[..., object], torch.compile(_load_model(contender.source))))


def _open_openvino(contender: Contender, threads: int) -> Run:
    if installed_version("openvino") is None:
        raise Unavailable("OpenVINO is not installed: pip install -r requirements/peers-openvino.txt")
    openvino: Any = import_module("openvino")  # not among this project's own packages, so it has no types here
    # The hint keeps fp32: where the processor has bf16 products, OpenVINO would take those by itself.
    hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(read_bundle(Path(contender.source)).graph), "CPU", hints)
    request = compiled.create_infer_request()

    def run(input_ids: TokenIds, attention_mask: TokenIds) -> Logits:
        results = request.infer({"input_ids": input_ids, "attention_mask": attention_mask})
        return cast(Logits, results["logits"])

    return run


def _open_bundle(contender: Contender, threads: int) -> Run:
    bundle = read_bundle(Path(contender.source))
    settings = Settings(runtime=bundle.manifest.runtime, device="cpu", threads=threads)
    return bundle.open_runtime(settings).run


_OPENERS: Final[dict[Kind, Callable[[Contender, int], Run]]] = {
    "eager": _open_eager,
    "compile": _open_compiled,
    "openvino": _open_openvino,
    "bundle": _open_bundle,
}


def _load_model(checkpoint: str) -> LongformerForSequenceClassification:
    from export.checkpoint import load_model, open_checkpoint

    return load_model(open_checkpoint(checkpoint))


def _torch_run(model: Callable[..., object]) -> Run:
    import torch

    def run(input_ids: TokenIds, attention_mask: TokenIds) -> Logits:
        with torch.inference_mode():
            output = model(input_ids=torch.from_numpy(input_ids), attention_mask=torch.from_numpy(attention_mask))
        return cast(Logits, output.logits.numpy())  # type: ignore[attr-defined]

    return run
