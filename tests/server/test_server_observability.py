"""A real Prometheus that scrapes the real server, with our rules and dashboard; and traces as a collector gets them."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.deploy.observed import FOLDER, RULES, expressions, rules
from tests.otlp import Collector, attributes
from tests.ports import free_ports
from tests.server.live import JSON, PATIENCE_S, Live, until

PROMETHEUS = shutil.which("prometheus")
needs_prometheus = pytest.mark.skipif(
    PROMETHEUS is None, reason="prometheus is not installed (Debian's package prometheus)"
)
REQUEST_ID = "0123456789abcdef0123456789abcdef"
BEFORE = ("7d_before", "score_drift:ks")
"""What looks at the week before yesterday, of which a new Prometheus knows nothing."""


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, trust_env=False, timeout=PATIENCE_S)

    def is_ready(self) -> bool:
        try:
            return self._http.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def query(self, expression: str) -> list[float]:
        """Return the values of an instant query, those that are no number left out."""
        answer = self._http.get("/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", (expression, answer)
        values = (float(sample["value"][1]) for sample in answer["data"]["result"])
        return [value for value in values if not math.isnan(value)]

    def close(self) -> None:
        self._http.close()


def _configuration(folder: Path, live: Live) -> Path:
    """Write the repository's own configuration for this server, with looks every half second."""
    config: dict[str, Any] = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    config["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{live.ports.metrics}"]}]
    recorded = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    for group in recorded["groups"]:
        group["interval"] = "500ms"
    (folder / "rules").mkdir()
    (folder / "rules" / "lantern.yml").write_text(yaml.safe_dump(recorded), encoding="utf-8")
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return folder / "prometheus.yml"


@pytest.fixture(scope="module")
def prometheus(live: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has seen requests of every kind, over both protocols."""
    folder, port = tmp_path_factory.mktemp("prometheus"), free_ports().http
    command = [
        *(str(PROMETHEUS), f"--config.file={_configuration(folder, live)}", f"--storage.tsdb.path={folder / 'data'}"),
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    prometheus = Prometheus(f"http://127.0.0.1:{port}")
    try:
        until(prometheus.is_ready, "Prometheus")
        until(lambda: prometheus.query("count(lantern_requests_total)") != [], "the first look at the server")
        _send(live)
        until(lambda: prometheus.query('sum(rate(lantern_requests_total{protocol="grpc"}[1m])) > 0') != [], "a rate")
        until(lambda: prometheus.query("rate(lantern_actions_total[1m])") != [], "two looks at what was done")
        until(lambda: prometheus.query("lantern:over_length:ratio1h > 0") != [], "the rules")
        yield prometheus
    finally:
        prometheus.close()
        process.terminate()
        process.wait(PATIENCE_S)


def still_empty(look: Callable[[], list[Any]]) -> list[Any]:
    """Return what ``look`` still finds once groups of rules that build on each other have had the time to."""
    with suppress(AssertionError):
        until(lambda: not look(), "every rule's turn")
    return look()


def _send(live: Live) -> None:
    worried = {"text": "I feel on edge before the exam.", "consent": {"self_help": True}}
    stated = {"text": "I want to die."}
    for _ in range(3):
        for body in (worried, stated):
            live.post(body)
            live.call(body)
    live.post({"text": ""})
    live.call({"text": ""})
    live.post({"text": "word " * 6000, "options": {"over_length": "head"}})


@needs_prometheus
def test_everything_on_the_dashboard_shows_something(prometheus: Prometheus) -> None:
    shown = [(title, it) for title, it in expressions() if not any(name in it for name in BEFORE)]

    assert still_empty(lambda: [(title, it) for title, it in shown if not prometheus.query(it)]) == []


@needs_prometheus
def test_what_looks_at_the_week_before_is_valid_too(prometheus: Prometheus) -> None:
    for _, expression in expressions():
        prometheus.query(expression)


@needs_prometheus
def test_every_recording_rule_gives_numbers(prometheus: Prometheus) -> None:
    names = [rule["record"] for rule in rules("record") if not any(name in rule["record"] for name in BEFORE)]
    assert still_empty(lambda: [name for name in names if not prometheus.query(name)]) == []


@needs_prometheus
@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_both_protocols_have_percentiles(prometheus: Prometheus, protocol: str) -> None:
    (median,) = prometheus.query(f'lantern:request_seconds:p50_5m{{protocol="{protocol}"}}')
    assert 0 < median < 120


@needs_prometheus
def test_no_alert_is_broken(prometheus: Prometheus) -> None:
    for rule in rules("alert"):
        prometheus.query(rule["expr"])


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_a_request_is_traced_from_its_caller_through_the_stages(
    live: Live, collector: Collector, protocol: str
) -> None:
    trace = {"rest": "5b", "grpc": "6c"}[protocol] * 16
    traceparent, body = f"00-{trace}-00f067aa0ba902b7-01", {"text": "A quiet day in the garden."}
    if protocol == "rest":
        live.post(body, headers=JSON | {"traceparent": traceparent, "x-request-id": REQUEST_ID})
    else:
        live.call(body, traceparent=traceparent.encode(), request_id=REQUEST_ID.encode())

    until(lambda: len(_spans(collector, trace)) == 5, "the spans")
    spans = {span.name: span for span in _spans(collector, trace)}
    assert set(spans) == {"classify", "tokenize", "queue", "run", "decide"}
    said = attributes(spans["classify"].attributes)
    assert (said["lantern.protocol"], said["lantern.request_id"]) == (protocol, REQUEST_ID)
    assert spans["classify"].parent_span_id.hex() == "00f067aa0ba902b7"


def _spans(collector: Collector, trace: str) -> list[Any]:
    with collector.changed:
        return [span for span in collector.spans if span.trace_id.hex() == trace]


def test_the_id_of_a_rest_request_comes_back(live: Live) -> None:
    answer = live.post({"text": "a"}, headers=JSON | {"X-Request-Id": REQUEST_ID})
    assert answer.headers["x-lantern-request-id"] == REQUEST_ID


@pytest.mark.parametrize("value", ["anna@example.org", "1" * 31, ""])
def test_what_is_no_id_of_a_machine_does_not_come_back(live: Live, value: str) -> None:
    answer = live.post({"text": "a"}, headers=JSON | {"x-request-id": value})
    assert "x-lantern-request-id" not in answer.headers
