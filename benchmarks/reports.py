"""Reports on disk: the figures as JSON, and the table that a person reads beside them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def write_report(report: DataclassInstance, markdown: str, folder: Path, stem: str) -> None:
    """Write ``stem.json`` and ``stem.md`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stem}.json").write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
    (folder / f"{stem}.md").write_text(markdown, encoding="utf-8")
