"""The results model: what one run of ``python -m benchmarks run`` found, as frozen records and as JSON.

The JSON holds every request's times (no text), so that any quantile under any limit can be computed again from the
file alone: ``plan`` and ``compare`` read nothing else. Milliseconds end in ``_ms``, seconds in ``_s``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmarks.errors import BenchmarkError
from benchmarks.load.statistics import Floats, quantile
from benchmarks.load.workload import Workload

SCHEMA: Final = 1
OK: Final = "ok"

Verdict = Literal[
    "capacity_found",
    "above_range",
    "measured",
    "slo_missed",
    "slo_never_met",
    "client_limited",
    "server_not_ready",
    "server_died",
    "refused",
    "workload_unsatisfiable",
    "out_of_time",
    "interrupted",
]
Purpose = Literal["warm-up", "service", "saturation", "search", "confirm", "curve", "soak", "spike", "step", "closed"]
Judgement = Literal["held", "missed", "undecided", "not judged"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Slo(_Record):
    """``quantile`` of all latencies at most ``limit_ms``, and at most ``error_share`` of requests answered wrongly."""

    quantile: float = Field(gt=0.0, lt=1.0)
    limit_ms: float = Field(gt=0.0)
    error_share: float = Field(ge=0.0, le=1.0)

    @property
    def late_share(self) -> float:
        """Requests that may be over the limit: 0.01 for a p99."""
        return 1 - self.quantile

    def __str__(self) -> str:
        limit = f"{self.limit_ms / 1000:g} s" if self.limit_ms >= 1000 else f"{self.limit_ms:g} ms"
        return f"p{100 * self.quantile:g} ≤ {limit}, errors ≤ {100 * self.error_share:g} %"


class Columns(_Record):
    """One value for each request of a window, in order of the intended start.

    Attributes:
        intended_s: intended start, since the measured part began.
        late_ms: how much later the client really began; it is part of the latency.
        latency_ms: from the intended start to the answer.
        tokens: of all texts of the request, as the server counted them, or as planned where it gave no answer.
        protocol, code: places in ``protocols`` and ``codes``; code 0 is a right answer, and so is an expected refusal.
        wire_ms: from the first byte sent to the answer, as the gRPC interceptor or the REST transport saw it.
        tokenize_ms, queue_ms, run_ms, decide_ms: the answer's ``timing_ms``; 0 where there is none.
    """

    protocols: tuple[str, ...]
    codes: tuple[str, ...]
    intended_s: tuple[float, ...] = ()
    late_ms: tuple[float, ...] = ()
    latency_ms: tuple[float, ...] = ()
    wire_ms: tuple[float, ...] = ()
    tokens: tuple[int, ...] = ()
    protocol: tuple[int, ...] = ()
    code: tuple[int, ...] = ()
    tokenize_ms: tuple[float, ...] = ()
    queue_ms: tuple[float, ...] = ()
    run_ms: tuple[float, ...] = ()
    decide_ms: tuple[float, ...] = ()


class Latencies(_Record):
    """Of ``count`` requests, from the intended start. Errors count: a caller waited for them too."""

    count: int
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float

    @classmethod
    def of(cls, values: Sequence[float] | Floats) -> Latencies | None:
        """Summarise; ``None`` of nothing."""
        sample = np.asarray(values, dtype=float)
        if not len(sample):
            return None
        points = {f"p{p}_ms": round(quantile(sample, p / 100), 3) for p in (50, 90, 95, 99)}
        return cls(count=len(sample), mean_ms=round(float(sample.mean()), 3), max_ms=float(sample.max()), **points)


class Stages(_Record):
    """Where the mean latency goes, in ms: ``other`` is what no one accounts for: transport, the Java front end, and
    waiting for the rest of a batch."""

    late_ms: float
    queue_ms: float
    tokenize_ms: float
    run_ms: float
    decide_ms: float
    other_ms: float


class Batching(_Record):
    """From the server's counters over the window: texts, their tokens and what was computed for them with padding."""

    texts: float
    tokens: float
    padded_tokens: float

    @property
    def efficiency(self) -> float:
        """Share of the computed tokens that were tokens of texts."""
        return self.tokens / self.padded_tokens if self.padded_tokens else 0.0


class Usage(_Record):
    """Of a group of processes over the window: cores kept busy, and the highest resident memory (10^6 bytes)."""

    cores: float
    rss_mb: float


class ClientState(_Record):
    """Whether the client kept up.

    Attributes:
        cores: of its one process; it has one thread that counts, so 1.0 is all there is.
        late_p99_ms: of starts.
        capped: requests that waited for one of the ``cap`` places in flight.
        limited: the client, not the server, decided what was measured.
    """

    cores: float
    rss_mb: float
    late_p99_ms: float
    capped: int
    cap: int
    limited: bool


class InFlight(_Record):
    """Requests in flight, from a counter that was looked at every few milliseconds, not from latencies.

    Attributes:
        mean, most: over the window.
        growth, growth_low, growth_high: slope in requests a second with its 95 % interval.
    """

    mean: float
    most: int
    growth: float
    growth_low: float | None
    growth_high: float | None


class Judged(_Record):
    """What a window says of the SLO.

    Attributes:
        late_share, late_low, late_high: share of requests over the limit; each bound holds with 95 %.
        error_share: unexpected answers.
        growing: the queue grew for sure, and by a share of the arrivals that matters.
    """

    judgement: Judgement
    late_share: float
    late_low: float
    late_high: float
    error_share: float
    growing: bool
    reasons: tuple[str, ...]


