"""The request flow, transport-neutral: decode, floor, tokenize, window, run, score, decide, encode.

It has three steps: ``prepare`` a raw request into texts with their model inputs, run the inputs, ``finish`` with an
outcome. ``Pipeline.handle`` takes a batch through all of them at once; ``handlers.scheduler`` runs the inputs of
many requests in an order of its own. Every text walks through the stages as a ``Text``: what goes wrong with it
becomes its own answer and nobody else's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from handlers.core.answered import Answered
from handlers.core.caller import Caller
from handlers.core.errors import (
    DEADLINE_EXCEEDED,
    TOO_LONG,
    UNKNOWN_LABEL,
    ErrorKind,
    LanternError,
    StartupError,
)
from handlers.core.events import (
    OK,
    EngineRun,
    EventSink,
    LabelScored,
    Loaded,
    RequestDone,
    SubBatchDone,
    TextDone,
)
from handlers.core.lengths import LengthLimits, TokenSpan, count_covered, select_spans
from handlers.core.manifest import Manifest
from handlers.core.policy_case import Fault
from handlers.core.schema import (
    ClassifyRequest,
    ClassifyResponse,
    InputReport,
    LabelScore,
    ModelReport,
    Received,
    Timing,
    UnreadField,
)
from handlers.core.scores import combine_windows, score_labels
from handlers.core.settings import Settings
from handlers.core.statements import Statement
from handlers.core.wire import (
    Outcome,
    RawRequest,
    decode_call,
    entries_outcome,
    refused_outcome,
    single_outcome,
)
from handlers.runtime.bundle import Bundle
from handlers.runtime.executor import Clock, Executor, Row, count_padded
from handlers.runtime.faults import FaultBarrier
from handlers.runtime.tokenizer import TokenizedText

_FAULTS: dict[ErrorKind, tuple[Fault, ...]] = {DEADLINE_EXCEEDED: ("model_timeout",)}
"""Errors that the policy is to know more of than that there are no scores."""

SPECIAL_TOKENS = 2
"""``<s>`` and ``</s>`` of every model input."""


class StatementFinder(Protocol):
    """What finds explicit statements about ending one's life, without any model."""

    def find(self, text: str) -> tuple[Statement, ...]:
        """Return the statements in ``text``."""


class Decider(Protocol):
    """What turns answers into offers of help, and keeps a record of it."""

    def decide(self, answered: Answered) -> dict[str, Any]:
        """Return the ``escalation`` of one answer."""

    def record(self) -> None:
        """Write down what was decided since the last call."""

    def notes(self) -> list[str]:
        """Return what an operator should know of the policy in force."""


@dataclass(frozen=True)
class ServedModel:
    """What the host calls the model."""

    name: str
    version: str


@dataclass(eq=False)
class Text:
    """One text on its way through the stages.

    Attributes:
        received: what was asked.
        arrived: second of the clock at which its request came.
        path: its place among ``entries``.
        result: ends the stages.
        statements: what the floor found, whatever becomes of the scores.
        floor_s: seconds that it took.
        tokens: of the whole text.
        inputs: the token ids of each model input.
        report: which part of the text they are.
        rows: logits of each input that has been run.
        tokenized_at: second at which it could have been run.
        tokenize_s, run_s, queue_s: seconds; ``queue_s`` is what passed from ``tokenized_at`` to the end of the last
            run, less the runs.
        runs: the runs that held inputs of it.
        decide_at: second at which it was scored.
        decide_s: seconds that scoring and deciding took.
    """

    received: Received
    arrived: float
    path: str = ""
    result: ClassifyResponse | LanternError | None = None
    statements: tuple[Statement, ...] = ()
    floor_s: float = 0.0
    tokens: int = 0
    inputs: list[list[int]] = field(default_factory=list)
    report: InputReport | None = None
    rows: dict[int, Row] = field(default_factory=dict)
    tokenized_at: float = 0.0
    tokenize_s: float = 0.0
    run_s: float = 0.0
    queue_s: float = 0.0
    runs: list[EngineRun] = field(default_factory=list)
    decide_at: float = 0.0
    decide_s: float = 0.0

    @property
    def request(self) -> ClassifyRequest:
        """What of ``received`` could be read."""
        return self.received.request

    @property
    def is_run(self) -> bool:
        """Whether there is nothing left to run."""
        return self.result is not None or len(self.rows) == len(self.inputs)

    def take_row(self, index: int, row: Row | LanternError) -> None:
        """Take what one run gave; an error is the answer, whatever the other inputs give."""
        if isinstance(row, LanternError):
            self.result = self.result or row
        else:
            self.rows[index] = row

    def note_run(self, seconds: float, now: float, lengths: Sequence[int]) -> None:
        """Take note of a run of ``seconds`` that has just ended and that held inputs of this text.

        Args:
            seconds: that it took.
            now: when it ended.
            lengths: tokens of each of its inputs.
        """
        self.runs.append(EngineRun(now, seconds, tuple(lengths)))
        self.run_s += seconds
        self.queue_s = max(0.0, now - self.tokenized_at - self.run_s)


