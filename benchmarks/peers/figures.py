"""What a run shows: rounds of each server, and the ratios and verdicts that follow from them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from benchmarks.peers.exchange import Sent
from benchmarks.peers.workload import SHORT
from benchmarks.spread import Spread

THROUGHPUT_GOALS: Final = {"lantern-fp32": 4.5, "lantern-int8": 9.0}
"""At least so many times the texts a second of the best peer."""

SHORT_GOAL: Final = 0.1
"""At most this share of the best peer's median time of short texts."""

OVERHEAD_GOAL: Final = 0.08
"""At most this share of engine time on top of it, while the queue is full."""

CONTENDER: Final = 0.5
"""Peers below this share of the best one's throughput are not run again: no ratio depends on them."""


@dataclass(frozen=True)
class ServerRound:
    """One server in one round: started, checked, measured, stopped.

    Attributes:
        server, is_lantern, round: which; rounds count from 1.
        texts, answered: sent, and answered with scores.
        failures: how often each reason came.
        wall_s: seconds from the first request to the last answer.
        seconds: time of each answered text at the client, by class.
        worst_difference: largest |Δscore| against ``transformers`` eager, over every answer.
        start_s: seconds from the command to the first prediction.
        memory_mb: resident memory of all its processes after the round (MB, 10^6 bytes; shared memory counts twice).
        dense_gflops: the machine's dense rate just before, to see a noisy neighbour.
        engine_s: seconds that the engine ran between the first request and the last answer; Lantern alone.
    """

    server: str
    is_lantern: bool
    round: int
    texts: int
    answered: int
    failures: dict[str, int]
    wall_s: float
    seconds: dict[str, list[float]]
    worst_difference: float
    start_s: float
    memory_mb: float
    dense_gflops: float
    engine_s: float | None

    @property
    def throughput(self) -> float:
        """Answered texts a second."""
        return self.answered / self.wall_s

    @property
    def overhead(self) -> float | None:
        """Wall-clock time on top of engine time, as a share of engine time."""
        return self.wall_s / self.engine_s - 1.0 if self.engine_s else None


@dataclass(frozen=True)
class ServerFailure:
    """Why a server has no figures in a round."""

    server: str
    round: int
    reason: str


@dataclass(frozen=True)
class Quantiles:
    """Median and 95th percentile in seconds, of ``count`` texts."""

    count: int
    p50: float
    p95: float


@dataclass(frozen=True)
class ServerSummary:
    """One server over its rounds.

    Attributes:
        throughput: texts a second; each round is one value.
        to_best_peer: its throughput over the best peer's of the same round; ``None`` where no peer was measured.
        classes: times by class of length, over all rounds.
        short_to_best_peer: median of short texts over the smallest such median of a peer; ``None`` as above.
        overhead: wall-clock on top of engine time, as a share of it.
    """

    server: str
    is_lantern: bool
    rounds: int
    throughput: Spread
    to_best_peer: Spread | None
    classes: dict[str, Quantiles]
    short_to_best_peer: float | None
    overhead: Spread | None
    failures: dict[str, int]
    worst_difference: float
    memory_mb: float
    start_s: float


@dataclass(frozen=True)
class Verdict:
    """One goal: ``value`` and ``met`` are ``None`` where it was not measured."""

    goal: str
    value: float | None
    met: bool | None


@dataclass(frozen=True)
class PeersReport:
    """A whole run.

    Attributes:
        settings: what each server ran with, and its packages' versions.
        workload: count, clients, seed, and the range of tokens of each class.
        complete: whether every planned round was run.
    """

    checkpoint: str
    command: str
    machine: dict[str, Any]
    settings: dict[str, str]
    workload: dict[str, Any]
    summaries: tuple[ServerSummary, ...]
    verdicts: tuple[Verdict, ...]
    rounds: tuple[ServerRound, ...]
    failures: tuple[ServerFailure, ...]
    complete: bool


def count_round(sent: Sequence[Sent]) -> tuple[float, dict[str, list[float]], dict[str, int]]:
    """Return the wall-clock seconds of a closed loop, the times of answers by class, and the failures by reason."""
    wall = max(one.ended_s for one in sent) - min(one.started_s for one in sent)
    seconds: dict[str, list[float]] = {}
    for one in sent:
        if one.failure is None:
            seconds.setdefault(one.text.kind, []).append(one.seconds)
    return wall, seconds, dict(Counter(one.failure for one in sent if one.failure is not None))


