"""The settings of hypothesis for every suite: the same examples each time, as many as are quick."""

from __future__ import annotations

from hypothesis import HealthCheck, settings


def load_profile() -> None:
    """Register the profile and use it."""
    settings.register_profile(
        "lantern",
        derandomize=True,
        deadline=None,
        database=None,
        max_examples=60,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("lantern")
