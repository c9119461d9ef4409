"""The smoke sentences of a checkpoint: what export and start try before they trust it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from torch import Tensor

from training.errors import QualityError
from training.labels import LABELS, NEUTRAL
from training.probes import Probe, load_probes
from training.scoring import THRESHOLD, Scorer

SMOKE_FILE: Final = "smoke.jsonl"
_MORE_OF_EACH: Final = 2


def write_smoke(folder: Path) -> None:
    """Write ``smoke.jsonl``: the model card's four examples, and two more probes of each label.

    A smoke sentence tells a wrong label order from a right one, so it has one label, and the
    checkpoint must score it clearly: that label at ``THRESHOLD`` or above, the others below.

    Raises:
        QualityError: the checkpoint gets an example of the model card wrong.
    """
    probes = [probe for probe in load_probes("first") if len(probe.labels) <= 1]
    scores = Scorer(folder).scores([probe.text for probe in probes])
    clear = [probe for probe, row in zip(probes, scores, strict=True) if _clear(probe, row)]
    missed = [probe for probe in probes if probe.family == "card" and probe not in clear]
    if missed:
        labels = ", ".join(sorted(_label(probe) for probe in missed))
        raise QualityError(f"the checkpoint gets the model card's example wrong for: {labels}; smoke.jsonl not written")
    chosen = [*(probe for probe in clear if probe.family == "card"), *_more(clear)]
    lines = [json.dumps({"text": probe.text, "expected": _label(probe)}, ensure_ascii=False) for probe in chosen]
    (folder / SMOKE_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _clear(probe: Probe, scores: Tensor) -> bool:
    """Whether exactly the expected label reaches ``THRESHOLD``."""
    return [score >= THRESHOLD for score in scores.tolist()] == [target == 1.0 for target in probe.targets]


def _more(clear: Iterable[Probe]) -> Iterator[Probe]:
    others = [probe for probe in clear if probe.family in {"paraphrase", "negation"}]
    for label in LABELS:
        yield from islice((probe for probe in others if _label(probe) == label), _MORE_OF_EACH)


def _label(probe: Probe) -> str:
    return next(iter(probe.labels), NEUTRAL)
