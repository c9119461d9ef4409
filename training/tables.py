"""Files of labelled rows as pandas and Excel write them. No error quotes a text, which may stand in any column."""

from __future__ import annotations

import csv
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from handlers.core.schema import field_name
from training.errors import DataError

_LONGEST_FIELD: Final = 2**31 - 1
_COLUMNS_SHOWN: Final = 8


def table_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Read a CSV file in UTF-8, with or without byte order mark, one row at a time.

    Rows in which nothing stands are passed over; columns that nobody asked for are ignored.

    Args:
        path: the file; its first row is the header.
        columns: those to read.

    Yields:
        The line at which the row begins, from 1, and its values of ``columns``.

    Raises:
        DataError: no such file, an empty one, a missing or repeated column, a row that is longer or
            shorter than the header, broken quotes, or bytes that are no UTF-8; it names file and line.
    """
    lines = _lines(path)
    _, header = next(lines, (1, []))
    positions = _positions(path, header, columns)
    for line, values in lines:
        if len(values) != len(header):
            raise DataError(f"{path}:{line}: {len(values)} columns, but the header has {len(header)}")
        yield line, tuple([values[position] for position in positions])


def table_header(path: Path) -> list[str]:
    """The first row of a CSV file; empty where there is none. Raises as ``table_rows`` does."""
    with closing(_lines(path)) as lines:
        return next(lines, (1, []))[1]


def read_text(path: Path) -> str:
    """The text of a file in UTF-8.

    Raises:
        DataError: no such file, or bytes that are no UTF-8.
    """
    require_file(path)
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise _no_utf8(path) from error


def require_file(path: Path, hint: str = "") -> None:
    """Refuse a path at which there is no file.

    Raises:
        DataError: naming ``path``, with ``hint`` behind it.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file{hint}")


def _lines(path: Path) -> Generator[tuple[int, list[str]], None, None]:
    """The rows in which anything stands, each with the line at which it begins."""
    require_file(path)
    # newline="" leaves line breaks inside quotes to the csv module.
    with path.open(encoding="utf-8-sig", newline="") as stream, _long_fields():
        reader = csv.reader(stream, strict=True)
        line = 1
        try:
            for values in reader:
                if any(values):
                    yield line, values
                line = reader.line_num + 1
        except csv.Error as error:
            raise DataError(f"{path}:{line}: broken quotes ({error})") from error
        except UnicodeDecodeError as error:
            raise _no_utf8(path) from error


@contextmanager
def _long_fields() -> Iterator[None]:
    """A post may be longer than the csv module's 128 KiB."""
    limit = csv.field_size_limit(_LONGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _positions(path: Path, header: Sequence[str], columns: Sequence[str]) -> list[int]:
    if not header:
        raise DataError(f"{path}: empty; expected a header with the columns {', '.join(columns)}")
    for column in columns:
        if column not in header:
            raise DataError(f"{path}: no column {column!r}; expected {', '.join(columns)}; found {_shown(header)}")
        if header.count(column) > 1:
            raise DataError(f"{path}: column {column!r} is there twice")
    return [header.index(column) for column in columns]


def _shown(header: Sequence[str]) -> str:
    """The column names; in a file without a header its first text stands in their place."""
    more = len(header) - _COLUMNS_SHOWN
    names = ", ".join(field_name(name) for name in header[:_COLUMNS_SHOWN])
    return f"{names} and {more} more" if more > 0 else names


def _no_utf8(path: Path) -> DataError:
    """Decodes once more, because a stream's error counts from the block that it was reading."""
    try:
        path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        return DataError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8")
    return DataError(f"{path}: not UTF-8; save it as UTF-8")
