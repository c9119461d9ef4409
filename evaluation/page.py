"""The page: a report as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from evaluation import plots, words
from evaluation.report import OVERALL, LabelReport, Report, Slice, SuiteReport
from evaluation.statistics import METRICS

TEMPLATE: Final = "page.html.j2"


@dataclass(frozen=True)
class Plot:
    """A row of drawings of one kind: what it is called, how to read it, and the SVGs."""

    title: str
    reading: str
    drawings: tuple[Markup, ...]


def render_page(report: Report) -> str:
    """Return the report as HTML. It has no text of the data, no script and no link to load from."""
    environment = Environment(
        loader=PackageLoader("evaluation", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "number": words.number,
        "count": words.count,
        "small": words.small,
        "interval": words.interval,
        "percent": words.percent,
        "size_class": words.size_class,
    }
    return environment.get_template(TEMPLATE).render(
        report=report,
        metrics=METRICS,
        overall=OVERALL,
        names=words.METRIC_NAMES,
        summaries={name: words.summary(report, suite) for name, suite in report.suites.items()},
        plots={name: suite_plots(suite) for name, suite in report.suites.items()},
    )


def suite_plots(suite: SuiteReport) -> list[Plot]:
    """Return the drawings of one file, the ones that answer most first."""
    labels = {name: found for name, found in suite.labels.items() if not found.not_evaluated}
    found = [
        Plot(
            "Precision, recall and F1",
            "A point is the figure, its bar the 95 % interval: bars that overlap much may be no difference at all.",
            (Markup(plots.label_figures(suite)),),
        )
    ]
    if len(suite.bundles) > 1:
        found.append(
            Plot(
                "F1 by bundle",
                "Points of one row that lie on each other mean that the cheaper bundle is as good.",
                (Markup(plots.bundle_figures(suite)),),
            )
        )
    found += _label_plots(labels)
    found += _size_plots(suite)
    return found


def _label_plots(labels: dict[str, LabelReport]) -> list[Plot]:
    curves = {name: label for name, label in labels.items() if label.curve}
    kinds = [
        Plot(
            "Reliability",
            "On the dashed line a score is a probability; a point below it promises too much, one above it too "
            "little. Bars are 95 % intervals, and the strip below counts the rows of each bin.",
            tuple(Markup(plots.reliability(name, label)) for name, label in labels.items()),
        ),
        Plot(
            "Precision and recall",
            "Along the curve the threshold falls: further right finds more, further up is right more often. "
            "The round mark is the threshold that is served, a square one where the label goes off again.",
            tuple(Markup(plots.precision_recall(name, label)) for name, label in curves.items()),
        ),
        Plot(
            "Scores by truth",
            "The less the two shapes overlap, the better the label tells them apart; everything right of the "
            "dotted line is served as positive.",
            tuple(Markup(plots.histogram(name, label)) for name, label in labels.items()),
        ),
    ]
    return [kind for kind in kinds if kind.drawings]


def _size_plots(suite: SuiteReport) -> list[Plot]:
    sizes: list[tuple[str, Sequence[Slice], str]] = [
        ("By length", suite.by_tokens, "tokens"),
        ("By windows", suite.by_windows, "windows"),
    ]
    drawings = tuple(Markup(plots.by_size(slices, title, unit)) for title, slices, unit in sizes if _shown(slices))
    reading = (
        "A line that falls to the right says that longer texts are judged worse. Labels without a positive text in a "
        "class have no point there, and the macro mean leaves them out."
    )
    return [Plot("F1 by length", reading, drawings)] if drawings else []


def _shown(slices: Sequence[Slice]) -> bool:
    return len(slices) > 1 and any(part.macro_f1.value is not None for part in slices)
