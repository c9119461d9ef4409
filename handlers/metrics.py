"""What the service measures of itself, added up before it leaves.

Events come in one by one; what leaves, about once a second, is how much every counter has grown and what every gauge
shows. So the cost of measuring depends on the number of series and not on the number of requests.

A histogram is a family of counters in Prometheus' own form: ``NAME_bucket{le=…}``, cumulative, ``NAME_sum`` and
``NAME_count``. The host's own histograms would have buckets from 5 ms to 10 s, and most stages are shorter and some
texts longer. Every series whose labels are known beforehand is sent once as 0, because the first increase of a series
that was not there is none to Prometheus.

Labels come from closed vocabularies and from the model's own names; no value of a request is ever one.
"""

from __future__ import annotations

import re
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import singledispatchmethod
from itertools import accumulate, product
from typing import Final, Literal, Protocol

from handlers.core.caller import PROTOCOLS
from handlers.core.errors import ERROR_TABLE
from handlers.core.events import (
    OK,
    Decided,
    Event,
    Fault,
    Loaded,
    PolicyChanged,
    RecordsFailed,
    RecordsRecovered,
    RequestDone,
    SpansLost,
    SubBatchDone,
    TextDone,
)
from handlers.core.policy_model import TIERS
from handlers.core.statements import KINDS, LANGUAGES

Kind = Literal["counter", "gauge"]
Labels = tuple[str, ...]

_LONG: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0)
REQUEST_BUCKETS: Final = _LONG
"""Upper bounds in seconds."""
STAGE_BUCKETS: Final = (0.0001, 0.0002, 0.0005, *_LONG)
"""The same for stages: a decision takes about 0.1 ms."""
TOKEN_BUCKETS: Final = tuple(float(2**power) for power in range(4, 18))
"""From 16 tokens to 131,072, with 4,096 as one of them."""
SCORE_BUCKETS: Final = tuple(tenth / 10 for tenth in range(1, 10))
"""Ten classes, as a population stability index has them."""

_STAGES: Final = ("queue", "floor", "tokenize", "run", "decide")
_FALLBACKS: Final = (
    "policy_refused",
    "policy_expired",
    "records_failed",
    "decided_without_scores",
    "fault",
    "spans_lost",
)
_UNFIT: Final = re.compile(r"[^\w./+-]", re.ASCII)
"""What a host may not take in a label: TorchServe's lines have a meaning for ``:``, ``,``, ``|`` and ``#``."""

_VOCABULARY: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "lantern_requests_total": {"protocol": PROTOCOLS, "code": (OK, *ERROR_TABLE)},
    "lantern_errors_total": {"code": tuple(ERROR_TABLE)},
    "lantern_over_length_total": {"handling": ("window", "head", "head_tail", "reject")},
    "lantern_decisions_total": {"tier": TIERS, "uncertain": ("true", "false")},
    "lantern_statements_total": {"kind": KINDS, "language": LANGUAGES},
    "lantern_policy_changes_total": {"outcome": ("reloaded", "refused", "expired")},
    "lantern_fallbacks_total": {"kind": _FALLBACKS},
}
"""The labels that are known beforehand."""


class Emit(Protocol):
    """Where measurements leave: a host's metrics."""

    def __call__(self, kind: Kind, name: str, labels: Labels, value: float) -> None:
        """Add ``value`` to a counter, or set a gauge to it; ``labels`` are values, in the declared order."""


@dataclass(frozen=True)
class Family:
    """A metric as it is declared; a histogram is three of them.

    Attributes:
        kind: of the metric.
        name: of the metric.
        labels: their names.
    """

    kind: Kind
    name: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Histogram:
    """A distribution: its name, labels and upper bounds, ``+Inf`` left out."""

    name: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...]

    @property
    def families(self) -> tuple[Family, ...]:
        """The counters that it consists of."""
        return (
            Family("counter", f"{self.name}_bucket", (*self.labels, "le")),
            Family("counter", f"{self.name}_sum", self.labels),
            Family("counter", f"{self.name}_count", self.labels),
        )


REQUEST_SECONDS: Final = Histogram("lantern_request_seconds", ("protocol",), REQUEST_BUCKETS)
STAGE_SECONDS: Final = Histogram("lantern_stage_seconds", ("stage",), STAGE_BUCKETS)
TEXT_TOKENS: Final = Histogram("lantern_text_tokens", (), TOKEN_BUCKETS)
SCORE: Final = Histogram("lantern_score", ("label",), SCORE_BUCKETS)

