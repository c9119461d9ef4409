"""A model on its way through the stages of a recipe.

``transformers.Trainer`` does the work. Each stage can be interrupted: it goes on from its last
checkpoint in the working folder, and a finished stage is not repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from training.batches import Example, Examples, TokenBudgetSampler, collate
from training.errors import DataError, DeviceError
from training.labels import LABELS, RISK_LABELS, UNKNOWN
from training.model import LogitGroup, TrainingModel, known_bce, known_cross_entropy, known_square
from training.recipe import LossWeights, Recipe, Stage
from training.rows import EMOTION_CLASSES, Row

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fp32", "bf16"]

Encoder = Callable[[Sequence[str], int], Sequence[tuple[int, ...]]]
"""Maps texts, and how many tokens to keep of each at most, to their token ids."""

_WORD_EMBEDDINGS: Final = "embeddings.word_embeddings.weight"
_FINISHED: Final = "finished.safetensors"


@dataclass(frozen=True)
class Hardware:
    """What to compute on: a resolved device, and whether in bf16."""

    cuda: bool
    bf16: bool


def choose_hardware(device: Device, precision: Precision) -> Hardware:
    """A GPU where there is one, in bf16 where the device computes in it.

    Raises:
        DeviceError: what was asked for is not there.
    """
    cuda = torch.cuda.is_available() if device == "auto" else device == "cuda"
    if cuda and not torch.cuda.is_available():
        raise DeviceError("--device cuda was asked for, but torch sees no CUDA device here; use --device cpu")
    able = torch.cuda.is_bf16_supported() if cuda else _computes_bf16()
    if precision == "bf16" and not able:
        raise DeviceError("--precision bf16 needs a GPU or a CPU that computes in bf16; use --precision fp32")
    return Hardware(cuda, able if precision == "auto" else precision == "bf16")


def _computes_bf16() -> bool:
    """Whether this CPU has matrix instructions for bf16, which are several times as fast as those for fp32."""
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


class BudgetTrainer(Trainer):
    """``transformers.Trainer`` with batches bounded by padded tokens."""

    def __init__(self, examples: Examples, sampler: TokenBudgetSampler, **kwargs: Any) -> None:
        super().__init__(train_dataset=examples, **kwargs)
        self._loader = DataLoader(examples, batch_sampler=sampler, collate_fn=collate)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """One pass over the sampler's batches."""
        return self._loader


