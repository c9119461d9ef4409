"""Batches of texts of similar length, bounded by their padded tokens instead of their number."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from training.tokenizer import PADDING_ID

_POOL: Final = 4096


@dataclass(frozen=True)
class Example:
    """Token ids of a text, and one target for each logit, float ``(T,)`` (``UNKNOWN``: left out of the loss)."""

    input_ids: tuple[int, ...]
    targets: Tensor


class Examples(Dataset[Example]):
    """A list of examples as a ``torch`` data set."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        return self._examples[index]


class TokenBudgetSampler(Sampler[list[int]]):
    """Cut a data set into batches of at most ``budget`` padded tokens and ``rows`` texts.

    Texts are shuffled, sorted by length within pools, cut, and the batches shuffled: padding
    stays small while what shares a batch is left to chance. A text longer than the budget is a
    batch of its own.

    Args:
        lengths: tokens of each text.
        budget: padded tokens in a batch at most.
        rows: texts in a batch at most.
        seed: of all shuffling.
    """

    def __init__(self, lengths: Sequence[int], budget: int, rows: int, seed: int) -> None:
        super().__init__()
        self._batches = _shuffled_batches(lengths, budget, rows, random.Random(seed))

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches)


def _shuffled_batches(lengths: Sequence[int], budget: int, rows: int, rng: random.Random) -> list[list[int]]:
    order = rng.sample(range(len(lengths)), len(lengths))
    batches: list[list[int]] = []
    for start in range(0, len(order), _POOL):
        pool = sorted(order[start : start + _POOL], key=lengths.__getitem__)
        batches.extend(_cut(pool, lengths, budget, rows))
    return rng.sample(batches, len(batches))


def _cut(pool: Sequence[int], lengths: Sequence[int], budget: int, rows: int) -> Iterator[list[int]]:
    """Batches of ``pool``, which is sorted by length: the last text of a batch is its longest."""
    batch: list[int] = []
    for index in pool:
        if batch and (len(batch) == rows or lengths[index] * (len(batch) + 1) > budget):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def collate(examples: Sequence[Example]) -> dict[str, Tensor]:
    """Pad to the longest: ``input_ids`` and ``attention_mask`` int64 ``(B, L)``, ``labels`` float ``(B, T)``."""
    length = max(len(example.input_ids) for example in examples)
    ids = [[*example.input_ids, *[PADDING_ID] * (length - len(example.input_ids))] for example in examples]
    mask = [[1] * len(example.input_ids) + [0] * (length - len(example.input_ids)) for example in examples]
    labels = torch.stack([example.targets for example in examples])
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask), "labels": labels}
