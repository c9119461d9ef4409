"""When requests are meant to start. Pure: the whole schedule is made before the first request is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from benchmarks.load.statistics import Floats

Process = Literal["poisson", "constant"]


def schedule(process: Process, rate: float, seconds: float, seed: int) -> Floats:
    """Return the intended starts in ``[0, seconds)``, in seconds, sorted.

    Args:
        process: ``poisson`` draws exponential gaps; ``constant`` spaces them evenly, from a seeded phase.
        rate: requests a second, above 0.
        seconds: length of the schedule.
        seed: same seed, same schedule.
    """
    if not rate > 0 or not seconds > 0:
        raise ValueError("rate and seconds must be above 0")
    generator = np.random.default_rng(seed)
    if process == "constant":
        phase = generator.random() / rate
        return np.arange(phase, seconds, 1 / rate)
    starts = np.cumsum(generator.exponential(1 / rate, _enough(rate * seconds)))
    return starts[starts < seconds]


def ramped(process: Process, stages: Sequence[tuple[float, float]], seed: int) -> Floats:
    """Return the intended starts of several ``(rate, seconds)`` one after another; a rate of 0 is a pause."""
    found, offset = [], 0.0
    for number, (rate, seconds) in enumerate(stages):
        if rate > 0:
            found.append(offset + schedule(process, rate, seconds, seed + number))
        offset += seconds
    return np.concatenate(found) if found else np.empty(0)


def _enough(mean: float) -> int:
    """Return a count that a Poisson draw of this mean exceeds about never (ten standard deviations)."""
    return int(mean + 10 * mean**0.5 + 20)
