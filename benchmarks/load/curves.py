"""Curves of latency and throughput against the arrival rate, from the windows of one configuration. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.load.results import Window
from benchmarks.load.statistics import Floats, quantile
from benchmarks.load.windows import pooled

SAME_RATE: Final = 1e-6
STABLE: Final = 0.93
"""Share of the arrivals that has to be answered within the window for a rate to count as sustained."""


@dataclass(frozen=True)
class Level:
    """All open-loop windows of one rate.

    Attributes:
        rate: arrivals a second.
        throughput: answers a second.
        latencies: of all their requests, in ms.
        sustained: the queue did not grow, no window was stopped, and what arrived was answered.
    """

    rate: float
    throughput: float
    latencies: Floats
    sustained: bool
    windows: tuple[Window, ...]

    def quantile_ms(self, q: float) -> float:
        """Return a latency quantile in ms."""
        return quantile(self.latencies, q)


def levels_of(windows: Sequence[Window]) -> list[Level]:
    """Group the open-loop windows by rate, lowest first; windows without a request are left out."""
    rates = sorted({window.rate for window in windows if window.rate is not None and window.arrived})
    return [_level(rate, [window for window in windows if window.rate == rate and window.arrived]) for rate in rates]


def _level(rate: float, windows: list[Window]) -> Level:
    seconds = sum(window.seconds for window in windows)
    throughput = sum(window.throughput * window.seconds for window in windows) / seconds
    arrived = sum(window.arrived for window in windows) / seconds
    stopped = any(window.stopped for window in windows)
    growing = 2 * sum(window.judged.growing for window in windows) > len(windows)
    keeps_up = throughput >= STABLE * arrived or len(pooled(windows)) * (1 - STABLE) < 3
    return Level(rate, throughput, pooled(windows), not stopped and not growing and keeps_up, tuple(windows))


def knee(levels: Sequence[Level], q: float = 0.99) -> float | None:
    """Return the rate where latency begins to rise faster than the rate does; ``None`` for fewer than four levels.

    The point furthest below the diagonal of the normalised curve of p99 against rate (Satopaa, Albrecht, Irwin and
    Raghavan, "Finding a Kneedle in a Haystack", ICDCS workshops 2011).
    """
    if len(levels) < 4:
        return None
    rates = np.array([level.rate for level in levels])
    latencies = np.maximum.accumulate([level.quantile_ms(q) for level in levels])
    if latencies[-1] <= latencies[0]:
        return None
    x = (rates - rates[0]) / (rates[-1] - rates[0])
    y = (latencies - latencies[0]) / (latencies[-1] - latencies[0])
    return float(rates[int(np.argmax(x - y))])


@dataclass(frozen=True)
class Curve:
    """A latency quantile over the rate, made monotone, between the rates that were measured."""

    rates: Floats
    values_ms: Floats

    @classmethod
    def of(cls, levels: Sequence[Level], q: float) -> Curve:
        """Fit: pool neighbours whose order is wrong, weighted by their requests (isotonic regression)."""
        rates = np.array([level.rate for level in levels])
        values = np.array([level.quantile_ms(q) for level in levels])
        weights = np.array([len(level.latencies) for level in levels], dtype=float)
        return cls(rates, isotonic(values, weights))

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest rate that was measured."""
        return float(self.rates[0]), float(self.rates[-1])

    def at(self, rate: float) -> float | None:
        """Return the latency at ``rate``, interpolated linearly; ``None`` outside of what was measured."""
        first, last = self.range
        if not first <= rate <= last:
            return None
        return float(np.interp(rate, self.rates, self.values_ms))

    def highest_rate(self, limit_ms: float) -> float | None:
        """Return the highest rate whose latency is at most ``limit_ms``; ``None`` where no measured one is."""
        if self.values_ms[0] > limit_ms:
            return None
        if self.values_ms[-1] <= limit_ms:
            return self.range[1]
        above = int(np.argmax(self.values_ms > limit_ms))
        low, high = self.values_ms[above - 1], self.values_ms[above]
        share = (limit_ms - low) / (high - low)
        return float(self.rates[above - 1] + share * (self.rates[above] - self.rates[above - 1]))


def isotonic(values: Floats, weights: Floats) -> Floats:
    """Return the closest non-decreasing values by weighted least squares (pool adjacent violators)."""
    blocks: list[list[float]] = []  # mean, weight, count
    for value, weight in zip(values, weights, strict=True):
        blocks.append([float(value), float(weight), 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, mass, count = blocks.pop()
            before = blocks[-1]
            total = before[1] + mass
            blocks[-1] = [(before[0] * before[1] + mean * mass) / total, total, before[2] + count]
    return np.concatenate([np.full(int(count), mean) for mean, _, count in blocks])
