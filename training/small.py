"""The embedded demonstration checkpoint: a small Longformer that learns from a larger teacher.

The teacher, a pretrained sentence encoder, is fine-tuned by the two stages. What of its weights fits into the
Longformer is where that starts; it learns what the teacher makes of many texts, labelled or not (Hinton et al.
2015, Jiao et al. 2020). The position embeddings are then tiled over the whole length, and the last stage adds long
documents (Beltagy et al. 2020, section 5).
"""

from __future__ import annotations

import copy
import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LongformerForSequenceClassification, LongformerTokenizerFast, PreTrainedTokenizerFast, set_seed

from export.longformer import ExportableLongformer
from training.augment import WordChanger
from training.corpus import (
    Mix,
    TeacherMix,
    emotion_rows,
    journal_rows,
    label_rows,
    lesson_rows,
    long_rows,
    vocabulary_texts,
)
from training.data import load_emotions, training_files
from training.grammar import grammar_file
from training.labels import UNKNOWN
from training.lines import line_files
from training.model import Shape, average_weights, new_model, save_half, tile_positions, without_auxiliary
from training.publish import published_folder
from training.recipe import EMBEDDED, TEACHER, Recipe
from training.rows import Row
from training.shrink import principal_directions, shrink, word_rows
from training.stages import Hardware, Run, logit_count
from training.teacher import Teacher, load_teacher, what_it_says
from training.tokenizer import encode, train_tokenizer

RECORD_FILE: Final = "training.json"
"""What a checkpoint was made from and how, beside its weights."""

_FORMAT: Final = 3
"""Part of the working folder's name: raise it when a change of code changes what a run learns."""

_JUDGED_FILE: Final = "judged.safetensors"


@dataclass(frozen=True)
class TeacherPlan:
    """Everything that the teacher depends on, but for the data files and its first weights.

    Attributes:
        recipe: its two stages: emotions, labels.
        mix: of the texts.
    """

    recipe: Recipe = TEACHER
    mix: TeacherMix = field(default_factory=TeacherMix)


@dataclass(frozen=True)
class SmallPlan:
    """Everything that the embedded checkpoint depends on, but for the data files and the teacher's.

    Attributes:
        teacher: how the teacher is fine-tuned.
        recipe: the student's two stages: short texts, long texts too.
        shape: of the student.
        teacher_layers: which of the teacher's layers the student's start from, one for each but the last.
        mix: of the texts.
        merge_dropout: of the student's tokenizer while training.
        long_share: weight of the last stage in the average of the weights before and after it: long texts are
            learned and short ones not forgotten (Wortsman et al. 2022).
        sample: texts in which to look for the directions of the teacher's hidden states.
    """

    teacher: TeacherPlan = field(default_factory=TeacherPlan)
    recipe: Recipe = EMBEDDED
    shape: Shape = field(default_factory=Shape)
    teacher_layers: tuple[int, ...] = (0, 1, 2)
    mix: Mix = field(default_factory=Mix)
    merge_dropout: float = 0.1
    long_share: float = 0.5
    sample: int = 1500


def train_small(plan: SmallPlan, data: Path, source: str, out: Path, work: Path, hardware: Hardware) -> None:
    """Train and write ``config.json``, ``model.safetensors`` and the tokenizer to ``out``.

    Args:
        plan: what to do.
        data: the data folder.
        source: the teacher, a hub id or a folder.
        out: the checkpoint folder; files of the same names are replaced.
        work: where interrupted work is kept and taken up again.
        hardware: what to compute on.
    """
    seed = plan.recipe.seed
    set_seed(seed)
    teacher, pieces = taught_teacher(plan.teacher, data, source, work, hardware)
    lessons = Lessons(plan, data, work / fingerprint(plan, data, source), hardware)
    tokenizer = train_tokenizer(vocabulary_texts(data, seed), plan.shape.vocab, plan.shape.max_tokens)
    set_seed(seed)
    model = lessons.new_student(teacher, pieces, tokenizer)
    run = lessons.run_for(model, tokenizer)
    rows, judged = lessons.lesson(teacher, pieces)
    first, last = plan.recipe.stages
    run.train(first, rows, judged)
    tile_positions(model, first.max_tokens)
    before = copy.deepcopy(model.state_dict())
    run.train(last, *_long_lesson(plan, data, rows, judged))
    average_weights(model, before, plan.long_share)

    with published_folder(out) as folder:
        save_half(without_auxiliary(model), folder)
        tokenizer.save_pretrained(folder)
        (folder / RECORD_FILE).write_text(json.dumps(_record(plan, data, source), indent=1) + "\n", encoding="utf-8")


def taught_teacher(
    plan: TeacherPlan, data: Path, source: str, work: Path, hardware: Hardware
) -> tuple[Teacher, PreTrainedTokenizerFast]:
    """The teacher after its stages, and its tokenizer; see ``train_small``."""
    seed = plan.recipe.seed
    emotions = len(load_emotions(data))
    teacher, tokenizer = load_teacher(source, logit_count(emotions))
    folder = work / f"teacher-{fingerprint(plan, data, source)}"
    longest = teacher.encoder.config.max_position_embeddings
    run = Run(plan.recipe, teacher, partial(encode, tokenizer), longest, hardware, folder, emotions)
    first, second = plan.recipe.stages
    run.train(first, emotion_rows(data, plan.mix, seed))
    run.train(second, label_rows(data, plan.mix, seed))
    return teacher, tokenizer


