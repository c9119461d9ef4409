"""What makes the whole suite quick: files that share a server, the order in which files are taken, less to collect."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import suppress
from typing import Final

import pytest
from xdist.remote import Producer  # type: ignore[import-untyped]
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from handlers.core.errors import StartupError
from handlers.floor.matcher import PHRASES, compile_floor

_SLOW: Final = (
    "tests/server/",
    "tests/server_unit/test_lifecycle.py",
    "tests/benchmarks/test_load_end_to_end.py",
    "tests/deploy/",
    "tests/evaluation/",
    "tests/unit/export/",
    "tests/training/",
)
"""What takes longest: a process that meets it last leaves the other one idle."""

_ALONE: Final = ("tests/server/test_server_drain.py", "tests/server/test_server_refusals.py")
"""Files of ``tests/server`` with servers of their own."""


class FilesAndServers(LoadScopeScheduling):  # type: ignore[misc]
    """Keeps in one process a file, as ``--dist loadfile`` does, and all files that share a server as well."""

    def _split_scope(self, nodeid: str) -> str:
        file = str(nodeid).partition("::")[0]
        return "tests/server" if file.startswith("tests/server/") and file not in _ALONE else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling | None:
    """Take files in the order of their collection, those with most tests no earlier than others."""
    if config.getoption("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False
    return FilesAndServers(config, log)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile the phrases once for all processes and servers; where they are not fit, the tests say so."""
    if not hasattr(session.config, "workerinput"):
        with suppress(StartupError):
            compile_floor(PHRASES)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Take slow files first."""
    items.sort(key=lambda item: _place(item.nodeid))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage while modules are imported, nor for any among them later: with torch, a million objects."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def _place(name: str) -> int:
    return next((place for place, prefix in enumerate(_SLOW) if name.startswith(prefix)), len(_SLOW))
