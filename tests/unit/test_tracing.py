"""Traces as a collector gets them, of requests that the real pipeline has answered."""

from __future__ import annotations

import itertools
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from logging.handlers import BufferingHandler
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from handlers.core.caller import Caller, read_caller
from handlers.core.errors import StartupError
from handlers.core.events import Event, RequestDone, SpansLost
from handlers.core.wire import RawRequest
from handlers.runtime.bundle import Bundle
from handlers.tracing import Tracing, open_tracing
from tests.otlp import Collector, attributes, collecting
from tests.ports import free_ports
from tests.unit.conftest import open_pipeline

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, NOT_SAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"
REQUEST_ID = "0123456789abcdef0123456789abcdef"
CANARY = "QxZ73"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture
def lost() -> list[Event]:
    return []


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, collector: Collector) -> pytest.MonkeyPatch:
    """The variables of a process that traces to the collector."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(ENDPOINT, collector.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    return monkeypatch


def traced(bundle: Bundle, lost: list[Event], *calls: RawRequest) -> list[Event]:
    """Answer ``calls``, trace them and send the spans; return the events."""
    events: list[Event] = []
    pipeline = open_pipeline(bundle, events.append, clock=time.perf_counter)
    pipeline.handle(calls)
    tracing = open_tracing(os.environ, lost.append)
    assert tracing is not None
    trace_all(tracing, events)
    return events


def trace_all(tracing: Tracing, events: list[Event]) -> None:
    for event in events:
        if isinstance(event, RequestDone):
            tracing.trace(event)
    tracing.close()


def call(caller: Caller, **fields: Any) -> RawRequest:
    return RawRequest(json.dumps({"text": f"{CANARY} is fine", **fields}).encode(), caller=caller)


def named(spans: list[Span], name: str) -> Span:
    (span,) = (span for span in spans if span.name == name)
    return span


def test_a_request_is_one_span_with_its_stages_below_it(
    bundle: Bundle, collector: Collector, environment: pytest.MonkeyPatch, lost: list[Event]
) -> None:
    before = time.time_ns()
    traced(bundle, lost, call(read_caller("rest", SAMPLED, REQUEST_ID)))
    spans = collector.wait(5)

    assert sorted(span.name for span in spans) == ["classify", "decide", "queue", "run", "tokenize"]
    root = named(spans, "classify")
    assert (root.trace_id.hex(), root.parent_span_id.hex()) == (TRACE, PARENT)
    assert root.kind == Span.SPAN_KIND_SERVER
    assert {span.parent_span_id for span in spans if span is not root} == {root.span_id}
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    assert collector.services == {"lantern"}
    assert lost == []
    ordered = [named(spans, name) for name in ("tokenize", "queue", "run", "decide")]
    assert before <= root.start_time_unix_nano <= ordered[0].start_time_unix_nano
    for earlier, later in itertools.pairwise(ordered):
        assert earlier.start_time_unix_nano <= earlier.end_time_unix_nano <= later.start_time_unix_nano + 1
    assert ordered[-1].end_time_unix_nano <= root.end_time_unix_nano <= time.time_ns()


def test_spans_say_how_much_was_read_and_in_what_company(
    bundle: Bundle, collector: Collector, environment: pytest.MonkeyPatch, lost: list[Event]
) -> None:
    long = {"text": "x" * 600, "options": {"over_length": "window"}}
    traced(bundle, lost, RawRequest(json.dumps(long).encode(), caller=Caller("grpc", SAMPLED)))
    spans = collector.wait(5)

    assert attributes(named(spans, "classify").attributes) == {
        "lantern.protocol": "grpc",
        "lantern.code": "ok",
        "lantern.texts": 1,
        "lantern.refused": 0,
        "lantern.tokens": 600,
        "lantern.windows": 3,
    }
    said = attributes(named(spans, "tokenize").attributes)
    assert said == {"lantern.text": 0, "lantern.tokens": 600, "lantern.windows": 3, "lantern.over_length": "window"}
    run = named(spans, "run")
    parts = [attributes(event.attributes) for event in run.events]
    assert attributes(run.attributes)["lantern.sub_batches"] == len(parts)
    assert sum(int(str(part["lantern.inputs"])) for part in parts) == 3
    assert all(
        part["lantern.padded_tokens"] == part["lantern.tokens"] == 256 * int(str(part["lantern.inputs"]))
        for part in parts
    )


def test_every_text_of_a_list_has_its_own_stages(
    bundle: Bundle, collector: Collector, environment: pytest.MonkeyPatch, lost: list[Event]
) -> None:
    entries = {"entries": [{"text": "a"}, {"text": ""}, {"text": "b"}]}
    traced(bundle, lost, RawRequest(json.dumps(entries).encode(), caller=Caller("rest", SAMPLED)))
    spans = collector.wait(9)

    assert len(spans) == 1 + 2 * 4
    assert {attributes(span.attributes)["lantern.text"] for span in spans if span.name == "run"} == {0, 1}
    assert attributes(named(spans, "classify").attributes)["lantern.refused"] == 1


def test_a_refused_request_is_a_span_with_its_code(
    bundle: Bundle, collector: Collector, environment: pytest.MonkeyPatch, lost: list[Event]
) -> None:
    traced(bundle, lost, RawRequest(b"{", caller=Caller("rest", SAMPLED)))
    (span,) = collector.wait(1)

    assert attributes(span.attributes)["lantern.code"] == "invalid_json"
    assert span.status.code == Status.STATUS_CODE_UNSET, "the caller's fault is none of the service"


def test_a_fault_of_the_service_is_an_error(collector: Collector, environment: pytest.MonkeyPatch) -> None:
    tracing = open_tracing(os.environ, lambda _: None)
    assert tracing is not None
    trace_all(tracing, [RequestDone(Caller("grpc", SAMPLED), "overloaded", 1.0, 1.0, refused=("overloaded",))])
    (span,) = collector.wait(1)

    assert (span.status.code, span.status.message) == (Status.STATUS_CODE_ERROR, "overloaded")


def test_no_span_holds_a_text_a_score_or_a_name(
    bundle: Bundle, collector: Collector, environment: pytest.MonkeyPatch, lost: list[Event]
) -> None:
    events = traced(bundle, lost, call(Caller("rest", SAMPLED), entry_id="entry-Z81", subject_id="subject-Z81"))
    collector.wait(5)

    (done,) = (event for event in events if isinstance(event, RequestDone))
    sent = b"".join(collector.bodies)
    assert CANARY.encode() not in sent
    assert b"Z81" not in sent
    values = [value for span in collector.spans for value in attributes(span.attributes).values()]
    assert {scored.score for scored in done.texts[0].scores}.isdisjoint(values)


@pytest.mark.parametrize(
    ("traceparent", "sampler", "spans"),
    [
        (NOT_SAMPLED, "", 0),
        (SAMPLED, "", 5),
        ("", "parentbased_always_off", 0),
        ("", "", 5),
        (NOT_SAMPLED, "always_on", 5),
    ],
)
def test_the_caller_and_the_standard_variables_say_what_is_sampled(
    bundle: Bundle,
    collector: Collector,
    environment: pytest.MonkeyPatch,
    lost: list[Event],
    traceparent: str,
    sampler: str,
    spans: int,
) -> None:
    if sampler:
        environment.setenv("OTEL_TRACES_SAMPLER", sampler)
    traced(bundle, lost, call(Caller("rest", traceparent)))

    assert len(collector.spans) == spans


def test_the_service_has_the_name_that_the_operator_gave_it(
    bundle: Bundle, collector: Collector, environment: pytest.MonkeyPatch, lost: list[Event]
) -> None:
    environment.setenv("OTEL_SERVICE_NAME", "journals")
    traced(bundle, lost, call(Caller("rest", SAMPLED)))
    collector.wait(5)

    assert collector.services == {"journals"}


@pytest.mark.parametrize("is_there", [True, False], ids=["a collector that refuses", "no collector"])
def test_a_collector_that_fails_is_reported_and_nothing_of_it_is_logged(
    bundle: Bundle,
    collector: Collector,
    environment: pytest.MonkeyPatch,
    lost: list[Event],
    is_there: bool,
) -> None:
    collector.status = 400
    if not is_there:
        environment.setenv(ENDPOINT, f"http://127.0.0.1:{free_ports().http}")
    log = BufferingHandler(1000)
    logging.getLogger().addHandler(log)
    try:
        traced(bundle, lost, call(Caller("rest", SAMPLED)))
        logging.getLogger("other").error("a log that is not empty")
    finally:
        logging.getLogger().removeHandler(log)

    assert lost == [SpansLost(5)]
    assert {record.name for record in log.buffer if record.levelno > logging.DEBUG} == {"other"}


def test_what_finds_no_room_is_lost_and_counted(
    bundle: Bundle, collector: Collector, environment: pytest.MonkeyPatch, lost: list[Event]
) -> None:
    environment.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "12")
    environment.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "12")
    environment.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    traced(bundle, lost, *[call(Caller("rest", SAMPLED))] * 4)

    assert len(collector.wait(10)) == 10
    assert lost == [SpansLost(10)]


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {ENDPOINT: ""},
        {ENDPOINT: "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "true"},
        {ENDPOINT: "http://127.0.0.1:4318", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_there_are_no_traces_unless_they_are_asked_for(variables: dict[str, str]) -> None:
    assert open_tracing(variables, lambda _: None) is None


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER=zipkin"),
        ({"OTEL_TRACES_SAMPLER": "sometimes"}, "OTEL_TRACES_SAMPLER=sometimes"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "all"}, "OTEL_TRACES_SAMPLER_ARG=all"),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "0"}, "OTEL_BSP_MAX_QUEUE_SIZE=0"),
        ({ENDPOINT: "collector:4318"}, ENDPOINT),
    ],
)
def test_a_setting_that_is_not_there_is_refused_at_the_start(variables: dict[str, str], named: str) -> None:
    with pytest.raises(StartupError, match=named):
        open_tracing({ENDPOINT: "http://127.0.0.1:4318"} | variables, lambda _: None)


def test_traces_without_their_package_are_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "handlers.spans", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)

    with pytest.raises(StartupError, match=r"OTEL_EXPORTER_OTLP_ENDPOINT .*requirements/otel\.txt"):
        open_tracing({ENDPOINT: "http://127.0.0.1:4318"}, lambda _: None)


@pytest.mark.parametrize(
    ("sent", "taken"),
    [
        (SAMPLED, SAMPLED),
        (f" {SAMPLED} ", SAMPLED),
        (SAMPLED.upper(), ""),
        (f"{SAMPLED}-x", ""),
        ("", ""),
        (CANARY, ""),
    ],
)
def test_only_a_well_formed_trace_context_is_taken(sent: str, taken: str) -> None:
    assert read_caller("rest", sent, "").traceparent == taken


@pytest.mark.parametrize(
    ("sent", "taken"),
    [
        (REQUEST_ID, REQUEST_ID),
        ("123E4567-E89B-12D3-A456-426614174000", "123e4567-e89b-12d3-a456-426614174000"),
        ("anna@example.org", ""),
        (f"{REQUEST_ID}\r\nx: y", ""),
        (REQUEST_ID[:-1], ""),
    ],
)
def test_only_an_id_that_a_machine_made_is_taken(sent: str, taken: str) -> None:
    assert read_caller("rest", "", sent).request_id == taken