FAMILIES: Final[tuple[Family, ...]] = (
    Family("counter", "lantern_requests_total", ("protocol", "code")),
    Family("counter", "lantern_texts_total"),
    Family("counter", "lantern_tokens_total"),
    Family("counter", "lantern_input_tokens_total"),
    Family("counter", "lantern_padded_tokens_total"),
    Family("counter", "lantern_windows_total"),
    Family("counter", "lantern_over_length_total", ("handling",)),
    Family("counter", "lantern_errors_total", ("code",)),
    Family("counter", "lantern_positives_total", ("label",)),
    Family("counter", "lantern_decisions_total", ("tier", "uncertain")),
    Family("counter", "lantern_actions_total", ("action", "status", "reason")),
    Family("counter", "lantern_statements_total", ("kind", "language")),
    Family("counter", "lantern_policy_changes_total", ("outcome",)),
    Family("counter", "lantern_record_failures_total"),
    Family("counter", "lantern_records_lost_total"),
    Family("counter", "lantern_spans_lost_total"),
    Family("counter", "lantern_fallbacks_total", ("kind",)),
    Family("counter", "lantern_worker_starts_total"),
    Family("gauge", "lantern_worker_start_time_seconds"),
    Family("gauge", "lantern_policy_refused"),
    Family("gauge", "lantern_policy_expired"),
    Family("gauge", "lantern_records_waiting"),
    Family("gauge", "lantern_model_info", ("checkpoint", "precision", "runtime", "device", "calibration", "version")),
    *(family for histogram in (REQUEST_SECONDS, STAGE_SECONDS, TEXT_TOKENS, SCORE) for family in histogram.families),
)
"""Every metric of ours, as ``config/metrics.yaml`` declares it to the host."""

_KINDS: Final[Mapping[str, Kind]] = {family.name: family.kind for family in FAMILIES}


class _Distribution:
    """What was observed of one series of a histogram since it was last taken."""

    def __init__(self, histogram: Histogram, labels: Labels) -> None:
        self._histogram, self._labels = histogram, labels
        self._bounds = (*(repr(bound) for bound in histogram.bounds), "+Inf")
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0
        self._is_known = False

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._histogram.bounds, value)] += 1
        self._sum += value

    def take(self) -> Iterator[tuple[str, Labels, float]]:
        """Yield by how much each counter has grown, and begin anew. Only the first time are there zeros among them."""
        is_new, self._is_known = not self._is_known, True
        for bound, count in zip(self._bounds, accumulate(self._counts), strict=True):
            if count or is_new:
                yield f"{self._histogram.name}_bucket", (*self._labels, bound), count
        if any(self._counts) or is_new:
            yield f"{self._histogram.name}_sum", self._labels, self._sum
            yield f"{self._histogram.name}_count", self._labels, sum(self._counts)
        self._counts, self._sum = [0] * len(self._bounds), 0.0


