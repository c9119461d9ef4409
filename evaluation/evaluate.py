"""The flow: bundles and labelled files in, a report out. All checks come before any scoring."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np

from evaluation.errors import EvaluationError
from evaluation.figures import Scored, Truth, suite_report
from evaluation.report import (
    SCHEMA_VERSION,
    BundleReport,
    DataReport,
    Method,
    ModelReport,
    Report,
    SuiteReport,
    Threshold,
)
from export.labelled import LabelledFile, read_labelled
from export.progress import Progress
from export.served import ServedRow, served_rows
from handlers.core.calibration import NO_CALIBRATION, Calibration
from handlers.core.settings import Device
from handlers.runtime.bundle import Bundle, read_bundle, read_calibration, verify_bundle

TOOLS: Final = ("scikit-learn", "numpy", "onnxruntime", "tokenizers")
DATE_VARIABLE: Final = "SOURCE_DATE_EPOCH"
"""Seconds since 1970 that stand for now, so that the same figures make the same file."""

FEWEST_ROWS: Final = 2


@dataclass(frozen=True)
class Subject:
    """A bundle under evaluation, verified, with the name that it has in the report."""

    name: str
    bundle: Bundle
    calibration: Calibration | None

    @property
    def thresholds(self) -> dict[str, Threshold]:
        """Threshold of each label, as served."""
        found = self.calibration.labels if self.calibration else {}
        return {
            rule.name: Threshold(rule.threshold, found[rule.name].off if rule.name in found else None)
            for rule in self.bundle.label_rules()
        }


@dataclass(frozen=True)
class Options:
    """How to evaluate. ``allow_calibration_data`` takes files that the bundle was calibrated on."""

    method: Method
    device: Device = "auto"
    allow_calibration_data: bool = False


def evaluate(folders: Sequence[Path], suites: Mapping[str, Path], options: Options, progress: Progress) -> Report:
    """Evaluate bundles of one checkpoint on labelled files.

    Args:
        folders: of the bundles; the first is shown in detail.
        suites: labelled files by the name of their section.

    Raises:
        EvaluationError: the bundles do not belong together, or a file is not fit to judge them.
        LabelledDataError: a file cannot be read as labelled texts.
        NotServed: a text got no answer, or a logit that is not finite.
        StartupError: a bundle is not fit to be served.
    """
    subjects = open_subjects(folders)
    manifest = subjects[0].bundle.manifest
    files = {name: _read_suite(path, subjects, options) for name, path in suites.items()}
    reports = {
        name: _evaluate_suite(f"{name}: " if len(files) > 1 else "", file, subjects, options, progress)
        for name, file in files.items()
    }
    return Report(
        schema_version=SCHEMA_VERSION,
        generated_at=_now().isoformat(timespec="seconds").replace("+00:00", "Z"),
        model=ModelReport(manifest.checkpoint, manifest.revision, manifest.labels, manifest.labels_source),
        bundles=tuple(_bundle_report(subject) for subject in subjects),
        method=options.method,
        tools={name: version(name) for name in TOOLS} | {"python": platform.python_version()},
        suites=reports,
    )


def open_subjects(folders: Sequence[Path]) -> list[Subject]:
    """Read and verify bundles, and name them by precision, with the calibration where that is not enough.

    Raises:
        EvaluationError: they are not of one checkpoint, or two of them are alike.
        StartupError: a bundle is not fit to be served.
    """
    bundles = [read_bundle(folder) for folder in folders]
    for bundle in bundles:
        verify_bundle(bundle)
        _check_same_checkpoint(bundles[0], bundle)
    precisions = [bundle.manifest.precision for bundle in bundles]
    plain = len(set(precisions)) == len(precisions)
    names = [bundle.manifest.precision if plain else _full_name(bundle) for bundle in bundles]
    for name in names:
        if names.count(name) > 1:
            raise EvaluationError(f"two bundles are {name}: give each bundle once")
    return [Subject(name, bundle, read_calibration(bundle)) for name, bundle in zip(names, bundles, strict=True)]


def _full_name(bundle: Bundle) -> str:
    manifest = bundle.manifest
    calibration = "uncalibrated" if manifest.calibration == NO_CALIBRATION else manifest.calibration
    return f"{manifest.precision} {calibration}"


def _check_same_checkpoint(first: Bundle, other: Bundle) -> None:
    one, two = first.manifest, other.manifest
    if one.labels != two.labels:
        raise EvaluationError(
            f"{other.folder}: its labels ({', '.join(two.labels)}) are not those of {first.folder} "
            f"({', '.join(one.labels)}); bundles of one report must be of one checkpoint"
        )
    if one.revision != two.revision:
        raise EvaluationError(
            f"{other.folder}: made of another checkpoint than {first.folder} "
            f"({two.checkpoint}, not the same revision of {one.checkpoint}); evaluate it by itself"
        )


def _read_suite(path: Path, subjects: Sequence[Subject], options: Options) -> LabelledFile:
    file = read_labelled(path, subjects[0].bundle.manifest.labels)
    if len(file.rows) < FEWEST_ROWS:
        raise EvaluationError(f"{path}: {len(file.rows)} row; figures with an interval need at least {FEWEST_ROWS}")
    if _is_calibration_data(file, subjects) and not options.allow_calibration_data:
        raise EvaluationError(
            f"{path}: a bundle was calibrated on this file, so its figures would flatter; "
            "take other texts, or --allow-calibration-data to see them with a warning"
        )
    return file


def _is_calibration_data(file: LabelledFile, subjects: Sequence[Subject]) -> bool:
    data = [subject.calibration.data for subject in subjects if subject.calibration]
    return any(file.sha256 in (used.sha256, used.threshold_sha256) for used in data)


def _evaluate_suite(
    prefix: str, file: LabelledFile, subjects: Sequence[Subject], options: Options, progress: Progress
) -> SuiteReport:
    served: dict[str, list[ServedRow]] = {}
    for subject in subjects:  # bundles that differ in calibration alone share a graph, and so its logits
        if subject.bundle.graph_sha256 not in served:
            served[subject.bundle.graph_sha256] = _serve(prefix, file, subject, options.device, progress)
    scored = [_as_arrays(served[subject.bundle.graph_sha256], subject) for subject in subjects]
    data = DataReport(
        file=file.path.name,
        sha256=file.sha256,
        rows=len(file.rows),
        groups=_count_groups(file),
        is_calibration_data=_is_calibration_data(file, subjects),
    )
    with progress.step(f"{prefix}{options.method.resamples} resamples for the intervals"):
        return suite_report(data, _truth(file, subjects[0].bundle.manifest.labels), scored, options.method)


def _serve(prefix: str, file: LabelledFile, subject: Subject, device: Device, progress: Progress) -> list[ServedRow]:
    def show(done: int, total: int) -> None:
        progress.update(f"{prefix}{done}/{total} distinct texts scored in {subject.name}")

    def name_row(index: int) -> str:
        return f"{file.path}:{file.rows[index].row}"

    with progress.step(f"{prefix}{len(file.rows)} texts scored in {subject.name}"):
        return served_rows(subject.bundle, [row.text for row in file.rows], show, device, name_row)


def _as_arrays(rows: Sequence[ServedRow], subject: Subject) -> Scored:
    rules = subject.bundle.label_rules()
    scores = [[rule.score(logit) for rule, logit in zip(rules, row.logits, strict=True)] for row in rows]
    return Scored(
        name=subject.name,
        logits=np.array([row.logits for row in rows], dtype=np.float64),
        scores=np.array(scores, dtype=np.float64),
        thresholds=subject.thresholds,
        tokens=np.array([row.tokens for row in rows], dtype=np.intp),
        windows=np.array([row.windows for row in rows], dtype=np.intp),
    )


def _truth(file: LabelledFile, labels: tuple[str, ...]) -> Truth:
    return Truth(
        labels=labels,
        positive=np.array([[row.targets.get(label, False) for label in labels] for row in file.rows]),
        known=np.array([[label in row.targets for label in labels] for row in file.rows]),
        groups=tuple(row.group for row in file.rows),
    )


def _count_groups(file: LabelledFile) -> int | None:
    """Count groups, rows without one each as its own; ``None`` where no row has a group."""
    groups = [row.group for row in file.rows]
    named = {group for group in groups if group is not None}
    return len(named) + groups.count(None) if named else None


def _bundle_report(subject: Subject) -> BundleReport:
    manifest = subject.bundle.manifest
    return BundleReport(
        name=subject.name,
        runtime=manifest.runtime,
        precision=manifest.precision,
        calibration=manifest.calibration,
        graph_sha256=subject.bundle.graph_sha256,
        thresholds=subject.thresholds,
        tools=manifest.tools,
    )


def _now() -> datetime:
    stated = os.environ.get(DATE_VARIABLE)
    if stated is None:
        return datetime.now(UTC)
    try:
        return datetime.fromtimestamp(int(stated), UTC)
    except (ValueError, OverflowError, OSError):
        raise EvaluationError(f"{DATE_VARIABLE} must be a number of seconds since 1970") from None
