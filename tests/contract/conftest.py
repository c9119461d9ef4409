from __future__ import annotations

import pytest

from tests.checkpoints import Tiny, share_tiny


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Checkpoint, verified bundle and archive of a random model of 32 dimensions."""
    return share_tiny(tmp_path_factory)
