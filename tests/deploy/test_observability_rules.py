"""Rules, alerts and dashboard: they hold what they say, and look at what there is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

import handlers
from handlers.metrics import FAMILIES
from tests.deploy.observed import DASHBOARD, FOLDER, ROOT, TESTS, expressions, metrics_in, panels, rules

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian's package prometheus)")


def _promtool(*arguments: str) -> None:
    assert PROMTOOL is not None
    environment = os.environ | {"GOGC": "400"}  # it would collect garbage for a third of its time
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def known() -> set[str]:
    """Every metric that there is: ours, TorchServe's, Prometheus' own and those that are recorded."""
    config = Path(handlers.__file__).parent / "config" / "metrics.yaml"
    declared = yaml.safe_load(config.read_text(encoding="utf-8"))["ts_metrics"]
    torchserve = {metric["name"] for metrics in declared.values() for metric in metrics}
    return {family.name for family in FAMILIES} | torchserve | {"up"} | {rule["record"] for rule in rules("record")}


@needs_promtool
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_alerts_fire_when_they_should_and_at_no_other_time(path: Path) -> None:
    _promtool("test", "rules", str(path))


@needs_promtool
def test_the_configuration_of_prometheus_is_valid_with_its_rules() -> None:
    _promtool("check", "config", str(FOLDER / "prometheus.yml"))


def test_every_alert_has_a_test_in_which_it_fires() -> None:
    fired = {name for path in TESTS for name in re.findall(r'alertname="(\w+)"', path.read_text(encoding="utf-8"))}

    assert {rule["alert"] for rule in rules("alert")} == fired


@pytest.mark.parametrize("rule", rules("alert"), ids=lambda rule: rule["alert"])
def test_an_alert_says_how_urgent_it_is_what_it_means_and_what_to_do(rule: dict[str, dict[str, str]]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert f'id="{anchor}"' in (ROOT / page).read_text(encoding="utf-8")


def test_rules_look_only_at_metrics_that_there_are(known: set[str]) -> None:
    for rule in [*rules("record"), *rules("alert")]:
        found = metrics_in(rule["expr"])
        assert found, rule["expr"]
        assert found <= known, rule["expr"]


def test_the_dashboard_looks_only_at_metrics_that_there_are_and_at_all_of_ours(known: set[str]) -> None:
    shown = [metrics_in(expression) for _, expression in expressions()]
    assert all(shown)
    assert set().union(*shown) <= known

    looked_at = set().union(*shown, *(metrics_in(rule["expr"]) for rule in rules("record")))
    histograms = re.compile(r"_(bucket|sum|count)$")
    ours = {histograms.sub("", family.name) for family in FAMILIES}
    assert ours <= {histograms.sub("", name) for name in looked_at}


def test_a_name_that_there_is_not_is_found() -> None:
    assert metrics_in('sum(rate(lantern_nothing_total{code="up"}[5m])) / lantern:no:ratio1h') == {
        "lantern_nothing_total",
        "lantern:no:ratio1h",
    }


def test_panels_of_the_dashboard_have_a_place_of_their_own() -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert taken.isdisjoint(cells), panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in panels())
