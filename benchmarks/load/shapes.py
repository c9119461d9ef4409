"""Courses of load: steps, a soak, a spike. As stages for ``python -m benchmarks run`` and as Locust shapes.

In a Locust shape the number of users is the arrival rate (``users``), so both run the same course.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from benchmarks.errors import BenchmarkError
from benchmarks.load.results import Purpose

NAMES: Final = ("step", "soak", "spike")
VARIABLE: Final = "LANTERN_SHAPE"
"""Environment variable of the locustfile: ``spike:rate=5,peak=20``. A shape class in a locustfile takes the number of
users out of the hands of whoever starts it, so there is one only where it is asked for."""

SOAK_PARTS: Final = 12
STEP_GROWTH: Final = 1.25


@dataclass(frozen=True)
class Stage:
    """``rate`` requests a second for ``seconds``."""

    rate: float
    seconds: float
    purpose: Purpose


@dataclass(frozen=True)
class Course:
    """What ``--shape`` asks for.

    Attributes:
        name: ``step`` (rates rising by a quarter), ``soak`` (one rate for long) or ``spike`` (a rate, a peak, the
            rate again).
        rate: of the soak; the first step; before and after the spike. Requests a second.
        peak: of the spike; the last step. 0 means four times ``rate``.
        seconds: of it all.
    """

    name: str
    rate: float
    peak: float
    seconds: float

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise BenchmarkError(f"no shape is called {self.name!r}; there are {', '.join(NAMES)}")
        if not (0 < self.rate < math.inf and 0 <= self.peak < math.inf and 0 < self.seconds < math.inf):
            raise BenchmarkError(f"shape {self.name}: rate and seconds must be above 0, and peak 0 or more")

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The course, stage after stage."""
        if self.name == "soak":
            return tuple(Stage(self.rate, self.seconds / SOAK_PARTS, "soak") for _ in range(SOAK_PARTS))
        if self.name == "spike":
            return self._spike()
        return self._steps()

    def _spike(self) -> tuple[Stage, ...]:
        rates = [self.rate, self.rate, self.top, self.rate, self.rate, self.rate]
        return tuple(Stage(rate, self.seconds / len(rates), "spike") for rate in rates)

    def _steps(self) -> tuple[Stage, ...]:
        count = max(1, math.ceil(math.log(self.top / self.rate) / math.log(STEP_GROWTH))) + 1
        rates = [min(self.rate * STEP_GROWTH**number, self.top) for number in range(count)]
        return tuple(Stage(rate, self.seconds / count, "step") for rate in rates)

    @property
    def top(self) -> float:
        """The highest rate."""
        return max(self.peak or 4 * self.rate, self.rate)


def parse_course(text: str) -> Course:
    """Read ``NAME:rate=R[,peak=P][,seconds=S]``.

    Raises:
        BenchmarkError: it is not of that form.
    """
    name, _, rest = text.partition(":")
    values = {"rate": 0.0, "peak": 0.0, "seconds": 300.0}
    for part in filter(None, rest.split(",")):
        key, _, value = part.partition("=")
        try:
            values[key] = {"rate": float, "peak": float, "seconds": float}[key](value)
        except (KeyError, ValueError):
            raise BenchmarkError(f"shape {text!r}: write it as spike:rate=5,peak=20,seconds=300") from None
    return Course(name, values["rate"], values["peak"], values["seconds"])


def stage_at(stages: Sequence[Stage], seconds: float) -> Stage | None:
    """Return the stage that runs ``seconds`` after the beginning; ``None`` once all are over."""
    for stage in stages:
        if seconds < stage.seconds:
            return stage
        seconds -= stage.seconds
    return None


def course_from_environment() -> Course | None:
    """Return what ``LANTERN_SHAPE`` asks for, if it asks for anything."""
    text = os.environ.get(VARIABLE, "")
    return parse_course(text) if text else None


def locust_shape(course: Course, limit_ms: float) -> type[Any]:
    """Return a ``LoadTestShape`` class that runs ``course``; steps end once the p99 of the last 10 s is over the limit.

    Importing Locust patches the standard library, so it happens here and not for those who want stages only.
    """
    from locust import LoadTestShape

    class LanternShape(LoadTestShape):
        """Users are requests a second."""

        def tick(self) -> tuple[int, float] | None:
            """Return users and how many of them to start a second, or ``None`` at the end."""
            stage = stage_at(course.stages, time.perf_counter() - self.start_time)
            if stage is None or (course.name == "step" and self._is_lost()):
                return None
            users = max(1, round(stage.rate))
            return users, float(users)

        def _is_lost(self) -> bool:
            runner = self.runner
            recent = runner.stats.total.get_current_response_time_percentile(0.99) if runner is not None else None
            return recent is not None and recent > limit_ms

    return cast("type[Any]", LanternShape)
