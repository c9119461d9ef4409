from __future__ import annotations

import pytest

from tests.checkpoints import Tiny, share_tiny
from tests.hypothesis_profile import load_profile

load_profile()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Checkpoint, verified bundle and archive of a random model of 32 dimensions; 254 tokens of text fit."""
    return share_tiny(tmp_path_factory)
