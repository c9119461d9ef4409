"""A wall clock that jumps can do no harm where nothing waits or decides by it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from deploy.gateway.limits import ROOT

WALL_CLOCK = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}
STAMPS = {
    "handlers/escalation.py",  # when a decision was recorded, and its second clock: moved, it tells nobody anything
    "handlers/gate.py",  # when a worker reported
    "handlers/metrics.py",  # the time of gauges
    "handlers/spans.py",  # when a span began
    "handlers/core/directory.py",  # the day at which a directory is judged, on the command line
    "handlers/core/policy_cli.py",  # the day at which a policy is judged, on the command line
    "server/logs.py",  # of a log line
    "client/_rest.py",  # a Retry-After that is a date
}
"""Who tells the time of day to people, or reads it from a protocol; none of these waits by it."""


def uses(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = f"{node.value.id}.{node.attr}"
            if name in WALL_CLOCK:
                yield name


def test_nothing_that_serves_waits_by_the_wall_clock() -> None:
    paths = [path for package in ("handlers", "server", "client") for path in (ROOT / package).rglob("*.py")]

    assert {str(path.relative_to(ROOT)) for path in paths if any(uses(path))} == STAMPS


def test_the_walk_sees_a_use(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("import time\nended = time.time() > 5\n", encoding="utf-8")

    assert list(uses(tmp_path / "one.py")) == ["time.time"]
