"""Typed rows of the public data sets, and what they say about our labels.

GoEmotions (Demszky et al. 2020) knows 28 emotions but no stress; CounselChat knows topics. Both
are mapped where the mapping is plain and dropped where it is not. The GoEmotions test split and
the Pepys diary are never read for training.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from training.errors import DataError
from training.labels import UNKNOWN, Targets, targets
from training.rows import NOTHING_KNOWN, Row
from training.tables import read_text, require_file, table_header, table_rows

DEFAULT_DATA: Final = Path(__file__).resolve().parents[2] / "shared" / "data"

EMOTION_TO_LABEL: Final = {
    "sadness": "depressed",
    "grief": "depressed",
    "fear": "anxious",
    "nervousness": "anxious",
}
CALM_EMOTIONS: Final = frozenset(
    {
        "neutral",
        "admiration",
        "amusement",
        "approval",
        "caring",
        "curiosity",
        "desire",
        "excitement",
        "gratitude",
        "joy",
        "love",
        "optimism",
        "pride",
        "realization",
        "relief",
        "surprise",
    }
)
"""Emotions that leave a comment neutral. The others (anger, annoyance, confusion, disappointment,
disapproval, disgust, embarrassment, remorse) say neither neutral nor one of our labels: dropped."""

CLASS_EMOTIONS: Final = {
    "sadness": ("sadness", "grief", "disappointment", "remorse"),
    "joy": ("joy", "amusement", "excitement", "gratitude", "optimism", "pride", "relief", "admiration"),
    "love": ("love", "caring"),
    "anger": ("anger", "annoyance", "disgust"),
    "fear": ("fear", "nervousness"),
    "surprise": ("surprise", "realization"),
}
"""Which of the 28 emotions stand for each of ``EMOTION_CLASSES``: the grouping by Ekman's emotions of
Demszky et al. 2020, with love apart from joy and disgust beside anger. What that grouping only squeezes in stands
for none: approval, confusion, curiosity, desire, disapproval, embarrassment."""

EMOTION_TO_CLASS: Final = {name: one_of_six for one_of_six, names in CLASS_EMOTIONS.items() for name in names}

TOPIC_TO_LABEL: Final = {"depression": "depressed", "anxiety": "anxious", "stress": "stressed"}
"""Other CounselChat topics name a situation, not a state of the writer: dropped."""

Split = Literal["train", "dev"]

_EMOTIONS_FILE: Final = "goemotions/labels.txt"
_GOEMOTIONS_FILE: Final = "goemotions/{}.tsv"
_COUNSELCHAT_FILE: Final = "counselchat_questions.csv"
_COUNSELCHAT_COLUMNS: Final = ("question_id", "topic", "title", "text")
_RELEASED_COLUMNS: Final = ("questionID", "topic", "questionTitle", "questionText")
_IN_DATA_FOLDER: Final = "; it comes with the data folder (--data DIR)"
_FIRST_PERSON: Final = re.compile(r"\b(i|im|i'm|ive|me|my|myself)\b", re.IGNORECASE)
_CONDOLENCE: Final = re.compile(r"\bsorry\b", re.IGNORECASE)


@dataclass(frozen=True)
class Comment:
    """A GoEmotions row: a Reddit comment and the names of its emotions."""

    text: str
    emotions: frozenset[str]

    @property
    def targets(self) -> Targets | None:
        """What the emotions say about ``LABELS``; ``None`` where they are ambiguous.

        A risk label counts only where the writer speaks of themselves: much of the sadness in
        GoEmotions is condolence ("sorry to hear that"). Stress is unknown beside a risk label.
        """
        if self.emotions <= CALM_EMOTIONS:
            return targets(frozenset())
        labels = frozenset(EMOTION_TO_LABEL[name] for name in self.emotions if name in EMOTION_TO_LABEL)
        if not labels or not _FIRST_PERSON.search(self.text) or _CONDOLENCE.search(self.text):
            return None
        return (*targets(labels)[:-1], UNKNOWN)

    @property
    def emotion(self) -> str | None:
        """The one of ``EMOTION_CLASSES`` that the emotions stand for; ``None`` where that is not exactly one."""
        if "neutral" in self.emotions:
            return None
        classes = {EMOTION_TO_CLASS[name] for name in self.emotions if name in EMOTION_TO_CLASS}
        return classes.pop() if len(classes) == 1 else None

    def row(self, names: Sequence[str]) -> Row:
        """All that is known of the comment; ``names`` are the 28 emotions in the order of their ids."""
        present = tuple(float(name in self.emotions) for name in names)
        return Row(self.text, self.targets or NOTHING_KNOWN, self.emotion, comment_emotions=present)


@dataclass(frozen=True)
class Question:
    """A CounselChat row: a question put to counsellors under one topic."""

    question_id: str
    topic: str
    text: str

    @property
    def label(self) -> str | None:
        """The risk label of the topic, ``None`` where it has none."""
        return TOPIC_TO_LABEL.get(self.topic)


def data_folder(path: Path | None) -> Path:
    """The folder to read data from: ``path``, or the default beside the repository.

    Raises:
        DataError: there is no such folder.
    """
    folder = path or DEFAULT_DATA
    if not folder.is_dir():
        raise DataError(
            f"no data folder at {folder}: pass --data DIR with a folder that holds "
            "goemotions/train.tsv, goemotions/dev.tsv, goemotions/labels.txt and counselchat_questions.csv"
        )
    return folder


def training_files(folder: Path) -> tuple[Path, ...]:
    """The files that training reads.

    Raises:
        DataError: one of them is missing.
    """
    paths = tuple(folder / name for name in (_EMOTIONS_FILE, _GOEMOTIONS_FILE.format("train")))
    for path in paths:
        require_file(path, _IN_DATA_FOLDER)
    return paths


def load_emotions(folder: Path) -> tuple[str, ...]:
    """The emotion names of GoEmotions in the data folder; see ``read_emotions``."""
    path = folder / _EMOTIONS_FILE
    require_file(path, _IN_DATA_FOLDER)
    return read_emotions(path)


def load_goemotions(folder: Path, split: Split) -> list[Comment]:
    """A split of GoEmotions in the data folder; see ``read_comments``."""
    path = folder / _GOEMOTIONS_FILE.format(split)
    require_file(path, _IN_DATA_FOLDER)
    return read_comments(path, load_emotions(folder))


def load_counselchat(folder: Path) -> list[Question]:
    """The CounselChat questions in the data folder; see ``read_questions``."""
    path = folder / _COUNSELCHAT_FILE
    require_file(path, _IN_DATA_FOLDER)
    return read_questions(path)


def read_emotions(path: Path) -> tuple[str, ...]:
    """Read the emotion names of GoEmotions, one on each line in the order of their ids.

    Raises:
        DataError: the file is missing, lacks a name that the mapping uses, or has one twice.
    """
    names = tuple(read_text(path).split())
    missing = sorted((CALM_EMOTIONS | EMOTION_TO_LABEL.keys() | EMOTION_TO_CLASS.keys()) - set(names))
    if missing:
        raise DataError(f"{path}: no emotion named {', '.join(missing)}; expected one GoEmotions name on each line")
    if len(set(names)) < len(names):
        raise DataError(f"{path}: an emotion is there twice, so the ids are not certain")
    return names


def read_comments(path: Path, names: Sequence[str]) -> list[Comment]:
    """Read a file of GoEmotions: ``text<TAB>comma-separated label ids<TAB>comment id``.

    Args:
        path: the file.
        names: of the emotions, in the order of their ids.

    Raises:
        DataError: the file is missing, or a line has the wrong shape; it names file, line and column.
    """
    lines = read_text(path).split("\n")
    return [_comment(path, number, line, names) for number, line in enumerate(lines, start=1) if line]


def _comment(path: Path, number: int, line: str, names: Sequence[str]) -> Comment:
    columns = line.rstrip("\r").split("\t")
    if len(columns) != 3:
        raise DataError(f"{path}:{number}: {len(columns)} columns; expected text, label ids, comment id")
    ids = columns[1].split(",")
    if not all(item.isascii() and item.isdigit() and int(item) < len(names) for item in ids):
        raise DataError(f"{path}:{number}: column 2 (label ids) must hold numbers from 0 to {len(names) - 1}")
    return Comment(columns[0], frozenset(names[int(item)] for item in ids))


def read_questions(path: Path) -> list[Question]:
    """Read the CounselChat questions; the text is the title and the question.

    The release has a row for each answer, so its questions occur more than once.

    Raises:
        DataError: the file is missing, lacks a column or an id; it names file, line and column.
    """
    released = set(_RELEASED_COLUMNS) <= set(table_header(path))
    columns = _RELEASED_COLUMNS if released else _COUNSELCHAT_COLUMNS
    return [_question(f"{path}:{line}", columns[0], *values) for line, values in table_rows(path, columns)]


def _question(where: str, id_column: str, question_id: str, topic: str, title: str, text: str) -> Question:
    if not question_id:
        raise DataError(f"{where}: column {id_column!r} is empty")
    return Question(question_id, topic, f"{title} {text}".strip())
