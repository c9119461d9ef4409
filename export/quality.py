"""The quality gate: what a quantized graph decides about texts, against the fp32 graph.

Quantization moves every logit, so no tolerance on logits can say whether a graph is fit to serve.
Its decisions can: the same texts go through the served pipeline with both graphs, and at most 0.5 % of
the decisions (one for each text and label) may differ, and macro-F1 may fall by at most 0.005 where
the texts are labelled.

*Random weights.* ``random:`` checkpoints, which are there for measuring, decide nothing: all texts get
nearly the same logits, far from or near to a threshold by chance, and labels mean nothing to them. Their
thresholds are therefore the medians of the fp32 logits, where every decision is as close as can be, on
a sample of shorter texts. A broken graph flips half of those decisions; one whose quantization error is a
tenth of the spread of the logits, which is what int8 gives, flips about one in twenty; the limit is one in ten.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from export.errors import ExportRefused
from export.labelled import read_labelled
from export.manifests import replace_text, save_manifest
from export.random_base import RANDOM
from export.served import served_rows
from handlers.core.manifest import QualityRecord
from handlers.core.scores import sigmoid
from handlers.core.settings import Device
from handlers.runtime.bundle import Bundle, sha256_file

SHIPPED_TEXTS: Final = Path(__file__).with_name("quality_texts.jsonl")
"""Labelled texts of the project's own, of one line to some thousand tokens (``training/quality_texts.py``)."""

FLIP_LIMIT: Final = 0.005
"""Largest share of decisions that may differ."""

F1_LIMIT: Final = 0.005
"""Largest loss of macro-F1."""

RANDOM_FLIP_LIMIT: Final = 0.1
"""Largest share of decisions at the medians of random weights; half of them would be chance."""

RANDOM_TEXTS: Final = 48
RANDOM_LONGEST: Final = 4000
"""Texts of random weights: so many of the file, evenly, of at most so many characters."""

PLAIN_SUFFIX: Final = ".txt"

Logits = npt.NDArray[np.float64]
Decisions = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class TextSet:
    """The texts of the gate, and what is known of them.

    Attributes:
        name, sha256: of the file.
        texts: in the file's order.
        targets: float ``(texts, labels)``: 1 or 0, NaN where it is unknown; ``None`` where nothing is known.
    """

    name: str
    sha256: str
    texts: tuple[str, ...]
    targets: Logits | None


@dataclass(frozen=True)
class Limits:
    """What may differ at most: the share of decisions, and the loss of macro-F1."""

    flips: float = FLIP_LIMIT
    macro_f1: float = F1_LIMIT


@dataclass(frozen=True)
class QualityReport:
    """The gate's report.

    Attributes:
        subject: the checkpoint.
        data, data_sha256, texts, tokens: what was read.
        thresholds: of ``sigmoid(logit)`` for each label.
        thresholds_from: ``bundle``, or ``medians`` of the fp32 logits (random weights).
        flips: decisions that differ, of ``decisions``.
        largest_delta, mean_delta: of the logits' absolute difference, for information.
        macro_f1_fp32, macro_f1: of both graphs, where the texts are labelled.
        limits: what the verdict goes by.
        kept_fp32: weights that were left in fp32.
    """

    subject: str
    data: str
    data_sha256: str
    texts: int
    tokens: int
    thresholds: tuple[float, ...]
    thresholds_from: str
    flips: int
    decisions: int
    largest_delta: float
    mean_delta: float
    macro_f1_fp32: float | None
    macro_f1: float | None
    limits: Limits
    kept_fp32: tuple[str, ...] = ()

    @property
    def macro_f1_loss(self) -> float | None:
        """fp32 minus quantized; ``None`` where the texts are not labelled."""
        if self.macro_f1_fp32 is None or self.macro_f1 is None:
            return None
        return self.macro_f1_fp32 - self.macro_f1

    @property
    def passed(self) -> bool:
        """The verdict. A report about no decision does not pass."""
        few_flips = self.decisions > 0 and self.flips <= self.limits.flips * self.decisions
        return few_flips and (self.macro_f1_loss is None or self.macro_f1_loss <= self.limits.macro_f1)

    @property
    def outcome(self) -> str:
        """The figures in a line."""
        loss = "texts not labelled" if self.macro_f1_loss is None else f"macro-F1 loss {self.macro_f1_loss:.4f}"
        return f"{self.flips} of {self.decisions} decisions flip, {loss}"


