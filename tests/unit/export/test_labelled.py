from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.labelled import LabelledDataError, LabelledRow, normalised, read_labelled

LABELS = ("neutral", "depressed", "anxious")
CANARY = "QxZ73 nobody may read this"


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_table_says_what_holds_what_does_not_and_leaves_out_the_rest(tmp_path: Path) -> None:
    content = 'text,depressed,other,anxious,author\n"one, two",1,x,,ann\nb,no,,TRUE,\n'
    file = read_labelled(write(tmp_path, "d.csv", content), LABELS)

    assert file.rows == (
        LabelledRow("one, two", {"depressed": True}, "ann", 2),
        LabelledRow("b", {"depressed": False, "anxious": True}, None, 3),
    )
    assert file.sha256 == hashlib.sha256(content.encode()).hexdigest()


def test_a_row_is_named_by_the_line_at_which_it_begins(tmp_path: Path) -> None:
    file = read_labelled(write(tmp_path, "d.csv", 'text,anxious\r\n"a\r\nb",1\r\n\r\nc,0\r\n'), LABELS)

    assert [(row.text, row.row) for row in file.rows] == [("a\r\nb", 2), ("c", 5)]


def test_tabs_part_the_columns_of_a_tsv_and_a_byte_order_mark_is_no_part_of_the_header(tmp_path: Path) -> None:
    file = read_labelled(write(tmp_path, "d.TSV", "\ufefftext\tanxious\na, b\tyes\n"), LABELS)

    assert file.rows == (LabelledRow("a, b", {"anxious": True}, None, 2),)


def test_a_journal_longer_than_the_csv_module_likes_is_read_whole(tmp_path: Path) -> None:
    text = "word " * 60_000
    (row,) = read_labelled(write(tmp_path, "d.csv", f"text,anxious\n{text},1\n"), LABELS).rows

    assert row.text == text


def test_json_lines_state_every_label_by_a_list_or_some_by_keys(tmp_path: Path) -> None:
    lines = [
        {"text": "a", "labels": ["anxious"], "thread": 7},
        {"text": "b", "depressed": 1, "anxious": None, "note": "x"},
        {"text": "c", "labels": []},
    ]
    content = "\n\n".join(json.dumps(line) for line in lines)
    file = read_labelled(write(tmp_path, "d.jsonl", content), LABELS)

    assert file.rows == (
        LabelledRow("a", {"neutral": False, "depressed": False, "anxious": True}, "7", 1),
        LabelledRow("b", {"depressed": True}, None, 3),
        LabelledRow("c", dict.fromkeys(LABELS, False), None, 5),
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.xlsx", "x", "d.xlsx: give a .csv, .tsv or .jsonl file"),
        ("d.csv", "", "d.csv: the file is empty"),
        ("d.csv", " \n", "d.csv: the file is empty"),
        ("d.csv", "text,anxious\n", "d.csv: there are no rows"),
        ("d.csv", "body,anxious\na,1\n", "d.csv:1: no column 'text'"),
        ("d.csv", "text,joy\na,1\n", "d.csv:1: no column is named as one of the model's labels .*another checkpoint"),
        ("d.csv", "text,anxious,anxious\na,1,1\n", "d.csv:1: column 'anxious' is there twice"),
        ("d.csv", "text,anxious,Depressed\na,1,0\n", "d.csv:1: column 'Depressed' is probably meant to be 'depressed'"),
        ("d.csv", "text,anxious, depressed\na,1,0\n", "d.csv:1: column ' depressed' is probably meant"),
        ("d.csv", "Text,anxious\na,1\n", "d.csv:1: column 'Text' is probably meant to be 'text'"),
        ("d.csv", "text,anxious,author,thread\na,1,x,y\n", "d.csv:1: author and thread both say"),
        ("d.csv", f"text,anxious\na,1\nb,{CANARY}\n", "d.csv:3: column 'anxious' must be 0, 1, true"),
        ("d.csv", "text,anxious\n  ,1\n", "d.csv:2: 'text' is empty"),
        ("d.csv", f"text,anxious\n{CANARY}\n", "d.csv:2: 1 columns, but the header has 2"),
        ("d.csv", f'text,anxious\n"{CANARY},1\n', "d.csv:2: broken quoting"),
        ("d.csv", "text,anxious\na,\n", "d.csv: no row says anything about neutral, depressed, anxious"),
        ("d.csv", b"text,anxious\na,1\n\xff,1\n", r"d.csv:3: not UTF-8 \(byte 17 of the file\)"),
        ("d.jsonl", f'{{"text": "{CANARY}"', "d.jsonl:1: not JSON"),
        ("d.jsonl", f'["{CANARY}"]', "d.jsonl:1: not a JSON object"),
        ("d.jsonl", '{"labels": ["anxious"]}', "d.jsonl:1: no key 'text'"),
        ("d.jsonl", '{"text": 3, "labels": []}', "d.jsonl:1: 'text' must be a text"),
        ("d.jsonl", '{"text": "\\ud800", "labels": []}', "d.jsonl:1: 'text' holds an unpaired surrogate"),
        ("d.jsonl", '{"text": "a", "text": "b", "labels": []}', "d.jsonl:1: a key is there twice"),
        ("d.jsonl", '{"text": "a", "labels": "anxious"}', "d.jsonl:1: 'labels' must be a list of names"),
        ("d.jsonl", '{"text": "a", "labels": ["sad"]}', "d.jsonl:1: 'labels' names sad, which is none of neutral"),
        ("d.jsonl", f'{{"text": "a", "labels": ["{CANARY}"]}}', "d.jsonl:1: 'labels' names"),
        ("d.jsonl", '{"text": "a", "labels": [], "anxious": 1}', "d.jsonl:1: 'labels' states every label"),
        ("d.jsonl", '{"text": "a", "anxious": 0.5}', "d.jsonl:1: key 'anxious' must be 0, 1, true, false or null"),
        ("d.jsonl", '{"text": "a", "Anxious": 1}', "d.jsonl:1: key 'Anxious' is probably meant to be 'anxious'"),
        ("d.jsonl", '{"text": "a", "labels": [], "group": [1]}', "d.jsonl:1: key 'group' must be text"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_that_quotes_no_text(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(LabelledDataError, match=message) as caught:
        read_labelled(write(tmp_path, name, content), LABELS)

    assert "\n" not in str(caught.value)
    assert CANARY not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabelledDataError, match=r"none\.csv: no such file"):
        read_labelled(tmp_path / "none.csv", LABELS)


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1).filter(str.strip)


@given(st.lists(st.tuples(TEXTS, st.sampled_from([True, False, None])), min_size=1, max_size=5))
def test_every_text_survives_json_lines(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, bool | None]]
) -> None:
    folder = tmp_path_factory.mktemp("labelled")
    lines = [{"text": text, "anxious": target, "neutral": 0} for text, target in rows]
    found = read_labelled(write(folder, "d.jsonl", "\n".join(map(json.dumps, lines))), LABELS).rows

    assert [(row.text, row.targets.get("anxious")) for row in found] == rows


@pytest.mark.parametrize(("one", "other"), [("I'm  SAD\n", "i'm sad"), ("ﬁne", "fine"), ("a\u00a0b", "a b")])
def test_duplicates_are_told_without_case_and_spacing(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)