@dataclass(frozen=True)
class Run:
    """A model, and all that its stages share.

    Attributes:
        recipe: what to do.
        graph: maps token ids and mask to logits, those of ``Run.groups`` in that order; trained in place.
        encode: gives the token ids of texts, of which those beyond a number of tokens lose their end.
        longest: tokens that the graph takes at most.
        hardware: what to compute on.
        work: the folder of this run.
        comment_emotions: how many of the logits are for the emotions of GoEmotions.
        embedding: how many of the logits are for the teacher's sentence embedding.
    """

    recipe: Recipe
    graph: nn.Module
    encode: Encoder
    longest: int
    hardware: Hardware
    work: Path
    comment_emotions: int = 0
    embedding: int = 0

    def finished(self, stage: Stage) -> bool:
        """Whether an earlier run has trained this stage to its end."""
        return (self.work / stage.name / _FINISHED).is_file()

    def train(self, stage: Stage, rows: Sequence[Row], judged: Tensor | None = None) -> None:
        """Train one stage on ``rows``, or load what an earlier run made of it.

        Args:
            stage: how.
            rows: the texts, and what is known of them.
            judged: what the teacher says of them, float ``(rows, logits)``; NaN: nothing.

        Raises:
            DataError: no row says anything about what the stage learns.
        """
        if not rows:
            raise DataError(f"{stage.name}: no text to train on")
        trained = TrainingModel(self.graph, self.groups(stage.weights), stage.token_dropout)
        work = self.work / stage.name
        if self.finished(stage):
            trained.load_state_dict(load_file(work / _FINISHED))
            return
        self._trainer(stage, trained, self._examples(rows, judged, stage), work).train(
            resume_from_checkpoint=get_last_checkpoint(str(work)) if work.is_dir() else None
        )
        trained.cpu()
        save_file({name: value.contiguous() for name, value in trained.state_dict().items()}, work / _FINISHED)

    def groups(self, weights: LossWeights) -> tuple[LogitGroup, ...]:
        """What the logits are, and what each of them counts."""
        return (
            LogitGroup(len(LABELS), weights.labels, known_bce),
            LogitGroup(len(EMOTION_CLASSES), weights.emotion, known_cross_entropy),
            LogitGroup(len(RISK_LABELS), weights.mentions, known_bce),
            LogitGroup(self.comment_emotions, weights.comment_emotions, known_bce),
            LogitGroup(self.embedding, weights.embedding, known_square),
        )

    def _examples(self, rows: Sequence[Row], judged: Tensor | None, stage: Stage) -> list[Example]:
        known = torch.tensor([self._targets(row) for row in rows])
        targets = known if judged is None else blended(known, judged, stage.known_share)
        ids = self.encode([row.text for row in rows], min(stage.max_tokens, self.longest))
        return [Example(item, target) for item, target in zip(ids, targets, strict=True)]

    def _targets(self, row: Row) -> tuple[float, ...]:
        """Targets for all logits in their order."""
        classes = (float(row.emotion == name) if row.emotion else UNKNOWN for name in EMOTION_CLASSES)
        emotions = row.comment_emotions[: self.comment_emotions] or (UNKNOWN,) * self.comment_emotions
        return (*row.targets, *classes, *row.mentions, *emotions, *(UNKNOWN,) * self.embedding)

    def _trainer(self, stage: Stage, trained: TrainingModel, examples: list[Example], work: Path) -> BudgetTrainer:
        lengths = [len(example.input_ids) for example in examples]
        return BudgetTrainer(
            Examples(examples),
            TokenBudgetSampler(lengths, stage.budget, stage.rows, self.recipe.seed),
            model=trained,
            args=self._arguments(stage, work),
            optimizers=(_optimizer(trained, stage), None),
        )

    def _arguments(self, stage: Stage, work: Path) -> TrainingArguments:
        return TrainingArguments(
            output_dir=str(work),
            num_train_epochs=stage.epochs,
            lr_scheduler_type=stage.schedule,
            warmup_ratio=stage.warmup,
            max_grad_norm=1.0,
            logging_steps=50,
            save_steps=self.recipe.save_steps,
            save_total_limit=1,
            seed=self.recipe.seed,
            use_cpu=not self.hardware.cuda,
            bf16=self.hardware.bf16,
            report_to=[],
            remove_unused_columns=False,
            dataloader_pin_memory=False,
            disable_tqdm=False,
        )


def blended(known: Tensor, judged: Tensor, share: float) -> Tensor:
    """``share`` of what is known and the rest of what the teacher judged; one alone where the other is NaN.

    Binary cross-entropy is linear in its targets, so this trains on both losses in that ratio.
    """
    mixed = share * known + (1 - share) * judged
    return torch.where(known.isnan(), judged, torch.where(judged.isnan(), known, mixed))


def logit_count(comment_emotions: int, embedding: int = 0) -> int:
    """Logits of a model in training: labels, emotion classes, mentions, GoEmotions' emotions, the embedding."""
    return len(LABELS) + len(EMOTION_CLASSES) + len(RISK_LABELS) + comment_emotions + embedding


def _optimizer(trained: TrainingModel, stage: Stage) -> torch.optim.AdamW:
    words = next(weight for name, weight in trained.named_parameters() if name.endswith(_WORD_EMBEDDINGS))
    others = [parameter for parameter in trained.parameters() if parameter is not words]
    words.requires_grad_(stage.embedding_rate > 0)
    groups = [
        {"params": [words], "lr": stage.learning_rate * stage.embedding_rate},
        {"params": others, "lr": stage.learning_rate},
    ]
    return torch.optim.AdamW(groups, weight_decay=stage.weight_decay)