@dataclass(frozen=True)
class Call:
    """One raw request: its texts, or why there is none, and whether they came as ``entries``.

    ``error``: why it is not answered as a whole.
    """

    items: list[Text | LanternError]
    is_list: bool
    caller: Caller
    arrived: float
    error: LanternError | None = None

    @property
    def texts(self) -> list[Text]:
        """What can be run."""
        return [item for item in self.items if isinstance(item, Text)]

    @property
    def is_run(self) -> bool:
        """Whether there is nothing left to run."""
        return all(text.is_run for text in self.texts)

    def outcome(self) -> Outcome:
        """Return the answer, after all stages."""
        results = [item if isinstance(item, LanternError) else _result(item) for item in self.items]
        if self.error is not None and self.is_list:
            return refused_outcome(self.error, results)
        return entries_outcome(results) if self.is_list else single_outcome(results[0])


class Pipeline:
    """A loaded bundle that answers batches.

    Args:
        bundle: a verified bundle.
        settings: how to run it.
        served_as: the name and version that answers carry.
        sink: where events go.
        clock: seconds from any origin, monotone.
        decider: decides on every answer; without one ``escalation`` is ``None``.
        floor: finds explicit statements before anything is run; without one none are found.

    Attributes:
        clock: as given.
        warm_up_run: tokens and seconds of the warm-up, a first idea of the engine's pace; ``None`` without one.

    Raises:
        StartupError: the tokenizer or graph does not load, or a smoke entry comes out wrong.
    """

    def __init__(
        self,
        bundle: Bundle,
        settings: Settings,
        served_as: ServedModel,
        sink: EventSink,
        clock: Clock = time.perf_counter,
        decider: Decider | None = None,
        floor: StatementFinder | None = None,
    ) -> None:
        started = clock()
        manifest = bundle.manifest
        self._settings = settings
        self._sink = sink
        self._decider = decider
        self._floor = floor
        self.clock = clock
        self._barrier = FaultBarrier(sink)
        self._rules = bundle.label_rules()
        self._known = frozenset(manifest.labels)
        self._limits = _limits(manifest, settings)
        self._tokenizer = bundle.open_tokenizer()
        self._runtime = bundle.open_runtime(settings)
        self._model = _model_report(manifest, served_as, self._runtime.describe().name)
        self._executor = Executor(
            self._runtime,
            manifest.special_tokens.pad,
            settings.budget_on(self.device),
            settings.max_padding,
            self._barrier,
            clock,
        )
        loaded = clock()
        self.warm_up_run = self._warm_up(manifest) if settings.warm_up else None
        self._check_smoke_entries(manifest)
        self._report_loaded(loaded - started, clock() - loaded)

    @property
    def device(self) -> str:
        """The device in use, ``cpu`` or ``cuda``."""
        return self._runtime.describe().device

    def handle(self, requests: Sequence[RawRequest]) -> list[Outcome]:
        """Answer a batch: one outcome for each request, in order."""
        deadline = self.clock() + self._settings.deadline_s
        calls = [self.prepare(request) for request in requests]
        self._run([text for call in calls for text in call.texts], deadline)
        return self.finish(calls)

    def prepare(self, raw: RawRequest) -> Call:
        """Decode one request, look for explicit statements in its texts, and tokenize and window them."""
        arrived = self.clock()
        call = self._decode(raw, arrived)
        for text in call.texts:
            self._look_for_statements(text)
        self._each(call.texts, self._tokenize)
        return call

    def refuse(self, raw: RawRequest, error: LanternError) -> Outcome:
        """Answer one request with ``error``, and with what to offer the writers of its texts; nothing is run.

        What is wrong with the request itself is told instead.
        """
        call = self._decode(raw, self.clock())
        for text in call.texts:
            text.result = text.result or error
            self._look_for_statements(text)
        return self.finish([replace(call, error=call.error or error)])[0]

    def run_sub_batch(self, inputs: Sequence[Sequence[int]]) -> tuple[list[Row | LanternError], float]:
        """Run model inputs together, and return a row of logits or an error for each, and the seconds it took.

        May be called from several threads where ``Runtime.run`` may.
        """
        started = self.clock()
        rows = self._executor.run_apart(inputs)
        seconds = self.clock() - started
        self._report_run(inputs, seconds)
        return rows, seconds

    def finish(self, calls: Sequence[Call]) -> list[Outcome]:
        """Score, decide on and encode calls that are run, and report them: one outcome for each, in order.

        For one thread at a time, and always the same one where there is a decider.
        """
        texts = [text for call in calls for text in call.texts]
        self._each(texts, self._score)
        if self._decider is not None:
            self._escalate_all(texts, self._decider)
        outcomes = [call.outcome() for call in calls]
        ended = self.clock()
        for call in calls:
            self._sink(self._request_done(call, ended))
        return outcomes

    def describe(self) -> dict[str, Any]:
        """Say what is being served: model, runtime and device in use, labels, limits, and the state of the policy."""
        runtime = self._runtime.describe()
        return {
            "model": self._model.model_dump(),
            "device": runtime.device,
            "threads": runtime.threads,
            "labels": [{"name": rule.name, "threshold": rule.threshold} for rule in self._rules],
            "max_tokens": self._limits.window,
            "policy_notes": [] if self._decider is None else self._decider.notes(),
        }

    # The stages. What one raises becomes that item's answer.

    def _decode(self, raw: RawRequest, arrived: float) -> Call:
        call = self._barrier.attempt(lambda: decode_call(raw))
        if isinstance(call, LanternError):
            return Call([call], False, raw.caller, arrived)
        items = [
            one
            if isinstance(one, LanternError)
            else Text(one, arrived, f"entries[{index}]" if call.is_list else "", one.error or _of_one_entry(call.error))
            for index, one in enumerate(call.items)
        ]
        return Call(items, call.is_list, raw.caller, arrived, call.error)

    def _look_for_statements(self, text: Text) -> None:
        """Apply the floor, to a text that is in error as well. A fault in it is the answer: never a calm one."""
        if self._floor is None:
            return
        started, find = self.clock(), self._floor.find
        found = self._barrier.attempt(lambda: find(text.request.text))
        if isinstance(found, LanternError):
            text.result = text.result or found
        else:
            text.statements = found
        text.floor_s = self.clock() - started

    def _tokenize(self, text: Text) -> None:
        """Make the model inputs of a text; none where its writer objects to being scored."""
        started = self.clock()
        self._check_labels(text.received)
        tokenized = self._tokenizer.tokenize(text.request.text)
        is_scored = text.request.context.processing == "full"
        spans = select_spans(tokenized.tokens, text.request.options.over_length, self._limits) if is_scored else []
        text.inputs = [self._tokenizer.model_input(tokenized, joined) for joined in spans]
        # No more of it is kept while the text waits: the whole encoding takes some hundred bytes a token.
        text.tokens, text.report = tokenized.tokens, _input_report(tokenized, spans)
        text.tokenized_at = self.clock()
        text.tokenize_s = text.tokenized_at - started

    def _check_labels(self, received: Received) -> None:
        context, places = received.request.context, received.history_places
        for index, entry in enumerate(context.history):
            place = index if places is None else places[index]
            self._check_known(entry.scores, f"context.history[{place}].scores")
        for index, label in enumerate(context.active):
            self._check_known((label,), f"context.active[{index}]")

    def _check_known(self, labels: Iterable[str], field: str) -> None:
        if not self._known.issuperset(labels):
            message = f"a label that this model does not have; it has {', '.join(sorted(self._known))}"
            raise LanternError(UNKNOWN_LABEL, message, field)

    def _run(self, texts: list[Text], deadline: float) -> None:
        places = [(text, index) for text in texts if text.result is None for index in range(len(text.inputs))]
        execution = self._executor.execute([text.inputs[index] for text, index in places], deadline)
        for (text, index), row in zip(places, execution.rows, strict=True):
            text.take_row(index, row)
        for batch in execution.sub_batches:
            owners = {id(text): text for text, _ in (places[place] for place in batch.inputs)}
            inputs = [places[place][0].inputs[places[place][1]] for place in batch.inputs]
            for text in owners.values():
                text.note_run(batch.seconds, batch.ended, [len(ids) for ids in inputs])
            self._report_run(inputs, batch.seconds)

    def _score(self, text: Text) -> None:
        report = text.report
        assert report is not None  # the stage before has set it, or the text has ended
        text.decide_at = self.clock()
        labels: tuple[LabelScore, ...] = ()
        if text.inputs:  # none where the writer objects to being scored
            logits = combine_windows([text.rows[index] for index in range(len(text.inputs))], self._rules)
            labels = score_labels(logits, self._rules, text.request.options.return_logits)
        text.decide_s = self.clock() - text.decide_at
        timing = Timing(
            tokenize=_milliseconds(text.tokenize_s),
            queue=_milliseconds(text.queue_s),
            run=_milliseconds(text.run_s),
            decide=_milliseconds(text.decide_s),
        )
        text.result = ClassifyResponse(
            labels=labels, input=report, model=self._model, timing_ms=timing, unread=_unread(text)
        )

    def _escalate_all(self, texts: list[Text], decider: Decider) -> None:
        for text in texts:
            self._escalate(text, decider)
        decider.record()

    def _escalate(self, text: Text, decider: Decider) -> None:
        """Decide on an answer, and on a text that is left without one, whatever the reason.

        A decision that fails is a fault of ours as well: the answer is then an error, never one that looks
        as if no help were called for.
        """
        started = self.clock()
        result = text.result
        if isinstance(result, ClassifyResponse):
            answered = Answered(text.received, self._model, text.statements, result.labels, result.input)
            decided = self._barrier.attempt(lambda: decider.decide(answered))
            text.decide_s += self.clock() - started
            timing = result.timing_ms.model_copy(update={"decide": _milliseconds(text.decide_s)})
            text.result = (
                decided
                if isinstance(decided, LanternError)
                else result.model_copy(update={"escalation": decided, "timing_ms": timing})
            )
        elif isinstance(result, LanternError):
            faults = _FAULTS.get(result.kind, ())
            answered = Answered(text.received, self._model, text.statements, faults=faults)
            decided = self._barrier.attempt(lambda: decider.decide(answered))
            text.decide_at = text.decide_at or started
            text.decide_s += self.clock() - started
            text.result = result if isinstance(decided, LanternError) else result.with_escalation(decided)

    def _each(self, texts: list[Text], stage: Callable[[Text], None]) -> None:
        for text in texts:
            if text.result is None:
                error = self._barrier.attempt(lambda text=text: stage(text))  # type: ignore[misc]
                text.result = error if isinstance(error, LanternError) else text.result

    def _report_run(self, inputs: Sequence[Sequence[int]], seconds: float) -> None:
        tokens = sum(len(ids) for ids in inputs)
        self._sink(SubBatchDone(len(inputs), tokens, count_padded(inputs), seconds))

    def _request_done(self, call: Call, ended: float) -> RequestDone:
        refused = tuple(item.kind.code for item in call.items if isinstance(item, LanternError))
        texts = tuple(self._text_done(text) for text in call.texts)
        return RequestDone(call.caller, _request_code(call), call.arrived, ended, texts, refused)

    def _text_done(self, text: Text) -> TextDone:
        result = _result(text)
        escalation = result.escalation or {}
        return TextDone(
            code=_code(result),
            tokens=text.tokens,
            windows=len(text.inputs),
            handling=_handling(text, is_long=text.tokens > self._limits.window),
            tokenized_at=text.tokenized_at,
            tokenize_s=text.tokenize_s,
            queue_s=text.queue_s,
            runs=tuple(text.runs),
            decide_at=text.decide_at,
            decide_s=text.decide_s,
            scores=_label_scores(result),
            tier=escalation.get("tier", ""),
            uncertain=bool(escalation.get("uncertainty")),
            floor_s=text.floor_s,
        )

    # What is reported and checked at load.

    def _warm_up(self, manifest: Manifest) -> tuple[int, float]:
        lengths = warm_up_lengths(manifest)
        started = self.clock()
        self._runtime.prepare(lengths)
        return sum(lengths), self.clock() - started

    def _check_smoke_entries(self, manifest: Manifest) -> None:
        texts = [Text(Received(ClassifyRequest(text=entry.text)), self.clock()) for entry in manifest.smoke]
        self._each(texts, self._tokenize)
        self._run(texts, deadline=float("inf"))
        self._each(texts, self._score)
        for number, (text, entry) in enumerate(zip(texts, manifest.smoke, strict=True), start=1):
            result = _result(text)
            if isinstance(result, LanternError):
                raise StartupError(f"smoke entry {number} failed: {result}")
            # The logits, because a calibration moves the scores of labels against each other.
            logits = combine_windows([text.rows[index] for index in range(len(text.inputs))], self._rules)
            top = manifest.labels[logits.index(max(logits))]
            if top != entry.expected:
                raise StartupError(
                    f"smoke entry {number} came out as {top} instead of {entry.expected}: "
                    "the labels are in the wrong order, or the graph is not this checkpoint's"
                )

    def _report_loaded(self, load_s: float, warm_up_s: float) -> None:
        self._sink(
            Loaded(
                version=self._model.version,
                checkpoint=self._model.checkpoint,
                revision=self._model.revision,
                runtime=self._model.runtime,
                precision=self._model.precision,
                device=self.device,
                calibration=self._model.calibration,
                labels=tuple(rule.name for rule in self._rules),
                load_s=load_s,
                warm_up_s=warm_up_s,
            )
        )


