"""Checkpoint to bundle: export in a precision, check the smoke entries, write the manifest."""

from __future__ import annotations

import hashlib
import platform
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from transformers import LongformerForSequenceClassification

from export.checkpoint import Checkpoint, load_model, load_tokenizer
from export.errors import ExportRefused
from export.fp16 import HalfLongformer
from export.fp32_layers import choose_fp32_layers
from export.gates import compare_with_transformers, record_parity
from export.int8 import Harm, Product, find_products, quantize, rank_harms, search
from export.manifests import carry_calibration, save_manifest
from export.onnx import export_onnx
from export.progress import Progress
from export.quality import SHIPPED_TEXTS, Limits, QualityGate, QualityReport, default_limits, read_texts, record_quality
from handlers.core.calibration import CALIBRATION_NAME
from handlers.core.errors import StartupError
from handlers.core.manifest import MANIFEST_NAME, Manifest, Precision, RuntimeName
from handlers.core.scores import DEFAULT_THRESHOLD
from handlers.core.settings import Settings
from handlers.pipeline import Pipeline, ServedModel
from handlers.runtime.bundle import GRAPH_NAME, Bundle, has_passed_parity, read_bundle, sha256_file

GRAPH_SOURCES: Final[dict[Precision, tuple[str, ...]]] = {
    "fp32": ("longformer.py", "onnx.py"),
    "fp16": ("longformer.py", "onnx.py", "fp16.py", "fp32_layers.py"),
    "int8": ("longformer.py", "onnx.py", "int8.py", "quality.py"),
}
"""Code of this package that decides what a graph of a precision computes, or whether it passes."""

TOOLS: Final = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime", "tokenizers")
QUANTIZING_TOOLS: Final = ("optimum", "optimum-onnx")

REFERENCE_SEEDS: Final = 1
"""Draws at each length when an fp32 graph is compared only because an int8 graph is made of it."""


@dataclass(frozen=True)
class Quantization:
    """What an int8 bundle is made of and measured by.

    Attributes:
        reference: fp32 bundle of the same checkpoint, made or brought up to date where it is not; ``None`` makes
            one in a temporary folder.
        texts: file of the quality gate's texts.
        limits: of the gate; ``None`` for those that suit the checkpoint.
    """

    reference: Path | None = None
    texts: Path = SHIPPED_TEXTS
    limits: Limits | None = None

    def limits_for(self, checkpoint: str) -> Limits:
        """Return the limits for a checkpoint."""
        return self.limits or default_limits(checkpoint)


def export_bundle(
    checkpoint: Checkpoint,
    folder: Path,
    progress: Progress,
    force: bool = False,
    precision: Precision = "fp32",
    quantization: Quantization = Quantization(),
) -> Bundle:
    """Write the ONNX bundle of ``checkpoint`` in ``precision`` to ``folder``.

    A bundle that is already there and was made of the same checkpoint by the same tools is
    kept; anything else in its place is replaced only once the new one is complete. A calibration
    stays where the new graph is that of the old bundle, and goes with a note where it is not. An int8
    bundle has passed the quality gate, and its fp32 graph the parity gate, or it is not written.

    Raises:
        ExportRefused: the weights are not fit, a smoke entry comes out wrong, int8 changes too much, or
            ``folder`` holds something that is not a bundle.
    """
    present = present_bundle(folder)
    if present is not None and not force and _is_current(present, checkpoint, precision, quantization):
        progress.note(f"{folder} is up to date")
        return present
    unfinished = begin_folder(folder)
    with progress.step(f"loading {checkpoint.name}"):
        model = load_model(checkpoint)
    if precision == "int8":
        with reference_bundle(checkpoint, model, unfinished, quantization, progress) as reference:
            bundle = _quantize_bundle(checkpoint, model, reference, unfinished, quantization, progress)
    else:
        fp32_layers = _choose_fp32_layers(model, progress) if precision == "fp16" else 0
        with progress.step(f"exporting the graph in {precision}"):
            export_onnx(model, unfinished / GRAPH_NAME, precision, fp32_layers)
        tools = tool_versions(precision)
        bundle = write_bundle(checkpoint, model, unfinished, tools, precision=precision, fp32_layers=fp32_layers)
    with progress.step(f"checking {len(checkpoint.smoke)} smoke entries"):
        check_smoke_entries(bundle)
    if not checkpoint.smoke:
        progress.note(f"warning: no smoke entries, so nothing shows that the labels are in order: {checkpoint.labels}")
    return put_in_place(bundle, folder, present, progress)


