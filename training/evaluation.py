"""Evaluation of a saved checkpoint on everything that training never saw."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from training.corpus import Mix, documents, neutral_comments
from training.data import load_counselchat, load_goemotions
from training.labels import LABELS, Targets
from training.probes import load_probes
from training.scoring import THRESHOLD, Scorer, SetFigures, figures
from training.synthetic import entries

_HELD_OUT_ENTRIES: Final = 2000
_LONG_DOCUMENTS: Final = 80
_HELD_OUT_SEED: Final = 20_000
_DIARY: Final = "pepys_1665_1666.jsonl"
_LONG_WORDS: Final = 1000


@dataclass(frozen=True)
class DiaryObservation:
    """Shares of the entries of an old diary with a score of at least ``THRESHOLD``. Nobody labelled it: no accuracy."""

    entries: int
    words: str
    shares: dict[str, float]


@dataclass(frozen=True)
class Report:
    """Figures by set, probes by family, and the diary where it is there."""

    sets: dict[str, SetFigures]
    probes: dict[str, SetFigures]
    diary: tuple[DiaryObservation, ...]

    def as_json(self) -> dict[str, object]:
        """The content of ``metrics.json``."""
        return {
            "threshold": THRESHOLD,
            "labels": list(LABELS),
            "sets": {name: found.as_json() for name, found in self.sets.items()},
            "probes": {name: found.as_json() for name, found in self.probes.items()},
            "diary": [{"entries": seen.entries, "words": seen.words, "shares": seen.shares} for seen in self.diary],
        }


def evaluate(checkpoint: Path, data: Path) -> Report:
    """Score the checkpoint as it is on disk.

    Args:
        checkpoint: a folder with ``config.json``, ``model.safetensors`` and a tokenizer.
        data: the data folder; the diary in it is optional.
    """
    scorer = Scorer(checkpoint)
    sets = {
        "synthetic_heldout": _synthetic(),
        "long_documents_heldout": _long(data),
        "goemotions_dev": _goemotions(data),
        "counselchat_heldout": _counselchat(data),
    }
    found = {name: _figures(scorer, rows) for name, rows in sets.items()}
    return Report(found, _probe_figures(scorer), _diary(scorer, data / _DIARY))


_Row = tuple[str, Targets]


def _figures(scorer: Scorer, rows: Sequence[_Row]) -> SetFigures:
    return figures(scorer.scores([text for text, _ in rows]), [targets for _, targets in rows])


def _synthetic() -> list[_Row]:
    return [(entry.text, entry.targets) for entry in entries("heldout", _HELD_OUT_ENTRIES, _HELD_OUT_SEED)]


def _long(data: Path) -> list[_Row]:
    """Documents of up to about 4,000 tokens from the held-out grammar and the comments of the dev split."""
    mix = Mix(documents=_LONG_DOCUMENTS)
    written = documents("heldout", neutral_comments(data, "dev"), mix, _HELD_OUT_SEED)
    return [(row.text, row.targets) for row in written]


def _goemotions(data: Path) -> list[_Row]:
    return [(row.text, row.targets) for row in load_goemotions(data, "dev") if row.targets is not None]


def _counselchat(data: Path) -> list[_Row]:
    return [(row.text, row.targets) for row in load_counselchat(data) if row.held_out and row.targets is not None]


def _probe_figures(scorer: Scorer) -> dict[str, SetFigures]:
    families: dict[str, list[_Row]] = defaultdict(list)
    for probe in load_probes():
        families[probe.family].append((probe.text, probe.targets))
        families["all"].append((probe.text, probe.targets))
    return {family: _figures(scorer, rows) for family, rows in families.items()}


def _diary(scorer: Scorer, path: Path) -> tuple[DiaryObservation, ...]:
    if not path.is_file():
        return ()
    texts = [str(json.loads(line)["text"]) for line in path.read_text(encoding="utf-8").splitlines()]
    long = [text for text in texts if len(text.split()) >= _LONG_WORDS]
    short = [text for text in texts if len(text.split()) < _LONG_WORDS]
    return (_observed(scorer, short, f"< {_LONG_WORDS}"), _observed(scorer, long, f">= {_LONG_WORDS}"))


def _observed(scorer: Scorer, texts: Sequence[str], words: str) -> DiaryObservation:
    shares = (scorer.scores(texts) >= THRESHOLD).float().mean(dim=0)
    return DiaryObservation(len(texts), words, {label: round(float(shares[i]), 3) for i, label in enumerate(LABELS)})
