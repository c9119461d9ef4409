"""The two stages that make the embedded demonstration checkpoint.

Stage 1 learns from short texts, synthetic ones first: among public comments alone it takes the
model long to tell the labels apart. The position embeddings that it learned are then tiled over
the whole length, and stage 2 adds long documents (Beltagy et al. 2020, section 5). Each stage
can be interrupted: ``transformers.Trainer`` resumes it from its last checkpoint in the working
folder, and a finished stage is not repeated.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader
from transformers import (
    LongformerTokenizerFast,
    Trainer,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import get_last_checkpoint

from training.batches import Example, Examples, TokenBudgetSampler, collate
from training.corpus import LabelledText, Mix, stage_one, stage_two
from training.data import load_emotions, training_files
from training.labels import LABELS, RISK_LABELS
from training.model import LogitGroup, Shape, TrainingModel, new_model, save_half, tile_positions, without_auxiliary
from training.synthetic import grammar_file
from training.tokenizer import train_tokenizer

_FORMAT: Final = 1
"""Part of the working folder's name: raise it when a change of code changes what a run learns."""


@dataclass(frozen=True)
class StagePlan:
    """How one stage is trained.

    Attributes:
        learning_rate: the highest, after a linear warm-up; it falls to 0 as a cosine.
        budget: padded tokens in a batch at most.
        rows: texts in a batch at most.
        max_tokens: longer texts lose their end.
        leading: this share of the texts comes first, from the first text on.
    """

    learning_rate: float
    budget: int
    rows: int
    max_tokens: int
    leading: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """Everything that a run depends on, but for the data files.

    ``embedding_rate`` multiplies the learning rate of the word embeddings: a word occurs in few
    batches. The other two are the weights of the auxiliary losses beside that of ``LABELS``.
    """

    seed: int = 7
    shape: Shape = field(default_factory=Shape)
    mix: Mix = field(default_factory=Mix)
    first: StagePlan = StagePlan(learning_rate=1e-3, budget=1536, rows=48, max_tokens=256, leading=0.15)
    second: StagePlan = StagePlan(learning_rate=3e-4, budget=4096, rows=48, max_tokens=4096)
    embedding_rate: float = 5.0
    mention_weight: float = 0.5
    emotion_weight: float = 0.3
    weight_decay: float = 0.05
    warmup: float = 0.06
    save_steps: int = 500


class BudgetTrainer(Trainer):
    """``transformers.Trainer`` with batches bounded by padded tokens."""

    def __init__(self, examples: Examples, sampler: TokenBudgetSampler, **kwargs: Any) -> None:
        super().__init__(train_dataset=examples, **kwargs)
        self._loader = DataLoader(examples, batch_sampler=sampler, collate_fn=collate)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """One pass over the sampler's batches, in their order."""
        return self._loader


def train_small(recipe: Recipe, data: Path, out: Path, work: Path) -> None:
    """Train and write ``config.json``, ``model.safetensors`` and the tokenizer to ``out``.

    Args:
        recipe: what to do.
        data: the data folder.
        out: the checkpoint folder; files of the same names are replaced.
        work: where interrupted work is kept and taken up again.
    """
    set_seed(recipe.seed)
    work = work / fingerprint(recipe, data)
    short = stage_one(data, recipe.mix, recipe.seed)
    tokenizer = train_tokenizer(_tokenizer_texts(short, recipe.seed), recipe.shape.vocab, recipe.shape.max_tokens)
    groups = _groups(recipe, len(load_emotions(data)))
    model = new_model(recipe.shape, len(tokenizer), sum(group.size for group in groups))
    run = Run(recipe, TrainingModel(model, groups), tokenizer, work)
    run.stage("stage1", recipe.first, short)
    tile_positions(model, recipe.first.max_tokens)
    run.stage("stage2", recipe.second, stage_two(data, recipe.mix, short, recipe.seed))

    out.mkdir(parents=True, exist_ok=True)
    save_half(without_auxiliary(model), out)
    tokenizer.backend_tokenizer.no_truncation()  # else tokenizer.json would keep, and apply, that of the last stage
    tokenizer.save_pretrained(out)


