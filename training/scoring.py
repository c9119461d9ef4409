"""Scores of texts under a saved checkpoint, and figures over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from transformers import LongformerForSequenceClassification, LongformerTokenizerFast

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
        self._model = load_model(folder)
        self._tokenizer = load_tokenizer(folder)

    def scores(self, texts: Sequence[str]) -> Tensor:
        """Sigmoid scores, float ``(len(texts), 4)``; texts beyond the model's length lose their end."""
        return score_texts(self._model, self._tokenizer, texts)


def score_texts(
    model: LongformerForSequenceClassification, tokenizer: LongformerTokenizerFast, texts: Sequence[str]
) -> Tensor:
    """Sigmoid scores of a model in memory, float ``(len(texts), logits)``, on the CPU; see ``Scorer.scores``."""
    if not texts:
        return torch.empty(0, model.num_labels)
    graph = ExportableLongformer(model).eval()
    device = next(graph.parameters()).device
    longest = model.config.max_position_embeddings - 2
    encoded = tokenizer(list(texts), truncation=True, max_length=longest)["input_ids"]
    tokenizer.backend_tokenizer.no_truncation()
    examples = [Example(tuple(ids), torch.empty(0)) for ids in encoded]
    scores = torch.empty(len(examples), model.num_labels)
    with torch.inference_mode():
        for batch in TokenBudgetSampler([len(example.input_ids) for example in examples], _BUDGET, _ROWS, seed=0):
            inputs = collate([examples[index] for index in batch])
            logits = graph(inputs["input_ids"].to(device), inputs["attention_mask"].to(device))
            scores[batch] = logits.sigmoid().cpu()
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
