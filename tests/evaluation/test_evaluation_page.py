"""The page stands alone, holds what was found and survives any name."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from evaluation.figures import Scored, Truth, suite_report
from evaluation.page import render_page
from evaluation.plots import SERIES, VARIABLES, inline_svg
from evaluation.report import (
    BundleReport,
    DataReport,
    Method,
    ModelReport,
    Report,
    SuiteReport,
    Threshold,
    report_json,
)
from evaluation.statistics import Estimate
from evaluation.words import listing, percent, share, size_class, summary, terminal_table

LABELS = ("calm", "sad", '<b>"odd" & $x_1$</b>', "never")
METHOD = Method(resamples=30, seed=7)
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """Walks a page and notes what a browser would stumble over or fetch."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self._note(attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._note(attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def _note(self, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src", "xlink:href", "action"):
                self.references.append(value or "")


def make_report(bundles: int = 2, names: tuple[str, ...] = ("first",), **changes: object) -> Report:
    """Return a report over random rows with every kind of label: common, rare, oddly named, never known."""
    generator = np.random.default_rng(0)
    rows = 120
    positive = generator.random((rows, 4)) < [0.5, 0.05, 0.3, 0.5]
    known = np.ones((rows, 4), dtype=bool) & (np.arange(4) < 3)
    thresholds = {label: Threshold(0.5, 0.4 if label == "calm" else None) for label in LABELS}
    logits = generator.normal(size=(rows, 4)) + positive
    scored = [
        Scored(
            name=name,
            logits=logits + shift,
            scores=1 / (1 + np.exp(-logits - shift)),
            thresholds=thresholds,
            tokens=generator.integers(1, 500, rows),
            windows=generator.integers(1, 4, rows),
        )
        for name, shift in (("fp32", 0.0), ("int8", 0.1))[:bundles]
    ]
    data = DataReport("da<ta.csv", "ab" * 32, rows, 7, is_calibration_data=False)
    truth = Truth(LABELS, positive & known, known, (None,) * rows)
    suite = suite_report(replace(data, **changes), truth, scored, METHOD)  # type: ignore[arg-type]
    return Report(
        schema_version=1,
        generated_at="2026-01-01T00:00:00Z",
        model=ModelReport("some/<model>", "sha256:" + "c" * 64, LABELS, "the checkpoint"),
        bundles=tuple(
            BundleReport(one.name, "onnx", one.name, "none", "d" * 64, thresholds, {"torch": "2"}) for one in scored
        ),
        method=METHOD,
        tools={"scikit-learn": "1"},
        suites=dict.fromkeys(names, suite),
    )


@pytest.fixture(scope="module")
def report() -> Report:
    return make_report(names=("first", "se<cond"))


@pytest.fixture(scope="module")
def source(report: Report) -> str:
    return render_page(report)


def test_the_page_is_well_formed_and_loads_nothing(source: str) -> None:
    page = Page(source)

    assert page.open == []
    assert "script" not in page.tags and "link" not in page.tags and "img" not in page.tags
    assert page.references and all(reference.startswith("#") for reference in page.references)
    assert "@import" not in source and not re.search(r"url\((?!#)", source)


def test_identifiers_are_unique_within_a_drawing_and_every_reference_is_there(source: str) -> None:
    page = Page(source)
    for drawing in re.findall(r"<svg.*?</svg>", source, re.DOTALL):
        found = re.findall(r' id="([^"]+)"', drawing)
        assert len(found) == len(set(found))
        assert set(re.findall(r'(?:url\(|href=")#([^)"]+)', drawing)) <= set(found)
    assert {reference.removeprefix("#") for reference in page.references} <= set(page.ids)


def test_drawings_are_xml_with_a_description_and_take_their_colours_from_the_page(source: str) -> None:
    drawings = re.findall(r"<svg.*?</svg>", source, re.DOTALL)

    assert len(drawings) == 2 * (2 + 3 * 3 + 2)  # two files: intervals, three kinds for three labels, two by size
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        assert root.get("role") == "img" and root.get("aria-label")
        assert "width" not in root.attrib and "viewBox" in root.attrib
    assert not any(mark in source for mark in VARIABLES)
    style = source[: source.index("</style>")]
    assert all(f"{variable}:" in style for variable in VARIABLES.values())
    assert f"var({VARIABLES[SERIES[0]]})" in source


def test_the_style_closes_every_block_so_that_screen_and_print_stay_apart(source: str) -> None:
    style = source[source.index("<style>") : source.index("</style>")]
    depth = 0
    for character in style:
        depth += (character == "{") - (character == "}")
        assert 0 <= depth <= 2
    assert depth == 0
    blocks = style.split("@media print")
    assert len(blocks) == 3 and "body { margin: 0" in blocks[1].split("\n}\n", 1)[1]


