"""The request flow, transport-neutral: decode, tokenize, window, run, score, decide, encode.

``Pipeline.handle`` takes a batch of raw requests, as any host hands them over, and returns one
outcome for each, in order. Every text walks through the stages as an ``_Item`` of its own: what
goes wrong with it becomes its own answer and nobody else's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from handlers.core.answered import Answered
from handlers.core.errors import (
    DEADLINE_EXCEEDED,
    INTERNAL,
    NON_FINITE_SCORES,
    UNKNOWN_LABEL,
    ErrorKind,
    LanternError,
    StartupError,
)
from handlers.core.events import BatchDone, EventSink, ItemFailed, Loaded
from handlers.core.lengths import LengthLimits, TokenSpan, count_covered, select_spans
from handlers.core.manifest import Manifest
from handlers.core.policy_case import Fault
from handlers.core.schema import ClassifyRequest, ClassifyResponse, InputReport, ModelReport, Timing
from handlers.core.scores import combine_windows, score_labels
from handlers.core.settings import Settings
from handlers.core.wire import (
    Outcome,
    RawRequest,
    decode_call,
    entries_outcome,
    requests_of,
    single_outcome,
)
from handlers.runtime.bundle import Bundle
from handlers.runtime.executor import Clock, Execution, Executor
from handlers.runtime.faults import FaultBarrier
from handlers.runtime.tokenizer import TokenizedText

_FAULTS: dict[ErrorKind, tuple[Fault, ...]] = {
    DEADLINE_EXCEEDED: ("model_timeout",),
    INTERNAL: (),
    NON_FINITE_SCORES: (),
}
"""Errors of ours that leave a text without scores, and what the policy is to know of them."""

SPECIAL_TOKENS = 2
"""``<s>`` and ``</s>`` of every model input."""


class Decider(Protocol):
    """What turns answers into offers of help, and keeps a record of it."""

    def decide(self, answered: Answered) -> dict[str, Any]:
        """Return the ``escalation`` of one answer."""

    def record(self) -> None:
        """Write down what was decided since the last call."""


@dataclass(frozen=True)
class ServedModel:
    """What the host calls the model."""

    name: str
    version: str


@dataclass
class _Item:
    """One text on its way through the stages; ``result`` ends them, ``path`` is its place among ``entries``."""

    request: ClassifyRequest
    path: str = ""
    result: ClassifyResponse | LanternError | None = None
    text: TokenizedText | None = None
    spans: list[list[TokenSpan]] = field(default_factory=list)
    rows: list[list[float]] = field(default_factory=list)
    tokenize_s: float = 0.0
    run_s: float = 0.0


@dataclass(frozen=True)
class _Call:
    """One raw request: its items, and whether they came as ``entries``."""

    items: list[_Item | LanternError]
    is_list: bool

    def outcome(self) -> Outcome:
        results = [item if isinstance(item, LanternError) else _result(item) for item in self.items]
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
    ) -> None:
        started = clock()
        manifest = bundle.manifest
        self._settings = settings
        self._sink = sink
        self._decider = decider
        self._clock = clock
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
            settings.token_budget,
            settings.max_padding,
            self._barrier,
            clock,
        )
        loaded = clock()
        if settings.warm_up:
            self._runtime.prepare(warm_up_lengths(manifest))
        self._check_smoke_entries(manifest)
        self._report_loaded(loaded - started, clock() - loaded)

    def handle(self, requests: Sequence[RawRequest]) -> list[Outcome]:
        """Answer a batch: one outcome for each request, in order."""
        deadline = self._clock() + self._settings.deadline_s
        calls = [self._decode(request) for request in requests]
        items = [item for call in calls for item in call.items if isinstance(item, _Item)]
        self._answer(items, deadline)
        if self._decider is not None:
            self._escalate_all(items, self._decider)
        outcomes = [call.outcome() for call in calls]
        for item in (item for call in calls for item in call.items):
            result = item if isinstance(item, LanternError) else item.result
            if isinstance(result, LanternError):
                self._sink(ItemFailed(result.kind.code))
        return outcomes

    def describe(self) -> dict[str, Any]:
        """Say what is being served: the model, the runtime and device in use, labels and limits."""
        runtime = self._runtime.describe()
        return {
            "model": self._model.model_dump(),
            "device": runtime.device,
            "threads": runtime.threads,
            "labels": [{"name": rule.name, "threshold": rule.threshold} for rule in self._rules],
            "max_tokens": self._limits.window,
        }

    def _answer(self, items: list[_Item], deadline: float) -> None:
        started = self._clock()
        self._each(items, self._tokenize)
        tokenized = self._clock()
        execution = self._run(items, deadline)
        ran = self._clock()
        self._each(items, self._decide)
        self._sink(
            BatchDone(
                items=len(items),
                sub_batches=len(execution.sub_batches),
                padded_tokens=sum(batch.padded_tokens for batch in execution.sub_batches),
                tokens=sum(item.text.tokens for item in items if item.text is not None),
                tokenize_s=tokenized - started,
                run_s=ran - tokenized,
                decide_s=self._clock() - ran,
            )
        )

    # The stages. What one raises becomes that item's answer.

    def _decode(self, raw: RawRequest) -> _Call:
        call = self._barrier.attempt(lambda: decode_call(raw))
        if isinstance(call, LanternError):
            return _Call([call], is_list=False)
        requests = requests_of(call)
        is_list = isinstance(call, list)
        paths = [f"entries[{index}]" if is_list else "" for index in range(len(requests))]
        items = [
            one if isinstance(one, LanternError) else _Item(one, path)
            for one, path in zip(requests, paths, strict=True)
        ]
        return _Call(items, is_list)

    def _tokenize(self, item: _Item) -> None:
        started = self._clock()
        self._check_labels(item.request)
        item.text = self._tokenizer.tokenize(item.request.text)
        item.spans = select_spans(item.text.tokens, item.request.options.over_length, self._limits)
        item.tokenize_s = self._clock() - started

    def _check_labels(self, request: ClassifyRequest) -> None:
        context = request.context
        for index, entry in enumerate(context.history):
            self._check_known(entry.scores, f"context.history[{index}].scores")
        for index, label in enumerate(context.active):
            self._check_known((label,), f"context.active[{index}]")

    def _check_known(self, labels: Iterable[str], field: str) -> None:
        if not self._known.issuperset(labels):
            message = f"a label that this model does not have; it has {', '.join(sorted(self._known))}"
            raise LanternError(UNKNOWN_LABEL, message, field)

    def _run(self, items: list[_Item], deadline: float) -> Execution:
        inputs: list[list[int]] = []
        inputs_of: list[tuple[_Item, range]] = []
        for item in items:
            if item.result is None and item.text is not None:
                first = len(inputs)
                inputs += [self._tokenizer.model_input(item.text, spans) for spans in item.spans]
                inputs_of.append((item, range(first, len(inputs))))
        execution = self._executor.execute(inputs, deadline)
        for item, indices in inputs_of:
            self._collect(item, execution, indices)
        return execution

    def _collect(self, item: _Item, execution: Execution, inputs: range) -> None:
        item.run_s = execution.seconds_of(inputs)
        for index in inputs:
            row = execution.rows[index]
            if isinstance(row, LanternError):
                item.result = row
                return
            item.rows.append(row)

    def _decide(self, item: _Item) -> None:
        assert item.text is not None  # the stage before has set it, or the item has ended
        started = self._clock()
        logits = combine_windows(item.rows, self._rules)
        labels = score_labels(logits, self._rules, item.request.options.return_logits)
        report = _input_report(item.text, item.spans)
        decide_s = self._clock() - started
        timing = Timing(
            tokenize=_milliseconds(item.tokenize_s), run=_milliseconds(item.run_s), decide=_milliseconds(decide_s)
        )
        item.result = ClassifyResponse(labels=labels, input=report, model=self._model, timing_ms=timing)

    def _escalate_all(self, items: list[_Item], decider: Decider) -> None:
        for item in items:
            self._escalate(item, decider)
        decider.record()

    def _escalate(self, item: _Item, decider: Decider) -> None:
        """Decide on an answer, and on a text that a fault of ours has left without one.

        A decision that fails is a fault of ours as well: the answer is then an error, never one that looks
        as if no help were called for.
        """
        started = self._clock()
        result = item.result
        if isinstance(result, ClassifyResponse):
            answered = Answered(item.request, self._model, result.labels, result.input)
            decided = self._barrier.attempt(lambda: decider.decide(answered))
            decide_ms = round(result.timing_ms.decide + _milliseconds(self._clock() - started), 3)
            item.result = (
                decided
                if isinstance(decided, LanternError)
                else result.model_copy(
                    update={
                        "escalation": decided,
                        "timing_ms": result.timing_ms.model_copy(update={"decide": decide_ms}),
                    }
                )
            )
        elif isinstance(result, LanternError) and result.kind in _FAULTS:
            answered = Answered(item.request, self._model, faults=_FAULTS[result.kind])
            decided = self._barrier.attempt(lambda: decider.decide(answered))
            item.result = result if isinstance(decided, LanternError) else result.with_escalation(decided)

    def _each(self, items: list[_Item], stage: Callable[[_Item], None]) -> None:
        for item in items:
            if item.result is None:
                error = self._barrier.attempt(lambda item=item: stage(item))  # type: ignore[misc]
                item.result = error if isinstance(error, LanternError) else item.result

    # What is reported and checked at load.

    def _check_smoke_entries(self, manifest: Manifest) -> None:
        items = [_Item(ClassifyRequest(text=entry.text)) for entry in manifest.smoke]
        self._answer(items, deadline=float("inf"))
        for number, (item, entry) in enumerate(zip(items, manifest.smoke, strict=True), start=1):
            result = _result(item)
            if isinstance(result, LanternError):
                raise StartupError(f"smoke entry {number} failed: {result}")
            # The logits, because a calibration moves the scores of labels against each other.
            logits = combine_windows(item.rows, self._rules)
            top = manifest.labels[logits.index(max(logits))]
            if top != entry.expected:
                raise StartupError(
                    f"smoke entry {number} came out as {top} instead of {entry.expected}: "
                    "the labels are in the wrong order, or the graph is not this checkpoint's"
                )

    def _report_loaded(self, load_s: float, warm_up_s: float) -> None:
        self._sink(
            Loaded(
                checkpoint=self._model.checkpoint,
                revision=self._model.revision,
                runtime=self._model.runtime,
                precision=self._model.precision,
                device=self._runtime.describe().device,
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


def _result(item: _Item) -> ClassifyResponse | LanternError:
    result = item.result
    assert result is not None  # every stage has run
    if isinstance(result, LanternError) and result.field and item.path:
        return result.under(item.path)
    return result


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1e3, 3)