def contenders(rounds: Sequence[ServerRound]) -> frozenset[str]:
    """Return who is run again after the first round: every Lantern, and the peers that may be the best one."""
    best = max((one.throughput for one in rounds if not one.is_lantern), default=0.0)
    return frozenset(one.server for one in rounds if one.is_lantern or one.throughput >= CONTENDER * best)


def summarize(rounds: Sequence[ServerRound]) -> tuple[ServerSummary, ...]:
    """Return one summary for each server, in the order of their first rounds."""
    by_server: dict[str, list[ServerRound]] = {}
    for one in rounds:
        by_server.setdefault(one.server, []).append(one)
    best = best_peer_throughput(rounds)
    short = best_peer_short(by_server.values())
    return tuple(_summary(mine, best, short) for mine in by_server.values())


def best_peer_throughput(rounds: Iterable[ServerRound]) -> dict[int, float]:
    """Return the best peer's throughput in each round that has one."""
    best: dict[int, float] = {}
    for one in rounds:
        if not one.is_lantern and one.throughput > 0:
            best[one.round] = max(best.get(one.round, 0.0), one.throughput)
    return best


def best_peer_short(servers: Iterable[Sequence[ServerRound]]) -> float | None:
    """Return the smallest median of short texts that a peer reached, in seconds."""
    medians = [
        classes[SHORT].p50 for rounds in servers if not rounds[0].is_lantern and SHORT in (classes := _classes(rounds))
    ]
    return min(medians, default=None)


def judge(summaries: Sequence[ServerSummary]) -> tuple[Verdict, ...]:
    """Compare the medians with the goals; a server that was not measured leaves its goals open."""
    found = {one.server: one for one in summaries}
    verdicts = []
    for server, goal in THROUGHPUT_GOALS.items():
        one = found.get(server)
        ratio = one.to_best_peer.median if one and one.to_best_peer else None
        verdicts.append(
            _verdict(f"{server}: texts a second at least {goal:g}x the best peer's", ratio, ratio and ratio >= goal)
        )
    for server in THROUGHPUT_GOALS:
        one = found.get(server)
        share = one.short_to_best_peer if one else None
        text = f"{server}: p50 of short texts beside long ones at most {SHORT_GOAL:g}x the best peer's"
        verdicts.append(_verdict(text, share, share is not None and share <= SHORT_GOAL))
    for server in THROUGHPUT_GOALS:
        one = found.get(server)
        overhead = one.overhead.median if one and one.overhead else None
        text = f"{server}: server overhead under saturation at most {OVERHEAD_GOAL:.0%} of engine time"
        verdicts.append(_verdict(text, overhead, overhead is not None and overhead <= OVERHEAD_GOAL))
    return tuple(verdicts)


def _verdict(goal: str, value: float | None, met: bool | float | None) -> Verdict:
    return Verdict(goal, value, None if value is None else bool(met))


def _summary(rounds: Sequence[ServerRound], best: Mapping[int, float], short: float | None) -> ServerSummary:
    classes = _classes(rounds)
    ratios = [one.throughput / best[one.round] for one in rounds if one.round in best]
    overheads = [one.overhead for one in rounds if one.overhead is not None]
    failures: Counter[str] = Counter()
    for one in rounds:
        failures.update(one.failures)
    return ServerSummary(
        server=rounds[0].server,
        is_lantern=rounds[0].is_lantern,
        rounds=len(rounds),
        throughput=Spread.of([one.throughput for one in rounds]),
        to_best_peer=Spread.of(ratios) if ratios else None,
        classes=classes,
        short_to_best_peer=classes[SHORT].p50 / short if short and SHORT in classes else None,
        overhead=Spread.of(overheads) if overheads else None,
        failures=dict(failures),
        worst_difference=max(one.worst_difference for one in rounds),
        memory_mb=max(one.memory_mb for one in rounds),
        start_s=float(np.median([one.start_s for one in rounds])),
    )


def _classes(rounds: Sequence[ServerRound]) -> dict[str, Quantiles]:
    pooled: dict[str, list[float]] = {}
    for one in rounds:
        for kind, seconds in one.seconds.items():
            pooled.setdefault(kind, []).extend(seconds)
    return {kind: _quantiles(seconds) for kind, seconds in pooled.items()}


def _quantiles(seconds: Sequence[float]) -> Quantiles:
    p50, p95 = np.quantile(seconds, [0.5, 0.95])
    return Quantiles(len(seconds), float(p50), float(p95))