def warm_up_lengths(manifest: Manifest) -> list[int]:
    """Return one length for each regime of the graph: a word, under, at and over a window, full."""
    window = max(manifest.attention_window) // 2
    lengths = {3, window // 2, window, 2 * window, 4 * window, manifest.max_length}
    return sorted(length for length in lengths if 3 <= length <= manifest.max_length)


def _limits(manifest: Manifest, settings: Settings) -> LengthLimits:
    window = manifest.max_length - SPECIAL_TOKENS
    return LengthLimits(window, int(window * settings.window_overlap), settings.max_windows)


def _model_report(manifest: Manifest, served_as: ServedModel, runtime: str) -> ModelReport:
    return ModelReport(
        name=served_as.name,
        version=served_as.version,
        checkpoint=manifest.checkpoint,
        revision=manifest.revision,
        runtime=runtime,
        precision=manifest.precision,
        calibration=manifest.calibration,
    )


def _input_report(text: TokenizedText, spans: list[list[TokenSpan]]) -> InputReport:
    flat = [span for joined in spans for span in joined]
    scored = count_covered(flat)
    return InputReport(
        tokens=text.tokens,
        tokens_scored=scored,
        windows=tuple(text.char_span(span) for span in flat),
        truncated=scored < text.tokens,
    )


def _of_one_entry(error: LanternError | None) -> LanternError | None:
    """Return the error of a whole call as that of one of its entries, whose fields are not what it is about."""
    return None if error is None else LanternError(error.kind, error.message)


def _unread(text: Text) -> tuple[UnreadField, ...]:
    """Return what could not be read beside the text, by the path in the call."""
    if not text.path:
        return text.received.unread
    return tuple(UnreadField(field=f"{text.path}.{one.field}", message=one.message) for one in text.received.unread)


def _result(text: Text) -> ClassifyResponse | LanternError:
    result = text.result
    assert result is not None  # every stage has run
    if isinstance(result, LanternError) and result.field and text.path:
        return result.under(text.path)
    return result


def _code(result: ClassifyResponse | LanternError) -> str:
    return result.kind.code if isinstance(result, LanternError) else OK


def _request_code(call: Call) -> str:
    """Return the code that stands for a request; of ``entries`` only what is a fault of the service counts."""
    results = [item if isinstance(item, LanternError) else _result(item) for item in call.items]
    if not call.is_list:
        return _code(results[0])
    if call.error is not None:
        return call.error.kind.code
    faults = (result.kind for result in results if isinstance(result, LanternError) and result.kind.http >= 500)
    return next((kind.code for kind in faults), OK)


def _handling(text: Text, *, is_long: bool) -> str:
    if isinstance(text.result, LanternError) and text.result.kind == TOO_LONG:
        return "reject"
    return text.request.options.over_length.value if is_long else "none"


def _label_scores(result: ClassifyResponse | LanternError) -> tuple[LabelScored, ...]:
    if isinstance(result, LanternError):
        return ()
    return tuple(LabelScored(label.name, label.score, label.positive) for label in result.labels)


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1e3, 3)
