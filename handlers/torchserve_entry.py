"""TorchServe's adapter: everything that knows of TorchServe on the worker's side.

It lands at the root of the archive, so imports are absolute, and it defines exactly one class,
because TorchServe takes the first it finds.

TorchServe waits for a worker's answer before it sends it anything else, so a batch would hold up whoever comes
after it. With ``continuousBatching`` it takes an answer for some of the batch, and then sends the rest again together
with what has come since; each such turn ends when a request is done, or soon (``Turns``). A turn's rows hold every
request in flight, and a row without an answer is left out of ``context.request_ids``, by which TorchServe writes the
answers. Without that setting a batch is answered as a whole.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ts.metrics.metric_type_enum import MetricTypes

from handlers.core.calibration import CALIBRATION_NAME
from handlers.core.caller import Caller, read_caller
from handlers.core.errors import DRAINING, RETRY_AFTER_S, LanternError, StartupError
from handlers.core.events import (
    Decided,
    Event,
    Fault,
    PolicyChanged,
    RecordsFailed,
    RequestDone,
    SpansLost,
    SubBatchDone,
    event_line,
)
from handlers.core.settings import Settings, parse_settings
from handlers.core.wire import JSON, PLAIN_TEXT, Outcome, RawRequest
from handlers.escalation import Escalation
from handlers.floor.matcher import load_floor
from handlers.gate import Gate
from handlers.metrics import Kind, Meter
from handlers.pipeline import Pipeline, ServedModel
from handlers.relay import EventRelay
from handlers.runtime.bundle import read_bundle, verify_bundle
from handlers.runtime.cores import available_cores
from handlers.runtime.gpus import see_one_gpu
from handlers.runtime.heap import HeapTrimmer
from handlers.scheduler import Scheduler, Turns
from handlers.tracing import Tracing, open_tracing

logger = logging.getLogger("lantern")

BUNDLE_FOLDER = "bundle"
REQUEST_ID_HEADER = "x-lantern-request-id"
"""The caller's id of a REST request, given back; TorchServe puts an id of its own into ``x-request-id``."""

UNLOGGED = (SubBatchDone, RequestDone, Decided)
_STUCK = "the engine does not come back from a run, or its thread has ended; TorchServe starts another worker"


class SentimentHandler:
    """Loads the bundle in the archive and maps rows to requests and outcomes to answers."""

    def initialize(self, context: Any) -> None:
        """Load, warm up and check the bundle; called once by TorchServe.

        Raises:
            StartupError: the bundle or a setting is not fit to serve.
        """
        see_one_gpu(context.system_properties.get("gpu_id"), os.environ)
        self._gate = Gate.from_environment()
        self._busy = ExitStack()
        self._model_name = context.model_name
        self._metrics = context.metrics
        self._meter = Meter()
        self._heap = HeapTrimmer.of_process()
        self._tracing: Tracing | None = None
        self._relay = EventRelay(self._observe, then=self._flush)
        self._takes_turns = bool(context.model_yaml_config.get("continuousBatching", False))
        self._turns = Turns()
        try:
            self._tracing = open_tracing(os.environ, self._report)
            self._pipeline, self._scheduler = self._load(context)
        except StartupError as error:
            self._gate.report_failure(str(error))
            raise
        self._gate.report_ready()
        self._relay.start()  # what was reported meanwhile leaves from here on

    def handle(self, rows: list[dict[str, Any]], context: Any) -> list[bytes]:
        """Take the rows that are new, and answer those that are done, each with its own status."""
        if _asks_for_description(rows, context):
            # As text: for anything else TorchServe asks torch whether it is a tensor, and torch is not loaded for that.
            return [json.dumps(self._pipeline.describe()).encode()]
        self._turns.begin()
        keys = [context.get_request_id(index) for index in range(len(rows))]
        self._scheduler.keep(keys)
        self._stay_busy()
        outcomes = self._take_new(keys, rows, context)
        outcomes |= self._collect(set(keys) - set(outcomes), wait=not outcomes)
        self._end_turn()
        return [_answer(rows[index], context, index, outcomes.get(key)) for index, key in enumerate(keys)]

    def _stay_busy(self) -> None:
        if not self._scheduler.in_flight:
            self._busy.enter_context(self._gate.busy())

    def _end_turn(self) -> None:
        in_flight = bool(self._scheduler.in_flight)
        if not in_flight:
            self._busy.close()
        self._turns.end(in_flight)

    def _take_new(self, keys: list[str], rows: list[dict[str, Any]], context: Any) -> dict[str, Outcome]:
        """Submit what is new; return the refusals where the replica is going away."""
        known = self._scheduler.in_flight
        new = [index for index, key in enumerate(keys) if key not in known]
        # Asked while busy: a stop that begins now sees these requests, and one that began before is seen here.
        if new and self._gate.draining:
            return {keys[index]: self._refuse(rows[index], context, index) for index in new}
        for index in new:
            request = _raw_request(rows[index], context, index)
            self._heap.note(request.payload)  # before it may be refused, upon which free memory is given back
            self._scheduler.submit(keys[index], request)
        return {}

    def _refuse(self, row: dict[str, Any], context: Any, index: int) -> Outcome:
        error = LanternError(DRAINING, "this replica is stopping; send the request to another one")
        return self._pipeline.refuse(_raw_request(row, context, index), error)

    def _collect(self, keys: set[str], *, wait: bool) -> dict[str, Outcome]:
        outcomes = self._scheduler.collect(self._turns.seconds if wait else 0.0)
        while not self._takes_turns and not keys <= outcomes.keys() and not self._scheduler.is_stuck:
            outcomes |= self._scheduler.collect(self._turns.seconds)
        if self._scheduler.is_stuck:
            logger.error("%s", _STUCK)
            raise SystemExit(_STUCK)  # TorchServe's responseTimeout sees no such thing, as turns go on
        return outcomes

    def _load(self, context: Any) -> tuple[Pipeline, Scheduler]:
        bundle = read_bundle(Path(context.system_properties["model_dir"]) / BUNDLE_FOLDER)
        verify_bundle(bundle)
        model = context.manifest["model"]
        served_as = ServedModel(model["modelName"], str(model["modelVersion"]))
        settings = _settings(context.model_yaml_config)
        escalation = Escalation(
            settings,
            bundle.label_rules(),
            self._report,
            calibration_sha256=bundle.manifest.files.get(CALIBRATION_NAME),
        )
        floor = load_floor(Path(settings.phrases)) if settings.phrases else load_floor()
        pipeline = Pipeline(bundle, settings, served_as, self._report, decider=escalation, floor=floor)
        return pipeline, Scheduler(pipeline, settings)

    def _report(self, event: Event) -> None:
        """Log what a person may have to act on now; measure and trace once the answer has left."""
        self._relay(event)
        if not isinstance(event, UNLOGGED):
            logger.log(logging.ERROR if _needs_somebody(event) else logging.INFO, "%s", event_line(event))

    # In the relay's thread.

    def _observe(self, event: Event) -> None:
        self._meter.take(event)
        if self._tracing is not None and isinstance(event, RequestDone):
            self._tracing.trace(event)

    def _flush(self) -> None:
        self._meter.flush(self._emit)
        self._heap.trim()

    def _emit(self, kind: Kind, name: str, labels: tuple[str, ...], value: float) -> None:
        metric = self._metrics.get_metric(name, MetricTypes(kind))
        metric.add_or_update(value, [*labels, self._model_name, "Model"])


