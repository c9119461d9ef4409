"""Calibrated scores and thresholds for a bundle, from labelled texts.

The texts are read as the bundle serves them. On one half, each label's logits are scaled to a
probability; on the other, its threshold is chosen for its objective. The outcome becomes part of
the bundle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from export.calibration_statistics import Precaution, Sample, calibrate_label
from export.errors import ExportRefused
from export.labelled import LabelledDataError, LabelledFile, LabelledRow, normalised, read_labelled
from export.manifests import record_calibration, without_calibration
from export.objectives import Objective
from export.progress import Progress
from export.served import served_rows
from export.splits import split_in_two
from handlers.core.calibration import (
    NO_OBJECTIVE,
    CalibratedLabel,
    Calibration,
    CalibrationData,
    CalibrationOptions,
    Method,
)
from handlers.core.errors import StartupError
from handlers.core.scores import DEFAULT_THRESHOLD, LabelRule
from handlers.core.settings import Device
from handlers.runtime.bundle import Bundle, read_calibration, verify_bundle, verify_graph

TOOLS: Final = ("scikit-learn", "numpy")


@dataclass(frozen=True)
class Plan:
    """What to calibrate on and for.

    Attributes:
        data: labelled texts; split in two unless ``threshold_data`` gives the second half.
        method: how scores are scaled.
        objectives: of each label.
        left_alone: labels that keep their uncalibrated score and a threshold of 0.5.
        seed: of the split and the resamples.
        bootstrap: resamples behind each interval.
        hysteresis: recall that ``off`` has more than ``on``, at most.
        minimum: positives and negatives of each label that each half must have.
    """

    data: Path
    threshold_data: Path | None
    method: Method
    objectives: Mapping[str, Objective]
    left_alone: frozenset[str]
    seed: int
    bootstrap: int
    hysteresis: float
    minimum: int


@dataclass(frozen=True)
class _Placed:
    """A row with its file, its group and the half that it is in."""

    path: Path
    row: LabelledRow
    group: str
    for_threshold: bool

    @property
    def where(self) -> str:
        return f"{self.path}:{self.row.row}"


def calibrate(
    bundle: Bundle, plan: Plan, progress: Progress, device: Device = "auto", force: bool = False
) -> Calibration:
    """Calibrate ``bundle`` and record the outcome in it.

    Where the bundle holds the outcome of the same plan already, nothing is done.

    Raises:
        ExportRefused: the data cannot bear the plan; nothing was written.
        StartupError: the bundle is not fit to serve, but for its calibration.
    """
    labels = bundle.manifest.labels
    verify_graph(without_calibration(bundle))
    files = [read_labelled(path, labels) for path in (plan.data, plan.threshold_data) if path is not None]
    rows = _place(files, labels, plan.seed)
    _warn_of_shared_groups(files, progress)
    _check_counts(rows, labels, plan)
    header = _header(bundle, plan, files, rows)
    present = None if force else _present(bundle)
    if present is not None and _same_plan(present, header):
        progress.note(f"{bundle.folder} holds this calibration already (--force makes it again)")
        return present
    logits, smoke_logits = _score(bundle, rows, progress, device)
    found = {label: _calibrate(label, index, rows, logits, plan, progress) for index, label in enumerate(labels)}
    progress.clear()
    calibration = header.model_copy(update={"labels": found})
    _warn_of_smoke_entries(bundle, calibration, smoke_logits, progress)
    record_calibration(bundle, calibration)
    return calibration


def table(calibration: Calibration) -> str:
    """Return a calibration as a Markdown table, one row for each label."""
    data = calibration.data
    lines = [
        f"# Calibration {calibration.name}",
        "",
        f"{calibration.method} scaling on {data.scaling_rows} texts, thresholds on {data.threshold_rows} others; "
        "in brackets bootstrap intervals of 95 %.",
        "",
        "| label | objective | scale | offset | on | off | precision | recall | F1 | positives | negatives |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for label, found in calibration.labels.items():
        ranges = found.intervals
        cells = [
            label,
            found.objective,
            f"{found.scale:.3f}",
            f"{found.offset:.3f}",
            _with_interval(found.on, ranges.on if ranges else None),
            f"{found.off:.4g}",
            _with_interval(found.precision, ranges.precision if ranges else None),
            _with_interval(found.recall, ranges.recall if ranges else None),
            _with_interval(found.f1, ranges.f1 if ranges else None),
            str(found.positives),
            str(found.negatives),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _with_interval(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f} ({interval[0]:.3f}-{interval[1]:.3f})" if interval else f"{value:.3f}"


# Rows and halves.


def _place(files: Sequence[LabelledFile], labels: Sequence[str], seed: int) -> list[_Placed]:
    """Check the rows of one or two files and put each into its half."""
    for file in files:
        _check_rows(file)
    first = files[0]
    if len(files) == 1:
        groups = [_group(row) for row in first.rows]
        halves = split_in_two(groups, [row.targets for row in first.rows], labels, seed)
    else:
        _check_apart(first, files[1])
        halves = [False] * len(first.rows) + [True] * len(files[1].rows)
    placed = [(file.path, row) for file in files for row in file.rows]
    return [_Placed(path, row, _group(row), half) for (path, row), half in zip(placed, halves, strict=True)]


def _group(row: LabelledRow) -> str:
    """Name what is never cut: the author or thread that the file names, else the text."""
    return f"group {row.group}" if row.group is not None else f"text {_digest(row)}"


def _digest(row: LabelledRow) -> str:
    return hashlib.sha256(normalised(row.text).encode()).hexdigest()


def _check_rows(file: LabelledFile) -> None:
    """Refuse rows that say nothing, and rows of the same text that contradict each other."""
    seen: dict[tuple[str, str], tuple[bool, int]] = {}
    for row in file.rows:
        if not row.targets:
            raise LabelledDataError(f"{file.path}:{row.row}: no label is known; fill one in, or delete the row")
        digest = _digest(row)
        for label, target in row.targets.items():
            known, other = seen.setdefault((digest, label), (target, row.row))
            if known != target:
                raise LabelledDataError(
                    f"{file.path}:{row.row}: the same text as in row {other}, but {label} is {_word(target)} here and "
                    f"{_word(known)} there; correct one of them, or delete both"
                )


def _word(target: bool) -> str:
    return "true" if target else "false"


def _check_apart(scaling: LabelledFile, threshold: LabelledFile) -> None:
    """Refuse a text that is in both files: its threshold would be chosen on what was fitted."""
    first = {_digest(row): row.row for row in reversed(scaling.rows)}
    for row in threshold.rows:
        other = first.get(_digest(row))
        if other is not None:
            raise LabelledDataError(
                f"{threshold.path}:{row.row}: the same text as {scaling.path}:{other}; a text may be in one file only"
            )


def _warn_of_shared_groups(files: Sequence[LabelledFile], progress: Progress) -> None:
    """Say where two files have an author or thread in common; within one file that is never cut."""
    groups = [{row.group for row in file.rows if row.group is not None} for file in files]
    shared = set.intersection(*groups) if len(groups) == 2 else set()
    if shared:
        progress.note(
            f"warning: {len(shared)} groups (author or thread) are in both {files[0].path} and {files[1].path}: "
            "figures will look better than they are"
        )


def _check_counts(rows: Sequence[_Placed], labels: Sequence[str], plan: Plan) -> None:
    """Refuse labels that the halves do not hold enough of, before anything is scored."""
    if plan.left_alone.issuperset(labels):
        raise ExportRefused("--labels-left-alone names every label, so there is nothing to calibrate")
    for label in labels:
        if label in plan.left_alone:
            continue
        if not any(label in placed.row.targets for placed in rows):
            raise LabelledDataError(
                f"{plan.data}: no row says anything about {label}: label it, or name it in --labels-left-alone"
            )
        for half in (False, True):
            _check_half(label, half, rows, plan)


def _check_half(label: str, for_threshold: bool, rows: Sequence[_Placed], plan: Plan) -> None:
    name = "threshold" if for_threshold else "scaling"
    path = plan.threshold_data if for_threshold and plan.threshold_data is not None else plan.data
    known = [placed.row.targets.get(label) for placed in rows if placed.for_threshold == for_threshold]
    needed, reason = plan.minimum, f"--minimum {plan.minimum}"
    by_objective, arithmetic = plan.objectives[label].positives_needed
    if for_threshold and by_objective > needed:
        needed, reason = by_objective, f"{plan.objectives[label]} needs {arithmetic}"
    for target, word, least, why in (
        (True, "positive", needed, reason),
        (False, "negative", plan.minimum, f"--minimum {plan.minimum}"),
    ):
        found = known.count(target)
        if found < least:
            raise LabelledDataError(
                f"{path}: {label} has {found} {word} rows in the {name} split, but at least {least} are needed "
                f"({why}): label more, or name it in --labels-left-alone"
            )


# What the outcome is called, and whether it is there.


def _header(bundle: Bundle, plan: Plan, files: Sequence[LabelledFile], rows: Sequence[_Placed]) -> Calibration:
    """Return all of a calibration that is known before scoring; of each label, its objective."""
    objectives = {
        label: NO_OBJECTIVE if label in plan.left_alone else str(plan.objectives[label])
        for label in bundle.manifest.labels
    }
    second = files[1] if len(files) == 2 else None
    return Calibration(
        name=_name(plan, files),
        method=plan.method,
        precision=bundle.manifest.precision,
        graph_sha256=bundle.graph_sha256,
        seed=plan.seed,
        data=CalibrationData(
            file=files[0].path.name,
            sha256=files[0].sha256,
            rows=len(rows),
            scaling_rows=sum(not placed.for_threshold for placed in rows),
            threshold_rows=sum(placed.for_threshold for placed in rows),
            threshold_file=second.path.name if second else None,
            threshold_sha256=second.sha256 if second else None,
        ),
        options=CalibrationOptions(bootstrap=plan.bootstrap, hysteresis=plan.hysteresis, minimum=plan.minimum),
        labels={label: _untouched(objective, 0, 0) for label, objective in objectives.items()},
        tools={name: version(name) for name in TOOLS},
    )


def _name(plan: Plan, files: Sequence[LabelledFile]) -> str:
    kinds = {objective.kind for label, objective in plan.objectives.items() if label not in plan.left_alone}
    kind = kinds.pop() if len(kinds) == 1 else "mixed"
    digests = [file.sha256 for file in files]
    digest = digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()
    return f"{plan.method}-{kind}-{digest[:8]}"


def _present(bundle: Bundle) -> Calibration | None:
    """Return the calibration that the bundle holds, ``None`` where it is not fit."""
    try:
        verify_bundle(bundle)
    except StartupError:
        return None
    return read_calibration(bundle)


def _same_plan(one: Calibration, other: Calibration) -> bool:
    def plan(calibration: Calibration) -> tuple[Calibration, dict[str, str]]:
        objectives = {label: found.objective for label, found in calibration.labels.items()}
        return calibration.model_copy(update={"labels": {}}), objectives

    return plan(one) == plan(other)


# Logits and labels.


_Logits = Sequence[tuple[float, ...]]


def _score(bundle: Bundle, rows: Sequence[_Placed], progress: Progress, device: Device) -> tuple[_Logits, _Logits]:
    """Return the logits of the rows and those of the smoke entries."""
    smoke = bundle.manifest.smoke
    names = [placed.where for placed in rows] + [f"smoke entry {number + 1}" for number in range(len(smoke))]
    texts = [placed.row.text for placed in rows] + [entry.text for entry in smoke]
    with progress.step(f"reading {len(rows)} texts"):
        served = served_rows(
            without_calibration(bundle),
            texts,
            lambda done, total: progress.update(f"{done}/{total} texts read"),
            device,
            names.__getitem__,
        )
    logits = [row.logits for row in served]
    return logits[: len(rows)], logits[len(rows) :]


def _calibrate(
    label: str,
    index: int,
    rows: Sequence[_Placed],
    logits: _Logits,
    plan: Plan,
    progress: Progress,
) -> CalibratedLabel:
    scaling = _sample(label, index, rows, logits, for_threshold=False)
    threshold = _sample(label, index, rows, logits, for_threshold=True)
    if label in plan.left_alone:
        positives = int(threshold.targets.sum())
        return _untouched(NO_OBJECTIVE, positives, len(threshold.targets) - positives)
    progress.update(f"calibrating {label}")
    precaution = Precaution(plan.hysteresis, plan.bootstrap, plan.seed)
    found = calibrate_label(label, scaling, threshold, plan.method, plan.objectives[label], precaution)
    if LabelRule(label, found.on, found.scale, found.offset).score(float(threshold.logits.min())) >= found.on:
        progress.note(f"warning: {label} is positive for every text of the threshold split at its threshold")
    return found


def _sample(label: str, index: int, rows: Sequence[_Placed], logits: _Logits, for_threshold: bool) -> Sample:
    """Take the rows of one half whose truth about ``label`` is known."""
    known = [
        (row[index], placed.row.targets[label], placed.group)
        for placed, row in zip(rows, logits, strict=True)
        if placed.for_threshold == for_threshold and label in placed.row.targets
    ]
    return Sample.of([logit for logit, _, _ in known], [target for _, target, _ in known], [g for _, _, g in known])


def _untouched(objective: str, positives: int, negatives: int) -> CalibratedLabel:
    return CalibratedLabel(
        on=DEFAULT_THRESHOLD, off=DEFAULT_THRESHOLD, objective=objective, positives=positives, negatives=negatives
    )


def _warn_of_smoke_entries(bundle: Bundle, calibration: Calibration, logits: _Logits, progress: Progress) -> None:
    """Say where a text whose label is beyond doubt is now under its threshold."""
    labels = bundle.manifest.labels
    for number, (entry, row) in enumerate(zip(bundle.manifest.smoke, logits, strict=True), start=1):
        rule = calibration.rule(entry.expected)
        score = rule.score(row[labels.index(entry.expected)])
        if score < rule.threshold:
            progress.note(
                f"warning: smoke entry {number} is no longer {entry.expected}: "
                f"its score {score:.3f} is under the threshold {rule.threshold:.3f}"
            )
