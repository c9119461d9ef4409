"""The shape of a report: what the page shows and the JSON holds.

``suites`` by name, in each ``labels`` by name, in each ``metrics`` by name, in each ``value``,
``low``, ``high`` and ``note`` (why there is no value or interval); ``counts`` beside. A key is
always there; what does not apply is ``null`` or empty. There is no text of the data in it, and no
identifier.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Final, Literal

from evaluation.statistics import CurvePoint, Estimate, Histogram, ReliabilityBin

SCHEMA_VERSION: Final = 1

Overall = Literal["macro_f1", "weighted_f1", "exact_match"]
OVERALL: Final[tuple[Overall, ...]] = ("macro_f1", "weighted_f1", "exact_match")


@dataclass(frozen=True)
class ModelReport:
    """The checkpoint that was evaluated, the same in every bundle."""

    checkpoint: str
    revision: str
    labels: tuple[str, ...]
    labels_source: str


@dataclass(frozen=True)
class Threshold:
    """Where a label turns on, and ``off`` where calibration has set a lower one to turn off at."""

    on: float
    off: float | None


@dataclass(frozen=True)
class BundleReport:
    """One bundle of the checkpoint. ``name`` tells it from the others: precision, and calibration where needed."""

    name: str
    runtime: str
    precision: str
    calibration: str
    graph_sha256: str
    thresholds: dict[str, Threshold]
    tools: dict[str, str]


@dataclass(frozen=True)
class Method:
    """How the intervals were made."""

    resamples: int
    seed: int
    confidence: float = 0.95


@dataclass(frozen=True)
class DataReport:
    """The labelled file: its name without folders. ``groups`` counts the units drawn where the file names groups."""

    file: str
    sha256: str
    rows: int
    groups: int | None
    is_calibration_data: bool


@dataclass(frozen=True)
class Counts:
    """Rows of a label: ``known`` are ``positives`` and ``negatives``; ``called`` are known rows served as positive."""

    known: int
    unknown: int
    positives: int
    negatives: int
    called: int


@dataclass(frozen=True)
class OperatingPoints:
    """Where the thresholds lie on the curve; ``None`` where precision or recall is not defined there."""

    on: CurvePoint | None
    off: CurvePoint | None


@dataclass(frozen=True)
class LabelReport:
    """Figures of one label by the first bundle; ``not_evaluated`` says why there are none."""

    counts: Counts
    threshold: Threshold
    not_evaluated: str | None
    metrics: dict[str, Estimate]
    reliability: tuple[ReliabilityBin, ...]
    histogram: Histogram | None
    curve: tuple[CurvePoint, ...]
    operating: OperatingPoints


@dataclass(frozen=True)
class Slice:
    """F1 over the rows with ``first`` to ``last`` tokens or windows (``None``: no end)."""

    first: int
    last: int | None
    rows: int
    positives: dict[str, int]
    macro_f1: Estimate
    f1: dict[str, Estimate]


@dataclass(frozen=True)
class BundleFigures:
    """The figures of one of several bundles: ``overall`` by name, ``labels`` by label and metric."""

    overall: dict[Overall, Estimate]
    labels: dict[str, dict[str, Estimate]]


@dataclass(frozen=True)
class Difference:
    """What two bundles answer differently: decisions, and logits before calibration."""

    rows: int
    flips: int
    flip_share: float
    max_abs_delta_logit: float
    mean_abs_delta_logit: float


@dataclass(frozen=True)
class Comparison:
    """Two bundles on the same rows, known or not: over all labels (``rows`` counts decisions), and by label."""

    first: str
    second: str
    all_labels: Difference
    labels: dict[str, Difference]


@dataclass(frozen=True)
class SuiteReport:
    """Everything about one labelled file.

    ``overall``, ``labels``, ``by_tokens`` and ``by_windows`` are of the first bundle; ``bundles``
    has every bundle by name, ``comparisons`` every pair of them.
    """

    data: DataReport
    overall: dict[Overall, Estimate]
    labels: dict[str, LabelReport]
    by_tokens: tuple[Slice, ...]
    by_windows: tuple[Slice, ...]
    bundles: dict[str, BundleFigures]
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True)
class Report:
    """A whole report; ``generated_at`` is RFC 3339 in UTC."""

    schema_version: int
    generated_at: str
    model: ModelReport
    bundles: tuple[BundleReport, ...]
    method: Method
    tools: dict[str, str]
    suites: dict[str, SuiteReport]


def report_json(report: Report) -> str:
    """Return the report as JSON.

    Raises:
        ValueError: a figure is not finite.
    """
    return json.dumps(asdict(report), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