class QualityGate:
    """Compares quantized graphs with one fp32 bundle, whose logits are computed once.

    Args:
        reference: the fp32 bundle.
        texts: what to read.
        limits: what may differ.
        progress: told how many texts were read, and how many there are.

    Raises:
        ExportRefused: the pipeline has no answer for a text, naming its place in the file.
    """

    def __init__(
        self,
        reference: Bundle,
        texts: TextSet,
        limits: Limits,
        device: Device = "cpu",
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self._texts, self._limits, self._device, self._progress = texts, limits, device, progress
        self._expected, self._tokens = self._logits(reference)

    @property
    def texts(self) -> tuple[str, ...]:
        """What is read."""
        return self._texts.texts

    def compare(self, bundle: Bundle, kept_fp32: Sequence[str]) -> QualityReport:
        """Return what ``bundle`` decides differently; its thresholds count, or the medians for random weights."""
        actual, _ = self._logits(bundle)
        thresholds, source = self._thresholds(bundle)
        before, after = _decisions(self._expected, thresholds), _decisions(actual, thresholds)
        deltas = np.abs(actual - self._expected)
        return QualityReport(
            subject=bundle.manifest.checkpoint,
            data=self._texts.name,
            data_sha256=self._texts.sha256,
            texts=len(self._texts.texts),
            tokens=self._tokens,
            thresholds=tuple(thresholds),
            thresholds_from=source,
            flips=int((before != after).sum()),
            decisions=before.size,
            largest_delta=float(deltas.max()),
            mean_delta=float(deltas.mean()),
            macro_f1_fp32=_macro_f1(before, self._texts.targets),
            macro_f1=_macro_f1(after, self._texts.targets),
            limits=self._limits,
            kept_fp32=tuple(kept_fp32),
        )

    def _logits(self, bundle: Bundle) -> tuple[Logits, int]:
        rows = served_rows(bundle, self._texts.texts, self._progress, self._device, self._name_row)
        return np.array([row.logits for row in rows]), sum(row.tokens for row in rows)

    def _name_row(self, index: int) -> str:
        return f"{self._texts.name}: text {index + 1}"

    def _thresholds(self, bundle: Bundle) -> tuple[list[float], str]:
        if is_random(bundle.manifest.checkpoint):
            return [sigmoid(float(median)) for median in np.median(self._expected, axis=0)], "medians"
        return [rule.uncalibrated_threshold for rule in bundle.label_rules()], "bundle"


def is_random(checkpoint: str) -> bool:
    """Tell whether a checkpoint's weights are random by its name."""
    return checkpoint.startswith(RANDOM)


def default_limits(checkpoint: str) -> Limits:
    """Return the limits for a checkpoint where nobody says others."""
    return Limits(flips=RANDOM_FLIP_LIMIT) if is_random(checkpoint) else Limits()


def read_texts(path: Path, checkpoint: str, labels: Sequence[str]) -> TextSet:
    """Read the texts of the gate.

    Args:
        path: ``.txt`` with a text on each line; or ``.csv``, ``.tsv`` or ``.jsonl`` as ``read_labelled``
            takes them, where labels may be missing altogether.
        checkpoint: its name: of random weights only a sample is read, and no label.
        labels: the model's.

    Raises:
        ExportRefused: naming file and row.
    """
    if path.suffix.lower() == PLAIN_SUFFIX:
        texts, targets, digest = _read_plain(path)
    elif path == SHIPPED_TEXTS and not _shipped_labels() <= set(labels):
        texts, targets, digest = [fields["text"] for fields in _shipped()], None, sha256_file(path)
    else:
        texts, targets, digest = _read_rows(path, labels)
    if is_random(checkpoint):
        texts, targets = _sample(texts), None
    return TextSet(path.name, digest, tuple(texts), targets)


def record_quality(bundle: Bundle, report: QualityReport) -> Bundle:
    """Put the report into the bundle and its verdict into the manifest."""
    files = {"quality.json": report_json(report), "quality.md": report_table(report)}
    for name, text in files.items():
        replace_text(bundle.folder / name, text)
    manifest = bundle.manifest
    record = QualityRecord(
        report="quality.json",
        data=report.data,
        data_sha256=report.data_sha256,
        texts=report.texts,
        decisions=report.decisions,
        flips=report.flips,
        flip_limit=report.limits.flips,
        macro_f1_loss=report.macro_f1_loss,
        f1_limit=report.limits.macro_f1,
        kept_fp32=report.kept_fp32,
        passed=report.passed,
        graph_sha256=manifest.files[manifest.graph_name],
    )
    digests = {name: sha256_file(bundle.folder / name) for name in files}
    changes = {"quality": record, "files": manifest.files | digests}
    return save_manifest(bundle.folder, manifest.model_copy(update=changes))


def report_json(report: QualityReport) -> str:
    """Return the report as JSON, verdict first."""
    figures = {"passed": report.passed, **asdict(report), "macro_f1_loss": report.macro_f1_loss}
    return json.dumps(figures, indent=1, allow_nan=False) + "\n"


def report_table(report: QualityReport) -> str:
    """Return the report in Markdown."""
    verdict = "PASS" if report.passed else "FAIL"
    rows = [
        ("texts", f"{report.texts} ({report.tokens} tokens) of {report.data}"),
        ("decisions that differ from fp32", f"{report.flips} of {report.decisions} (limit {report.limits.flips:.1%})"),
        ("thresholds", f"of the {report.thresholds_from}: {', '.join(f'{t:.3f}' for t in report.thresholds)}"),
        ("largest and mean \\|Δlogit\\|", f"{report.largest_delta:.3f}, {report.mean_delta:.4f}"),
        ("weights kept in fp32", ", ".join(report.kept_fp32) or "none"),
    ]
    if report.macro_f1_loss is not None:
        figures = f"{report.macro_f1_fp32:.4f} to {report.macro_f1:.4f}: loss {report.macro_f1_loss:.4f}"
        rows.insert(2, ("macro-F1", f"{figures} (limit {report.limits.macro_f1})"))
    lines = [f"# Quality of {report.subject}, int8: {verdict}", "", "| | |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {value} |" for name, value in rows)]) + "\n"


