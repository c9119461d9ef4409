"""Scores of texts under a saved checkpoint, and figures over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from export.longformer import ExportableLongformer
from training.batches import Example, TokenBudgetSampler, collate
from training.errors import CheckpointError
from training.labels import LABELS, Targets
from training.model import load_model
from training.tokenizer import load_tokenizer

THRESHOLD: Final = 0.5
_BUDGET: Final = 8192
_ROWS: Final = 128


class Scorer:
    """The checkpoint in ``folder``, as it is on disk.

    Args:
        folder: a checkpoint folder with its tokenizer.

    Raises:
        CheckpointError: there is none.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / "config.json").is_file():
            raise CheckpointError(f"{folder}: no config.json; name a folder that holds a checkpoint")
        model = load_model(folder)
        self._graph = ExportableLongformer(model).eval()
        self._tokenizer = load_tokenizer(folder)

    def scores(self, texts: Sequence[str]) -> Tensor:
        """Sigmoid scores, float ``(len(texts), 4)``; texts beyond the model's length lose their end."""
        encoded = self._tokenizer(list(texts), truncation=True)["input_ids"]
        examples = [Example(tuple(ids), ()) for ids in encoded]
        batches = TokenBudgetSampler([len(example.input_ids) for example in examples], _BUDGET, _ROWS, seed=0)
        scores = torch.empty(len(examples), len(LABELS))
        with torch.inference_mode():
            for batch in batches:
                inputs = collate([examples[index] for index in batch])
                scores[batch] = self._graph(inputs["input_ids"], inputs["attention_mask"]).sigmoid()
        return scores


@dataclass(frozen=True)
class LabelFigures:
    """Figures of one label at ``THRESHOLD``, over the texts whose target for it is known."""

    texts: int
    positives: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class SetFigures:
    """Figures of one evaluation set; a label without a positive text has none.

    ``top_right`` is the share of texts whose highest score is at an expected label; ``all_right``
    the share where every known target is on its side of ``THRESHOLD``.
    """

    texts: int
    top_right: float
    all_right: float
    labels: dict[str, LabelFigures]

    def as_json(self) -> dict[str, object]:
        """Plain values, shares rounded to three digits."""
        return _rounded(asdict(self))


def figures(scores: Tensor, expected: Sequence[Targets]) -> SetFigures:
    """Compare ``scores`` float ``(N, 4)`` with ``expected`` targets, NaN: unknown."""
    targets = torch.tensor(expected)
    known, positive, wanted = ~targets.isnan(), scores >= THRESHOLD, targets == 1.0
    top = wanted[torch.arange(len(expected)), scores.argmax(dim=1)]
    right = ((positive == wanted) | ~known).all(dim=1)
    return SetFigures(
        texts=len(expected),
        top_right=float(top.float().mean()),
        all_right=float(right.float().mean()),
        labels={
            label: _label_figures(positive[known[:, column], column], wanted[known[:, column], column])
            for column, label in enumerate(LABELS)
            if bool(wanted[:, column].any())
        },
    )


def _label_figures(positive: Tensor, wanted: Tensor) -> LabelFigures:
    hits, found, there = int((positive & wanted).sum()), int(positive.sum()), int(wanted.sum())
    return LabelFigures(
        texts=len(wanted),
        positives=there,
        precision=hits / found if found else 0.0,
        recall=hits / there,
        f1=2 * hits / (found + there),
    )


def _rounded(value: dict[str, object]) -> dict[str, object]:
    return {name: _rounded_item(item) for name, item in value.items()}


def _rounded_item(item: object) -> object:
    if isinstance(item, dict):
        return _rounded(item)
    return round(item, 3) if isinstance(item, float) else item
