"""What queueing theory expects, to lay beside a measurement. Pure; seconds and requests a second."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Queue:
    """``servers`` alike behind one queue, first come, first served; Poisson arrivals.

    Attributes:
        rate: arrivals a second.
        service_s: mean service time.
        cv: its coefficient of variation: 0 constant, 1 exponential.
        servers: how many.
    """

    rate: float
    service_s: float
    cv: float
    servers: int = 1

    @property
    def offered(self) -> float:
        """Load in Erlang: servers kept busy on average."""
        return self.rate * self.service_s

    @property
    def utilization(self) -> float:
        """Share of the time that a server is busy; 1 and more never settles."""
        return self.offered / self.servers

    @property
    def wait_probability(self) -> float:
        """Probability that a request waits at all: Erlang's C formula (Erlang, 1917), 1 where it never settles."""
        return erlang_c(self.servers, self.offered)

    @property
    def mean_wait_s(self) -> float:
        """Mean wait: M/M/k's times ``(1 + cv^2) / 2`` (Allen and Cunneen; in Allen, Probability, Statistics and
        Queueing Theory, 1990, section 5.3). For one server this is Pollaczek and Khinchine's formula, and exact.
        Infinite at a utilization of 1."""
        if self.utilization >= 1:
            return math.inf
        exponential = self.wait_probability * self.service_s / (self.servers * (1 - self.utilization))
        return exponential * (1 + self.cv**2) / 2

    @property
    def mean_latency_s(self) -> float:
        """Mean time from arrival to answer."""
        return self.mean_wait_s + self.service_s

    def wait_quantile_s(self, q: float) -> float:
        """Return a quantile of the wait, as if the wait of those who wait were exponential (Kingman's heavy traffic
        limit, 1962): exact for M/M/k, too long for lower ``cv`` and light load."""
        mean, share = self.mean_wait_s, self.wait_probability
        if not math.isfinite(mean) or share <= 1 - q:
            return mean if not math.isfinite(mean) else 0.0
        return mean / share * math.log(share / (1 - q))


def erlang_c(servers: int, offered: float) -> float:
    """Return the probability of waiting in M/M/k, by Erlang B's recursion, which does not overflow."""
    if offered >= servers:
        return 1.0
    if offered <= 0:
        return 0.0
    blocked = 1.0
    for number in range(1, servers + 1):
        blocked = offered * blocked / (number + offered * blocked)
    utilization = offered / servers
    return blocked / (1 - utilization * (1 - blocked))


def littles_in_flight(rate: float, mean_latency_s: float) -> float:
    """Return the mean number in flight: ``L = rate * mean latency`` (Little, Operations Research 9, 1961)."""
    return rate * mean_latency_s


def disagreement(measured: float, expected: float) -> float | None:
    """Return ``measured / expected - 1``; ``None`` where there is nothing to compare with."""
    if not math.isfinite(expected) or expected <= 0 or not math.isfinite(measured):
        return None
    return measured / expected - 1
