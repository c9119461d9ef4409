"""The embedded demonstration checkpoint: a small Longformer from random weights, by the two-stage recipe.

A bag of words gives the first word embeddings, short texts teach emotions and then the labels. The
position embeddings learned so far are then tiled over the whole length, and the last stage adds long
documents (Beltagy et al. 2020, section 5).
"""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Final

from transformers import set_seed

from training.corpus import Mix, emotion_rows, long_rows, short_rows, vocabulary_texts
from training.data import load_emotions, training_files
from training.grammar import grammar_file
from training.lines import line_files
from training.model import Shape, average_weights, new_model, save_half, tile_positions, without_auxiliary
from training.publish import published_folder
from training.recipe import EMBEDDED, Recipe
from training.stages import Hardware, Run, logit_count
from training.tokenizer import train_tokenizer

RECORD_FILE: Final = "training.json"
"""What a checkpoint was made from and how, beside its weights."""

_FORMAT: Final = 2
"""Part of the working folder's name: raise it when a change of code changes what a run learns."""


@dataclass(frozen=True)
class SmallPlan:
    """Everything that the embedded checkpoint depends on, but for the data files.

    Attributes:
        recipe: its four stages: emotions, labels on short texts, the same on texts written and mixed anew, and
            labels on long texts too.
        shape: of the model.
        mix: of the texts.
        merge_dropout: of the tokenizer while training.
        long_share: weight of the last stage in the average of the weights before and after it: long texts are
            learned and short ones not forgotten (Wortsman et al. 2022).
        word_epochs: passes of the bag of words that gives the first word embeddings.
    """

    recipe: Recipe = EMBEDDED
    shape: Shape = field(default_factory=Shape)
    mix: Mix = field(default_factory=Mix)
    merge_dropout: float = 0.1
    long_share: float = 0.5
    word_epochs: int = 4


def train_small(plan: SmallPlan, data: Path, out: Path, work: Path, hardware: Hardware) -> None:
    """Train and write ``config.json``, ``model.safetensors`` and the tokenizer to ``out``.

    Args:
        plan: what to do.
        data: the data folder.
        out: the checkpoint folder; files of the same names are replaced.
        work: where interrupted work is kept and taken up again.
        hardware: what to compute on.
    """
    seed = plan.recipe.seed
    set_seed(seed)
    short = short_rows(data, plan.mix, seed)
    tokenizer = train_tokenizer(vocabulary_texts(data, seed), plan.shape.vocab, plan.shape.max_tokens)
    emotions = len(load_emotions(data))
    model = new_model(plan.shape, len(tokenizer), logit_count(emotions))
    run = Run(plan.recipe, model, tokenizer, hardware, work / fingerprint(plan, data), emotions, plan.merge_dropout)
    first, second, again, lengthening = plan.recipe.stages
    run.learn_words(second, short, plan.word_epochs)
    run.train(first, emotion_rows(data, plan.mix, seed))
    run.train(second, short)
    run.train(again, short_rows(data, plan.mix, seed + 1))
    tile_positions(model, second.max_tokens)
    before = copy.deepcopy(model.state_dict())
    run.train(lengthening, long_rows(data, plan.mix, short, seed))
    average_weights(model, before, plan.long_share)

    with published_folder(out) as folder:
        save_half(without_auxiliary(model), folder)
        tokenizer.save_pretrained(folder)
        (folder / RECORD_FILE).write_text(json.dumps(_record(plan, data), indent=1) + "\n", encoding="utf-8")


def _record(plan: SmallPlan, data: Path) -> dict[str, object]:
    return {
        **asdict(plan),
        "data": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in training_files(data)},
        "tools": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
    }


def fingerprint(plan: SmallPlan, data: Path) -> str:
    """Short hash of all that a run learns from, so that work on anything else is never resumed."""
    digest = hashlib.sha256(json.dumps([_FORMAT, asdict(plan)]).encode())
    for path in (*training_files(data), grammar_file("train"), *line_files()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
