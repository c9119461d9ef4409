"""Labelled texts from a file: what calibration and evaluation are made of.

A file says for each text which labels hold, which do not, and leaves out what it does not know.
No error quotes a text: a value in the wrong column may be one.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from export.errors import ExportRefused
from handlers.core.schema import field_name

TEXT: Final = "text"
GROUP_COLUMNS: Final = ("group", "author", "thread")
"""Columns that say which texts belong together; a file has at most one of them."""

LABELS_KEY: Final = "labels"
TRUTH: Final = {
    "0": False,
    "1": True,
    "false": False,
    "true": True,
    "no": False,
    "yes": True,
    "0.0": False,
    "1.0": True,
}
"""Values of a label in a table, in any case; ``0.0`` and ``1.0`` are what pandas makes of a column with gaps."""

_DELIMITERS: Final = {".csv": ",", ".tsv": "\t"}
_LONGEST_FIELD: Final = 2**31 - 1


class LabelledDataError(ExportRefused):
    """A labelled file is not fit; the message names file, row and column, and never quotes a text."""


@dataclass(frozen=True)
class LabelledRow:
    """One text and what is known about it.

    Attributes:
        text: as it stands in the file.
        targets: whether a label holds; a label that the file says nothing about is not in it.
        group: author or thread, where the file names one.
        row: line of the file at which the row begins, from 1.
    """

    text: str
    targets: dict[str, bool]
    group: str | None
    row: int


@dataclass(frozen=True)
class LabelledFile:
    """The rows of a file, in its order, and the sha256 of its bytes."""

    path: Path
    rows: tuple[LabelledRow, ...]
    sha256: str


def read_labelled(path: Path, labels: Sequence[str], need_labels: bool = True) -> LabelledFile:
    """Read ``.csv`` or ``.tsv`` (with a header) or ``.jsonl``, in UTF-8.

    A table has a column ``text``, and one for each label that it knows: 0/1/true/false/yes/no, or
    empty where it is unknown. A JSON object has ``text`` and either ``labels``, the list of every
    label that holds, or one key for each known label: 0/1/true/false, or null. A column or key
    ``group``, ``author`` or ``thread`` may say which texts belong together. Others are ignored.

    Args:
        labels: the model's labels.
        need_labels: whether to refuse a file that says nothing about any of them.

    Raises:
        LabelledDataError: naming file, row and column, and what was expected.
    """
    payload = _read(path)
    content = _decode(payload, path)
    if path.suffix.lower() == ".jsonl":
        rows = tuple(_json_rows(content, path, labels))
    else:
        rows = tuple(_table_rows(content, path, labels, need_labels))
    if not rows:
        raise LabelledDataError(f"{path}: there are no rows in it")
    if need_labels and not any(row.targets for row in rows):
        raise LabelledDataError(f"{path}: no row says anything about {', '.join(labels)}")
    return LabelledFile(path, rows, hashlib.sha256(payload).hexdigest())


def normalised(text: str) -> str:
    """Return ``text`` as duplicates are told by: NFKC, without case, each run of white space one space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _read(path: Path) -> bytes:
    if path.suffix.lower() not in (*_DELIMITERS, ".jsonl"):
        raise LabelledDataError(f"{path}: give a .csv, .tsv or .jsonl file of labelled texts")
    if not path.is_file():
        raise LabelledDataError(f"{path}: no such file")
    payload = path.read_bytes()
    if not payload.strip():
        raise LabelledDataError(f"{path}: the file is empty")
    return payload


def _decode(payload: bytes, path: Path) -> str:
    try:
        return payload.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = payload.count(b"\n", 0, error.start) + 1
        raise LabelledDataError(f"{path}:{line}: not UTF-8 (byte {error.start} of the file)") from None


def _table_rows(content: str, path: Path, labels: Sequence[str], need_labels: bool) -> Iterator[LabelledRow]:
    lines = _table_lines(content, path)
    _, header = next(lines)
    known = _check_columns(header, path, labels, need_labels)
    group = _group_column(header, f"{path}:1")
    for line, values in lines:
        if len(values) != len(header):
            raise LabelledDataError(f"{path}:{line}: {len(values)} columns, but the header has {len(header)}")
        fields = dict(zip(header, values, strict=True))
        targets = {label: _table_truth(fields[label], label, f"{path}:{line}") for label in known}
        yield LabelledRow(
            _text(fields[TEXT], f"{path}:{line}"),
            {label: target for label, target in targets.items() if target is not None},
            (fields[group].strip() or None) if group else None,
            line,
        )


