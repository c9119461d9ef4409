"""Decision records as a chain: files of lines, each bound to the one before it, so that tampering shows.

A file holds one line for each decision (``handlers.core.decision_record``). Every line carries in ``prev_hash`` the
SHA-256 of the line before it, newline excluded:

* The first line of a file is a header, ``{"chain": "header", "chain_id", "file", "format", "prev_hash"}``. ``chain_id``
  is random and the same in all files of one chain; ``file`` counts them from 0. The header of file 0 has 64 zeros as
  ``prev_hash``, that of a later one the hash of the last line of the file before. A file that was put in another's
  place therefore has another ``chain_id``, or does not follow.
* A line ``{"chain": "torn", "torn_bytes", "torn_sha256", "prev_hash"}`` says that a writer found the rest of a line,
  as a crash leaves it, moved these bytes out of the file and went on.
* All other lines are decisions.

What a chain without a key cannot show: lines cut off at the end, a last line changed into another valid one, lines
that somebody added by the rules, and a chain written anew from its beginning. For this, keep the hash of the last
line outside the machine from time to time and give it to ``verify`` as ``--anchor`` (must be in the chain) or
``--last`` (must be its end).

``python -m handlers.core.records verify FILE [FILE ...]`` checks a chain, oldest file first.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Final, Literal

from handlers.core.decision_record import (
    GENESIS,
    MAX_LINE_BYTES,
    ChainLine,
    DecisionRecord,
    HeaderLine,
    TornLine,
    line_hash,
    parse_line,
)

_HASH: Final = re.compile(r"[0-9a-f]{64}")

FindingKind = Literal[
    "no_header",
    "invalid",
    "torn",
    "wrong_genesis",
    "other_chain",
    "file_order",
    "misplaced_header",
    "repeated",
    "reordered",
    "broken",
    "wrong_end",
    "no_anchor",
]


@dataclass(frozen=True)
class Finding:
    """The first thing that is wrong with a chain, at ``line`` (from 1) of ``file``."""

    file: str
    line: int
    kind: FindingKind
    message: str


@dataclass(frozen=True)
class Verdict:
    """What a chain's files hold, up to the first finding.

    Attributes:
        intact: nothing is wrong.
        files, decisions, torn: files read, and lines of the two kinds.
        chain_id: of all files; ``None`` before the first header.
        first_file: number of the first file in its chain; files before it, if any, were not looked at.
        last_hash: of the last good line: the anchor to keep.
        finding: what is wrong.
    """

    intact: bool
    files: int
    decisions: int
    torn: int
    chain_id: str | None
    first_file: int | None
    last_hash: str | None
    finding: Finding | None


@dataclass(frozen=True)
class _Problem:
    kind: FindingKind
    message: str


@dataclass
class _Reader:
    """Where the verifier is: constant memory, whatever the length of the chain."""

    anchor: str | None
    files: int = 0
    decisions: int = 0
    torn: int = 0
    first_file: int | None = None
    header: HeaderLine | None = None
    claimed: str | None = None
    last_hash: str | None = None
    anchored: bool = False
    name: str = ""
    number: int = 0

    def read_file(self, name: str, lines: Iterable[bytes]) -> Finding | None:
        self.files += 1
        self.name, self.number = name, 0
        remaining = iter(lines)
        for raw in remaining:
            self.number += 1
            problem = self._take(raw, remaining)
            if problem is not None:
                return self.finding(problem)
        return None if self.number else self.finding(_Problem("no_header", "the file is empty"))

    def finding(self, problem: _Problem) -> Finding:
        return Finding(self.name, self.number, problem.kind, problem.message)

    def verdict(self, finding: Finding | None) -> Verdict:
        return Verdict(
            intact=finding is None,
            files=self.files,
            decisions=self.decisions,
            torn=self.torn,
            chain_id=self.header.chain_id if self.header else None,
            first_file=self.first_file,
            last_hash=self.last_hash,
            finding=finding,
        )

    def _take(self, raw: bytes, remaining: Iterator[bytes]) -> _Problem | None:
        if not raw.endswith(b"\n"):
            return _unfinished(raw)
        line = raw[:-1]
        try:
            parsed = parse_line(line)
        except ValueError as error:
            return _Problem("invalid", str(error))
        problem = self._check_place(parsed) or self._check_link(parsed, remaining)
        if problem is None:
            self._accept(parsed, line_hash(line))
        return problem

    def _check_place(self, parsed: ChainLine) -> _Problem | None:
        if (self.number == 1) == isinstance(parsed, HeaderLine):
            return self._check_header(parsed) if isinstance(parsed, HeaderLine) else None
        if self.number == 1:
            return _Problem("no_header", "the file does not begin with a header; lines before this one were removed")
        return _Problem("misplaced_header", "a header inside a file; files were joined, give them one by one")

    def _check_header(self, header: HeaderLine) -> _Problem | None:
        if (header.file == 0) != (header.prev_hash == GENESIS):
            return _Problem("wrong_genesis", "the first file of a chain, and no other, has zeros as prev_hash")
        if self.header is None:
            return None
        if header.chain_id != self.header.chain_id:
            return _Problem("other_chain", "this file belongs to another chain than the file before it")
        if header.file != self.header.file + 1:
            return _Problem(
                "file_order",
                f"file {header.file} of the chain comes after file {self.header.file}; "
                "give every file of the chain, oldest first",
            )
        return None

    def _check_link(self, parsed: ChainLine, remaining: Iterator[bytes]) -> _Problem | None:
        if self.last_hash in (None, parsed.prev_hash):
            return None
        if isinstance(parsed, HeaderLine):
            return _Problem("broken", "the end of the file before this one was changed or removed")
        if parsed.prev_hash == self.claimed:
            return _Problem("repeated", "it follows the same line as the line before it: one of the two was added")
        # What it follows may still come; a line that was changed or removed never does.
        if any(line_hash(later.removesuffix(b"\n")) == parsed.prev_hash for later in remaining):
            return _Problem("reordered", "the line that it follows comes after it")
        return _Problem(
            "broken", f"it does not follow line {self.number - 1}, which was changed, or lines between were removed"
        )

    def _accept(self, parsed: ChainLine, own_hash: str) -> None:
        if isinstance(parsed, HeaderLine):
            self.header = parsed
            self.first_file = parsed.file if self.first_file is None else self.first_file
        self.decisions += isinstance(parsed, DecisionRecord)
        self.torn += isinstance(parsed, TornLine)
        self.claimed, self.last_hash = parsed.prev_hash, own_hash
        self.anchored = self.anchored or own_hash == self.anchor


def _unfinished(raw: bytes) -> _Problem:
    if len(raw) > MAX_LINE_BYTES:
        return _Problem("invalid", f"the line is longer than {MAX_LINE_BYTES} bytes")
    return _Problem("torn", "the line has no end: its write was cut short, or is under way")


def verify(files: Iterable[tuple[str, Iterable[bytes]]], last: str | None = None, anchor: str | None = None) -> Verdict:
    """Check a chain line by line and stop at the first thing that is wrong.

    Args:
        files: name and raw lines, newline included, of each file, oldest first. They may begin with a later file of
            the chain: ``Verdict.first_file`` says so.
        last: hash that the last line must have.
        anchor: hash that some line must have.
    """
    reader = _Reader(anchor)
    for name, lines in files:
        finding = reader.read_file(name, lines)
        if finding is not None:
            return reader.verdict(finding)
    if last is not None and last != reader.last_hash:
        problem = _Problem("wrong_end", "this is not the last line that was named: lines were removed or added")
        return reader.verdict(reader.finding(problem))
    if anchor is not None and not reader.anchored:
        problem = _Problem("no_anchor", "no line up to this one has the hash of the anchor: lines were removed")
        return reader.verdict(reader.finding(problem))
    return reader.verdict(None)


# The command.


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 intact, 1 not intact, 2 it could not be checked."""
    options = _parser().parse_args(arguments)
    try:
        verdict = verify(_open_each(options.files), options.last, options.anchor)
    except OSError as error:
        print(f"records: cannot read {error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
        return 2
    print(json.dumps(asdict(verdict)) if options.json else _describe(verdict))
    return 0 if verdict.intact else 1


def _open_each(names: Sequence[str]) -> Iterator[tuple[str, Iterator[bytes]]]:
    for name in names:
        with open(name, "rb") as file:  # noqa: PTH123 - this package has no paths, and the command needs only this
            yield name, iter(partial(file.readline, MAX_LINE_BYTES + 1), b"")


def _describe(verdict: Verdict) -> str:
    counts = f"{_count(verdict.decisions, 'decision')} in {_count(verdict.files, 'file')}"
    lines = [f"intact: {counts}" if verdict.intact else f"NOT INTACT: {counts} up to the first fault"]
    if verdict.finding is not None:
        found = verdict.finding
        lines.append(f"{found.file}: line {found.line}: {found.kind}: {found.message}")
    if verdict.torn:
        lines.append(f"{_count(verdict.torn, 'unfinished line')} moved out of the chain after a crash")
    if verdict.first_file:
        lines.append(f"begins with file {verdict.first_file} of the chain: files before it were not given")
    if verdict.chain_id is not None:
        lines += [f"chain {verdict.chain_id}", f"last {'' if verdict.intact else 'good '}line {verdict.last_hash}"]
    return "\n".join(lines)


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m handlers.core.records",
        description="Decision records.",
        epilog="exit status: 0 intact, 1 not intact, 2 it could not be checked",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "verify",
        help="find the first line that was removed, changed, moved or cut short",
        description="Check the hash chain of decision records, oldest file first. What the files alone cannot show: "
        "lines cut off at the end. Keep the hash of the last line elsewhere, and name it here.",
        epilog=parser.epilog,
    )
    command.add_argument("files", nargs="+", metavar="FILE", help="all files of one chain, such as decisions*.jsonl")
    command.add_argument("--last", type=hash_argument("--last"), metavar="HASH", help="the last line must have it")
    command.add_argument("--anchor", type=hash_argument("--anchor"), metavar="HASH", help="some line must have it")
    command.add_argument("--json", action="store_true", help="print the verdict as one line of JSON")
    return parser


def hash_argument(name: str) -> Callable[[str], str]:
    """Return what reads the SHA-256 that option ``name`` takes; for ``argparse``."""

    def check(value: str) -> str:
        if not _HASH.fullmatch(value):
            raise argparse.ArgumentTypeError(f"{name} takes 64 hexadecimal digits in small letters")
        return value

    return check


if __name__ == "__main__":
    sys.exit(main())
