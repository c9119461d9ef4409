from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.core.caller import Caller
from handlers.core.errors import ERROR_TABLE
from handlers.core.events import (
    OK,
    Decided,
    EngineRun,
    Event,
    Fault,
    LabelScored,
    Loaded,
    PolicyChanged,
    RecordsFailed,
    RecordsRecovered,
    RequestDone,
    SpansLost,
    SubBatchDone,
    TextDone,
)
from handlers.metrics import FAMILIES, SCORE_BUCKETS, STAGE_BUCKETS, Kind, Meter

REST, GRPC = Caller("rest"), Caller("grpc")
LOADED = Loaded("1.0", "org/a:b", "r", "onnx", "fp32", "cpu", "none", ("neutral", "anxious"), 1.0, 2.0)


class Port:
    """A metrics port: what Prometheus would see after the flushes so far."""

    def __init__(self) -> None:
        self.series: dict[tuple[str, tuple[str, ...]], float] = defaultdict(float)
        self.lines = 0

    def __call__(self, kind: Kind, name: str, labels: tuple[str, ...], value: float) -> None:
        self.lines += 1
        assert kind == "gauge" or value >= 0
        self.series[name, labels] = value if kind == "gauge" else self.series[name, labels] + value

    def __getitem__(self, key: str | tuple[str, ...]) -> float:
        name, *labels = (key,) if isinstance(key, str) else key
        assert (name, tuple(labels)) in self.series, f"{key} was never sent"
        return self.series[name, tuple(labels)]


def measured(*events: Event) -> Port:
    meter, port = Meter(now=lambda: 1_800_000_000.4), Port()
    for event in events:
        meter.take(event)
    meter.flush(port)
    return port


def text(**changes: Any) -> TextDone:
    given: dict[str, Any] = {
        "code": OK,
        "tokens": 10,
        "windows": 1,
        "handling": "none",
        "tokenized_at": 1.0,
        "tokenize_s": 0.0003,
        "queue_s": 0.03,
        "runs": (EngineRun(1.5, 0.1, (12,)),),
        "decide_at": 1.6,
        "decide_s": 0.00015,
        "scores": (LabelScored("neutral", 0.25, False), LabelScored("anxious", 0.85, True)),
        "tier": "self_help",
        "uncertain": False,
        "floor_s": 0.0004,
    }
    return TextDone(**given | changes)


def test_every_series_that_is_known_beforehand_is_there_before_the_first_request() -> None:
    port = measured(LOADED)

    assert port["lantern_requests_total", "grpc", "overloaded"] == 0
    assert port["lantern_request_seconds_bucket", "rest", "+Inf"] == 0
    assert port["lantern_stage_seconds_count", "queue"] == 0
    assert port["lantern_fallbacks_total", "policy_refused"] == 0
    assert port["lantern_score_bucket", "anxious", "0.1"] == 0
    assert port["lantern_positives_total", "neutral"] == 0
    assert port["lantern_decisions_total", "crisis", "true"] == 0
    assert port["lantern_statements_total", "attempt", "hi"] == 0
    assert port["lantern_stage_seconds_count", "floor"] == 0
    assert {labels for name, labels in port.series if name == "lantern_errors_total"} == {
        (code,) for code in ERROR_TABLE
    }


def test_all_declared_metrics_are_sent_and_with_as_many_labels_as_declared() -> None:
    stated = (("wish", "en"),)
    acted = Decided("self_help", (("offer_self_help", "planned", ""),), uncertain=False, statements=stated)
    port = measured(LOADED, RequestDone(REST, OK, 0.0, 1.0, (text(),)), acted)

    sent = {(name, len(labels)) for name, labels in port.series}
    assert sent == {(family.name, len(family.labels)) for family in FAMILIES}


def test_a_worker_that_has_loaded_is_counted_and_says_what_it_serves() -> None:
    port = measured(LOADED)

    assert port["lantern_worker_starts_total"] == 1
    assert port["lantern_worker_start_time_seconds"] == 1_800_000_000
    assert port["lantern_model_info", "org/a_b", "fp32", "onnx", "cpu", "none", "1.0"] == 1


