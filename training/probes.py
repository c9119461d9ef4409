"""Hand-written probe sentences, which no grammar may produce and no training run may see."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from training.labels import NEUTRAL, Targets, targets

PROBES: Final = Path(__file__).with_name("probes.jsonl")


@dataclass(frozen=True)
class Probe:
    """A sentence, the risk labels that its writer expresses (none: neutral), and what it tries."""

    text: str
    labels: frozenset[str]
    family: str

    @property
    def targets(self) -> Targets:
        """One value for each of ``LABELS``."""
        return targets(self.labels)


def load_probes() -> list[Probe]:
    """Read ``probes.jsonl``."""
    rows = [json.loads(line) for line in PROBES.read_text(encoding="utf-8").splitlines()]
    return [Probe(row["text"], frozenset(row["labels"]) - {NEUTRAL}, row["family"]) for row in rows]
