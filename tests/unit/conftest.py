"""One tiny bundle for all tests, and pipelines over it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from handlers.core.events import Event
from handlers.core.settings import Settings
from handlers.pipeline import Decider, Pipeline, ServedModel, StatementFinder
from handlers.runtime import Runtime
from handlers.runtime.bundle import GRAPH_NAME, Bundle, read_bundle
from handlers.runtime.onnx import OnnxRuntime
from tests.hypothesis_profile import load_profile

if TYPE_CHECKING:
    from tests.checkpoints import Tiny

load_profile()

OpenPipeline = Callable[..., Pipeline]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Checkpoint, verified bundle and archive of a random model of 32 dimensions; 254 tokens of text fit."""
    from tests.checkpoints import share_tiny

    return share_tiny(tmp_path_factory)


@pytest.fixture(scope="session")
def half(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint's graph in fp16, for tests that only read it."""
    from tests.checkpoints import share_half

    return share_half(tmp_path_factory, tiny)


@pytest.fixture(scope="session")
def bundle(tiny: Tiny) -> Bundle:
    """The tiny bundle."""
    return read_bundle(tiny.bundle)


@pytest.fixture(scope="session")
def runtime(tiny: Tiny) -> Runtime:
    """The tiny graph, loaded."""
    return OnnxRuntime(tiny.bundle / GRAPH_NAME, "cpu", threads=1)


@pytest.fixture(scope="session")
def pipeline(bundle: Bundle) -> Pipeline:
    """A pipeline over the tiny bundle whose events nobody reads."""
    return open_pipeline(bundle)


def open_pipeline(
    bundle: Bundle,
    sink: Callable[[Event], None] = lambda _: None,
    clock: Callable[[], float] = lambda: 0.0,
    decider: Decider | None = None,
    floor: StatementFinder | None = None,
    **changes: Any,
) -> Pipeline:
    """Load ``bundle`` on one thread, without warm-up; ``changes`` go into the settings."""
    fields: dict[str, Any] = {"device": "cpu", "threads": 1, "warm_up": False, "token_budget": 600}
    served_as = ServedModel("sentiment", "1.0")
    return Pipeline(bundle, Settings(**(fields | changes)), served_as, sink, clock, decider, floor)


def copy_folder(source: Path, target: Path) -> Path:
    """Copy a small folder, to be changed."""
    import shutil

    return Path(shutil.copytree(source, target))
