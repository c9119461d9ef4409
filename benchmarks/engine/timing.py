"""Seconds of one run, repeated where it is short against the noise."""

from __future__ import annotations

import time
from typing import Final

import numpy as np

from benchmarks.engine.contenders import Run
from handlers.runtime import TokenIds

REPEAT_FOR_S: Final = 0.25
MOST_REPEATS: Final = 5
"""A run is repeated for so long and so often; a longer one runs once."""


def repeated_seconds(run: Run, inputs: tuple[TokenIds, TokenIds]) -> float:
    """Return the median seconds of ``run`` over ``inputs``."""
    times: list[float] = []
    while not times or (sum(times) < REPEAT_FOR_S and len(times) < MOST_REPEATS):
        started = time.perf_counter()
        run(*inputs)
        times.append(time.perf_counter() - started)
    return float(np.median(times))
