"""The report: every figure and table is there, in the HTML as written and in a browser."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from benchmarks.load.compare import compare
from benchmarks.load.plan import Demand
from benchmarks.load.report import HEADLINES, render_report, requests_csv, windows_csv, write_report
from benchmarks.load.results import Configuration, ConfigurationResult, Outcome, RunResult, Verdict, read_result
from tests.benchmarks.load_results import SLO, result, run, window

DRAWINGS = (
    "latency quantiles over the arrival rate",
    "throughput over the arrival rate",
    "latency by text length",
    "mean latency by stage, stacked, over the arrival rate",
    "share of computed tokens that were not padding, over the arrival rate",
    "busy cores and memory over the arrival rate",
    "unexpected answers by kind",
    "rates over the time of the search",
)
TABLES = (
    "Plan",
    "Every rate",
    "By text length",
    "Measured beside theory",
    "How it was measured",
    "Against the baseline",
)


class _Outline(HTMLParser):
    """What a page consists of: labels of drawings, headings, open tags, and anything that would be loaded."""

    VOID = frozenset({"meta", "br", "img", "link", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.labels: list[str] = []
        self.headings: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.tables = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        self.tables += tag == "table"
        if tag == "svg":
            self.labels.append(known.get("aria-label") or "")
        if "id" in known:
            self.ids.append(known["id"] or "")
        links = [known.get(name) or "" for name in ("src", "href", "xlink:href")]
        self.loads += [link for link in links if link and not link.startswith("#")]
        self.loads += ["script"] if tag == "script" else []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("h1", "h2", "h3"):
            self.headings.append(data.strip())


@pytest.fixture(scope="module")
def measured() -> RunResult:
    windows = [
        window(rate, [latency + place % 20 for place in range(120)], number=number, purpose=purpose, codes=codes)
        for number, (rate, latency, purpose, codes) in enumerate(
            [
                (10, 20, "curve", ("ok",)),
                (20, 30, "search", ("ok",)),
                (40, 60, "confirm", ("ok",)),
                (48, 90, "search", ("ok", "ok", "overloaded")),
            ]
        )
    ]
    return run(result(windows), result(windows[:3], "onnx int8", capacity=30.0))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def page(measured: RunResult) -> str:
    demands = [Demand(40, SLO, price=2.10), Demand(400, SLO)]
    return render_report(measured, demands, compare(measured, measured, ("before", "now")))


def test_every_drawing_and_table_is_there_and_nothing_is_loaded(page: str) -> None:
    outline = _Outline()
    outline.feed(page)

    assert outline.open == []
    assert outline.loads == []
    for drawing in DRAWINGS:
        assert sum(drawing in label for label in outline.labels) == 2, drawing
    assert any("every configuration" in label for label in outline.labels)
    for title in TABLES:
        assert title in outline.headings
    assert len(outline.ids) == len(set(outline.ids))


def test_the_page_answers_first(page: str) -> None:
    text = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)

    assert text.index("40 requests/s") < text.index("<svg")
    assert "3 replicas of onnx fp32 for 40 requests/s (80/s at the peak) at p99 ≤ 100 ms" in text
    assert "43.75" in text  # 3 x 2.10 an hour over 40 x 3600 entries, a million of them


@pytest.mark.parametrize("verdict", HEADLINES)
def test_every_end_has_a_page_that_says_so(verdict: Verdict) -> None:
    nothing = ConfigurationResult(
        configuration=Configuration(label="onnx fp32"), outcome=Outcome(verdict=verdict, reason="the <reason>")
    )
    page = render_report(run(nothing).model_copy(update={"workload": None, "slo": None, "partial": True}), [], None)

    assert HEADLINES[verdict] in page
    assert "the &lt;reason&gt;" in page


def test_json_and_csv_hold_every_request(measured: RunResult, page: str, tmp_path: Path) -> None:
    write_report(measured, page, tmp_path)

    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "result.json", "windows.csv", "requests.csv"}
    assert read_result(tmp_path / "result.json") == measured
    requests = list(csv.DictReader(io.StringIO(requests_csv(measured))))
    assert len(requests) == 7 * 120
    assert {row["code"] for row in requests} == {"ok", "overloaded"}
    windows = list(csv.DictReader(io.StringIO(windows_csv(measured))))
    assert [row["rate"] for row in windows] == ["10.0", "20.0", "40.0", "48.0", "10.0", "20.0", "40.0"]


def test_a_browser_renders_the_page(page: str, tmp_path: Path) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium is installed to render the page with")
    report = tmp_path / "report.html"
    probe = (
        "<script>const boxes=[...document.querySelectorAll('svg,table')].map(e=>e.getBoundingClientRect());"
        "document.title='drawn '+boxes.filter(b=>b.width>50&&b.height>20).length+' of '+boxes.length"
        "+' wide '+(document.documentElement.scrollWidth<=innerWidth)</script>"
    )
    report.write_text(page.replace("</body>", f"{probe}</body>"), encoding="utf-8")
    options = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--window-size=1200,900",
        f"--user-data-dir={tmp_path}/p",
    ]

    done = subprocess.run(
        [browser, *options, "--dump-dom", report.as_uri()], capture_output=True, text=True, timeout=90
    )

    title = re.search(r"<title>drawn (\d+) of (\d+) wide (\w+)</title>", done.stdout)
    assert title is not None, done.stderr[-500:]
    assert title[1] == title[2]
    assert title[3] == "true"