class Window(_Record):
    """One stretch of load at one rate (open loop) or with so many callers (closed loop).

    Attributes:
        number, purpose, loop: which, why and how.
        started_s: since the configuration's first request.
        lead_in_s, seconds: what came before the measured part at the same load, and the measured part.
        rate: requests a second that were meant to start; ``None`` in a closed loop.
        users: callers that wait for each other; ``None`` in an open loop.
        stopped: why it ended early, empty where it did not.
        arrived, answered: requests that were meant to start in the measured part, and how many of them were answered.
        throughput: answers a second over the measured part, whenever the request began.
        errors, refusals: unexpected answers by code, and the refusals that the workload asked for.
        ok: answers as they should be.
        by_class, by_protocol: latencies by length class and protocol.
    """

    number: int
    purpose: Purpose
    loop: Literal["open", "closed"]
    started_s: float
    lead_in_s: float
    seconds: float
    rate: float | None
    users: int | None
    stopped: str
    arrived: int
    answered: int
    ok: int
    throughput: float
    errors: dict[str, int]
    refusals: int
    latency: Latencies | None
    by_class: dict[str, Latencies]
    by_protocol: dict[str, Latencies]
    stages: Stages | None
    in_flight: InFlight
    batching: Batching | None
    server: Usage | None
    client: ClientState
    judged: Judged
    columns: Columns

    @property
    def latencies(self) -> Floats:
        """Latencies of all requests, in ms."""
        return np.asarray(self.columns.latency_ms, dtype=float)

    @property
    def offered(self) -> float:
        """Requests a second: those that were meant to start, or in a closed loop those that were answered."""
        return self.rate if self.rate is not None else self.throughput


class Configuration(_Record):
    """What was served.

    Attributes:
        label: for tables: ``fp32``, ``int8, batchSize 16``.
        precision, runtime, checkpoint, revision, model_version: as the server's answers say.
        settings: what was changed of ``model-config.yaml``.
        replica: what one replica is, for the plan: this machine, or what the caller says.
    """

    label: str
    precision: str = ""
    runtime: str = ""
    checkpoint: str = ""
    revision: str = ""
    model_version: str = ""
    settings: dict[str, Any] = {}
    replica: str = ""


class Outcome(_Record):
    """What the search says.

    Attributes:
        capacity: highest rate that holds the SLO, requests a second, with its 95 % interval; the best estimate from
            all windows, or the highest rate that was seen to hold it where none was seen to miss it.
        lowest_missed: lowest rate of the bracket that did not hold.
        requests_at_capacity, late_share, shown_share: of the windows within the precision of the capacity: how many
            requests, how many of them late, and how many at most with 95 % confidence.
        shown: whether ``shown_share`` is within the SLO; where it is not, the requests were too few or too close to it.
        saturation: highest throughput seen, at any latency.
        knee: rate from which p99 rises faster than the rate does.
        service_ms, service_cv: mean latency of one caller alone and its coefficient of variation.
        searched_s: how long all windows of this configuration took.
    """

    verdict: Verdict
    reason: str
    capacity: float | None = None
    capacity_low: float | None = None
    capacity_high: float | None = None
    lowest_missed: float | None = None
    requests_at_capacity: int = 0
    late_share: float | None = None
    shown_share: float | None = None
    shown: bool = False
    saturation: float | None = None
    knee: float | None = None
    service_ms: float | None = None
    service_cv: float | None = None
    searched_s: float = 0.0


class ConfigurationResult(_Record):
    """One configuration: what it is, what was found, and every window behind it."""

    configuration: Configuration
    outcome: Outcome
    windows: tuple[Window, ...] = ()

    def open_windows(self, *purposes: Purpose) -> list[Window]:
        """Return the open-loop windows that ran to their end or were stopped as hopeless, of these purposes or all."""
        kept = [window for window in self.windows if window.loop == "open" and window.arrived]
        return [
            window for window in kept if window.purpose != "warm-up" and (not purposes or window.purpose in purposes)
        ]


class RunResult(_Record):
    """One run, complete or not; ``schema_version`` is that of this file."""

    schema_version: Annotated[int, Field(alias="schema")] = SCHEMA
    generated_at: str
    command: str
    commit: str
    partial: bool
    machine: dict[str, Any]
    versions: dict[str, str]
    target: dict[str, Any]
    workload: Workload | None
    slo: Slo | None
    settings: dict[str, Any]
    results: tuple[ConfigurationResult, ...] = ()

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @property
    def verdict(self) -> Verdict:
        """The worst of all configurations, in the order of ``Verdict``."""
        order: tuple[str, ...] = Verdict.__args__  # type: ignore[attr-defined]
        found = [result.outcome.verdict for result in self.results]
        return max(found, key=order.index, default="interrupted")


def to_json(run: RunResult) -> str:
    """Return the run as JSON, one line a window, so that the file can be read and compared as text too."""
    return run.model_dump_json(by_alias=True, indent=None)


def read_result(path: Path) -> RunResult:
    """Read a result file.

    Raises:
        BenchmarkError: it cannot be read, or it is not one of ours.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BenchmarkError(f"cannot read the result {path}: {error.strerror}") from None
    try:
        run = RunResult.model_validate_json(content)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in detail["loc"]) or "the whole"
        raise BenchmarkError(f"{path} is no result of `python -m benchmarks run`: {field}: {detail['msg']}") from None
    if run.schema_version != SCHEMA:
        raise BenchmarkError(f"{path} has schema {run.schema_version}, this version reads {SCHEMA}: measure again")
    return run
