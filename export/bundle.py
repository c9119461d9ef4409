"""Checkpoint to bundle: export, check the smoke entries, run the parity gate, write the manifest."""

from __future__ import annotations

import hashlib
import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Final

from transformers import LongformerForSequenceClassification

from export.checkpoint import Checkpoint, load_model, load_tokenizer
from export.errors import ExportRefused
from export.manifests import carry_calibration, save_manifest
from export.onnx import export_onnx
from export.parity import ParityReport, finite_or_none, write_report
from export.progress import Progress
from handlers.core.calibration import CALIBRATION_NAME
from handlers.core.errors import StartupError
from handlers.core.manifest import MANIFEST_NAME, Manifest, ParityRecord
from handlers.core.scores import DEFAULT_THRESHOLD
from handlers.core.settings import Settings
from handlers.pipeline import Pipeline, ServedModel
from handlers.runtime.bundle import GRAPH_NAME, Bundle, read_bundle, sha256_file

GRAPH_SOURCES: Final = ("longformer.py", "onnx.py")
TOOLS: Final = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime", "tokenizers")


def export_bundle(checkpoint: Checkpoint, folder: Path, progress: Progress, force: bool = False) -> Bundle:
    """Write the fp32 ONNX bundle of ``checkpoint`` to ``folder``.

    A bundle that is already there and was made of the same checkpoint by the same tools is
    kept; anything else in its place is replaced only once the new one is complete. A calibration
    stays where the new graph is that of the old bundle, and goes with a note where it is not.

    Raises:
        ExportRefused: the weights are not fit, a smoke entry comes out wrong, or ``folder``
            holds something that is not a bundle.
    """
    present = _present(folder)
    if present is not None and not force and _is_current(present, checkpoint):
        progress.note(f"{folder} is up to date")
        return present
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    with progress.step(f"loading {checkpoint.name}"):
        model = load_model(checkpoint)
    with progress.step("exporting the graph"):
        export_onnx(model, unfinished / GRAPH_NAME)
    bundle = _write_bundle(checkpoint, model, unfinished)
    with progress.step(f"checking {len(checkpoint.smoke)} smoke entries"):
        check_smoke_entries(bundle)
    if not checkpoint.smoke:
        progress.note(f"warning: no smoke entries, so nothing shows that the labels are in order: {checkpoint.labels}")
    bundle = _keep_calibration(folder, present, bundle, progress)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    return Bundle(folder, bundle.manifest)


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
        Pipeline(bundle, Settings(device="cpu", warm_up=False), ServedModel("export", "0"), sink=lambda _: None)
    except StartupError as error:
        raise ExportRefused(str(error)) from error


def record_parity(bundle: Bundle, report: ParityReport) -> Bundle:
    """Put the parity report into the bundle and its verdict into the manifest."""
    paths = write_report(report, bundle.folder)
    manifest = bundle.manifest
    record = ParityRecord(
        report=paths[0].name,
        precision=manifest.precision,
        max_abs_delta_logit=finite_or_none(report.max_abs_delta),
        tolerance=report.tolerance,
        threshold_flips=report.flips,
        passed=report.passed,
        graph_sha256=manifest.files[GRAPH_NAME],
    )
    files = manifest.files | {path.name: sha256_file(path) for path in paths}
    return save_manifest(bundle.folder, manifest.model_copy(update={"parity": record, "files": files}))


def _write_bundle(checkpoint: Checkpoint, model: LongformerForSequenceClassification, folder: Path) -> Bundle:
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
        runtime="onnx",
        precision="fp32",
        thresholds=dict.fromkeys(checkpoint.labels, DEFAULT_THRESHOLD),
        smoke=checkpoint.smoke,
        files={path.name: sha256_file(path) for path in sorted(folder.iterdir())},
        tools=tool_versions(),
    )
    return save_manifest(folder, manifest)


def tool_versions() -> dict[str, str]:
    """Return the versions of what makes a graph, this package's graph code included."""
    sources = b"".join((Path(__file__).parent / name).read_bytes() for name in GRAPH_SOURCES)
    versions = {name: version(name) for name in TOOLS}
    return versions | {"python": platform.python_version(), "graph": hashlib.sha256(sources).hexdigest()[:16]}


def _present(folder: Path) -> Bundle | None:
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


def _is_current(bundle: Bundle, checkpoint: Checkpoint) -> bool:
    manifest = bundle.manifest
    same = (manifest.revision, manifest.labels, manifest.smoke, manifest.tools) == (
        checkpoint.revision,
        checkpoint.labels,
        checkpoint.smoke,
        tool_versions(),
    )
    intact = all(
        (bundle.folder / name).is_file() and sha256_file(bundle.folder / name) == digest
        for name, digest in manifest.files.items()
    )
    return same and intact