def _needs_somebody(event: Event) -> bool:
    left = isinstance(event, PolicyChanged) and event.outcome != "reloaded"
    return left or isinstance(event, (Fault, RecordsFailed, SpansLost))


def _settings(model_config: dict[str, Any]) -> Settings:
    settings = parse_settings(model_config.get("lantern", {}))
    if settings.threads:
        return settings
    workers = int(model_config.get("maxWorkers", 1))
    return settings.model_copy(update={"threads": max(1, available_cores() // workers)})


def _asks_for_description(rows: list[dict[str, Any]], context: Any) -> bool:
    """Tell TorchServe's own question, which comes alone and without a body, from a caller's header of that name."""
    return len(rows) == 1 and "body" not in rows[0] and context.get_request_header(0, "describe") == "True"


def _raw_request(row: dict[str, Any], context: Any, index: int) -> RawRequest:
    """Take the body and media type out of a row.

    REST puts the body under ``body``; its ``Content-Type`` is that of the request, as the one
    beside the body has lost its charset. gRPC has no media type and uses ``data`` for the JSON
    or ``text`` for the text alone (or the same JSON). A form or a query string, which
    TorchServe would also spread over the row, is not accepted: query strings end up in access
    logs.
    """
    headers = _headers(context, index)
    caller = _caller(row, headers)
    if "body" in row:
        return RawRequest(_payload(row["body"]), headers.get("content-type", ""), caller)
    if headers:
        return RawRequest(b"", "", caller)
    if "data" in row:
        return RawRequest(_payload(row["data"]), JSON, caller)
    if "text" in row:
        payload = _payload(row["text"])
        return RawRequest(payload, JSON if payload.lstrip().startswith(b"{") else PLAIN_TEXT, caller)
    return RawRequest(b"", JSON, caller)


def _headers(context: Any, index: int) -> dict[str, str]:
    """Return the headers of a row, with names in lower case; none of what came over gRPC.

    TorchServe mixes them with the names of the input, which the caller chooses; those have no string for a value. To
    what comes over REST it adds headers of its own.
    """
    properties = context.get_all_request_header(index).items()
    return {name.lower(): value for name, value in properties if isinstance(value, str)}


def _caller(row: dict[str, Any], headers: dict[str, str]) -> Caller:
    """Return where a request came from: REST says it in headers, gRPC, whose metadata is lost, in its input."""
    if headers:
        return read_caller("rest", headers.get("traceparent", ""), headers.get("x-request-id", ""))
    traceparent, request_id = (_payload(row.get(key, b"")).decode("latin-1") for key in ("traceparent", "request_id"))
    return read_caller("grpc", traceparent, request_id)


def _payload(value: Any) -> bytes:
    """Return the bytes of a body, also where TorchServe has decoded them (its ``decode_input_request``)."""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    return json.dumps(value).encode("utf-8")


def _answer(row: dict[str, Any], context: Any, index: int, outcome: Outcome | None) -> bytes:
    """Give a row its answer; one that has none yet stays with TorchServe."""
    if outcome is None:
        del context.request_ids[index]
        return b""
    context.set_response_content_type(index, JSON)
    context.set_response_status(outcome.status, "", index)
    headers = _headers(context, index)
    if request_id := _caller(row, headers).request_id:
        context.set_response_header(index, REQUEST_ID_HEADER, request_id)
    if outcome.retryable:
        context.set_response_header(index, "Retry-After", str(RETRY_AFTER_S))
    return outcome.body
