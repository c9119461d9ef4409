"""Typed rows of the public data sets, and what they say about our labels.

GoEmotions (Demszky et al. 2020) knows 28 emotions but no stress; CounselChat knows topics. Both
are mapped where the mapping is plain and dropped where it is not. The GoEmotions test split and
the Pepys diary are never read for training.
"""

from __future__ import annotations

import csv
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from training.errors import DataError
from training.labels import RISK_LABELS, UNKNOWN, Targets, targets

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

TOPIC_TO_LABEL: Final = {"depression": "depressed", "anxiety": "anxious", "stress": "stressed"}
"""Other CounselChat topics name a situation, not a state of the writer: dropped."""

Split = Literal["train", "dev"]

_EMOTIONS_FILE: Final = "goemotions/labels.txt"
_GOEMOTIONS_FILE: Final = "goemotions/{}.tsv"
_COUNSELCHAT_FILE: Final = "counselchat_questions.csv"
_FIRST_PERSON: Final = re.compile(r"\b(i|im|i'm|ive|me|my|myself)\b", re.IGNORECASE)
_CONDOLENCE: Final = re.compile(r"\bsorry\b", re.IGNORECASE)
_HELD_OUT_FIFTH: Final = 5


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

    @property
    def targets(self) -> Targets | None:
        """The topic's label is certain and so is "not neutral"; the other risks are unknown."""
        if self.label is None:
            return None
        return (0.0, *(1.0 if label == self.label else UNKNOWN for label in RISK_LABELS))

    @property
    def held_out(self) -> bool:
        """Whether the question is kept for evaluation: one in five, by a hash of its id."""
        digest = hashlib.sha256(self.question_id.encode()).digest()
        return digest[0] % _HELD_OUT_FIFTH == 0


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
    paths = tuple(folder / name for name in (_EMOTIONS_FILE, _GOEMOTIONS_FILE.format("train"), _COUNSELCHAT_FILE))
    for path in paths:
        _require(path)
    return paths


def load_emotions(folder: Path) -> tuple[str, ...]:
    """The emotion names of GoEmotions in the order of their ids.

    Raises:
        DataError: the file is missing, or lacks a name that the mapping uses.
    """
    path = folder / _EMOTIONS_FILE
    names = tuple(_text(path).split())
    missing = sorted((CALM_EMOTIONS | EMOTION_TO_LABEL.keys()) - set(names))
    if missing:
        raise DataError(f"{path}: no emotion named {', '.join(missing)}; expected one GoEmotions name on each line")
    return names


def load_goemotions(folder: Path, split: Split) -> list[Comment]:
    """Read a split of GoEmotions: ``text<TAB>comma-separated label ids<TAB>comment id``.

    Raises:
        DataError: the file is missing, or a line has the wrong shape; it names file, line and column.
    """
    path = folder / _GOEMOTIONS_FILE.format(split)
    names = load_emotions(folder)
    lines = _text(path).split("\n")
    return [_comment(path, number, line, names) for number, line in enumerate(lines, start=1) if line]


def _comment(path: Path, number: int, line: str, names: tuple[str, ...]) -> Comment:
    columns = line.rstrip("\r").split("\t")
    if len(columns) != 3:
        raise DataError(f"{path}:{number}: {len(columns)} columns; expected text, label ids, comment id")
    ids = columns[1].split(",")
    if not all(item.isascii() and item.isdigit() and int(item) < len(names) for item in ids):
        raise DataError(f"{path}:{number}: column 2 (label ids) must hold numbers from 0 to {len(names) - 1}")
    return Comment(columns[0], frozenset(names[int(item)] for item in ids))


def load_counselchat(folder: Path) -> list[Question]:
    """Read the CounselChat questions; the text is the title and the question.

    Raises:
        DataError: the file is missing, or lacks a column; it names both.
    """
    path = folder / _COUNSELCHAT_FILE
    reader = csv.DictReader(_text(path).splitlines(keepends=True))
    for column in ("question_id", "topic", "title", "text"):
        if column not in (reader.fieldnames or ()):
            raise DataError(f"{path}: no column {column!r}; expected question_id, topic, title, text")
    return [_question(path, reader.line_num, row) for row in reader]


def _question(path: Path, line: int, row: dict[str, str | None]) -> Question:
    question_id, topic = row["question_id"], row["topic"]
    if not question_id or topic is None:
        raise DataError(f"{path}:{line}: column 'question_id' or 'topic' is empty")
    return Question(question_id, topic, f"{row['title'] or ''} {row['text'] or ''}".strip())


def _require(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"{path}: no such file; it comes with the data folder (--data DIR)")


def _text(path: Path) -> str:
    _require(path)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}") from error
