"""How many of its first layers a checkpoint needs in fp32 where the rest is fp16.

Every layer works on what the ones before it made of their rounding errors, and a checkpoint whose attention is sharp
may turn those of its first layers into many times as much on a logit. The layers that hurt are therefore the first
ones, and keeping them needs one change of type: the embeddings and the first ``n`` layers stay in fp32, ``n`` being
the least with which ``TARGET_SHARE`` of the parity gate's tolerance holds on short inputs. Most checkpoints need none.

It is measured on the CPU with torch, where every operation of the fp16 module rounds, as kernels of a GPU may do. ONNX
Runtime on a CPU computes several operations in fp32 before it rounds once, and so shows less than a GPU would.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor
from transformers import LongformerForSequenceClassification

from export.parity import FP16_TOLERANCE, ParityCase, draw_inputs, parity_cases, reference_logits

TARGET_SHARE: Final = 0.5
"""Share of the tolerance: the gate compares many more inputs than are tried here, and the worst of them counts."""

LENGTHS: Final = (1, 2, 3, 17, 64, 129)
"""Tokens of the inputs tried. The longer a text, the more the errors of its tokens average out."""

SEEDS: Final = 3

LARGEST_SHARE: Final = 0.5
"""Share of the layers that may stay in fp32. Where they are not enough, the gate says so."""

Forward = Callable[[Tensor, Tensor], Tensor]
"""Int64 ids and mask ``(B, L)`` to logits ``(B, labels)``."""


def choose_fp32_layers(
    model: LongformerForSequenceClassification,
    in_half: Callable[[int], Forward],
    note: Callable[[str], None] = lambda _: None,
) -> int:
    """Return how many of the first layers of ``model`` stay in fp32.

    Args:
        model: the checkpoint in fp32.
        in_half: makes the fp16 implementation that keeps so many layers in fp32.
        note: is told what was found, where that is more than none.
    """
    most = int(LARGEST_SHARE * int(model.config.num_hidden_layers))
    cases = parity_cases([length for length in LENGTHS if length <= _max_length(model)], SEEDS)
    for count in range(most + 1):
        worst = _worst_delta(model, in_half(count), cases)
        if worst <= TARGET_SHARE * FP16_TOLERANCE:
            break
        kept = f"the embeddings and {count} of {model.config.num_hidden_layers} layers in fp32" if count else "all fp16"
        note(f"{kept}: a logit differs by {worst:.1e}, more than {TARGET_SHARE * FP16_TOLERANCE:.0e}")
    return count


@torch.inference_mode()
def _worst_delta(model: LongformerForSequenceClassification, forward: Forward, cases: list[ParityCase]) -> float:
    """Return the largest difference of a logit; infinity where one is not finite."""
    worst = 0.0
    for case in cases:
        ids, mask = draw_inputs(case, model)
        delta = (
            forward(torch.from_numpy(ids), torch.from_numpy(mask))
            - torch.from_numpy(reference_logits(model, ids, mask))
        ).abs()
        worst = max(worst, float(delta.max().nan_to_num(nan=float("inf"))))
    return worst


def _max_length(model: LongformerForSequenceClassification) -> int:
    return int(model.config.max_position_embeddings) - 2
