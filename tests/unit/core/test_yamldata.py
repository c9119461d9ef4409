from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from handlers.core.errors import StartupError
from handlers.core.yamldata import parse_yaml, read_file


def test_a_mapping_is_read_with_its_types() -> None:
    assert parse_yaml(b'number: "024"\nnone: null\nlist: [a, b]\n', "f.yaml") == {
        "number": "024",
        "none": None,
        "list": ["a", "b"],
    }


def test_a_key_is_a_word_even_where_yaml_reads_it_as_yes_or_no() -> None:
    assert parse_yaml(b"reviewed:\n  on: 2026-11-29\nNO: off\n", "f.yaml") == {
        "reviewed": {"on": date(2026, 11, 29)},
        "NO": False,
    }


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"a: 1\nb: 2\na: 3\n", "line 3: the key a is given twice"),
        (b"a:\n  - id: x\n    id: y\n", "line 3: the key id is given twice"),
        (b"[a]: 1\n", "line 1: a key is not a word"),
        (b"a: b: c\n", "line 1: mapping values are not allowed in this context"),
        (b"a: !!python/object/apply:os.system [x]\n", "line 1: could not determine a constructor"),
        (b"- a\n", "the file must be a mapping"),
        (b"", "the file must be a mapping"),
        (b"a: \xff\n", "not readable as YAML"),
        (b"a: " + b"[" * 5000, "line 2: did not find expected node content"),
    ],
)
def test_what_is_not_a_plain_mapping_is_refused_in_one_line(payload: bytes, message: str) -> None:
    with pytest.raises(StartupError) as caught:
        parse_yaml(payload, "dir/f.yaml")

    assert str(caught.value).startswith(f"dir/f.yaml: {message}")
    assert str(caught.value).endswith("; correct the file")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"missing\.yaml: cannot be read \(No such file or directory\)"):
        read_file(tmp_path / "missing.yaml")
