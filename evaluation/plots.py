"""Plots as inline SVG: no script, no font and no colour of their own.

Colours leave matplotlib as marks and become CSS variables of the page, so that one drawing serves
light, dark and print. A drawing is about as wide as a phone; the page puts several side by side
where there is room.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from html import escape
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from evaluation.report import LabelReport, Slice, SuiteReport
from evaluation.statistics import Estimate
from evaluation.words import count, size_class

INK, FAINT, POSITIVE, NEGATIVE = "#010101", "#020202", "#030303", "#040404"
SERIES: Final = ("#110101", "#110102", "#110103", "#110104", "#110105", "#110106")
MARKERS: Final = ("o", "s", "^", "D", "v", "P")
VARIABLES: Final = {
    INK: "--ink",
    FAINT: "--faint",
    POSITIVE: "--positive",
    NEGATIVE: "--negative",
    **{mark: f"--series-{index}" for index, mark in enumerate(SERIES, start=1)},
}
"""Marks and the CSS variables that they become."""

_SIZE: Final = (3.9, 3.1)
_SHORT_NAME: Final = 12
"""Letters of a name that leave room for two more beside it in a legend."""

_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "lantern",
    "text.parse_math": False,
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.alpha": 0.35,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": FAINT,
    "grid.color": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.labelcolor": INK,
}


def label_figures(suite: SuiteReport) -> str:
    """Draw precision, recall and F1 of each label with their intervals."""
    labels = _with_f1(suite)
    metrics = {"precision": "precision", "recall": "recall", "F1": "f1"}
    return _intervals(
        list(labels), {name: [found.metrics[metric] for found in labels.values()] for name, metric in metrics.items()}
    )


def bundle_figures(suite: SuiteReport) -> str:
    """Draw F1 of each label, and their macro mean, for each of several bundles."""
    labels = list(_with_f1(suite))
    series = {
        name: [*(bundle.labels[label]["f1"] for label in labels), bundle.overall["macro_f1"]]
        for name, bundle in suite.bundles.items()
    }
    return _intervals([*labels, "macro F1"], series)


def reliability(name: str, label: LabelReport) -> str:
    """Draw the share of positives over the score, in bins of equal mass, and how many rows a bin has."""
    bins = label.reliability
    scores = np.array([bin_.mean_score for bin_ in bins])
    shares = np.array([bin_.share for bin_ in bins])
    lows, highs = np.array([bin_.low for bin_ in bins]), np.array([bin_.high for bin_ in bins])
    with style():
        figure = Figure(figsize=(_SIZE[0], _SIZE[1] + 0.6), layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        top.plot([0, 1], [0, 1], color=FAINT, linestyle="--", linewidth=1)
        top.errorbar(
            scores, shares, (shares - lows, highs - shares), color=SERIES[0], marker="o", capsize=2, elinewidth=1
        )
        top.set(title=name, ylabel="share of positives", ylim=(-0.03, 1.03), xlim=(-0.03, 1.03))
        bottom.vlines(scores, 0, [bin_.count for bin_ in bins], color=SERIES[0], linewidth=3)
        bottom.set(xlabel="score", ylabel="rows", ylim=(0, None))
        bottom.yaxis.set_major_locator(MaxNLocator(2, integer=True))
        return svg(figure, f"Reliability of {name}")


def precision_recall(name: str, label: LabelReport) -> str:
    """Draw the precision-recall curve with the thresholds on it, and the share of positives, which is chance."""
    with style():
        figure, axes = _figure(name, xlabel="recall", ylabel="precision", ylim=(-0.03, 1.06), xlim=(-0.03, 1.03))
        base = label.counts.positives / label.counts.known
        axes.axhline(base, color=FAINT, linestyle="--", linewidth=1, label="chance")
        recall, precision = [p.recall for p in label.curve], [p.precision for p in label.curve]
        axes.plot(recall, precision, color=SERIES[0], drawstyle="steps-pre")
        points = {"on": (label.operating.on, "o", INK), "off": (label.operating.off, "s", SERIES[1])}
        for key, (point, marker, color) in points.items():
            if point is not None:
                text = f"{key}: {point.threshold:.2f}"
                axes.plot([point.recall], [point.precision], marker, color=color, markersize=7, label=text)
        figure.legend(loc="outside lower center", ncols=3)
        return svg(figure, f"Precision and recall of {name}")


def histogram(name: str, label: LabelReport) -> str:
    """Draw how the scores of positives and of negatives are spread, each as shares of its own."""
    assert label.histogram is not None
    found = label.histogram
    with style():
        figure, axes = _figure(name, xlabel="score", ylabel="share of rows", xlim=(-0.02, 1.02))
        for counts, truth, color in ((found.negatives, "negative", NEGATIVE), (found.positives, "positive", POSITIVE)):
            if total := sum(counts):
                shares = np.array(counts) / total
                text = f"{truth} ({count(total)})"
                axes.stairs(shares, found.edges, fill=True, color=color, alpha=0.35)
                axes.stairs(shares, found.edges, color=color, linewidth=1.5, label=text)
        axes.axvline(label.threshold.on, color=INK, linestyle=":", linewidth=1.2, label=f"on: {label.threshold.on:.2f}")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        figure.legend(loc="outside lower center", ncols=3)
        return svg(figure, f"Scores of {name}")


def by_size(slices: Sequence[Slice], title: str, xlabel: str) -> str:
    """Draw F1 over classes of sizes: each label, and the macro mean with its interval."""
    at = np.arange(len(slices))
    with style():
        figure, axes = _figure(title, xlabel=xlabel, ylabel="F1", ylim=(-0.03, 1.03))
        labels = [name for name in slices[0].f1 if any(part.f1[name].value is not None for part in slices)]
        for index, name in enumerate(labels):
            values = [part.f1[name].value for part in slices]
            axes.plot(at, _numbers(values), label=name, linewidth=1, markersize=4, **_mark(index))
        macro = [part.macro_f1 for part in slices]
        _errorbar(axes, at, macro, color=INK, marker="o", label="macro F1", linewidth=2)
        axes.set_xticks(at, [f"{size_class(part)}\n{count(part.rows)} rows" for part in slices], fontsize=7.5)
        figure.legend(loc="outside lower center", ncols=3)
        return svg(figure, f"{title}: F1 by {xlabel}")


def _intervals(rows: Sequence[str], series: Mapping[str, Sequence[Estimate]]) -> str:
    """Draw one line for each row with a point and interval for each of ``series``, first row on top."""
    spread = np.linspace(-0.22, 0.22, len(series)) if len(series) > 1 else np.zeros(1)
    with style():
        figure = Figure(figsize=(_SIZE[0], 0.9 + 0.45 * len(rows)), layout="constrained")
        axes = figure.subplots()
        for index, (name, estimates) in enumerate(series.items()):
            at = np.arange(len(rows)) + spread[index]
            _errorbar(axes, at, estimates, horizontal=True, linestyle="none", label=name, **_mark(index))
        axes.set_yticks(np.arange(len(rows)), rows)
        axes.set(xlim=(-0.02, 1.02), ylim=(len(rows) - 0.5, -0.5))
        axes.grid(visible=True, axis="x")
        axes.grid(visible=False, axis="y")
        figure.legend(loc="outside lower center", ncols=3 if max(map(len, series)) <= _SHORT_NAME else 1)
        return svg(figure, f"{', '.join(series)} of {', '.join(rows)}")


def _errorbar(axes: Axes, at: Any, estimates: Sequence[Estimate], horizontal: bool = False, **style: Any) -> None:
    values = _numbers([estimate.value for estimate in estimates])
    lows = _numbers([estimate.value if estimate.low is None else estimate.low for estimate in estimates])
    highs = _numbers([estimate.value if estimate.high is None else estimate.high for estimate in estimates])
    reach = (values - lows, highs - values)
    if horizontal:
        axes.errorbar(values, at, xerr=reach, capsize=2, elinewidth=1.2, **style)
    else:
        axes.errorbar(at, values, yerr=reach, capsize=2, elinewidth=1.2, **style)


def _mark(index: int) -> dict[str, Any]:
    """Return colour and marker of a series; markers tell it apart where colours do not."""
    return {"color": SERIES[index % len(SERIES)], "marker": MARKERS[index % len(MARKERS)]}


def _numbers(values: Sequence[float | None]) -> Any:
    return np.array([np.nan if value is None else value for value in values])


def _with_f1(suite: SuiteReport) -> dict[str, LabelReport]:
    return {name: found for name, found in suite.labels.items() if found.metrics["f1"].value is not None}


def style() -> AbstractContextManager[None]:
    return mpl.rc_context(_STYLE)


def _figure(title: str, **settings: Any) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, **settings)
    return figure, axes


# SVG of matplotlib to SVG of the page.


def svg(figure: Figure, description: str) -> str:
    """Render ``figure`` and make it a part of a page that may hold many."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return inline_svg(buffer.getvalue(), description)


def inline_svg(document: str, description: str) -> str:
    """Return the ``<svg>`` of a document for a page: described, sized by the page, coloured by it.

    Identifiers get a prefix that follows from the content, as a page must not have one twice.
    """
    body = document[document.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*">', "<g>", body)
    body = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', _describe(description), body, count=1)
    prefix = f"p{_digest(body)}-"
    body = re.sub(r'(\bid="|url\(#|href="#)', lambda found: found.group(1) + prefix, body)
    body = re.sub(r"font: ([0-9.]*px|[a-z]+ [0-9.]*px)[^;\"]*", r"font: \1 system-ui, sans-serif", body)
    return re.sub("|".join(VARIABLES), lambda found: f"var({VARIABLES[found.group()]})", body).strip()


def _describe(description: str) -> Callable[[re.Match[str]], str]:
    return lambda found: f'{found.group(1)} role="img" aria-label="{escape(description, quote=True)}"'


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:8]
