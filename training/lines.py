"""Sentences and posts written by hand, one by one, in ``journals/``.

A line is ``CODE|text``. The code's letters, d depressed, a anxious and s stressed, say what the writer has
now; after a minus come the states that the text mentions and the writer does not have: denied, over,
somebody else's. ``-|`` is neutral. Many lines stand in sets of nearly the same words, of which the
small one decides. Blocks of lines, not single ones, are kept for development, so that a set rarely
stands on both sides.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Final, Literal

from training.errors import DataError
from training.labels import RISK_LABELS
from training.sentences import Reserved, Sentence

Part = Literal["train", "dev"]

_JOURNALS: Final = Path(__file__).with_name("journals")
_LINE: Final = re.compile(r"(d?a?s?)(?:-(d?a?s?))?\|(\S.*)")
_CODES: Final = dict(zip("das", RISK_LABELS, strict=True))
_POSTS: Final = "posts"
_BLOCK: Final = 20
_DEV_BLOCKS: Final = 12
_REDRAWS: Final = 20


def line_files() -> tuple[Path, ...]:
    """The files of lines, in a fixed order."""
    return tuple(sorted(_JOURNALS.glob("*.txt")))


@cache
def load_lines(part: Part) -> tuple[Sentence, ...]:
    """The single sentences of ``part``.

    Raises:
        DataError: a line has no valid code; it names file and line.
    """
    return _load(part, posts=False)


@cache
def load_posts(part: Part) -> tuple[Sentence, ...]:
    """The posts of several sentences of ``part``; see ``load_lines``."""
    return _load(part, posts=True)


def _holds_posts(path: Path) -> bool:
    return path.name.startswith(_POSTS)


def _load(part: Part, posts: bool) -> tuple[Sentence, ...]:
    reserved = Reserved()
    paths = (path for path in line_files() if _holds_posts(path) == posts)
    return tuple(line for path in paths for line in _read(path, part, reserved))


def _read(path: Path, part: Part, reserved: Reserved) -> Iterator[Sentence]:
    """The lines of ``part`` that are not reserved for evaluation."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line or line.startswith("#"):
            continue
        block = number if _holds_posts(path) else number // _BLOCK
        kept_for_dev = block % _DEV_BLOCKS == _DEV_BLOCKS - 1
        sentence = parse_line(line, f"{path}:{number}")
        if kept_for_dev == (part == "dev") and sentence.text not in reserved:
            yield sentence


def parse_line(line: str, where: str) -> Sentence:
    """Read ``CODE|text``.

    Raises:
        DataError: there is no valid code, naming ``where``.
    """
    found = _LINE.fullmatch(line)
    if found is None or not (found[1] or found[2] is not None):
        raise DataError(f"{where}: expected CODE|text, with a code such as d, as, -d, a-d or - (see training/lines.py)")
    expressed = frozenset(_CODES[letter] for letter in found[1])
    mentioned = expressed | {_CODES[letter] for letter in found[2] or ""}
    return Sentence(found[3], expressed, mentioned, "line")


class LineSource:
    """Sentences that people wrote by hand, one by one.

    Args:
        lines: at least one that expresses each risk label alone, and one that mentions none.
        rng: the only source of randomness.
    """

    def __init__(self, lines: Sequence[Sentence], rng: random.Random) -> None:
        self._rng = rng
        self._lines = lines
        self._felt = {label: [line for line in lines if line.expressed == frozenset({label})] for label in RISK_LABELS}
        self._neutral = [line for line in lines if not line.expressed]
        self._everyday = [line for line in lines if not line.mentioned]

    def sentence(self) -> Sentence:
        """Any line."""
        return self._rng.choice(self._lines)

    def feeling(self, label: str) -> Sentence:
        """A line that expresses ``label`` alone."""
        return self._rng.choice(self._felt[label])

    def neutral(self) -> Sentence:
        """A line that expresses nothing but may mention anything."""
        return self._rng.choice(self._neutral)

    def aside(self, labels: frozenset[str]) -> Sentence:
        """A line that expresses nothing and mentions none of ``labels``."""
        drawn = (self._rng.choice(self._neutral) for _ in range(_REDRAWS))
        return next((line for line in drawn if not line.mentioned & labels), self._everyday[0])

    def everyday(self) -> Sentence:
        """A line that mentions none of the risk labels."""
        return self._rng.choice(self._everyday)
