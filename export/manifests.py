"""Changes to the manifest of a bundle that is there, each written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from handlers.core.calibration import CALIBRATION_NAME, NO_CALIBRATION, Calibration
from handlers.core.errors import StartupError
from handlers.core.manifest import MANIFEST_NAME, Manifest
from handlers.core.scores import DEFAULT_THRESHOLD
from handlers.runtime.bundle import Bundle, read_calibration, sha256_file


def save_manifest(folder: Path, manifest: Manifest) -> Bundle:
    """Write ``bundle.json`` and return the bundle."""
    replace_text(folder / MANIFEST_NAME, manifest.model_dump_json(indent=1) + "\n")
    return Bundle(folder, manifest)


def replace_text(path: Path, text: str) -> None:
    """Write a file beside ``path`` and put it in its place, so that it is never there in part."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def record_calibration(bundle: Bundle, calibration: Calibration) -> Bundle:
    """Put a calibration into the bundle: the file, its thresholds and its name."""
    path = bundle.folder / CALIBRATION_NAME
    replace_text(path, calibration.model_dump_json(indent=1) + "\n")
    changes = {
        "thresholds": {label: calibration.labels[label].on for label in bundle.manifest.labels},
        "calibration": calibration.name,
        "files": bundle.manifest.files | {CALIBRATION_NAME: sha256_file(path)},
    }
    return save_manifest(bundle.folder, bundle.manifest.model_copy(update=changes))


def without_calibration(bundle: Bundle) -> Bundle:
    """Return the bundle as it would be uncalibrated; nothing is written."""
    manifest = bundle.manifest
    changes = {
        "thresholds": dict.fromkeys(manifest.labels, DEFAULT_THRESHOLD),
        "calibration": NO_CALIBRATION,
        "files": {name: digest for name, digest in manifest.files.items() if name != CALIBRATION_NAME},
    }
    return Bundle(bundle.folder, manifest.model_copy(update=changes))


def carry_calibration(old: Bundle, new: Bundle) -> tuple[Bundle, str | None]:
    """Take over the calibration of the bundle that ``new`` replaces, if it is for the same graph.

    Returns:
        The new bundle, and what became of the calibration; ``None`` where there was none.
    """
    if old.manifest.calibration == NO_CALIBRATION:
        return new, None
    gone = f"calibration {old.manifest.calibration} is dropped"
    try:
        calibration = read_calibration(old)
    except StartupError as error:
        return new, f"{gone}: {error}"
    path = old.folder / CALIBRATION_NAME
    if calibration is None or sha256_file(path) != old.manifest.files[CALIBRATION_NAME]:
        return new, f"{gone}: {path} is not the file that {MANIFEST_NAME} lists; calibrate the bundle again"
    if (old.graph_sha256, old.manifest.precision, set(old.manifest.labels)) != (
        new.graph_sha256,
        new.manifest.precision,
        set(new.manifest.labels),
    ):
        return new, f"{gone}: it was made for another graph; calibrate the new one (make calibrate DATA=labelled.csv)"
    return record_calibration(new, calibration), f"calibration {calibration.name} is kept: the graph is the same"