@dataclass(frozen=True)
class Lessons:
    """The student, what it reads, and what the teacher says of that.

    Attributes:
        plan: what to do.
        data: the data folder.
        work: the folder of this run.
        hardware: what to compute on.
    """

    plan: SmallPlan
    data: Path
    work: Path
    hardware: Hardware

    def new_student(
        self, teacher: Teacher, pieces: PreTrainedTokenizerFast, tokenizer: LongformerTokenizerFast
    ) -> LongformerForSequenceClassification:
        """A student that starts from the teacher, with logits for all that the teacher has and for its embedding."""
        plan = self.plan
        student = new_model(plan.shape, len(tokenizer), teacher.head.out_features + teacher.head.in_features)
        rows = label_rows(self.data, plan.teacher.mix, plan.recipe.seed)
        sample = random.Random(plan.recipe.seed).sample(rows, min(plan.sample, len(rows)))
        texts = encode(pieces, [row.text for row in sample], plan.recipe.stages[0].max_tokens)
        directions = principal_directions(teacher, texts, plan.shape.hidden)
        shrink(teacher, student, word_rows(teacher, pieces, tokenizer), directions, plan.teacher_layers)
        return student

    def run_for(self, model: LongformerForSequenceClassification, tokenizer: LongformerTokenizerFast) -> Run:
        """The student's stages."""
        emotions = len(load_emotions(self.data))
        return Run(
            self.plan.recipe,
            ExportableLongformer(model),
            partial(encode, tokenizer, merge_dropout=self.plan.merge_dropout),
            self.plan.shape.max_tokens,
            self.hardware,
            self.work,
            emotions,
            embedding=model.num_labels - logit_count(emotions),
        )

    def lesson(self, teacher: Teacher, pieces: PreTrainedTokenizerFast) -> tuple[list[Row], Tensor]:
        """The short texts, and what the teacher says of each: float ``(texts, logits)``; NaN: it was not asked."""
        mix, seed = self.plan.mix, self.plan.recipe.seed
        changer = WordChanger(pieces.get_vocab(), teacher.word_embeddings, random.Random(seed))
        rows = lesson_rows(self.data, mix, changer, seed)
        journals = journal_rows(mix.journals, seed)
        judged = self._judged(teacher, pieces, rows)
        return rows + journals, torch.cat([judged, torch.full((len(journals), judged.shape[1]), UNKNOWN)])

    def _judged(self, teacher: Teacher, pieces: PreTrainedTokenizerFast, rows: Sequence[Row]) -> Tensor:
        """Probabilities and standardized embeddings, side by side; kept, since they take long."""
        path = self.work / _JUDGED_FILE
        if not path.is_file():
            texts = encode(pieces, [row.text for row in rows], self.plan.recipe.stages[0].max_tokens)
            chances, embeddings = what_it_says(teacher, texts, self.hardware)
            standard = (embeddings - embeddings.mean(dim=0)) / embeddings.std(dim=0).mean()
            self.work.mkdir(parents=True, exist_ok=True)
            save_file({"judged": torch.cat([chances, standard], dim=1)}, path)
        return load_file(path)["judged"]


def _long_lesson(plan: SmallPlan, data: Path, rows: list[Row], judged: Tensor) -> tuple[list[Row], Tensor]:
    """Long documents, of which the teacher says nothing, and a share of the short lesson again."""
    documents = long_rows(data, plan.mix, plan.recipe.seed)
    order = range(len(rows))
    again = random.Random(plan.recipe.seed).sample(order, round(len(rows) * plan.mix.rehearsal))
    unknown = torch.full((len(documents), judged.shape[1]), UNKNOWN)
    return documents + [rows[index] for index in again], torch.cat([unknown, judged[again]])


def _record(plan: SmallPlan, data: Path, source: str) -> dict[str, object]:
    return {
        **asdict(plan),
        "teacher_files": {name: hashlib.sha256(content).hexdigest() for name, content in _teacher_files(source)},
        "data": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in training_files(data)},
        "tools": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
    }


def fingerprint(plan: SmallPlan | TeacherPlan, data: Path, source: str) -> str:
    """Short hash of all that a run learns from, so that work on anything else is never resumed."""
    digest = hashlib.sha256(json.dumps([_FORMAT, asdict(plan)]).encode())
    for path in (*training_files(data), grammar_file("train"), *line_files()):
        digest.update(path.read_bytes())
    for _, content in _teacher_files(source):
        digest.update(content)
    return digest.hexdigest()[:12]


def _teacher_files(source: str) -> list[tuple[str, bytes]]:
    """The files of a teacher in a folder; of one on the hub, its name alone."""
    folder = Path(source)
    if not folder.is_dir():
        return [("name", source.encode())]
    return [(path.name, path.read_bytes()) for path in sorted(folder.iterdir()) if path.is_file()]
