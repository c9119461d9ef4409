from __future__ import annotations

import math
from pathlib import Path

import pytest

from training.corpus import Mix, TeacherMix, documents, emotion_rows, label_rows, neutral_comments
from training.data import (
    Comment,
    Question,
    data_folder,
    load_counselchat,
    load_emotions,
    load_goemotions,
    training_files,
)
from training.errors import DataError


def test_a_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--data DIR"):
        data_folder(tmp_path / "nowhere")


def test_reads_goemotions(data: Path) -> None:
    first, second = load_goemotions(data, "dev")
    assert first == Comment("I feel sad", frozenset({"sadness"}))
    assert second.emotions == {"neutral"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("only text", r"train\.tsv:1: 1 columns"),
        ("text\tx\tid", r"train\.tsv:1: column 2 \(label ids\)"),
        ("text\t99\tid", r"from 0 to 27"),
        ("text\t-1\tid", r"column 2"),
        ("text\t\tid", r"column 2"),
    ],
)
def test_a_wrong_goemotions_line_names_file_line_and_column(data: Path, line: str, message: str) -> None:
    data.joinpath("goemotions", "train.tsv").write_text(line + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=message):
        load_goemotions(data, "train")


def test_an_error_never_quotes_the_text(data: Path) -> None:
    data.joinpath("goemotions", "train.tsv").write_text("my secret\tx\tid\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load_goemotions(data, "train")
    assert "secret" not in str(caught.value)


def test_training_names_the_file_that_is_missing(data: Path) -> None:
    assert len(training_files(data)) == 2
    data.joinpath("goemotions", "train.tsv").unlink()
    with pytest.raises(DataError, match=r"train\.tsv: no such file"):
        training_files(data)


def test_a_missing_emotion_is_named(data: Path) -> None:
    data.joinpath("goemotions", "labels.txt").write_text("joy\n", encoding="utf-8")
    with pytest.raises(DataError, match="grief"):
        load_emotions(data)


def test_a_missing_file_and_bytes_that_are_no_text(data: Path) -> None:
    data.joinpath("goemotions", "dev.tsv").unlink()
    with pytest.raises(DataError, match=r"dev\.tsv: no such file"):
        load_goemotions(data, "dev")
    data.joinpath("goemotions", "dev.tsv").write_bytes(b"ab\xff")
    with pytest.raises(DataError, match="not UTF-8 at byte 2"):
        load_goemotions(data, "dev")


def test_reads_counselchat_over_line_breaks(data: Path) -> None:
    first, second = load_counselchat(data)
    assert first == Question("1", "depression", "Why? I am low.\nEvery day.")
    assert (first.label, second.label) == ("depressed", None)


def test_a_missing_counselchat_column_is_named(data: Path) -> None:
    data.joinpath("counselchat_questions.csv").write_text("question_id,topic,title\n1,stress,x\n", encoding="utf-8")
    with pytest.raises(DataError, match="no column 'text'"):
        load_counselchat(data)


def test_an_empty_question_id_is_an_error(data: Path) -> None:
    data.joinpath("counselchat_questions.csv").write_text("question_id,topic,title,text\n,stress,x,y\n")
    with pytest.raises(DataError, match="question_id"):
        load_counselchat(data)


@pytest.mark.parametrize(
    ("text", "emotions", "expected"),
    [
        ("Nice", {"joy", "love"}, (1.0, 0.0, 0.0, 0.0)),
        ("I miss him", {"grief"}, (0.0, 1.0, 0.0, math.nan)),
        ("I'm scared", {"fear", "anger"}, (0.0, 0.0, 1.0, math.nan)),
        ("They are scared", {"fear"}, None),
        ("I'm sorry for you", {"sadness"}, None),
        ("What a mess", {"anger"}, None),
        ("Odd", {"neutral", "confusion"}, None),
    ],
)
def test_the_goemotions_map(text: str, emotions: set[str], expected: tuple[float, ...] | None) -> None:
    found = Comment(text, frozenset(emotions)).targets
    assert found == pytest.approx(expected, nan_ok=True)


def test_a_question_has_the_label_of_its_topic() -> None:
    assert Question("1", "anxiety", "x").label == "anxious"
    assert Question("2", "family-conflict", "x").label is None


def test_training_never_sees_a_question(data: Path) -> None:
    rows = "".join(f"{number},stress,t,question{number}\n" for number in range(50))
    data.joinpath("counselchat_questions.csv").write_text("question_id,topic,title,text\n" + rows, encoding="utf-8")
    mix = TeacherMix(journals=3, lines=1)
    texts = " ".join(row.text for row in emotion_rows(data, mix, seed=0) + label_rows(data, mix, seed=0))
    assert "question1" in {question.text.split()[-1] for question in load_counselchat(data)}
    assert "question1" not in texts


def test_documents_are_long_and_labelled_as_their_passages(data: Path) -> None:
    lines = "".join(f"Comment number {number}.\t27\tc{number}\n" for number in range(1000))
    data.joinpath("goemotions", "train.tsv").write_text(lines, encoding="utf-8")
    comments = neutral_comments(data, "train")
    found = list(documents("heldout", comments, Mix(documents=8), seed=0))
    assert found == list(documents("heldout", comments, Mix(documents=8), seed=0))
    assert max(len(row.text.split()) for row in found) > 1000
    assert all((row.targets[0] == 1.0) == (sum(row.targets[1:]) == 0.0) for row in found)