def _table_lines(content: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the first line and the values of each row that is not blank."""
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=_DELIMITERS[path.suffix.lower()], strict=True)
    limit = csv.field_size_limit(_LONGEST_FIELD)  # a journal may be longer than the module's 128 KiB
    try:
        line = 1
        for values in reader:
            if values:
                yield line, values
            line = reader.line_num + 1
    except csv.Error as error:
        raise LabelledDataError(f"{path}:{reader.line_num}: broken quoting ({error})") from None
    finally:
        csv.field_size_limit(limit)


def _check_columns(header: Sequence[str], path: Path, labels: Sequence[str], need_labels: bool) -> list[str]:
    """Return the labels that the table has columns for."""
    _check_spelling(header, labels, f"{path}:1", "column")
    known = [label for label in labels if label in header]
    for name in (TEXT, *GROUP_COLUMNS, *labels):
        if header.count(name) > 1:
            raise LabelledDataError(f"{path}:1: column {name!r} is there twice")
    if TEXT not in header:
        raise LabelledDataError(f"{path}:1: no column 'text'; expected a header with text and {', '.join(labels)}")
    if need_labels and not known:
        raise LabelledDataError(
            f"{path}:1: no column is named as one of the model's labels ({', '.join(labels)}): "
            "is this data for another checkpoint?"
        )
    return known


def _json_rows(content: str, path: Path, labels: Sequence[str]) -> Iterator[LabelledRow]:
    for number, line in enumerate(content.split("\n"), start=1):
        if line.strip():
            yield _json_row(line, number, f"{path}:{number}", labels)


def _json_row(line: str, number: int, where: str, labels: Sequence[str]) -> LabelledRow:
    fields = _json_object(line, where)
    _check_spelling(fields, labels, where, "key")
    if TEXT not in fields:
        raise LabelledDataError(f"{where}: no key 'text'")
    named = [label for label in labels if label in fields]
    if LABELS_KEY in fields and named:
        raise LabelledDataError(f"{where}: 'labels' states every label, so there must be no key {named[0]!r} beside it")
    group = _group_column(fields, where)
    return LabelledRow(
        _text(fields[TEXT], where),
        _stated_targets(fields[LABELS_KEY], labels, where) if LABELS_KEY in fields else _targets(fields, named, where),
        _json_group(fields[group], group, where) if group else None,
        number,
    )


def _json_object(line: str, where: str) -> dict[str, Any]:
    try:
        fields = json.loads(line, object_pairs_hook=lambda pairs: _unique(pairs, where))
    except json.JSONDecodeError as error:
        raise LabelledDataError(f"{where}: not JSON (column {error.colno}); expected one object a line") from None
    except (ValueError, RecursionError):
        raise LabelledDataError(f"{where}: not acceptable JSON; expected one flat object a line") from None
    if not isinstance(fields, dict):
        raise LabelledDataError(f"{where}: not a JSON object")
    return fields


def _unique(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise LabelledDataError(f"{where}: a key is there twice in one object")
    return fields


def _stated_targets(value: object, labels: Sequence[str], where: str) -> dict[str, bool]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise LabelledDataError(f"{where}: 'labels' must be a list of names")
    for name in value:
        if name not in labels:
            shown = field_name(name)
            raise LabelledDataError(f"{where}: 'labels' names {shown}, which is none of {', '.join(labels)}")
    return {label: label in value for label in labels}


def _targets(fields: dict[str, Any], named: Sequence[str], where: str) -> dict[str, bool]:
    for label in named:
        value = fields[label]
        if value is not None and not (isinstance(value, (bool, int)) and value in (0, 1)):
            raise LabelledDataError(f"{where}: key {label!r} must be 0, 1, true, false or null")
    return {label: bool(fields[label]) for label in named if fields[label] is not None}


def _json_group(value: object, key: str, where: str) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise LabelledDataError(f"{where}: key {key!r} must be text or a whole number")
    return str(value)


def _table_truth(value: str, label: str, where: str) -> bool | None:
    word = value.strip().lower()
    if not word:
        return None
    if word not in TRUTH:
        raise LabelledDataError(f"{where}: column {label!r} must be 0, 1, true, false, yes, no, or empty for unknown")
    return TRUTH[word]


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise LabelledDataError(f"{where}: 'text' must be a text")
    if not value.strip():
        raise LabelledDataError(f"{where}: 'text' is empty")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise LabelledDataError(f"{where}: 'text' holds an unpaired surrogate, which is not valid Unicode") from None
    return value


def _group_column(names: Iterable[str], where: str) -> str | None:
    """Return which of ``GROUP_COLUMNS`` is there."""
    found = [name for name in GROUP_COLUMNS if name in names]
    if len(found) > 1:
        raise LabelledDataError(
            f"{where}: {' and '.join(found)} both say which texts belong together; keep the wider one"
        )
    return found[0] if found else None


def _check_spelling(names: Iterable[str], labels: Sequence[str], where: str, kind: str) -> None:
    """Refuse a name that differs from one of ours only in case or spaces: ignored, it would change the outcome."""
    ours = (TEXT, *GROUP_COLUMNS, *labels)
    folded = {_folded(name): name for name in ours}
    for name in names:
        meant = folded.get(_folded(name))
        if meant is not None and name not in ours:
            raise LabelledDataError(f"{where}: {kind} {name!r} is probably meant to be {meant!r}; spell it so")


def _folded(name: str) -> str:
    return "".join(name.split()).casefold()
