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
        embedding: mean squared distance from the teacher's sentence embedding (auxiliary).
    """

    labels: float = 0.0
    emotion: float = 0.0
    mentions: float = 0.0
    comment_emotions: float = 0.0
    embedding: float = 0.0


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
        embedding_rate: multiplies the learning rate of the word embeddings; with 0 they stay as they are, so that
            words which the stage never has still go with those that it has.
        token_dropout: share of the tokens that are hidden while training.
        known_share: weight of the known targets where a teacher has judged the text too.
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
    known_share: float = 1.0


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

TEACHER: Final = Recipe(
    stages=(
        Stage(
            "teacher_stage1",
            LossWeights(emotion=1.0, comment_emotions=0.3),
            learning_rate=5e-5,
            weight_decay=0.01,
            budget=3072,
            rows=96,
            max_tokens=256,
            embedding_rate=0.0,
        ),
        Stage(
            "teacher_stage2",
            LossWeights(labels=1.0, mentions=0.5, comment_emotions=0.3),
            learning_rate=1e-4,
            weight_decay=0.01,
            budget=3072,
            rows=96,
            max_tokens=256,
            embedding_rate=0.0,
        ),
    )
)
"""The two stages for the encoder that teaches the embedded checkpoint: it is small, so at higher rates."""

_DISTIL: Final = Stage(
    "distil",
    LossWeights(labels=1.0, mentions=0.3, comment_emotions=0.3, embedding=1.0),
    learning_rate=7e-4,
    weight_decay=0.02,
    epochs=3,
    schedule="cosine",
    budget=3072,
    rows=96,
    max_tokens=256,
    embedding_rate=0.5,
    known_share=0.5,
)

EMBEDDED: Final = Recipe(
    stages=(
        _DISTIL,
        replace(_DISTIL, name="distil_long", learning_rate=2e-4, epochs=1, budget=4096, max_tokens=4096),
    ),
    save_steps=100,
)
"""What the embedded checkpoint learns from its teacher: short texts, and then long documents too, after the position
embeddings learned so far have been tiled over the whole length."""
