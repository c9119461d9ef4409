"""Hand-written probe sentences, which no grammar may produce and no training run may see."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

from training.labels import NEUTRAL, Targets, targets

ProbeSet = Literal["first", "second"]
"""``first`` may be looked at while a recipe is being chosen, ``second`` is scored at the end."""

PROBE_FILES: Final[dict[ProbeSet, Path]] = {
    "first": Path(__file__).with_name("probes.jsonl"),
    "second": Path(__file__).with_name("probes_second.jsonl"),
}


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


@cache
def load_probes(which: ProbeSet) -> tuple[Probe, ...]:
    """Read one of the two sets."""
    rows = [json.loads(line) for line in PROBE_FILES[which].read_text(encoding="utf-8").splitlines()]
    return tuple(Probe(row["text"], frozenset(row["labels"]) - {NEUTRAL}, row["family"]) for row in rows)


def all_probes() -> list[Probe]:
    """Both sets: what no training text may repeat."""
    return [probe for which in PROBE_FILES for probe in load_probes(which)]
