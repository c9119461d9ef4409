"""The published two stages, on any Longformer checkpoint and on files of the user's own.

Stage 1 learns six emotions, stage 2 the four labels. A share of the labelled texts is held out, by
author or thread where the files name them and with near-duplicates on one side, and scored at
the end.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoTokenizer,
    LongformerForSequenceClassification,
    LongformerTokenizerFast,
    PreTrainedTokenizerBase,
    set_seed,
)

from export.longformer import ExportableLongformer
from training.corpus import LABEL_EMOTIONS, journal_rows
from training.errors import CheckpointError, DataError
from training.labels import LABELS, RISK_LABELS
from training.model import POSITION_OFFSET, without_auxiliary
from training.publish import published_folder
from training.recipe import PUBLISHED, Recipe
from training.rows import EMOTION_CLASSES, Row
from training.scoring import SetFigures, figures, score_texts
from training.small import RECORD_FILE
from training.sources import SOURCES
from training.splits import drop_contradictions, split_rows
from training.stages import Hardware, Run, logit_count
from training.tokenizer import PADDING_ID, encode


@dataclass(frozen=True)
class SourceFile:
    """A file of a known kind, as ``KIND=PATH`` on the command line."""

    kind: str
    path: Path

    def rows(self) -> list[Row]:
        """Load it."""
        return SOURCES[self.kind].load(self.path)


@dataclass(frozen=True)
class FitPlan:
    """What to train on, and from what.

    Attributes:
        checkpoint: hub id or folder of a Longformer, fine-tuned or not.
        revision: of a hub id.
        emotions: files for stage 1; rows without an emotion class are left out.
        labelled: files for stage 2; rows that say nothing about ``LABELS`` are left out.
        emotion_journals: synthetic journals beside them in stage 1.
        neutral_journals: synthetic neutral journals beside them in stage 2.
        held_out: share of the labelled rows that is only scored, 0 to 1.
        recipe: of the two stages.
    """

    checkpoint: str
    revision: str | None
    emotions: tuple[SourceFile, ...]
    labelled: tuple[SourceFile, ...]
    emotion_journals: int = 20_000
    neutral_journals: int = 500
    held_out: float = 0.1
    recipe: Recipe = PUBLISHED


def parse_source(argument: str) -> SourceFile:
    """Read ``KIND=PATH``, as ``argparse`` calls it.

    Raises:
        argparse.ArgumentTypeError: the kind is unknown or the path is missing.
    """
    kind, _, path = argument.partition("=")
    if not path or kind not in SOURCES:
        raise argparse.ArgumentTypeError(
            f"expected KIND=PATH with a kind out of {', '.join(SOURCES)}; python -m training sources tells of them"
        )
    return SourceFile(kind, Path(path))


def fit(plan: FitPlan, out: Path, work: Path, hardware: Hardware) -> SetFigures | None:
    """Train, and write the checkpoint, its tokenizer and ``training.json`` to ``out``.

    Args:
        plan: what to do.
        out: the checkpoint folder; it must not be there, or be empty.
        work: where interrupted work is kept and taken up again.
        hardware: what to compute on.

    Returns:
        figures of the held-out rows at threshold 0.5, ``None`` where nothing was held out.

    Raises:
        DataError: a file is not fit, or ``out`` is taken.
        CheckpointError: the checkpoint is no Longformer.
    """
    if out.is_dir() and any(out.iterdir()):
        raise DataError(f"{out}: is not empty; name another folder with --out, or move it away")
    seed = plan.recipe.seed
    emotions, labelled = _emotion_rows(plan), _labelled_rows(plan)
    parts = _split(labelled, plan)
    set_seed(seed)
    model, tokenizer = load_base(plan.checkpoint, plan.revision)
    run = Run(
        plan.recipe,
        ExportableLongformer(model),
        partial(encode, tokenizer),
        model.config.max_position_embeddings - POSITION_OFFSET,
        hardware,
        work / _fingerprint(plan),
    )
    first, second = plan.recipe.stages
    run.train(first, emotions)
    journals = journal_rows(plan.neutral_journals, seed + 1, neutral=True)
    run.train(second, parts["train"] + journals)

    found = _scored(model, tokenizer, parts["held_out"])
    with published_folder(out) as folder:
        without_auxiliary(model).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        record = _record(plan, hardware, len(emotions), {name: len(rows) for name, rows in parts.items()}, found)
        (folder / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return found


def held_out_table(found: SetFigures) -> str:
    """The figures of the held-out rows, for a terminal."""
    lines = [f"held out: {found.texts} texts, all labels right {found.all_right:.3f}"]
    lines += [
        f"  {label:12} F1 {its.f1:.3f}  precision {its.precision:.3f}  recall {its.recall:.3f} of {its.positives}"
        for label, its in found.labels.items()
    ]
    return "\n".join(lines)


def load_base(
    checkpoint: str, revision: str | None
) -> tuple[LongformerForSequenceClassification, LongformerTokenizerFast]:
    """Load a Longformer with a new classification head, for ``logit_count`` logits, and its tokenizer.

    Weights are loaded as tensors only: safetensors, or a ``.bin`` file that ``torch`` reads without running code.

    Raises:
        CheckpointError: it is not there, or no Longformer that training can take.
    """
    try:
        config = AutoConfig.from_pretrained(checkpoint, revision=revision)
        if config.model_type != "longformer":
            raise CheckpointError(f"{checkpoint}: a {config.model_type} model; training needs a Longformer")
        model = LongformerForSequenceClassification.from_pretrained(
            checkpoint,
            revision=revision,
            num_labels=logit_count(0),
            problem_type="multi_label_classification",
            ignore_mismatched_sizes=True,
            dtype=torch.float32,
        )
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(checkpoint, revision=revision)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{checkpoint}: cannot be loaded: {str(error).splitlines()[0]}") from error
    if not isinstance(tokenizer, LongformerTokenizerFast) or tokenizer.pad_token_id != PADDING_ID:
        raise CheckpointError(f"{checkpoint}: its tokenizer is not Longformer's (fast, with <pad> at {PADDING_ID})")
    return model, tokenizer


def _emotion_rows(plan: FitPlan) -> list[Row]:
    rows = [row for source in plan.emotions for row in source.rows() if row.emotion is not None]
    if plan.emotions and not rows:
        raise DataError("--emotions: none of the files has a row with one of: " + ", ".join(EMOTION_CLASSES))
    rows += [row for row in journal_rows(plan.emotion_journals, plan.recipe.seed) if row.emotion is not None]
    return random.Random(plan.recipe.seed).sample(rows, len(rows))


def _labelled_rows(plan: FitPlan) -> list[Row]:
    rows = [row for source in plan.labelled for row in source.rows() if any(value == value for value in row.targets)]
    rows, contradictory = drop_contradictions(rows)
    if contradictory:
        print(f"{contradictory} rows left out: the same text stands there with other labels", file=sys.stderr)
    for index, label in enumerate(LABELS):
        if not any(row.targets[index] == 1.0 for row in rows):
            raise DataError(f"--labelled: no row of the files has the label {label}; training cannot learn it")
        if not any(row.targets[index] == 0.0 for row in rows):
            raise DataError(f"--labelled: every row that knows {label} has it; training needs rows without it")
    return rows


def _split(rows: Sequence[Row], plan: FitPlan) -> dict[str, list[Row]]:
    if plan.held_out == 0.0:
        return {"train": list(rows), "held_out": []}
    return split_rows(rows, {"train": 1.0 - plan.held_out, "held_out": plan.held_out}, plan.recipe.seed)


def _scored(
    model: LongformerForSequenceClassification, tokenizer: LongformerTokenizerFast, rows: Sequence[Row]
) -> SetFigures | None:
    if not rows:
        return None
    scores = score_texts(model, tokenizer, [row.text for row in rows])
    return figures(scores[:, : len(LABELS)], [row.targets for row in rows])


def _fingerprint(plan: FitPlan) -> str:
    """Short hash of all that a run learns from, so that work on anything else is never resumed."""
    facts = asdict(plan) | {"files": [_file_hashes(source) for source in (*plan.emotions, *plan.labelled)]}
    return hashlib.sha256(json.dumps(facts, default=str, sort_keys=True).encode()).hexdigest()[:12]


def _file_hashes(source: SourceFile) -> dict[str, str]:
    files = sorted(source.path.glob("*")) if source.path.is_dir() else [source.path]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.is_file()}


def _record(
    plan: FitPlan, hardware: Hardware, emotions: int, parts: dict[str, int], found: SetFigures | None
) -> dict[str, object]:
    return {
        "checkpoint": plan.checkpoint,
        "revision": plan.revision,
        "recipe": asdict(plan.recipe),
        "emotion_rows": emotions,
        "labelled_rows": parts,
        "synthetic": {"emotion_journals": plan.emotion_journals, "neutral_journals": plan.neutral_journals},
        "sources": [
            {"kind": source.kind, "name": source.path.name, "sha256": _file_hashes(source)}
            for source in (*plan.emotions, *plan.labelled)
        ],
        "label_emotions": LABEL_EMOTIONS,
        "risk_labels": list(RISK_LABELS),
        "hardware": asdict(hardware),
        "tools": {name: version(name) for name in ("torch", "transformers", "accelerate")},
        "held_out": found.as_json() if found else None,
    }
