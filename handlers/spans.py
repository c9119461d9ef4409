"""Traces for OpenTelemetry: one span for a request, with queue, tokenize, run and decide of its texts below it.

Spans are made of recorded times after the answer has left, so that no request waits for them and nothing has to follow
it through the threads. They leave in batches, from a thread of the SDK. Sampling, limits, headers and timeouts are the
SDK's and its variables'.

An attribute is a number or a name of ours. No text, no score of a text and no identifier of a person is ever one.

Imports OpenTelemetry, which is an extra: ``handlers.tracing`` asks for this module only where traces are wanted.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME as NAME
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from handlers.core.errors import DEADLINE_EXCEEDED, ERROR_TABLE, StartupError
from handlers.core.events import OK, EngineRun, EventSink, RequestDone, SpansLost, TextDone

Attributes = dict[str, str | int | float | bool]

SERVICE_NAME: Final = "lantern"
"""Unless ``OTEL_SERVICE_NAME`` says otherwise."""


@dataclass(frozen=True)
class _Stage:
    """A span below that of the request: when it was, in seconds of the pipeline's clock, and what is said of it."""

    name: str
    started: float
    seconds: float
    attributes: Attributes
    runs: tuple[EngineRun, ...] = ()


class Spans:
    """Makes spans of requests that are done. ``trace`` is for one thread.

    Args:
        queue_size: spans that may wait for the collector; a request whose spans find no room is lost, and counted.
        report: as for ``open_tracing``.
        clock: the pipeline's.
        now: nanoseconds since 1970.
    """

    def __init__(
        self,
        queue_size: int,
        report: EventSink,
        clock: Callable[[], float] = time.perf_counter,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        _silence_sdk()
        self._clock, self._now = clock, now
        self._outbox = _Outbox(OTLPSpanExporter(), queue_size, report)
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        try:
            self._provider.add_span_processor(BatchSpanProcessor(self._outbox, max_queue_size=queue_size))
        except ValueError as error:
            raise StartupError(f"OTEL_BSP_…: {error}") from None
        self._tracer = self._provider.get_tracer("lantern")

    def trace(self, request: RequestDone) -> None:
        """Make the spans of one request, and leave them to be sent."""
        stages = [stage for index, text in enumerate(request.texts) for stage in _stages(index, text, request.ended)]
        offset = self._now() - round(self._clock() * 1e9)
        root = self._start_root(request, offset)
        if root.is_recording() and self._outbox.takes(len(stages) + 1):
            for stage in stages:
                self._add(stage, root, offset)
            root.end(offset + round(request.ended * 1e9))

    def close(self) -> None:
        """Send what waits, and end."""
        self._provider.shutdown()

    def _start_root(self, request: RequestDone, offset: int) -> Span:
        carrier = {"traceparent": request.caller.traceparent} if request.caller.traceparent else {}
        root = self._tracer.start_span(
            "classify",
            context=TraceContextTextMapPropagator().extract(carrier, context=Context()),
            kind=SpanKind.SERVER,
            attributes=_request_attributes(request),
            start_time=offset + round(request.arrived * 1e9),
        )
        if request.code != OK and ERROR_TABLE[request.code].http >= 500:
            root.set_status(Status(StatusCode.ERROR, request.code))
        return root

    def _add(self, stage: _Stage, root: Span, offset: int) -> None:
        span = self._tracer.start_span(
            stage.name,
            context=set_span_in_context(root, Context()),
            attributes=stage.attributes,
            start_time=offset + round(stage.started * 1e9),
        )
        for run in stage.runs:
            span.add_event("sub_batch", _run_attributes(run), offset + round(run.ended * 1e9))
        span.end(offset + round((stage.started + stage.seconds) * 1e9))


def _resource() -> Resource:
    is_named = NAME in OTELResourceDetector().detect().attributes
    return Resource.create({} if is_named else {NAME: SERVICE_NAME})


def _silence_sdk() -> None:
    """Keep the SDK's own log out of ours: it quotes what a collector answers. ``SpansLost`` tells of every failure."""
    sdk = logging.getLogger("opentelemetry")
    sdk.propagate = False
    sdk.addHandler(logging.NullHandler())


class _Outbox(SpanExporter):
    """An exporter that knows how many spans wait for it, and reports those that are lost."""

    def __init__(self, exporter: SpanExporter, size: int, report: EventSink) -> None:
        self._exporter = exporter
        self._size, self._report = size, report
        self._waiting = self._lost = 0
        self._lock = Lock()

    def takes(self, spans: int) -> bool:
        """Return whether there is room for ``spans``, which is theirs then; where there is none they are lost.

        What is lost is reported with the next attempt to send, not one by one.
        """
        with self._lock:
            has_room = self._waiting + spans <= self._size
            if has_room:
                self._waiting += spans
            else:
                self._lost += spans
            return has_room

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans."""
        with self._lock:
            self._waiting -= len(spans)
        result = self._exporter.export(spans)
        with self._lock:
            lost, self._lost = self._lost, 0
        if result is not SpanExportResult.SUCCESS:
            lost += len(spans)
        if lost:
            self._report(SpansLost(lost))
        return result

    def shutdown(self) -> None:
        """End the exporter."""
        self._exporter.shutdown()


def _request_attributes(request: RequestDone) -> Attributes:
    attributes: Attributes = {
        "lantern.protocol": request.caller.protocol,
        "lantern.code": request.code,
        "lantern.texts": len(request.texts),
        "lantern.refused": len(request.refused),
        "lantern.tokens": sum(text.tokens for text in request.texts),
        "lantern.windows": sum(text.windows for text in request.texts),
    }
    if request.caller.request_id:
        attributes["lantern.request_id"] = request.caller.request_id
    return attributes


def _run_attributes(run: EngineRun) -> Attributes:
    return {
        "lantern.inputs": len(run.lengths),
        "lantern.tokens": run.tokens,
        "lantern.padded_tokens": run.padded_tokens,
        "lantern.seconds": run.seconds,
    }


def _stages(index: int, text: TextDone, ended: float) -> Iterator[_Stage]:
    """Yield what one text went through, ``index`` being its place among those of its request."""
    at: Attributes = {"lantern.text": index}
    if text.windows:
        size: Attributes = {
            "lantern.tokens": text.tokens,
            "lantern.windows": text.windows,
            "lantern.over_length": text.handling,
        }
        yield _Stage("tokenize", text.tokenized_at - text.tokenize_s, text.tokenize_s, at | size)
        yield from _waited_and_run(at, text, ended)
    if text.tier or text.scores:
        decided: Attributes = {
            "lantern.code": text.code,
            "lantern.tier": text.tier,
            "lantern.uncertain": text.uncertain,
        }
        yield _Stage("decide", text.decide_at, text.decide_s, at | decided)


def _waited_and_run(at: Attributes, text: TextDone, ended: float) -> Iterator[_Stage]:
    if text.runs:
        began = min(run.ended - run.seconds for run in text.runs)
        until = max(run.ended for run in text.runs)
        yield _Stage("queue", text.tokenized_at, began - text.tokenized_at, at | {"lantern.waited_s": text.queue_s})
        yield _Stage("run", began, until - began, at | {"lantern.sub_batches": len(text.runs)}, text.runs)
    elif text.code == DEADLINE_EXCEEDED.code:
        yield _Stage("queue", text.tokenized_at, ended - text.tokenized_at, at)
