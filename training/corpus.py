"""What the two stages train on: which texts, how often, with which targets."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from training.data import Comment, Split, load_counselchat, load_emotions, load_goemotions
from training.labels import LABELS, RISK_LABELS, UNKNOWN, Targets, targets
from training.noise import noisy
from training.synthetic import Entry, EntryWriter, GrammarName, entries, load_grammar


@dataclass(frozen=True)
class Mix:
    """How much of each source.

    Attributes:
        synthetic: synthetic entries of stage 1, each seen once.
        goemotions_repeats: how often stage 1 sees each GoEmotions comment.
        counselchat_repeats: how often stage 1 sees each CounselChat question.
        documents: long documents of stage 2.
        rehearsal: share of stage 1 that stage 2 sees again.
        longest_document: tokens of the longest document, about.
    """

    synthetic: int = 100_000
    goemotions_repeats: int = 2
    counselchat_repeats: int = 6
    documents: int = 300
    rehearsal: float = 0.1
    longest_document: int = 4000


@dataclass(frozen=True)
class LabelledText:
    """A text and what is known of it.

    Attributes:
        text: as somebody might have typed it.
        targets: for ``LABELS``.
        mentions: for ``RISK_LABELS``: whether the text speaks of them at all, of anybody and at
            any time. Easy to learn, and the first step to who feels what.
        emotions: for the emotions of GoEmotions, in the order of their ids.
    """

    text: str
    targets: Targets
    mentions: tuple[float, ...] = (UNKNOWN,) * len(RISK_LABELS)
    emotions: tuple[float, ...] = ()

    def all_targets(self, emotions: int) -> tuple[float, ...]:
        """Targets for all logits in their order, ``emotions`` of them for emotions."""
        return (*self.targets, *self.mentions, *(self.emotions or (UNKNOWN,) * emotions))


NEUTRAL_TARGETS: Targets = targets(frozenset())

_NOTHING_KNOWN: Targets = (UNKNOWN,) * len(LABELS)
_WORDS_FOR_TOKENS = 0.75
_WORDS_FOR_SENTENCE = 7


def stage_one(folder: Path, mix: Mix, seed: int) -> list[LabelledText]:
    """Short texts: synthetic entries, GoEmotions with all its emotions, CounselChat without its held-out fifth."""
    rng = random.Random(seed)
    written = [_written(entry, rng) for entry in entries("train", mix.synthetic, seed)]
    comments = goemotions_texts(folder) * mix.goemotions_repeats
    questions = counselchat_texts(folder) * mix.counselchat_repeats
    public = [replace(row, text=noisy(row.text, rng)) for row in comments + questions]
    return written + public


def _written(entry: Entry, rng: random.Random) -> LabelledText:
    mentions = tuple(float(label in entry.mentioned) for label in RISK_LABELS)
    return LabelledText(noisy(entry.text, rng), entry.targets, mentions)


def goemotions_texts(folder: Path) -> list[LabelledText]:
    """The training comments; those that say nothing about ``LABELS`` still teach their emotions."""
    names = load_emotions(folder)
    return [
        LabelledText(row.text, row.targets or _NOTHING_KNOWN, emotions=_emotion_targets(row, names))
        for row in load_goemotions(folder, "train")
    ]


def _emotion_targets(row: Comment, names: tuple[str, ...]) -> tuple[float, ...]:
    return tuple(float(name in row.emotions) for name in names)


def counselchat_texts(folder: Path) -> list[LabelledText]:
    """The training questions of the three topics that name a state."""
    return [
        LabelledText(row.text, row.targets)
        for row in load_counselchat(folder)
        if row.targets is not None and not row.held_out
    ]


def stage_two(folder: Path, mix: Mix, short: list[LabelledText], seed: int) -> list[LabelledText]:
    """Long documents, and a rehearsal of the short texts so that they are not forgotten."""
    rng = random.Random(seed + 2)
    rehearsed = rng.sample(short, round(len(short) * mix.rehearsal))
    written = documents("train", neutral_comments(folder, "train"), mix, seed)
    return [*written, *rehearsed]


def neutral_comments(folder: Path, split: Split) -> list[str]:
    """The GoEmotions comments of a split that count as neutral."""
    return [row.text for row in load_goemotions(folder, split) if row.targets == NEUTRAL_TARGETS]


def documents(grammar: GrammarName, comments: Sequence[str], mix: Mix, seed: int) -> Iterator[LabelledText]:
    """Long documents: neutral passages, with passages about feelings in half of them.

    The label is what the passages express, however long the document is; feelings make up
    between a tenth and six tenths of the sentences.

    Args:
        grammar: which one writes the sentences.
        comments: neutral sentences of other people, to mix in.
        mix: how many documents, and how long.
        seed: the same seed gives the same documents.
    """
    rng = random.Random(seed + 3)
    writer = EntryWriter(load_grammar(grammar), seed + 4)
    for _ in range(mix.documents):
        yield _document(writer, comments, rng, rng.uniform(150, mix.longest_document))


def _document(writer: EntryWriter, comments: Sequence[str], rng: random.Random, tokens: float) -> LabelledText:
    """About ``tokens`` tokens, in passages of several sentences."""
    sentences = round(tokens * _WORDS_FOR_TOKENS / _WORDS_FOR_SENTENCE)
    labels = frozenset(rng.sample(RISK_LABELS, rng.choice((0, 0, 0, 1, 1, 2))))
    felt = round(sentences * rng.uniform(0.1, 0.6)) if labels else 0
    passages = _passages(writer.feelings(labels, felt) if labels else [], rng)
    passages += _passages(_calm(writer, comments, rng, sentences - felt, bool(labels)), rng)
    text = "\n\n".join(" ".join(passage) for passage in rng.sample(passages, len(passages)))
    return LabelledText(noisy(text, rng), targets(labels))


def _calm(writer: EntryWriter, comments: Sequence[str], rng: random.Random, count: int, beside: bool) -> list[str]:
    """Neutral sentences, partly written by the grammar and partly comments; ``beside`` feelings only everyday ones."""
    share = rng.random()
    written = writer.everyday(round(count * share)) if beside else writer.neutral(round(count * share))
    return rng.sample([*written, *rng.sample(comments, count - len(written))], count)


def _passages(sentences: list[str], rng: random.Random) -> list[list[str]]:
    """Cut into passages of 3 to 12 sentences."""
    passages, start = [], 0
    while start < len(sentences):
        size = rng.randint(3, 12)
        passages.append(sentences[start : start + size])
        start += size
    return passages
