"""Tests that need a GPU; each is skipped where its packages or the GPU are not there, and says which."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hypothesis_profile import load_profile

if TYPE_CHECKING:
    from tests.checkpoints import Tiny

load_profile()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Checkpoint, verified bundle and archive of a random model of 32 dimensions; 254 tokens of text fit."""
    from tests.checkpoints import share_tiny

    return share_tiny(tmp_path_factory)
