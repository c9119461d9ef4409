from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from training.data import CLASS_EMOTIONS, Comment, read_questions
from training.errors import DataError
from training.labels import LABELS
from training.rows import EMOTION_CLASSES, NOTHING_KNOWN, Row
from training.sources import SOURCES, SWMH, certain, source_table

SECRET = "my hidden words"
HEADERS = {"kaggle-emotions": "text,label", "swmh": "text,label", "suicide-detection": "text,class"}
LABEL_OF = {"kaggle-emotions": "4", "swmh": "self.Anxiety", "suicide-detection": "suicide"}
TABLES = sorted(HEADERS)
WITHOUT_CLASS = {"approval", "confusion", "curiosity", "desire", "disapproval", "embarrassment"}


def write(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8", newline="")
    return path


def table(path: Path, header: Sequence[str], *rows: Sequence[object]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def load(kind: str, path: Path) -> list[Row]:
    return SOURCES[kind].load(path)


def refusal(kind: str, path: Path) -> str:
    with pytest.raises(DataError) as caught:
        load(kind, path)
    message = str(caught.value)
    assert "\n" not in message
    assert SECRET not in message
    return message


def known(row: Row) -> dict[str, float]:
    return {label: value for label, value in zip(LABELS, row.targets, strict=True) if not math.isnan(value)}


def test_kaggle_emotions_numbers_stand_for_the_six_classes(tmp_path: Path) -> None:
    path = table(tmp_path / "text.csv", ("", "text", "label"), *((n, f"message {n}", n) for n in range(6)))
    rows = load("kaggle-emotions", path)
    assert [row.emotion for row in rows] == ["sadness", "joy", "love", "anger", "fear", "surprise"]
    assert all(not known(row) for row in rows)


def test_swmh_forums_say_only_what_is_certain(tmp_path: Path) -> None:
    labels = ("self.depression", "self.Anxiety", "self.bipolar", "self.SuicideWatch", "self.offmychest")
    table(tmp_path / "train.csv", ("text", "label"), *((f"post in {label}", label) for label in labels))
    assert [(row.text, known(row)) for row in load("swmh", tmp_path)] == [
        ("post in self.depression", {"neutral": 0, "depressed": 1}),
        ("post in self.Anxiety", {"neutral": 0, "anxious": 1}),
        ("post in self.SuicideWatch", {"neutral": 0, "depressed": 1}),
    ]


def test_swmh_reads_other_files_of_its_folder_only_where_they_are_named(tmp_path: Path) -> None:
    for name in ("train", "val", "test"):
        table(tmp_path / f"{name}.csv", ("text", "label"), (f"a post in {name}", "self.anxiety"))
    assert [row.text for row in load("swmh", tmp_path)] == ["a post in train"]
    assert [row.text for row in load("swmh", tmp_path / "test.csv")] == ["a post in test"]


def test_swmh_refuses_numbers_as_labels(tmp_path: Path) -> None:
    path = table(tmp_path / "train.csv", ("text", "label"), ("a post", "0"))
    assert refusal("swmh", path) == f"{path}:2: column 'label' must be one of {', '.join(SWMH)}"


def test_suicide_detection_leaves_open_whether_the_others_are_neutral(tmp_path: Path) -> None:
    path = table(tmp_path / "s.csv", ("", "text", "class"), (2, "no way out", "suicide"), (3, "ball", "non-suicide"))
    first, second = load("suicide-detection", path)
    assert known(first) == {"neutral": 0, "depressed": 1}
    assert known(second) == {"depressed": 0}


def test_goemotions_ids_follow_labels_txt(data: Path) -> None:
    folder = data / "goemotions"
    sad, neutral = load("goemotions", folder)
    assert (sad.emotion, neutral.emotion) == ("sadness", None)
    assert known(sad) == {"neutral": 0, "depressed": 1, "anxious": 0}
    assert known(neutral) == {"neutral": 1, "depressed": 0, "anxious": 0, "stressed": 0}
    assert [sad.comment_emotions.index(1), neutral.comment_emotions.index(1)] == [25, 27]

    names = (folder / "labels.txt").read_text().split()
    write(folder / "labels.txt", "\n".join(reversed(names)))
    assert names[-1 - 25] == "anger"
    assert load("goemotions", folder / "dev.tsv")[0].emotion == "anger"


@pytest.mark.parametrize(
    ("emotions", "expected"),
    [
        ({"grief", "sadness"}, "sadness"),
        ({"joy", "approval"}, "joy"),
        ({"joy", "love"}, None),
        ({"anger", "neutral"}, None),
        ({"confusion"}, None),
    ],
)
def test_a_comment_has_an_emotion_class_where_exactly_one_results(emotions: set[str], expected: str | None) -> None:
    assert Comment("x", frozenset(emotions)).emotion == expected


def test_every_class_emotion_stands_for_one_class() -> None:
    names = [name for names in CLASS_EMOTIONS.values() for name in names]
    assert tuple(CLASS_EMOTIONS) == EMOTION_CLASSES
    assert len(set(names)) == len(names) == 28 - len({"neutral"}) - len(WITHOUT_CLASS)
    assert WITHOUT_CLASS.isdisjoint(names)


def test_a_comment_that_says_nothing_about_the_labels_still_teaches_its_emotions(data: Path) -> None:
    write(data / "goemotions" / "train.tsv", "What a mess\t2\tc1\n")
    [row] = load("goemotions", data / "goemotions")
    assert row.targets is NOTHING_KNOWN
    assert (row.emotion, sum(row.comment_emotions)) == ("anger", 1)


def test_an_emotion_that_stands_twice_makes_the_ids_uncertain(data: Path) -> None:
    with (data / "goemotions" / "labels.txt").open("a") as stream:
        stream.write("joy\n")
    assert "labels.txt: an emotion is there twice" in refusal("goemotions", data / "goemotions")


def test_counselchat_keeps_the_topics_that_name_a_state(data: Path) -> None:
    [row] = load("counselchat", data / "counselchat_questions.csv")
    assert (row.text, known(row)) == ("Why? I am low.\nEvery day.", {"neutral": 0, "depressed": 1})


def test_a_counselchat_question_under_several_topics_is_one_row_with_all_that_is_certain(tmp_path: Path) -> None:
    path = table(
        tmp_path / "c.csv",
        ("question_id", "topic", "title", "text"),
        (1, "anxiety", "Help", "I worry."),
        (2, "depression", "help", "I  worry."),
        (3, "diagnosis", "Help", "I worry."),
        (4, "stress", "Rush", "No time."),
    )
    assert [(row.text, known(row)) for row in load("counselchat", path)] == [
        ("Help I worry.", {"neutral": 0, "depressed": 1, "anxious": 1}),
        ("Rush No time.", {"neutral": 0, "stressed": 1}),
    ]


def test_counselchat_is_read_as_released_with_a_row_for_each_answer(tmp_path: Path) -> None:
    header = ("", "questionID", "questionTitle", "questionText", "questionLink", "topic", "answerText")
    answers = [(n, 7, "Why?", "So tense.", "link", "anxiety", f"answer {n}") for n in range(3)]
    path = table(tmp_path / "c.csv", header, *answers)
    assert len(read_questions(path)) == 3
    assert [(row.text, known(row)) for row in load("counselchat", path)] == [
        ("Why? So tense.", {"neutral": 0, "anxious": 1})
    ]


def test_labelled_derives_neutral_only_where_all_risk_labels_are_known(tmp_path: Path) -> None:
    path = write(
        tmp_path / "own.csv",
        "text,neutral,depressed,anxious,stressed,author\na,,0,0,0,x\nb,,1,0,0,x\nc,,0,,0,\nd,0,0,0,0,y\ne,,,,,y\n",
    )
    rows = load("labelled", path)
    assert [(row.text, known(row), row.group) for row in rows] == [
        ("a", {"neutral": 1, "depressed": 0, "anxious": 0, "stressed": 0}, "x"),
        ("b", {"neutral": 0, "depressed": 1, "anxious": 0, "stressed": 0}, "x"),
        ("c", {"depressed": 0, "stressed": 0}, None),
        ("d", {"neutral": 0, "depressed": 0, "anxious": 0, "stressed": 0}, "y"),
    ]


def test_labelled_reads_json_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "own.jsonl", '{"text": "a", "labels": ["anxious"]}\n{"text": "b", "stressed": true}\n')
    first, second = load("labelled", path)
    assert known(first) == {"neutral": 0, "depressed": 0, "anxious": 1, "stressed": 0}
    assert known(second) == {"stressed": 1}


def test_labelled_refuses_neutral_beside_a_risk_label(tmp_path: Path) -> None:
    path = write(tmp_path / "own.csv", f"text,neutral,anxious\nfine,1,0\n{SECRET},1,1\n")
    assert refusal("labelled", path) == f"{path}:3: both neutral and anxious; neutral excludes the others"


def test_labelled_speaks_of_wrong_files_as_the_other_kinds_do(tmp_path: Path) -> None:
    path = write(tmp_path / "own.csv", f"text,anxious\n{SECRET},perhaps\n")
    assert f"{path}:2: column 'anxious'" in refusal("labelled", path)
    assert "no such file" in refusal("labelled", tmp_path / "none.csv")


@pytest.mark.parametrize("kind", sorted(SOURCES))
def test_a_path_at_which_nothing_is_is_named(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "nothing.csv"
    assert refusal(kind, path) == f"{path}: no such file"


@pytest.mark.parametrize("kind", ["goemotions", "swmh"])
def test_a_folder_without_the_training_file_names_it(kind: str, tmp_path: Path) -> None:
    assert "train." in refusal(kind, tmp_path)


@pytest.mark.parametrize("kind", TABLES)
def test_a_missing_column_names_those_expected_and_those_found(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", f"statement,status\n{SECRET},1\n")
    expected = HEADERS[kind].replace(",", ", ")
    assert refusal(kind, path) == f"{path}: no column 'text'; expected {expected}; found statement, status"


def test_a_file_without_a_header_does_not_give_away_its_first_text(tmp_path: Path) -> None:
    assert "no column 'text'" in refusal("swmh", write(tmp_path / "t.csv", f"{SECRET},self.Anxiety\n"))


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    assert "column 'text' is there twice" in refusal("swmh", write(tmp_path / "t.csv", "text,text,label\na,b,c\n"))


@pytest.mark.parametrize("kind", TABLES)
def test_an_unknown_label_names_file_and_line(kind: str, tmp_path: Path) -> None:
    first = f'"two\nlines",{LABEL_OF[kind]}'
    path = write(tmp_path / "t.csv", f"{HEADERS[kind]}\n{first}\nplain,{SECRET}\n")
    assert refusal(kind, path).startswith(f"{path}:4: column ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        ("\n", "empty"),
        ("text,label\n", "no row with a text"),
        ("text,label\n,\n\n", "no row with a text"),
        ("text,label\nx,self.bipolar\n", "no row with a text"),
    ],
)
def test_a_file_without_a_usable_row_is_refused(content: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", content)
    assert refusal("swmh", path).startswith(f"{path}: {message}")


def test_rows_without_text_are_left_out(tmp_path: Path) -> None:
    path = table(
        tmp_path / "t.csv", ("text", "label"), ("", "self.Anxiety"), (" \n", "self.Anxiety"), ("x", "self.Anxiety")
    )
    assert [row.text for row in load("swmh", path)] == ["x"]


@pytest.mark.parametrize("kind", TABLES)
def test_bytes_that_are_no_utf8_are_placed(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    start = f"{HEADERS[kind]}\n".encode() + b"a fine day," + LABEL_OF[kind].encode() + b"\n"
    path.write_bytes(start + b"caf\xe9," + LABEL_OF[kind].encode() + b"\n")
    assert refusal(kind, path) == f"{path}: not UTF-8 at byte {len(start) + 3}; save it as UTF-8"


def test_utf16_as_excel_may_write_it_is_no_utf8(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("text,label\na,self.Anxiety\n", encoding="utf-16")
    assert "not UTF-8 at byte 0" in refusal("swmh", path)


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes('text,label\r\n"He said ""hm"",\r\nand left",self.Anxiety\r\n'.encode("utf-8-sig"))
    [row] = load("swmh", path)
    assert row.text == 'He said "hm",\r\nand left'


def test_a_post_may_be_longer_than_the_csv_module_takes_by_itself(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    path = table(tmp_path / "t.csv", ("text", "label"), ("long " * 100_000, "self.Anxiety"))
    [row] = load("swmh", path)
    assert len(row.text) == 500_000
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a,b,self.Anxiety", ":3: 3 columns, but the header has 2"),
        ("self.Anxiety", ":3: 1 columns, but the header has 2"),
        (f'"{SECRET},self.Anxiety', ":3: broken quotes"),
        (f'"{SECRET}" and,self.Anxiety', ":3: broken quotes"),
    ],
)
def test_a_row_of_the_wrong_shape_names_its_line(line: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", f"text,label\nfine,self.Anxiety\n{line}\n")
    assert f"{path}{message}" in refusal("swmh", path)


def test_the_table_of_kinds_says_what_each_label_means() -> None:
    text = source_table()
    for kind in SOURCES:
        assert f"{kind}: " in text
    lines = [line.split() for line in text.splitlines()]
    assert ["self.depression", "neutral", "0,", "depressed", "1"] in lines
    assert ["self.bipolar", "left", "out"] in lines
    assert ["non-suicide", "depressed", "0"] in lines
    assert ["3", "emotion", "anger"] in lines


def test_certain_leaves_the_rest_unknown() -> None:
    assert certain(neutral=0, anxious=1) == pytest.approx((0.0, math.nan, 1.0, math.nan), nan_ok=True)