def test_requests_are_counted_by_protocol_and_code() -> None:
    done = [RequestDone(REST, OK, 0.0, 0.3, (text(),)), RequestDone(GRPC, OK, 0.0, 0.004, (text(), text()))]
    port = measured(*done, RequestDone(GRPC, "draining", 1.0, 1.0, refused=("draining",)))

    assert port["lantern_requests_total", "rest", OK] == 1
    assert port["lantern_requests_total", "grpc", OK] == 1
    assert port["lantern_requests_total", "grpc", "draining"] == 1
    assert port["lantern_texts_total"] == 3
    assert port["lantern_tokens_total"] == 30
    assert port["lantern_errors_total", "draining"] == 1
    assert port["lantern_request_seconds_bucket", "grpc", "0.002"] == 0
    assert port["lantern_request_seconds_bucket", "grpc", "0.005"] == 1
    assert port["lantern_request_seconds_bucket", "rest", "0.2"] == 0
    assert port["lantern_request_seconds_bucket", "rest", "0.5"] == 1
    assert port["lantern_request_seconds_count", "grpc"] == 1, "an error that came at once is no fast answer"


def test_stages_are_resolved_far_below_a_millisecond() -> None:
    port = measured(RequestDone(REST, OK, 0.0, 1.0, (text(),)), SubBatchDone(1, 12, 12, 0.1))

    assert port["lantern_stage_seconds_bucket", "decide", "0.0001"] == 0
    assert port["lantern_stage_seconds_bucket", "decide", "0.0002"] == 1
    assert port["lantern_stage_seconds_bucket", "floor", "0.0002"] == 0
    assert port["lantern_stage_seconds_bucket", "floor", "0.0005"] == 1
    assert port["lantern_stage_seconds_sum", "floor"] == pytest.approx(0.0004)
    assert port["lantern_stage_seconds_sum", "tokenize"] == pytest.approx(0.0003)
    assert port["lantern_stage_seconds_sum", "queue"] == pytest.approx(0.03)
    assert port["lantern_stage_seconds_sum", "run"] == pytest.approx(0.1)


def test_scores_and_positives_are_counted_by_label() -> None:
    port = measured(LOADED, RequestDone(REST, OK, 0.0, 1.0, (text(), text())))

    assert [port["lantern_score_bucket", "anxious", repr(bound)] for bound in SCORE_BUCKETS] == [0] * 8 + [2]
    assert port["lantern_score_sum", "neutral"] == 0.5
    assert (port["lantern_positives_total", "anxious"], port["lantern_positives_total", "neutral"]) == (2, 0)


def test_a_text_that_failed_is_an_error_and_no_score_and_no_wait() -> None:
    failed = text(code="overloaded", runs=(), scores=(), tier="")
    port = measured(LOADED, RequestDone(REST, "overloaded", 0.0, 0.1, (failed,)))

    assert port["lantern_errors_total", "overloaded"] == 1
    assert port["lantern_stage_seconds_count", "queue"] == 0
    assert port["lantern_stage_seconds_count", "decide"] == 0
    assert port["lantern_score_count", "anxious"] == 0


def test_the_floor_is_timed_for_a_text_that_failed_as_well() -> None:
    failed = text(code="invalid_request", tokens=0, windows=0, runs=(), scores=(), tier="none")
    port = measured(RequestDone(REST, "invalid_request", 0.0, 0.1, (failed,)))

    assert port["lantern_stage_seconds_count", "floor"] == 1
    assert port["lantern_stage_seconds_count", "decide"] == 1


def test_statements_are_counted_by_kind_and_language() -> None:
    found = (("intent", "es"), ("wish", "en"))
    port = measured(Decided("crisis", (), uncertain=False, statements=found), Decided("none", (), uncertain=False))

    assert port["lantern_statements_total", "intent", "es"] == 1
    assert port["lantern_statements_total", "wish", "en"] == 1
    assert sum(value for (name, _), value in port.series.items() if name == "lantern_statements_total") == 2


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("internal", 1),
        ("non_finite_scores", 1),
        ("deadline_exceeded", 1),
        ("overloaded", 1),
        ("draining", 1),
        ("invalid_request", 0),
        ("invalid_text", 0),
        ("unknown_label", 0),
        ("too_long", 0),
    ],
)
def test_only_what_the_service_left_without_scores_counts_as_a_fallback(code: str, count: int) -> None:
    port = measured(RequestDone(REST, code, 0.0, 1.0, (text(code=code, scores=()),)))

    assert port["lantern_fallbacks_total", "decided_without_scores"] == count


