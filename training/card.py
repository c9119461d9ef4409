"""The model card and ``metrics.json`` of the embedded checkpoint, made from an evaluation report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Template
from typing import Any, Final

from export.manifests import replace_text
from training.errors import CheckpointError
from training.labels import LABELS
from training.lines import load_lines, load_posts
from training.small import RECORD_FILE

METRICS_FILE: Final = "metrics.json"
CARD_FILE: Final = "README.md"
_TEMPLATE: Final = Path(__file__).with_name("card.md")
_PROBES: Final = "probes_"
_LABEL_METRICS: Final = ("precision", "recall", "f1", "auroc")
_CONTEXT: Final = ("schema_version", "model", "method", "tools")

Json = Mapping[str, Any]


def write_card(folder: Path, report: Path) -> None:
    """Write ``README.md`` and ``metrics.json`` into a checkpoint folder.

    Args:
        folder: a checkpoint that ``python -m training small`` made.
        report: the JSON of ``python -m evaluation`` on the suites of ``python -m training suites``.

    Raises:
        CheckpointError: a file is missing, or the report is of other weights.
    """
    record, config = _read(folder / RECORD_FILE), _read(folder / "config.json")
    metrics = essential(_read(report))
    card = Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(_fields(record, config, metrics))
    replace_text(folder / METRICS_FILE, json.dumps(metrics, indent=1) + "\n")
    replace_text(folder / CARD_FILE, card)


def _read(path: Path) -> Json:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; `make train` makes the checkpoint, the report and the card")
    content: Json = json.loads(path.read_text(encoding="utf-8"))
    return content


def essential(report: Json) -> dict[str, Any]:
    """What of a report the card tells: counts, figures and their intervals, without curves and histograms."""
    return {key: report[key] for key in _CONTEXT} | {
        "suites": {name: _essential_suite(suite) for name, suite in report["suites"].items()}
    }


def _essential_suite(suite: Json) -> dict[str, Any]:
    labels = {
        name: {"counts": label["counts"], **{metric: label["metrics"][metric] for metric in _LABEL_METRICS}}
        for name, label in suite["labels"].items()
        if label["not_evaluated"] is None
    }
    return {"rows": suite["data"]["rows"], "overall": suite["overall"], "labels": labels}


def _fields(record: Json, config: Json, metrics: Json) -> dict[str, object]:
    mix, taught, short = record["mix"], record["teacher"]["mix"], record["recipe"]["stages"][0]
    return {
        "labels": ", ".join(f"{index} {label}" for index, label in enumerate(LABELS)),
        "layers": config["num_hidden_layers"],
        "hidden": config["hidden_size"],
        "heads": config["num_attention_heads"],
        "window": config["attention_window"][0],
        "vocab": config["vocab_size"],
        "max_tokens": record["shape"]["max_tokens"],
        "short_tokens": short["max_tokens"],
        "epochs": short["epochs"],
        **mix,
        "line_copies": mix["lines"],
        **{f"teacher_{name}": count for name, count in taught.items()},
        "lines": len(load_lines("train")),
        "posts": len(load_posts("train")),
        "seed": record["recipe"]["seed"],
        "set_table": "\n".join(set_table(metrics["suites"])),
        "probe_table": "\n".join(probe_table(metrics["suites"])),
    }


def set_table(suites: Json) -> Iterator[str]:
    """The lines of a Markdown table of all suites but the probes, by label."""
    yield "| set | label | texts | positives | precision | recall | F1 (95 % interval) |"
    yield "|---|---|---:|---:|---:|---:|---:|"
    for name, suite in suites.items():
        if not name.startswith(_PROBES):
            yield from _suite_lines(name, suite)


def _suite_lines(name: str, suite: Json) -> Iterator[str]:
    overall = suite["overall"]
    yield f"| **{name}** | *macro* | {suite['rows']} | | | | {_interval(overall['macro_f1'])} |"
    yield f"| | *weighted* | | | | | {_interval(overall['weighted_f1'])} |"
    yield f"| | *all labels right* | | | | | {_interval(overall['exact_match'])} |"
    for label, found in suite["labels"].items():
        counts = found["counts"]
        shares = f"{_value(found['precision'])} | {_value(found['recall'])} | {_interval(found['f1'])}"
        yield f"| | {label} | {counts['known']} | {counts['positives']} | {shares} |"


def probe_table(suites: Json) -> Iterator[str]:
    """The lines of a Markdown table of the probe families: the share with all labels right."""
    yield "| probe family | set | sentences | all labels right (95 % interval) |"
    yield "|---|---|---:|---:|"
    for name, suite in suites.items():
        if name.startswith(_PROBES):
            which, _, family = name.removeprefix(_PROBES).partition("_")
            yield f"| {family} | {which} | {suite['rows']} | {_interval(suite['overall']['exact_match'])} |"


def _value(estimate: Json) -> str:
    return "–" if estimate["value"] is None else f"{estimate['value']:.3f}"


def _interval(estimate: Json) -> str:
    if estimate["low"] is None:
        return _value(estimate)
    return f"{_value(estimate)} ({estimate['low']:.2f}–{estimate['high']:.2f})"