def test_names_are_text_and_nothing_else(source: str) -> None:
    assert "<b>" not in source
    text = Page(source).text
    for name in (*LABELS, "some/<model>", "da<ta.csv", "se<cond"):
        assert name in text


def test_every_figure_of_the_json_is_on_the_page(report: Report, source: str) -> None:
    text = Page(source).text
    for label in report.suites["first"].labels.values():
        for estimate in label.metrics.values():
            if estimate.value is not None and estimate.low is not None and estimate.high is not None:
                assert f"{estimate.value:.3f}{estimate.low:.3f}–{estimate.high:.3f}" in text
    assert "not evaluated: no row says whether the label applies" in text


def test_only_calibration_data_brings_the_warning(source: str) -> None:
    assert "These figures flatter" not in source
    assert "These figures flatter" in render_page(make_report(is_calibration_data=True))


def test_one_bundle_is_not_compared(source: str) -> None:
    alone = render_page(make_report(bundles=1))

    assert "Where bundles differ" in source and "F1 by bundle" in source
    assert "Where bundles differ" not in alone and "F1 by bundle" not in alone


def test_the_summary_says_what_is_thin(report: Report) -> None:
    words = summary(report, report.suites["first"])

    assert list(words.labels) == list(LABELS[:3])
    assert "texts that are labelled so" in words.labels["calm"]
    cautions = " ".join(words.cautions)
    assert "Fewer than 30 texts are labelled sad" in cautions
    assert "Not evaluated: never" in cautions
    assert "not calibrated" in cautions


def test_the_summary_says_where_a_label_is_given_to_every_text(report: Report) -> None:
    suite = report.suites["first"]
    calm = suite.labels["calm"]
    always = replace(calm, counts=replace(calm.counts, called=calm.counts.known))
    words = summary(report, replace(suite, labels=suite.labels | {"calm": always}))

    assert any(line.startswith("Every text comes out as calm") for line in words.cautions)
    assert not any(line.startswith("Every text") for line in summary(report, suite).cautions)


def test_the_terminal_shows_each_file_with_its_labels(report: Report) -> None:
    table = terminal_table(report)

    assert "first: da<ta.csv, 120 rows" in table and "se<cond: " in table
    assert re.search(r"^never +not evaluated", table, re.MULTILINE)
    assert "fp32 and int8: " in table


def test_json_refuses_what_is_not_a_number(report: Report) -> None:
    suite = report.suites["first"]
    broken: SuiteReport = replace(suite, overall=suite.overall | {"macro_f1": Estimate(float("nan"))})

    with pytest.raises(ValueError, match="not JSON compliant"):
        report_json(replace(report, suites={"first": broken}))


def test_numbers_are_written_for_readers(report: Report) -> None:
    assert [listing(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
    shares = [percent(value).replace("\N{NO-BREAK SPACE}", " ") for value in (0.0, 0.00012, 0.25, 1.0)]
    assert shares == ["0 %", "0.012 %", "25 %", "100 %"]
    assert share(Estimate(0.99, 0.987, 0.993)) == "99.0\N{NO-BREAK SPACE}% (98.7–99.3)"
    assert share(Estimate(0.5, None, None)) == "50\N{NO-BREAK SPACE}%"
    assert share(Estimate(1.0, 1.0, 1.0)) == "100\N{NO-BREAK SPACE}%"
    suite = report.suites["first"]
    assert [size_class(part) for part in suite.by_windows] == ["1", "2", "3–4"]
    assert [size_class(part) for part in suite.by_tokens] == ["up to 16", "17–64", "65–256", "257–1,024"]
    assert size_class(replace(suite.by_tokens[0], first=4095, last=None)) == "over 4,094"


def test_a_drawing_keeps_its_meaning_when_it_becomes_part_of_a_page() -> None:
    document = (
        '<?xml version="1.0"?><svg width="1pt" height="2pt" viewBox="0 0 1 2"><metadata>x</metadata>'
        f'<defs><path id="m1" style="fill: {SERIES[0]}"/></defs><g id="axes_1"><use href="#m1"/></g></svg>'
    )

    drawing = inline_svg(document, 'a "b"')

    assert re.fullmatch(
        r'<svg role="img" aria-label="a &quot;b&quot;" viewBox="0 0 1 2">'
        r'<defs><path id="(p\w+-m1)" style="fill: var\(--series-1\)"/></defs><g><use href="#\1"/></g></svg>',
        drawing,
    )
