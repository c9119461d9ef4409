"""Labelled files that a user can obtain, and what their labels say about ours.

Each kind of file has a loader, which reads it as it is published. A label says only what is
certain: a post in a forum about depression says nothing about anxiety. Rows without text and rows
whose label is mapped to nothing are left out; a label that is not known is an error.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from export.labelled import LabelledDataError, LabelledRow, normalised, read_labelled
from training.data import (
    CALM_EMOTIONS,
    EMOTION_TO_CLASS,
    EMOTION_TO_LABEL,
    TOPIC_TO_LABEL,
    read_comments,
    read_emotions,
    read_questions,
)
from training.errors import DataError
from training.labels import LABELS, NEUTRAL, RISK_LABELS, UNKNOWN, Targets
from training.rows import EMOTION_CLASSES, NOTHING_KNOWN, Row
from training.tables import require_file, table_rows

_TRAINING_CSV: Final = "train.csv"
_TRAINING_TSV: Final = "train.tsv"
_EMOTIONS: Final = "labels.txt"


@dataclass(frozen=True)
class Source:
    """A kind of labelled file.

    Attributes:
        summary: what it is, in a line.
        reads: what the path must be.
        origin: where a user obtains it, and under which terms.
        labels: what each of its labels is taken to say, in words.
        load: the rows at a path; raises ``DataError`` in one line, which never quotes a text.
    """

    summary: str
    reads: str
    origin: str
    labels: Mapping[str, str]
    load: Callable[[Path], list[Row]]


@dataclass(frozen=True)
class Meaning:
    """What a label of a source says; where it says nothing, its rows are left out."""

    targets: Targets = NOTHING_KNOWN
    emotion: str | None = None

    @property
    def empty(self) -> bool:
        """Whether it says nothing."""
        return self.emotion is None and not any(value == value for value in self.targets)

    def __str__(self) -> str:
        known = [f"{label} {value:.0f}" for label, value in zip(LABELS, self.targets, strict=True) if value == value]
        emotion = [] if self.emotion is None else [f"emotion {self.emotion}"]
        return ", ".join(emotion + known) or "left out"


def certain(**known: float) -> Targets:
    """Targets of which only ``known`` are: 0 or 1 for each label that is named."""
    return tuple(float(known.get(label, UNKNOWN)) for label in LABELS)


KAGGLE_EMOTIONS: Final = {str(number): Meaning(emotion=name) for number, name in enumerate(EMOTION_CLASSES)}
"""By the numbers of the data card; see ``EMOTION_CLASSES``."""

SWMH: Final = {
    "self.depression": Meaning(certain(neutral=0, depressed=1)),
    "self.Anxiety": Meaning(certain(neutral=0, anxious=1)),
    "self.SuicideWatch": Meaning(certain(neutral=0, depressed=1)),
    "self.bipolar": Meaning(),
    "self.offmychest": Meaning(),
}
"""A label is the forum that the post stands in. Who asks for help in a forum about one state is in
that state, whatever else they may be in. Bipolar disorder is none of ours, neither as a label nor
as its absence, and people get anything off their chest."""

SUICIDE_DETECTION: Final = {
    "suicide": Meaning(certain(neutral=0, depressed=1)),
    "non-suicide": Meaning(certain(depressed=0)),
}
"""The others come from a forum of teenagers: not depressed by and large, but not neutral for that."""


def load_kaggle_emotions(path: Path) -> list[Row]:
    """Short messages with one of six emotions: a CSV with ``text`` and ``label`` by ``KAGGLE_EMOTIONS``."""
    return _mapped(path, "label", KAGGLE_EMOTIONS)


def load_swmh(path: Path) -> list[Row]:
    """Forum posts: ``train.csv`` of a folder, or a CSV file, with ``text`` and ``label`` by ``SWMH``.

    ``val.csv`` and ``test.csv`` are read only where the path names them. Numbers as labels are
    refused: the release knows names alone, and who numbered them chose the order.
    """
    return _mapped(path / _TRAINING_CSV if path.is_dir() else path, "label", SWMH)


def load_suicide_detection(path: Path) -> list[Row]:
    """Forum posts: a CSV with ``text`` and ``class`` by ``SUICIDE_DETECTION``."""
    return _mapped(path, "class", SUICIDE_DETECTION)


def load_goemotions_file(path: Path) -> list[Row]:
    """Comments with 28 emotions: ``train.tsv`` of a folder, or a TSV file; ``labels.txt`` stands beside it."""
    file = path / _TRAINING_TSV if path.is_dir() else path
    require_file(file)
    names = read_emotions(file.with_name(_EMOTIONS))
    rows = [comment.row(names) for comment in read_comments(file, names) if comment.text.strip()]
    return _usable(rows, file)


def load_counselchat_file(path: Path) -> list[Row]:
    """Questions to counsellors; a question that stands under several topics is one row with what all of them say."""
    texts: dict[str, str] = {}
    labels: defaultdict[str, set[str]] = defaultdict(set)
    for question in read_questions(path):
        if question.label is not None and question.text:
            key = normalised(question.text)
            texts.setdefault(key, question.text)
            labels[key].add(question.label)
    return _usable([Row(text, _topics(labels[key])) for key, text in texts.items()], path)


def load_labelled(path: Path) -> list[Row]:
    """Anybody's file with a text and our labels; see ``export.labelled.read_labelled``.

    ``neutral`` is what the file says, else it follows where all the risk labels are known.
    """
    try:
        rows = read_labelled(path, LABELS).rows
    except LabelledDataError as error:
        raise DataError(str(error)) from error
    return _usable([Row(row.text, _stated(path, row), group=row.group) for row in rows if row.targets], path)


def _mapped(path: Path, column: str, meanings: Mapping[str, Meaning]) -> list[Row]:
    by_name = {name.casefold(): meaning for name, meaning in meanings.items()}
    rows = []
    for line, (text, label) in table_rows(path, ("text", column)):
        meaning = by_name.get(label.strip().casefold())
        if meaning is None:
            raise DataError(f"{path}:{line}: column {column!r} must be one of {', '.join(meanings)}")
        if not meaning.empty and text.strip():
            rows.append(Row(text, meaning.targets, meaning.emotion))
    return _usable(rows, path)


def _topics(labels: Iterable[str]) -> Targets:
    return certain(neutral=0, **dict.fromkeys(labels, 1.0))


def _stated(path: Path, row: LabelledRow) -> Targets:
    known = {label: float(holds) for label, holds in row.targets.items()}
    expressed = [label for label in RISK_LABELS if known.get(label)]
    if known.get(NEUTRAL) and expressed:
        raise DataError(f"{path}:{row.row}: both {NEUTRAL} and {expressed[0]}; {NEUTRAL} excludes the others")
    if known.keys() >= set(RISK_LABELS):
        known.setdefault(NEUTRAL, float(not expressed))
    return certain(**known)


def _usable(rows: list[Row], path: Path) -> list[Row]:
    if not rows:
        raise DataError(f"{path}: no row with a text and a label that says anything")
    return rows


def _in_words(meanings: Mapping[str, Meaning]) -> Mapping[str, str]:
    return {name: str(meaning) for name, meaning in meanings.items()}


def _comment_labels() -> Mapping[str, str]:
    """What each emotion says, as ``training.data.Comment`` reads it."""
    names = sorted((CALM_EMOTIONS | EMOTION_TO_CLASS.keys()) - {NEUTRAL})
    return {name: _comment_label(name) for name in [NEUTRAL, *names]} | {"others": "themselves alone"}


def _comment_label(name: str) -> str:
    parts = [f"emotion {EMOTION_TO_CLASS[name]}"] if name in EMOTION_TO_CLASS else []
    if name in EMOTION_TO_LABEL:
        parts.append(f"in the first person neutral 0, {EMOTION_TO_LABEL[name]} 1")
    if name in CALM_EMOTIONS:
        parts.append("among such alone neutral 1, the others 0")
    return "; ".join(parts)


def _topic_labels() -> Mapping[str, str]:
    known = {topic: str(Meaning(_topics([label]))) for topic, label in TOPIC_TO_LABEL.items()}
    return known | {"other topics": "left out"}


SOURCES: Final[Mapping[str, Source]] = MappingProxyType(
    {
        "kaggle-emotions": Source(
            summary="about 417,000 short English messages with one of six emotions (Saravia et al. 2018)",
            reads="a CSV with the columns text and label",
            origin="kaggle.com/datasets/nelgiriyewithana/emotions (text.csv); for research and education, see its page",
            labels=_in_words(KAGGLE_EMOTIONS),
            load=load_kaggle_emotions,
        ),
        "goemotions": Source(
            summary="58,000 English Reddit comments with 28 emotions (Demszky et al. 2020)",
            reads="a folder with train.tsv and labels.txt, or a TSV (text, ids, comment id) with labels.txt beside it",
            origin="github.com/google-research/google-research (goemotions; emotions.txt is labels.txt), Apache-2.0",
            labels=_comment_labels(),
            load=load_goemotions_file,
        ),
        "counselchat": Source(
            summary="questions put to licensed counsellors, by topic",
            reads="a CSV with questionID, topic, questionTitle and questionText, or question_id, topic, title and text",
            origin="github.com/nbertagnolli/counsel-chat (data/20200325_counsel_chat.csv), MIT",
            labels=_topic_labels(),
            load=load_counselchat_file,
        ),
        "swmh": Source(
            summary="54,000 English Reddit posts from forums about mental health (Ji et al. 2022)",
            reads="a folder with train.csv, or a CSV with the columns text and label",
            origin="huggingface.co/datasets/AIMH/SWMH or doi.org/10.5281/zenodo.6476179, on request, CC BY-NC 4.0",
            labels=_in_words(SWMH),
            load=load_swmh,
        ),
        "suicide-detection": Source(
            summary="232,000 English Reddit posts, half of them from SuicideWatch, half from teenagers",
            reads="a CSV with the columns text and class",
            origin="kaggle.com/datasets/nikhileswarkomati/suicide-watch (Suicide_Detection.csv); terms on its page",
            labels=_in_words(SUICIDE_DETECTION),
            load=load_suicide_detection,
        ),
        "labelled": Source(
            summary="your own texts with our labels",
            reads=f"a CSV, TSV or JSONL file with text, any of {', '.join(LABELS)}, and group, author or thread",
            origin="whoever labelled them",
            labels={"0, no, false": "the label does not hold", "1, yes, true": "it holds", "empty": "not known"},
            load=load_labelled,
        ),
    }
)
"""Every kind of file that training reads, by name."""


def source_table() -> str:
    """The kinds with all that a user needs to know of them, for a terminal."""
    return "\n\n".join(_entry(kind, source) for kind, source in SOURCES.items())


def _entry(kind: str, source: Source) -> str:
    width = max(map(len, source.labels))
    labels = [f"    {name:<{width}}  {meaning}" for name, meaning in source.labels.items()]
    return "\n".join([f"{kind}: {source.summary}", f"  reads  {source.reads}", f"  from   {source.origin}", *labels])