def _tokenizer_texts(short: Sequence[LabelledText], seed: int) -> list[str]:
    """Every public comment, and half as many other texts: the few templates must not fill the vocabulary."""
    public = sorted({row.text for row in short if row.emotions})
    written = [row.text for row in short if not row.emotions]
    return public + random.Random(seed).sample(written, min(len(written), len(public) // 2))


def fingerprint(recipe: Recipe, data: Path) -> str:
    """Short hash of all that a run learns from, so that work on anything else is never resumed."""
    digest = hashlib.sha256(json.dumps([_FORMAT, asdict(recipe)]).encode())
    for path in (*training_files(data), grammar_file("train")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _groups(recipe: Recipe, emotions: int) -> tuple[LogitGroup, ...]:
    return (
        LogitGroup(len(LABELS), 1.0),
        LogitGroup(len(RISK_LABELS), recipe.mention_weight),
        LogitGroup(emotions, recipe.emotion_weight),
    )


@dataclass(frozen=True)
class Run:
    """A model on its way through the stages.

    Attributes:
        recipe: what to do.
        model: trained in place.
        tokenizer: of the texts.
        work: the folder of this run.
    """

    recipe: Recipe
    model: TrainingModel
    tokenizer: LongformerTokenizerFast
    work: Path

    def stage(self, name: str, plan: StagePlan, rows: Sequence[LabelledText]) -> None:
        """Train on ``rows``, or load what an earlier run made of this stage."""
        work = self.work / name
        finished = work / "finished.safetensors"
        if finished.is_file():
            self.model.load_state_dict(load_file(finished))
            return
        self._trainer(plan, self._encoded(rows, plan), work).train(
            resume_from_checkpoint=get_last_checkpoint(str(work)) if work.is_dir() else None
        )
        save_file({name: value.contiguous() for name, value in self.model.state_dict().items()}, finished)

    def _encoded(self, rows: Sequence[LabelledText], plan: StagePlan) -> list[Example]:
        texts = [row.text for row in rows]
        longest = min(plan.max_tokens, self.recipe.shape.max_tokens)
        ids = self.tokenizer(texts, truncation=True, max_length=longest)["input_ids"]
        emotions = self.model.groups[-1].size
        return [Example(tuple(item), row.all_targets(emotions)) for item, row in zip(ids, rows, strict=True)]

    def _trainer(self, plan: StagePlan, examples: list[Example], work: Path) -> BudgetTrainer:
        lengths = [len(example.input_ids) for example in examples]
        leading = round(plan.leading * len(lengths))
        return BudgetTrainer(
            Examples(examples),
            TokenBudgetSampler(lengths, plan.budget, plan.rows, self.recipe.seed, leading),
            model=self.model,
            args=_arguments(self.recipe, work),
            optimizers=(_optimizer(self.model, self.recipe, plan), None),
        )


def _optimizer(model: TrainingModel, recipe: Recipe, plan: StagePlan) -> torch.optim.AdamW:
    words = model.graph.embeddings.word_embeddings.weight
    others = [parameter for parameter in model.parameters() if parameter is not words]
    groups = [
        {"params": [words], "lr": plan.learning_rate * recipe.embedding_rate},
        {"params": others, "lr": plan.learning_rate},
    ]
    return torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)


def _arguments(recipe: Recipe, work: Path) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(work),
        num_train_epochs=1,
        lr_scheduler_type="cosine",
        warmup_ratio=recipe.warmup,
        max_grad_norm=1.0,
        logging_steps=50,
        save_steps=recipe.save_steps,
        save_total_limit=1,
        seed=recipe.seed,
        use_cpu=True,
        report_to=[],
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        disable_tqdm=False,
    )
