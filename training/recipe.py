"""Recipes as data: the published two stages, and the stages of the embedded checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True)
class LossWeights:
    """Weight of each group's mean loss; a group with weight 0 is not trained.

    Attributes:
        labels: binary cross-entropy of the four labels.
        emotion: cross-entropy of the six emotion classes.
        mentions: binary cross-entropy of what a text speaks of (auxiliary).
        comment_emotions: binary cross-entropy of the 28 emotions of GoEmotions (auxiliary).
    """

    labels: float = 0.0
    emotion: float = 0.0
    mentions: float = 0.0
    comment_emotions: float = 0.0


@dataclass(frozen=True)
class Stage:
    """How one stage is trained, with AdamW.

    Attributes:
        name: of its folder and in messages.
        weights: what it learns.
        learning_rate: the highest, after a linear warm-up.
        weight_decay: of AdamW.
        epochs: passes over the stage's texts.
        schedule: how the learning rate falls to 0.
        warmup: share of the steps in which it rises.
        budget: padded tokens in a batch at most.
        rows: texts in a batch at most.
        max_tokens: longer texts lose their end.
        embedding_rate: multiplies the learning rate of the word embeddings; a word occurs in few
            batches, which matters where they start from nothing.
        token_dropout: share of the tokens that are hidden while training.
    """

    name: str
    weights: LossWeights
    learning_rate: float
    weight_decay: float
    epochs: int = 1
    schedule: str = "linear"
    warmup: float = 0.06
    budget: int = 8192
    rows: int = 16
    max_tokens: int = 4096
    embedding_rate: float = 1.0
    token_dropout: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """Stages in their order, and what they share."""

    stages: tuple[Stage, ...]
    seed: int = 7
    save_steps: int = 500


PUBLISHED: Final = Recipe(
    stages=(
        Stage("stage1", LossWeights(emotion=1.0), learning_rate=2e-5, weight_decay=0.01, epochs=3, max_tokens=512),
        Stage("stage2", LossWeights(labels=1.0), learning_rate=2e-5, weight_decay=0.02, epochs=2),
    )
)
"""As published for ``Hrishikesh4/mental-health-classifier-longformer``: emotions, then the four labels.

What the publication leaves open, batch size, schedule and lengths, is that of ``Stage``.
"""

_SHORT: Final = Stage(
    "stage2",
    LossWeights(labels=1.0, mentions=0.5, emotion=0.3, comment_emotions=0.3),
    learning_rate=7e-4,
    weight_decay=0.05,
    schedule="cosine",
    budget=3072,
    rows=96,
    max_tokens=256,
    embedding_rate=0.3,
    token_dropout=0.1,
)

EMBEDDED: Final = Recipe(
    stages=(
        replace(
            _SHORT,
            name="stage1",
            weights=LossWeights(emotion=1.0, comment_emotions=0.3),
            learning_rate=5e-4,
            embedding_rate=1.0,
        ),
        _SHORT,
        replace(
            _SHORT,
            name="stage2_again",
            weights=LossWeights(labels=1.0, mentions=0.5, comment_emotions=0.1),
            learning_rate=5e-4,
        ),
        replace(
            _SHORT,
            name="stage2_long",
            weights=LossWeights(labels=1.0, mentions=0.5),
            learning_rate=2e-4,
            budget=4096,
            max_tokens=4096,
            embedding_rate=1.0,
        ),
    )
)
"""The same two stages for a small model that starts from random weights: higher rates, auxiliary losses, and
long documents last, after the position embeddings learned so far have been tiled over the whole length."""
