"""What the gateway adds: the same requests, in turns, straight to a replica and through the gateway."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.machine import describe_machine
from benchmarks.spread import Spread
from client import LanternClient
from deploy.gateway.local import LocalGateway

WARM_UP: Final = 500
"""Rounds before any is counted: the JVM compiles its hot paths only after hundreds of requests."""
_WORDS: Final = 40


@dataclass(frozen=True)
class Added:
    """One protocol, in milliseconds; ``added`` is the difference within each round."""

    direct: Spread
    gateway: Spread
    added: Spread

    @property
    def median(self) -> float:
        """The difference of the medians."""
        return self.gateway.median - self.direct.median


@dataclass(frozen=True)
class LatencyReport:
    """What was measured, unloaded, with connections kept open.

    Attributes:
        rounds: requests on each of the four ways, taking turns.
        words: of the text.
    """

    command: str
    machine: dict[str, Any]
    rounds: int
    words: int
    rest: Added
    grpc: Added


def measure(gateway: LocalGateway, rounds: int, command: str, progress: Callable[[str], None]) -> LatencyReport:
    """Measure a gateway that has one replica, so that both ways end in the same worker."""
    replica, model = gateway.replicas[0].replica, gateway.settings.model
    text = " ".join(["today"] * _WORDS)
    with ExitStack() as stack:
        clients = [
            stack.enter_context(client)
            for client in (
                LanternClient.rest(f"http://{replica.rest}", model=model, retries=0),
                gateway.rest(retries=0),
                LanternClient.grpc(replica.grpc, model=model, retries=0),
                gateway.grpc(retries=0),
            )
        ]
        taken: list[list[float]] = [[] for _ in clients]
        for number in range(WARM_UP + rounds):
            progress(f"round {number} of {WARM_UP + rounds}")
            # Whoever goes first in a round would pay for the pause before it.
            for place in (*range(number % 4, 4), *range(number % 4)):
                taken[place].append(_milliseconds(clients[place], text))
    counted = [times[WARM_UP:] for times in taken]
    return LatencyReport(
        command=command,
        machine=describe_machine(threads=0) | {"threads": "the server's own"},
        rounds=rounds,
        words=_WORDS,
        rest=_added(counted[0], counted[1]),
        grpc=_added(counted[2], counted[3]),
    )


def report_markdown(report: LatencyReport) -> str:
    """Return the report as Markdown."""
    return "\n".join(
        [
            "# Gateway: what it adds to a request",
            "",
            f"`{report.command}`",
            "",
            f"{report.machine['cpu']}, {report.machine['cores']} cores; nginx, the replica and the client on the same "
            f"machine, one request at a time, {report.rounds} on each way in turns, {report.words} words, connections "
            "kept open. Straight to the replica is plain text; through the gateway is TLS 1.3 with a token.",
            "",
            "| protocol | replica, median (quartiles) | through the gateway | added at the median |",
            "|---|---:|---:|---:|",
            _row("REST", report.rest),
            _row("gRPC", report.grpc),
            "",
        ]
    )


def _row(name: str, added: Added) -> str:
    return f"| {name} | {_spread(added.direct)} | {_spread(added.gateway)} | {added.median:.2f} ms |"


def _spread(spread: Spread) -> str:
    return f"{spread.median:.2f} ms ({spread.low:.2f}-{spread.high:.2f})"


def _added(direct: list[float], gateway: list[float]) -> Added:
    differences = [through - straight for straight, through in zip(direct, gateway, strict=True)]
    return Added(Spread.of(direct), Spread.of(gateway), Spread.of(differences))


def _milliseconds(client: LanternClient, text: str) -> float:
    started = time.perf_counter()
    client.classify(text)
    return (time.perf_counter() - started) * 1e3
