"""What teacher and student train on: which texts, how often, with which targets."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from training.augment import WordChanger
from training.data import Split, load_emotions, load_goemotions
from training.grammar import GrammarName
from training.labels import RISK_LABELS, Targets, targets
from training.lines import load_lines, load_posts
from training.noise import noisy
from training.rows import Row
from training.sentences import Sentence
from training.synthetic import Entry, EntryWriter, endless_entries, entries, entry_writer


@dataclass(frozen=True)
class TeacherMix:
    """How much of each source the teacher learns from.

    Attributes:
        emotion_comments: GoEmotions comments of the emotion stage.
        journals: synthetic entries of the multi-label stage.
        lines: how often that stage sees each hand-written line and post.
        comments: GoEmotions comments of that stage.
    """

    emotion_comments: int = 3_000
    journals: int = 6_000
    lines: int = 3
    comments: int = 6_000


@dataclass(frozen=True)
class Mix:
    """How much of each source the student learns from.

    Attributes:
        journals: synthetic entries of the short stage.
        lines: how often that stage has each line and post as somebody might type it.
        changed_lines: how often it has each of them with some words exchanged.
        comments: GoEmotions comments of that stage.
        documents: long documents of the last stage.
        rehearsal: share of the short stage that the last stage sees again.
        longest_document: tokens of the longest document, about.
    """

    journals: int = 8_000
    lines: int = 1
    changed_lines: int = 2
    comments: int = 8_000
    documents: int = 150
    rehearsal: float = 0.1
    longest_document: int = 4000


NEUTRAL_TARGETS: Targets = targets(frozenset())

LABEL_EMOTIONS: Final = {"depressed": "sadness", "anxious": "fear"}
"""The emotion class of a synthetic entry with exactly this label; the others say nothing to stage 1."""

_LINES_IN_VOCABULARY = 3
_WORDS_FOR_TOKENS = 0.75
_WORDS_FOR_SENTENCE = 7


def emotion_rows(folder: Path, mix: TeacherMix, seed: int) -> list[Row]:
    """The teacher's stage 1, multi-class: comments whose one emotion class is known."""
    rng = random.Random(seed + 10)
    known = [row for row in goemotions_rows(folder) if row.emotion is not None]
    return [_typed(row, rng) for row in _sample(known, mix.emotion_comments, rng)]


def label_rows(folder: Path, mix: TeacherMix, seed: int) -> list[Row]:
    """The teacher's stage 2, multi-label: journals, hand-written lines and posts, comments."""
    rng = random.Random(seed)
    public = written_rows() * mix.lines + _sample(goemotions_rows(folder), mix.comments, rng)
    return journal_rows(mix.journals, seed) + [_typed(row, rng) for row in public]


def lesson_rows(folder: Path, mix: Mix, changer: WordChanger, seed: int) -> list[Row]:
    """What the student reads and the teacher judges: lines, posts and comments, and lines with other words.

    Of those with other words nothing is known but what the teacher says.
    """
    rng = random.Random(seed + 30)
    written = written_rows()
    known = written * mix.lines + _sample(goemotions_rows(folder), mix.comments, rng)
    changed = [Row(changer.changed(row.text)) for row in written * mix.changed_lines]
    return [_typed(row, rng) for row in known + changed]


def written_rows() -> list[Row]:
    """The hand-written lines and posts for training."""
    return [_line(line) for line in load_lines("train") + load_posts("train")]


def _typed(row: Row, rng: random.Random) -> Row:
    return replace(row, text=noisy(row.text, rng))


def _sample(rows: list[Row], count: int, rng: random.Random) -> list[Row]:
    return rng.sample(rows, min(count, len(rows)))


def vocabulary_texts(folder: Path, seed: int) -> list[str]:
    """What the tokenizer learns from: all that people wrote, and a little of the grammar, whose templates repeat."""
    people = [comment.text for comment in load_goemotions(folder, "train")]
    people += [line.text for line in load_lines("train") + load_posts("train")] * _LINES_IN_VOCABULARY
    return people + [entry.text for entry in entries("train", len(people) // 5, seed)]


def journal_rows(count: int, seed: int, neutral: bool = False) -> list[Row]:
    """``count`` synthetic journals, as people type; ``neutral`` asks for those alone that express nothing."""
    rng = random.Random(seed + 20)
    found = (entry for entry in endless_entries("train", seed) if not neutral or not entry.labels)
    return [_journal(entry, rng) for entry in itertools.islice(found, count)]


def _journal(entry: Entry, rng: random.Random) -> Row:
    emotion = LABEL_EMOTIONS.get(*entry.labels) if len(entry.labels) == 1 else None
    return Row(noisy(entry.text, rng), entry.targets, emotion, _mentions(entry.mentioned))


def _line(line: Sentence) -> Row:
    return Row(line.text, targets(line.expressed), mentions=_mentions(line.mentioned))


def _mentions(mentioned: frozenset[str]) -> tuple[float, ...]:
    return tuple(float(label in mentioned) for label in RISK_LABELS)


def goemotions_rows(folder: Path) -> list[Row]:
    """The training comments; those that say nothing about ``LABELS`` still teach their emotions."""
    names = load_emotions(folder)
    return [comment.row(names) for comment in load_goemotions(folder, "train")]


def long_rows(folder: Path, mix: Mix, seed: int) -> list[Row]:
    """Long documents."""
    return list(documents("train", neutral_comments(folder, "train"), mix, seed))


def neutral_comments(folder: Path, split: Split) -> list[str]:
    """The GoEmotions comments of a split that count as neutral."""
    return [row.text for row in load_goemotions(folder, split) if row.targets == NEUTRAL_TARGETS]


def documents(grammar: GrammarName, comments: Sequence[str], mix: Mix, seed: int) -> Iterator[Row]:
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
    writer = entry_writer(grammar, seed + 4)
    for _ in range(mix.documents):
        yield _document(writer, comments, rng, rng.uniform(150, mix.longest_document))


def _document(writer: EntryWriter, comments: Sequence[str], rng: random.Random, tokens: float) -> Row:
    """About ``tokens`` tokens, in passages of several sentences."""
    sentences = round(tokens * _WORDS_FOR_TOKENS / _WORDS_FOR_SENTENCE)
    labels = frozenset(rng.sample(RISK_LABELS, rng.choice((0, 0, 0, 1, 1, 2))))
    felt = round(sentences * rng.uniform(0.1, 0.6)) if labels else 0
    passages = _passages(writer.feelings(labels, felt) if labels else [], rng)
    passages += _passages(_calm(writer, comments, rng, sentences - felt, bool(labels)), rng)
    text = "\n\n".join(" ".join(passage) for passage in rng.sample(passages, len(passages)))
    return Row(noisy(text, rng), targets(labels))


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
