from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from tests.checkpoints import Tiny, share_tiny

settings.register_profile(
    "lantern",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("lantern")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Checkpoint, verified bundle and archive of a random model of 32 dimensions; 254 tokens of text fit."""
    return share_tiny(tmp_path_factory)