def _read_plain(path: Path) -> tuple[list[str], None, str]:
    if not path.is_file():
        raise ExportRefused(f"{path}: no such file")
    payload = path.read_bytes()
    try:
        texts = [line for line in payload.decode("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise ExportRefused(f"{path}: not UTF-8 (byte {error.start})") from None
    if not texts:
        raise ExportRefused(f"{path}: there is no text in it")
    return texts, None, hashlib.sha256(payload).hexdigest()


def _read_rows(path: Path, labels: Sequence[str]) -> tuple[list[str], Logits | None, str]:
    file = read_labelled(path, labels, need_labels=False)
    known = [[row.targets.get(label, np.nan) for label in labels] for row in file.rows]
    targets: Logits = np.array(known, dtype=np.float64)
    return [row.text for row in file.rows], None if np.isnan(targets).all() else targets, file.sha256


def _shipped() -> list[dict[str, str]]:
    return [json.loads(line) for line in SHIPPED_TEXTS.read_text(encoding="utf-8").splitlines()]


def _shipped_labels() -> set[str]:
    return {label for fields in _shipped() for label in fields["labels"]}


def _sample(texts: Sequence[str]) -> list[str]:
    """Return ``RANDOM_TEXTS`` of ``texts``, evenly, without the longest."""
    shorter = [text for text in texts if len(text) <= RANDOM_LONGEST]
    places = np.linspace(0, len(shorter) - 1, min(RANDOM_TEXTS, len(shorter))).round().astype(int)
    return [shorter[place] for place in places]


def _decisions(logits: Logits, thresholds: Sequence[float]) -> Decisions:
    """Return for each text and label whether the score reaches its threshold: bool ``(texts, labels)``."""
    return np.array([[sigmoid(x) >= t for x, t in zip(row, thresholds, strict=True)] for row in logits])


def _macro_f1(decisions: Decisions, targets: Logits | None) -> float | None:
    """Return the mean F1 of the labels that have a positive text; ``None`` where nothing is known."""
    if targets is None:
        return None
    known, positive = ~np.isnan(targets), targets == 1
    hits = (decisions & positive).sum(axis=0)
    wrong = ((decisions != positive) & known).sum(axis=0)
    has_positive = positive.any(axis=0)
    if not has_positive.any():
        return None
    return float(np.mean((2 * hits / np.maximum(2 * hits + wrong, 1))[has_positive]))
