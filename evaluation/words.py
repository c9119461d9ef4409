"""Figures in words: what a product owner reads first, and how numbers are written everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from evaluation.report import OVERALL, LabelReport, Report, Slice, SuiteReport
from evaluation.statistics import Estimate
from handlers.core.calibration import NO_CALIBRATION

METRIC_NAMES: Final = {
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "brier": "Brier",
    "ece": "ECE",
    "macro_f1": "Macro F1",
    "weighted_f1": "Weighted F1",
    "exact_match": "Exact match",
}

PER_CENT: Final = "\N{NO-BREAK SPACE}%"

FEW_POSITIVES: Final = 30
"""Below this, the figures of a label are hardly more than anecdotes, and the summary says so."""

VISIBLE_GAP: Final = 0.05
"""ECE from which scores should not be read as probabilities."""


def number(value: float | None, digits: int = 3) -> str:
    """Write a figure, or a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def count(value: int) -> str:
    """Write a count with thousands marked."""
    return f"{value:,}"


def small(value: float) -> str:
    """Write a number that may be tiny."""
    return "0" if value == 0 else f"{value:.2g}"


def interval(estimate: Estimate) -> str:
    """Write the interval of a figure, empty where there is none."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{estimate.low:.3f}–{estimate.high:.3f}"


def percent(value: float) -> str:
    """Write a share in per cent, with two digits that say something."""
    return (f"{value * 100:.2g}" if value < 0.1 else f"{value * 100:.0f}") + PER_CENT


def share(estimate: Estimate) -> str:
    """Write a share and its interval in per cent, with a decimal near nothing and near all."""
    assert estimate.value is not None
    digits = 0 if 0.05 <= estimate.value <= 0.95 or estimate.value in (0.0, 1.0) else 1
    text = f"{estimate.value * 100:.{digits}f}{PER_CENT}"
    if estimate.low is None or estimate.high is None or estimate.low == estimate.high:
        return text
    return f"{text} ({estimate.low * 100:.{digits}f}–{estimate.high * 100:.{digits}f})"


def size_class(part: Slice) -> str:
    """Write the class of sizes of a slice: ``17–64``, ``over 4,094``."""
    if part.last is None:
        return f"over {count(part.first - 1)}"
    if part.first in (0, part.last):
        return f"up to {count(part.last)}" if part.first == 0 else count(part.last)
    return f"{count(part.first)}–{count(part.last)}"


def listing(names: Sequence[str]) -> str:
    """Write a list: ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


@dataclass(frozen=True)
class Summary:
    """One file in words: the whole, a sentence for each label by name, and what to beware of."""

    overall: str
    labels: dict[str, str]
    cautions: tuple[str, ...]


def summary(report: Report, suite: SuiteReport) -> Summary:
    """Return the summary of one file."""
    evaluated = {name: label for name, label in suite.labels.items() if not label.not_evaluated}
    return Summary(
        overall=_overall(report, suite),
        labels={name: _label(label) for name, label in evaluated.items()},
        cautions=tuple(_cautions(report, suite, evaluated)),
    )


def _overall(report: Report, suite: SuiteReport) -> str:
    exact, macro = suite.overall["exact_match"], suite.overall["macro_f1"]
    text = (
        f"On {count(suite.data.rows)} texts of {suite.data.file}, {report.model.checkpoint} "
        f"({report.bundles[0].precision}) has every known label right for {share(exact)} of them."
    )
    if macro.value is None:
        return text
    bounds = "" if macro.low is None or macro.high is None else f" ({macro.low:.2f}–{macro.high:.2f})"
    return f"{text} F1, where 1 is perfect, is {number(macro.value, 2)}{bounds} on average over labels."


def _label(label: LabelReport) -> str:
    recall, precision, counts = label.metrics["recall"], label.metrics["precision"], label.counts
    if recall.value is None:
        called = f"{count(counts.called)} of {count(counts.known)}"
        return f"no text is labelled so, which leaves only false alarms to count: {called} texts."
    found = f"finds {share(recall)} of the {count(counts.positives)} texts that are labelled so"
    if precision.value is None:
        return f"{found}: no score reaches the threshold."
    if not counts.negatives:
        return f"{found}; every text is, so there is no telling how often it is wrong."
    return f"{found}; when it says so, it is right for {share(precision)}."


def _cautions(report: Report, suite: SuiteReport, evaluated: Mapping[str, LabelReport]) -> Iterator[str]:
    yield "In brackets: the 95 % interval, which is what other texts of this kind could well have shown."
    few = [name for name, label in evaluated.items() if 0 < label.counts.positives < FEW_POSITIVES]
    if few:
        yield f"Fewer than {FEW_POSITIVES} texts are labelled {listing(few)}: read those figures as a hint."
    missing = [name for name in suite.labels if name not in evaluated]
    if missing:
        yield f"Not evaluated: {listing(missing)}. The file does not say which texts that applies to."
    always = [name for name, label in evaluated.items() if label.counts.called == label.counts.known]
    if always:
        yield f"Every text comes out as {listing(always)}: at that threshold the answer says nothing."
    off = [name for name, label in evaluated.items() if (label.metrics["ece"].value or 0.0) >= VISIBLE_GAP]
    if off:
        yield f"The scores of {listing(off)} are no probabilities: on average they are {VISIBLE_GAP} or more off."
    if report.bundles[0].calibration == NO_CALIBRATION:
        yield "The bundle is not calibrated: every label turns on at its default threshold."
    for pair in suite.comparisons:
        flips = pair.all_labels
        yield f"{pair.first} and {pair.second} decide {count(flips.flips)} of {count(flips.rows)} times differently."


def terminal_table(report: Report) -> str:
    """Return the figures as a table for a terminal, a block for each file."""
    return "\n\n".join(_suite_table(name, suite) for name, suite in report.suites.items())


def _suite_table(name: str, suite: SuiteReport) -> str:
    width = max(len(label) for label in (*suite.labels, "macro F1"))
    columns = ("f1", "precision", "recall", "auroc", "auprc", "brier", "ece")
    lines = [f"{name}: {suite.data.file}, {count(suite.data.rows)} rows"]
    lines.append(f"{'':{width}} {'positives':>9} {'F1':>5} {'(95 %)':<13}" + "".join(f"{c:>10}" for c in columns[1:]))
    for label, found in suite.labels.items():
        if found.not_evaluated:
            lines.append(f"{label:{width}} not evaluated: {found.not_evaluated}")
            continue
        f1 = found.metrics["f1"]
        start = f"{label:{width}} {count(found.counts.positives):>9} {number(f1.value):>5} {interval(f1):<13}"
        lines.append(start + "".join(f"{number(found.metrics[c].value):>10}" for c in columns[1:]))
    for key in OVERALL:
        estimate = suite.overall[key]
        lines.append(f"{METRIC_NAMES[key]:{width + 10}} {number(estimate.value):>5} {interval(estimate)}".rstrip())
    lines += [
        f"{pair.first} and {pair.second}: {count(pair.all_labels.flips)} of {count(pair.all_labels.rows)} decisions "
        f"differ, largest |Δlogit| {small(pair.all_labels.max_abs_delta_logit)}"
        for pair in suite.comparisons
    ]
    return "\n".join(lines)