def _choose_fp32_layers(model: LongformerForSequenceClassification, progress: Progress) -> int:
    def in_half(count: int) -> HalfLongformer:
        return HalfLongformer(model, fp32_layers=count).eval()

    with progress.step("finding the layers that fp16 hurts"):
        return choose_fp32_layers(model, in_half, progress.note)


def begin_folder(folder: Path) -> Path:
    """Return an empty folder beside ``folder``, to be put in its place when it is complete."""
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    return unfinished


def put_in_place(bundle: Bundle, folder: Path, present: Bundle | None, progress: Progress) -> Bundle:
    """Put a complete bundle in the place of ``present``, with its calibration if that is for the same graph."""
    bundle = _keep_calibration(folder, present, bundle, progress)
    shutil.rmtree(folder, ignore_errors=True)
    bundle.folder.rename(folder)
    return Bundle(folder, bundle.manifest)


@contextmanager
def reference_bundle(
    checkpoint: Checkpoint,
    model: LongformerForSequenceClassification,
    beside: Path,
    quantization: Quantization,
    progress: Progress,
) -> Iterator[Bundle]:
    """Yield an fp32 bundle of ``checkpoint`` that has passed the parity gate.

    Args:
        beside: a temporary one is made beside this path.

    Raises:
        ExportRefused: its graph fails the gate, or as ``export_bundle``.
    """
    with ExitStack() as stack:
        folder = quantization.reference
        if folder is None:
            temporary = tempfile.TemporaryDirectory(prefix=f"{beside.name}-fp32-", dir=beside.parent)
            folder = Path(stack.enter_context(temporary)) / "bundle"
        bundle = export_bundle(checkpoint, folder, progress)
        if not has_passed_parity(bundle):
            report = compare_with_transformers(bundle, model, REFERENCE_SEEDS, "cpu", progress)
            bundle = record_parity(bundle, report)
        if not has_passed_parity(bundle):
            raise ExportRefused(f"{folder}: the fp32 graph fails the parity gate, so no int8 graph is made of it")
        yield bundle


def open_gate(reference: Bundle, quantization: Quantization, progress: Progress) -> QualityGate:
    """Read the texts of the quality gate with the fp32 graph.

    Raises:
        ExportRefused: the file of texts is not fit.
    """
    manifest = reference.manifest
    texts = read_texts(quantization.texts, manifest.checkpoint, manifest.labels)
    limits = quantization.limits_for(manifest.checkpoint)
    with progress.step(f"reading {len(texts.texts)} texts of {texts.name} with the fp32 graph"):
        return QualityGate(reference, texts, limits, progress=progress.counter("texts read"))


def _quantize_bundle(
    checkpoint: Checkpoint,
    model: LongformerForSequenceClassification,
    reference: Bundle,
    folder: Path,
    quantization: Quantization,
    progress: Progress,
) -> Bundle:
    """Write the int8 bundle that the quality gate lets pass to ``folder``."""
    gate = open_gate(reference, quantization, progress)
    products = find_products(reference.graph, model)

    def attempt(chosen: Sequence[Product], kept: Sequence[str]) -> QualityReport:
        with progress.step(f"quantizing {len(chosen)} of {len(products)} weights"):
            quantize(reference.graph, folder, [product.node for product in chosen])
        bundle = write_bundle(checkpoint, model, folder, tool_versions("int8"), precision="int8")
        with progress.step("reading the same texts in int8"):
            return gate.compare(bundle, kept)

    def harms() -> list[Harm]:
        tokenizer = reference.open_tokenizer()
        texts = [tokenizer.model_input(text, [(0, len(text.ids))]) for text in map(tokenizer.tokenize, gate.texts)]
        parameters = [product.parameter for product in products]
        with progress.step(f"quantizing {len(parameters)} weights one by one"):
            return rank_harms(model, parameters, texts, progress.counter("weights tried"))

    report = search(products, attempt, harms, progress.note)
    progress.note(f"int8 passes the quality gate: {report.outcome}")
    return record_quality(read_bundle(folder), report)


def _keep_calibration(folder: Path, present: Bundle | None, bundle: Bundle, progress: Progress) -> Bundle:
    """Take over the calibration of the bundle in ``folder`` that is about to be replaced, or say that it goes."""
    if present is not None:
        bundle, outcome = carry_calibration(present, bundle)
        if outcome is not None:
            progress.note(outcome)
    elif (folder / CALIBRATION_NAME).is_file():
        progress.note("the calibration is dropped: the old bundle is of another version; calibrate the new one")
    return bundle