def test_the_efficiency_of_sub_batches_is_real_over_padded_tokens() -> None:
    port = measured(SubBatchDone(3, 30, 36, 0.1), SubBatchDone(1, 12, 12, 0.1))

    assert (port["lantern_input_tokens_total"], port["lantern_padded_tokens_total"]) == (42, 48)


def test_what_is_too_long_is_counted_by_what_was_done() -> None:
    long, refused = text(handling="window", windows=3), text(handling="reject", windows=0, code="too_long")
    port = measured(RequestDone(REST, OK, 0.0, 1.0, (long, refused)))

    assert port["lantern_over_length_total", "window"] == 1
    assert port["lantern_over_length_total", "reject"] == 1
    assert port["lantern_over_length_total", "head"] == 0
    assert port["lantern_windows_total"] == 3


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (PolicyChanged("refused", "", "m"), "policy_refused"),
        (PolicyChanged("expired", "", "m"), "policy_expired"),
        (RecordsFailed("m", 3, 2), "records_failed"),
        (RequestDone(REST, "internal", 0.0, 1.0, (text(code="internal", scores=()),)), "decided_without_scores"),
        (Fault("id", "ValueError", "a.py:1 f"), "fault"),
        (SpansLost(7), "spans_lost"),
    ],
)
def test_no_fallback_is_silent(event: Event, kind: str) -> None:
    port = measured(event)

    assert port["lantern_fallbacks_total", kind] == 1
    assert sum(value for (name, _), value in port.series.items() if name == "lantern_fallbacks_total") == 1


def test_a_refused_policy_shows_until_one_is_taken() -> None:
    meter, port = Meter(), Port()
    meter.flush(port)
    assert port["lantern_policy_refused"] == 0
    for outcome, shown in (("refused", 1), ("reloaded", 0)):
        meter.take(PolicyChanged(outcome, "", ""))
        meter.flush(port)
        assert port["lantern_policy_refused"] == shown


def test_decisions_that_wait_for_their_record_show_until_they_are_written() -> None:
    assert measured(RecordsFailed("m", 3, 2))["lantern_records_waiting"] == 3
    assert measured(RecordsFailed("m", 3, 2))["lantern_records_lost_total"] == 2
    assert measured(RecordsFailed("m", 3, 2), RecordsRecovered(3))["lantern_records_waiting"] == 0


def test_only_what_has_changed_is_sent_again() -> None:
    meter, port = Meter(), Port()
    meter.flush(port)
    first, port.lines = port.lines, 0
    meter.flush(port)
    assert (first > 100, port.lines) == (True, 0)
    meter.take(SubBatchDone(1, 12, 12, 100.0))
    meter.flush(port)
    assert port.lines == 2 + 2 + 2, "tokens, padded tokens, buckets 120 and +Inf, sum and count"


def test_a_thousand_requests_cost_as_many_lines_as_a_few() -> None:
    meter, port = Meter(), Port()
    meter.take(LOADED)
    meter.flush(port)
    port.lines = 0
    for _ in range(1000):
        meter.take(RequestDone(REST, OK, 0.0, 1.0, (text(),)))
    meter.flush(port)
    assert port.lines < 150


@given(st.lists(st.floats(0.0, 300.0), max_size=50), st.integers(0, 50))
def test_buckets_are_those_of_a_histogram_however_flushes_fall(values: list[float], cut: int) -> None:
    meter, port = Meter(), Port()
    for index, value in enumerate(values):
        if index == cut:
            meter.flush(port)
        meter.take(SubBatchDone(1, 1, 1, value))
    meter.flush(port)

    for bound in (*STAGE_BUCKETS, math.inf):
        le = "+Inf" if bound == math.inf else repr(bound)
        assert port["lantern_stage_seconds_bucket", "run", le] == sum(value <= bound for value in values)
    assert port["lantern_stage_seconds_count", "run"] == len(values)
    assert port["lantern_stage_seconds_sum", "run"] == pytest.approx(sum(values))
