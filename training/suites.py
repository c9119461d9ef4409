"""Labelled files of texts that training never sees: what the model card's figures are made of.

Each file can be given to ``python -m evaluation --suite NAME=FILE``.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Final

from training.corpus import Mix, documents, neutral_comments
from training.data import load_counselchat, load_goemotions
from training.labels import LABELS, targets
from training.lines import load_lines, load_posts
from training.probes import PROBE_FILES, load_probes
from training.publish import published_folder
from training.rows import Row
from training.synthetic import entries

_HELD_OUT_ENTRIES: Final = 2000
_LONG_DOCUMENTS: Final = 80
_HELD_OUT_SEED: Final = 20_000


def write_suites(data: Path, out: Path) -> dict[str, Path]:
    """Write every suite to ``out`` as JSON lines.

    Args:
        data: the data folder.
        out: files of the same names are replaced.

    Returns:
        the files by the suites' names, in the order in which to show them.

    Raises:
        DataError: a data file is missing or not fit.
    """
    suites = all_suites(data)
    with published_folder(out) as folder:
        for name, rows in suites.items():
            lines = [json.dumps(_fields(row), ensure_ascii=False) for row in rows]
            (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {name: out / f"{name}.jsonl" for name in suites}


def all_suites(data: Path) -> dict[str, list[Row]]:
    """The rows of every suite by its name."""
    return {
        "heldout_grammar": [
            Row(entry.text, entry.targets) for entry in entries("heldout", _HELD_OUT_ENTRIES, _HELD_OUT_SEED)
        ],
        "long_documents": _long_documents(data),
        "written_lines": [Row(line.text, targets(line.expressed)) for line in load_lines("dev")],
        "written_posts": [Row(post.text, targets(post.expressed)) for post in load_posts("dev")],
        "counselchat_states": counselchat_states(data),
        "goemotions_dev": [Row(row.text, row.targets) for row in load_goemotions(data, "dev") if row.targets],
        **_probe_suites(),
    }


def _long_documents(data: Path) -> list[Row]:
    """Documents of up to about 4,000 tokens from the held-out grammar and the comments of the dev split."""
    mix = Mix(documents=_LONG_DOCUMENTS)
    return list(documents("heldout", neutral_comments(data, "dev"), mix, _HELD_OUT_SEED))


def counselchat_states(data: Path) -> list[Row]:
    """The questions of the three topics that name a state, each labelled with its topic alone.

    That is harsher than the truth: who asks about depression may well be anxious too.
    """
    return [
        Row(question.text, targets(frozenset({question.label})))
        for question in load_counselchat(data)
        if question.label is not None
    ]


def _probe_suites() -> dict[str, list[Row]]:
    suites: defaultdict[str, list[Row]] = defaultdict(list)
    for which in PROBE_FILES:
        for probe in load_probes(which):
            suites[f"probes_{which}_{probe.family}"].append(Row(probe.text, probe.targets))
    return dict(suites)


def _fields(row: Row) -> dict[str, object]:
    """The row as ``export.labelled.read_labelled`` reads it; an unknown target is ``null``."""
    known = {label: None if value != value else int(value) for label, value in zip(LABELS, row.targets, strict=True)}
    return {"text": row.text, **known}