class Meter:
    """Adds events up. For one thread.

    Args:
        now: seconds since 1970.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._counters: dict[tuple[str, Labels], float] = defaultdict(float)
        self._gauges: dict[tuple[str, Labels], float] = {}
        self._distributions: dict[tuple[str, Labels], _Distribution] = {}
        self._declare_known()

    def flush(self, emit: Emit) -> None:
        """Hand over what has changed since the last time."""
        for (name, labels), value in (*self._gauges.items(), *self._counters.items()):
            emit(_KINDS[name], name, labels, value)
        self._gauges.clear()
        self._counters.clear()
        for distribution in self._distributions.values():
            for name, labels, value in distribution.take():
                emit("counter", name, labels, value)

    @singledispatchmethod
    def take(self, event: Event) -> None:
        """Take one event into account; an event that nothing is counted of changes nothing."""

    @take.register
    def _(self, event: Loaded) -> None:
        self._count("lantern_worker_starts_total")
        self._set("lantern_worker_start_time_seconds", round(self._now()))
        names = (event.checkpoint, event.precision, event.runtime, event.device, event.calibration, event.version)
        self._set("lantern_model_info", 1, *(_label_value(name) for name in names))
        for label in event.labels:
            self._distribution(SCORE, _label_value(label))
            self._count("lantern_positives_total", 0, _label_value(label))

    @take.register
    def _(self, event: SubBatchDone) -> None:
        self._count("lantern_input_tokens_total", event.tokens)
        self._count("lantern_padded_tokens_total", event.padded_tokens)
        self._observe(STAGE_SECONDS, event.run_s, "run")

    @take.register
    def _(self, event: RequestDone) -> None:
        protocol = event.caller.protocol
        self._count("lantern_requests_total", 1, protocol, event.code)
        if event.code == OK:
            self._observe(REQUEST_SECONDS, event.ended - event.arrived, protocol)
        for code in event.refused:
            self._count("lantern_errors_total", 1, code)
        for text in event.texts:
            self._take_text(text)

    @take.register
    def _(self, event: Fault) -> None:
        self._fall_back("fault")

    @take.register
    def _(self, event: Decided) -> None:
        self._count("lantern_decisions_total", 1, event.tier, str(event.uncertain).lower())
        for action, status, reason in event.actions:
            self._count("lantern_actions_total", 1, action, status, reason or "none")
        for kind, language in event.statements:
            self._count("lantern_statements_total", 1, kind, language)

    @take.register
    def _(self, event: PolicyChanged) -> None:
        self._count("lantern_policy_changes_total", 1, event.outcome)
        if event.outcome == "reloaded":
            self._set("lantern_policy_refused", 0)
            self._set("lantern_policy_expired", 0)
        else:
            self._set(f"lantern_policy_{event.outcome}", 1)
            self._fall_back(f"policy_{event.outcome}")

    @take.register
    def _(self, event: RecordsFailed) -> None:
        self._count("lantern_record_failures_total")
        self._count("lantern_records_lost_total", event.lost)
        self._set("lantern_records_waiting", event.waiting)
        self._fall_back("records_failed")

    @take.register
    def _(self, event: RecordsRecovered) -> None:
        self._set("lantern_records_waiting", 0)

    @take.register
    def _(self, event: SpansLost) -> None:
        self._count("lantern_spans_lost_total", event.spans)
        self._fall_back("spans_lost")

    def _take_text(self, text: TextDone) -> None:
        self._count("lantern_texts_total")
        self._observe(STAGE_SECONDS, text.floor_s, "floor")
        if text.code != OK:
            self._count("lantern_errors_total", 1, text.code)
            if text.tier and ERROR_TABLE[text.code].http >= 500:
                self._fall_back("decided_without_scores")
        if text.handling != "none":
            self._count("lantern_over_length_total", 1, text.handling)
        if text.windows:
            self._count("lantern_tokens_total", text.tokens)
            self._count("lantern_windows_total", text.windows)
            self._observe(TEXT_TOKENS, text.tokens)
            self._observe(STAGE_SECONDS, text.tokenize_s, "tokenize")
        if text.runs:
            self._observe(STAGE_SECONDS, text.queue_s, "queue")
        if text.tier or text.scores:
            self._observe(STAGE_SECONDS, text.decide_s, "decide")
        for scored in text.scores:
            label = _label_value(scored.label)
            self._observe(SCORE, scored.score, label)
            self._count("lantern_positives_total", int(scored.positive), label)

    def _count(self, name: str, value: float = 1, *labels: str) -> None:
        self._counters[name, labels] += value

    def _set(self, name: str, value: float, *labels: str) -> None:
        self._gauges[name, labels] = value

    def _fall_back(self, kind: str) -> None:
        self._count("lantern_fallbacks_total", 1, kind)

    def _observe(self, histogram: Histogram, value: float, *labels: str) -> None:
        self._distribution(histogram, *labels).observe(value)

    def _distribution(self, histogram: Histogram, *labels: str) -> _Distribution:
        key = (histogram.name, labels)
        if key not in self._distributions:
            self._distributions[key] = _Distribution(histogram, labels)
        return self._distributions[key]

    def _declare_known(self) -> None:
        for family in FAMILIES:
            for labels in _known_labels(family):
                self._count(family.name, 0, *labels)
        for gauge in ("lantern_policy_refused", "lantern_policy_expired", "lantern_records_waiting"):
            self._set(gauge, 0)
        for protocol in PROTOCOLS:
            self._distribution(REQUEST_SECONDS, protocol)
        for stage in _STAGES:
            self._distribution(STAGE_SECONDS, stage)
        self._distribution(TEXT_TOKENS)


def _known_labels(family: Family) -> Iterator[Labels]:
    """Yield the labels of every series of a counter that can be named beforehand; those of histograms not."""
    if family.kind == "counter" and family.name.endswith("_total"):
        names = _VOCABULARY.get(family.name, {})
        if family.labels == tuple(names):
            yield from product(*names.values())


def _label_value(name: str) -> str:
    return _UNFIT.sub("_", name) or "none"
