"""Median and quartiles: how every figure of a repeated measurement is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of a sample, in the sample's unit."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, sample: Sequence[float]) -> Spread:
        """Summarise ``sample``, which must not be empty."""
        low, median, high = np.quantile(sample, [0.25, 0.5, 0.75])
        return cls(float(median), float(low), float(high))
