"""The label order, written down once for everything that trains."""

from __future__ import annotations

from typing import Final

NEUTRAL: Final = "neutral"
LABELS: Final = (NEUTRAL, "depressed", "anxious", "stressed")
"""Order of the logits, as the public users of the reference checkpoint read it."""

RISK_LABELS: Final = LABELS[1:]

UNKNOWN: Final = float("nan")
"""Target of a label that the source says nothing about; the loss leaves it out."""

Targets = tuple[float, ...]
"""One value for each of ``LABELS``: 0, 1 or ``UNKNOWN``."""


def targets(labels: frozenset[str]) -> Targets:
    """Targets of a text that expresses exactly ``labels`` (a subset of ``RISK_LABELS``).

    ``neutral`` is exclusive: 1 if and only if no risk label is expressed.

    Raises:
        ValueError: a name in ``labels`` is not a risk label.
    """
    unknown = labels.difference(RISK_LABELS)
    if unknown:
        raise ValueError(f"not a risk label: {', '.join(sorted(unknown))}; known: {', '.join(RISK_LABELS)}")
    return (float(not labels), *(float(label in labels) for label in RISK_LABELS))
