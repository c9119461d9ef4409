"""Labelled rows in two halves: one to scale scores on, the other to choose thresholds on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt


def split_in_two(
    groups: Sequence[str], targets: Sequence[Mapping[str, bool]], labels: Sequence[str], seed: int
) -> list[bool]:
    """Tell for each row whether it belongs to the second half.

    A group is never cut. Each label's positives and negatives are shared out as evenly as groups
    allow: one group after another, those with the rarest class first, goes to the half that
    lacks more of what it holds (after iterative stratification, Sechidis et al. 2011). The
    outcome depends on the groups and the seed, not on the order of rows.

    Args:
        groups: name of each row's group.
        targets: what is known of each row's labels.
    """
    held = _classes(groups, targets, labels)
    totals = np.maximum(np.sum(list(held.values()), axis=0), 1.0)
    digests = {group: hashlib.sha256(f"{seed} {group}".encode()).digest() for group in held}

    def order(group: str) -> tuple[float, float, bytes]:
        classes = held[group]
        return float(totals[classes > 0].min()), -float(classes[-1]), digests[group]

    lead = np.zeros_like(totals)  # of the first half, class by class
    second: dict[str, bool] = {}
    for group in sorted(held, key=order):
        pull = float(lead @ (held[group] / totals))
        second[group] = pull > 0 if pull else bool(digests[group][0] & 1)
        lead += -held[group] if second[group] else held[group]
    return [second[group] for group in groups]


def _classes(
    groups: Sequence[str], targets: Sequence[Mapping[str, bool]], labels: Sequence[str]
) -> dict[str, npt.NDArray[np.float64]]:
    """Count what each group holds: each label's positives and negatives, and rows last."""
    held: dict[str, npt.NDArray[np.float64]] = {}
    for group, known in zip(groups, targets, strict=True):
        counts = held.setdefault(group, np.zeros(2 * len(labels) + 1))
        counts[-1] += 1
        for index, label in enumerate(labels):
            if label in known:
                counts[2 * index + known[label]] += 1
    return held
