"""Rules and dashboard of ``deploy/observability``, read for tests."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = ROOT / "deploy" / "observability"
RULES: Final = FOLDER / "rules" / "lantern.yml"
DASHBOARD: Final = FOLDER / "dashboards" / "lantern.json"
TESTS: Final = (FOLDER / "rules_test.yml", FOLDER / "rules_test_days.yml")
_NAME = re.compile(r"\b(lantern[a-z_]*(?::\w+)+|lantern_\w+|QueueTime|up)\b(?!\s*\()")


def rules(kind: str) -> list[dict[str, Any]]:
    """Return every rule that has ``kind``, ``record`` or ``alert``."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


def panels() -> list[dict[str, Any]]:
    """Return the panels of the dashboard that show something."""
    return [panel for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    """Yield title and PromQL of everything that the dashboard shows, with an interval in the place of Grafana's."""
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "1m")


def metrics_in(expression: str) -> set[str]:
    """Return the names of the metrics in an expression."""
    return set(_NAME.findall(re.sub(r'"[^"]*"', '""', expression)))