def check_smoke_entries(bundle: Bundle) -> None:
    """Run the smoke entries through the pipeline that will serve them.

    Raises:
        ExportRefused: one does not come out with its expected label on top.
    """
    try:
        settings = Settings(runtime=bundle.manifest.runtime, device="cpu", warm_up=False)
        Pipeline(bundle, settings, ServedModel("export", "0"), sink=lambda _: None)
    except StartupError as error:
        raise ExportRefused(str(error)) from error


def write_bundle(
    checkpoint: Checkpoint,
    model: LongformerForSequenceClassification,
    folder: Path,
    tools: dict[str, str],
    runtime: RuntimeName = "onnx",
    precision: Precision = "fp32",
    fp32_layers: int = 0,
) -> Bundle:
    """Write what belongs beside the graph that is in ``folder``: configuration, tokenizer and manifest."""
    model.config.save_pretrained(folder)
    load_tokenizer(checkpoint.folder).save_pretrained(folder)
    manifest = Manifest(
        checkpoint=checkpoint.name,
        revision=checkpoint.revision,
        labels=checkpoint.labels,
        labels_source=checkpoint.labels_source,
        max_length=checkpoint.max_length,
        attention_window=checkpoint.attention_window,
        special_tokens=checkpoint.special_tokens,
        runtime=runtime,
        precision=precision,
        fp32_layers=fp32_layers,
        thresholds=dict.fromkeys(checkpoint.labels, DEFAULT_THRESHOLD),
        smoke=checkpoint.smoke,
        files={path.name: sha256_file(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST_NAME},
        tools=tools,
    )
    return save_manifest(folder, manifest)


def tool_versions(precision: Precision = "fp32") -> dict[str, str]:
    """Return the versions of what makes an ONNX graph in ``precision``, this package's own code included."""
    sources = b"".join((Path(__file__).parent / name).read_bytes() for name in GRAPH_SOURCES[precision])
    tools = (*TOOLS, *QUANTIZING_TOOLS) if precision == "int8" else TOOLS
    versions = {name: version(name) for name in tools}
    return versions | {"python": platform.python_version(), "graph": hashlib.sha256(sources).hexdigest()[:16]}


def present_bundle(folder: Path) -> Bundle | None:
    """Return the bundle that ``folder`` holds; ``None`` where there is none, or one of another version.

    Raises:
        ExportRefused: ``folder`` holds something else, which is not to be replaced.
    """
    if not folder.exists():
        return None
    if not folder.is_dir() or folder.resolve() == Path.cwd():
        raise ExportRefused(f"--out {folder}: give a folder of its own for the bundle")
    if not any(folder.iterdir()):
        return None
    if not (folder / MANIFEST_NAME).is_file():
        raise ExportRefused(f"{folder} is there and is not a bundle; give another --out, nothing was changed")
    try:
        return read_bundle(folder)
    except StartupError:
        return None  # of another version: made again


def _is_current(bundle: Bundle, checkpoint: Checkpoint, precision: Precision, quantization: Quantization) -> bool:
    manifest = bundle.manifest
    wanted = ("onnx", precision, checkpoint.revision, checkpoint.labels, checkpoint.smoke, tool_versions(precision))
    same = wanted == (
        manifest.runtime,
        manifest.precision,
        manifest.revision,
        manifest.labels,
        manifest.smoke,
        manifest.tools,
    )
    return same and is_intact(bundle) and (precision != "int8" or _has_passed(manifest, quantization))


def _has_passed(manifest: Manifest, quantization: Quantization) -> bool:
    """Tell whether an int8 bundle passed the gate with these texts and limits."""
    quality, limits = manifest.quality, quantization.limits_for(manifest.checkpoint)
    return (
        quality is not None
        and quality.passed
        and (quality.flip_limit, quality.f1_limit) == (limits.flips, limits.macro_f1)
        and quantization.texts.is_file()
        and quality.data_sha256 == sha256_file(quantization.texts)
    )


def is_intact(bundle: Bundle) -> bool:
    """Tell whether every file that the manifest lists is there and unchanged."""
    return all(
        (bundle.folder / name).is_file() and sha256_file(bundle.folder / name) == digest
        for name, digest in bundle.manifest.files.items()
    )
