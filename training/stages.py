"""A model on its way through the stages of a recipe.

``transformers.Trainer`` does the work. Each stage can be interrupted: it goes on from its last
checkpoint in the working folder, and a finished stage is not repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader
from transformers import LongformerForSequenceClassification, LongformerTokenizerFast, Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from training.batches import Example, Examples, TokenBudgetSampler, collate
from training.errors import DataError, DeviceError
from training.labels import LABELS, RISK_LABELS, UNKNOWN
from training.model import LogitGroup, TrainingModel, known_bce, known_cross_entropy
from training.recipe import LossWeights, Recipe, Stage
from training.rows import EMOTION_CLASSES, Row
from training.words import learn_words

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fp32", "bf16"]

_FINISHED: Final = "finished.safetensors"


@dataclass(frozen=True)
class Hardware:
    """What to compute on: a resolved device, and whether in bf16."""

    cuda: bool
    bf16: bool


def choose_hardware(device: Device, precision: Precision) -> Hardware:
    """A GPU where there is one, in bf16 where it can.

    Raises:
        DeviceError: what was asked for is not there.
    """
    cuda = torch.cuda.is_available() if device == "auto" else device == "cuda"
    if cuda and not torch.cuda.is_available():
        raise DeviceError("--device cuda was asked for, but torch sees no CUDA device here; use --device cpu")
    able = cuda and torch.cuda.is_bf16_supported()
    if precision == "bf16" and not able:
        raise DeviceError("--precision bf16 needs a CUDA device with bf16; use --precision fp32")
    return Hardware(cuda, able if precision == "auto" else precision == "bf16")


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
        model: trained in place; its logits are those of ``heads_for`` in that order.
        tokenizer: of the texts.
        hardware: what to compute on.
        work: the folder of this run.
        comment_emotions: how many of the logits are for the emotions of GoEmotions.
        merge_dropout: share of the tokenizer's merges left out by chance while training (BPE-dropout,
            Provilkov et al. 2020), so that a word is seen in several spellings of tokens.
    """

    recipe: Recipe
    model: LongformerForSequenceClassification
    tokenizer: LongformerTokenizerFast
    hardware: Hardware
    work: Path
    comment_emotions: int = 0
    merge_dropout: float = 0.0

    def learn_words(self, stage: Stage, rows: Sequence[Row], epochs: int) -> None:
        """Give the model its first word embeddings, from what ``stage`` is to learn; see ``training.words``."""
        if not any(self.work.glob(f"*/{_FINISHED}")):
            learn_words(self.model, self._groups(stage.weights), self._encoded(rows, stage), epochs, self.recipe.seed)

    def train(self, stage: Stage, rows: Sequence[Row]) -> None:
        """Train one stage on ``rows``, or load what an earlier run made of it.

        Raises:
            DataError: no row says anything about what the stage learns.
        """
        if not rows:
            raise DataError(f"{stage.name}: no text to train on")
        trained = TrainingModel(self.model, self._groups(stage.weights), stage.token_dropout)
        work = self.work / stage.name
        if (work / _FINISHED).is_file():
            trained.load_state_dict(load_file(work / _FINISHED))
            return
        self._trainer(stage, trained, self._encoded(rows, stage), work).train(
            resume_from_checkpoint=get_last_checkpoint(str(work)) if work.is_dir() else None
        )
        trained.cpu()
        save_file({name: value.contiguous() for name, value in trained.state_dict().items()}, work / _FINISHED)

    def _groups(self, weights: LossWeights) -> tuple[LogitGroup, ...]:
        return (
            LogitGroup(len(LABELS), weights.labels, known_bce),
            LogitGroup(len(EMOTION_CLASSES), weights.emotion, known_cross_entropy),
            LogitGroup(len(RISK_LABELS), weights.mentions, known_bce),
            LogitGroup(self.comment_emotions, weights.comment_emotions, known_bce),
        )

    def _encoded(self, rows: Sequence[Row], stage: Stage) -> list[Example]:
        longest = min(stage.max_tokens, self.model.config.max_position_embeddings - 2)
        bpe = self.tokenizer.backend_tokenizer.model
        bpe.dropout = self.merge_dropout or None
        ids = self.tokenizer([row.text for row in rows], truncation=True, max_length=longest)["input_ids"]
        bpe.dropout = None
        self.tokenizer.backend_tokenizer.no_truncation()  # else tokenizer.json would keep, and apply, this stage's
        return [Example(tuple(item), self._targets(row)) for item, row in zip(ids, rows, strict=True)]

    def _targets(self, row: Row) -> tuple[float, ...]:
        """Targets for all logits in their order."""
        classes = (float(row.emotion == name) if row.emotion else UNKNOWN for name in EMOTION_CLASSES)
        emotions = row.comment_emotions[: self.comment_emotions] or (UNKNOWN,) * self.comment_emotions
        return (*row.targets, *classes, *row.mentions, *emotions)

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


def logit_count(comment_emotions: int) -> int:
    """Logits of a model in training: the labels, the emotion classes, the mentions, and those of GoEmotions."""
    return len(LABELS) + len(EMOTION_CLASSES) + len(RISK_LABELS) + comment_emotions


def _optimizer(trained: TrainingModel, stage: Stage) -> torch.optim.AdamW:
    words = trained.graph.embeddings.word_embeddings.weight
    others = [parameter for parameter in trained.parameters() if parameter is not words]
    groups = [
        {"params": [words], "lr": stage.learning_rate * stage.embedding_rate},
        {"params": others, "lr": stage.learning_rate},
    ]
    return torch.optim.AdamW(groups, weight_decay=stage.weight_decay)
