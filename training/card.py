"""The model card and ``metrics.json``, written from the figures of the run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Template
from typing import Final

from training.evaluation import Report
from training.labels import LABELS
from training.scoring import SetFigures
from training.small import Recipe

METRICS_FILE: Final = "metrics.json"
CARD_FILE: Final = "README.md"
_TEMPLATE: Final = Path(__file__).with_name("card.md")


def write_card(folder: Path, recipe: Recipe, report: Report) -> None:
    """Write ``README.md`` and ``metrics.json`` into a checkpoint folder."""
    metrics = json.dumps(report.as_json(), indent=2)
    (folder / METRICS_FILE).write_text(metrics + "\n", encoding="utf-8")
    card = Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(_fields(folder, recipe, report))
    (folder / CARD_FILE).write_text(card, encoding="utf-8")


def _fields(folder: Path, recipe: Recipe, report: Report) -> dict[str, object]:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return {
        "labels": ", ".join(f"{index} {label}" for index, label in enumerate(LABELS)),
        "layers": config["num_hidden_layers"],
        "hidden": config["hidden_size"],
        "heads": config["num_attention_heads"],
        "window": config["attention_window"][0],
        "vocab": config["vocab_size"],
        "max_tokens": recipe.shape.max_tokens,
        "first_tokens": recipe.first.max_tokens,
        "synthetic": recipe.mix.synthetic,
        "goemotions_repeats": recipe.mix.goemotions_repeats,
        "counselchat_repeats": recipe.mix.counselchat_repeats,
        "documents": recipe.mix.documents,
        "seed": recipe.seed,
        "table": table(report),
    }


def table(report: Report) -> str:
    """The figures as Markdown tables."""
    return "\n".join([*_set_lines(report.sets), "", *_probe_lines(report.probes), "", *_diary_lines(report)])


def _set_lines(sets: Mapping[str, SetFigures]) -> Iterator[str]:
    yield "| set | label | texts | positives | precision | recall | F1 |"
    yield "|---|---|---:|---:|---:|---:|---:|"
    for name, found in sets.items():
        right = f"top label right {found.top_right:.3f}, all labels right {found.all_right:.3f}"
        yield f"| {name} | *{right}* | {found.texts} | | | | |"
        for label, seen in found.labels.items():
            shares = f"{seen.precision:.3f} | {seen.recall:.3f} | {seen.f1:.3f}"
            yield f"| | {label} | {seen.texts} | {seen.positives} | {shares} |"


def _probe_lines(probes: Mapping[str, SetFigures]) -> Iterator[str]:
    yield "| probe family | sentences | top label right | all labels right |"
    yield "|---|---:|---:|---:|"
    for family, found in probes.items():
        yield f"| {family} | {found.texts} | {found.top_right:.3f} | {found.all_right:.3f} |"


def _diary_lines(report: Report) -> Iterator[str]:
    yield f"| diary entries, words | entries | {' | '.join(f'{label} >= 0.5' for label in LABELS)} |"
    yield f"|---|---:|{'---:|' * len(LABELS)}"
    for seen in report.diary:
        yield f"| {seen.words} | {seen.entries} | {' | '.join(f'{seen.shares[label]:.3f}' for label in LABELS)} |"
