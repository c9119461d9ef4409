"""Finds the statements of the phrase files in a text: phrases that no guard turns; and loads the files, compiled."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import sys
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from handlers.core.errors import StartupError
from handlers.core.statements import Statement, StatementKind, StatementLanguage
from handlers.floor.alternatives import wordings
from handlers.floor.gaps import Gap, Side, denies_something_else, gap_of, reach_across
from handlers.floor.index import BREAK, Edges, Index, Match, normalized_pieces
from handlers.floor.normalize import PARAGRAPH_END, SENTENCE_END, Fillers, Indexes, Normalized, Normalizer, mask_forms
from handlers.floor.phrase_file import WrittenGuard, WrittenPhrase, WrittenPhrases, load_phrases

COMPILED: Final = "compiled.pickle"

PHRASES: Final = Path(__file__).with_name("phrases")

_COMPARED: Final = 32
"""Up to so many wordings an entry is compared with the others wording by wording."""

_KANA: Final = (0x3041, 0x309F)
"""Code points of hiragana, which katakana are folded to."""
_JAPANESE: Final = 2
"""Kana in a sentence that make it Japanese; one alone is also written in Chinese."""


class _Read(NamedTuple):
    """A match that may have been turned by a guard; the order is that of ``_standing``."""

    start: int
    minus_end: int
    is_turned: bool
    kind: StatementKind
    language: StatementLanguage


class Floor:
    """Finds statements. May be called from any thread.

    Args:
        files: of different languages.

    Raises:
        StartupError: two entries of a file are the same, one is empty, or a counter-example holds a statement; with
            file, line and reason.
    """

    def __init__(self, files: Sequence[WrittenPhrases]) -> None:
        self._normalizer = _normalizer(files)
        phrases = [phrase for file in files for phrase in file.phrases]
        self._phrases = Index(phrases, self._normalizer)
        self._guards = Index([guard for file in files for guard in file.guards], self._normalizer)
        for file in files:
            _check_duplicates(file)
            _check_counter_examples(self, file)

    def find(self, text: str) -> tuple[Statement, ...]:
        """Return the statements in ``text``, in their order; of two that overlap, the longer one.

        The time is linear in the length of ``text``, of which nothing is kept.
        """
        normalized = self._normalizer.normalize(text)
        found = self._find(text, normalized)
        if normalized.has_ones:
            found += self._find(text, self._normalizer.normalize(text, ones="l"))
        return tuple(_longest(found))

    def _find(self, written: str, text: Normalized) -> list[Statement]:
        matches = self._phrases.matches(text)
        if not matches:
            return []
        context = _Context(written, text, self._guards, matches)
        read = [
            _Read(start, -end, context.turns(phrase, start, end), phrase.kind, phrase.language)
            for start, end, owner in matches
            for phrase in (self._phrases.owners[owner],)
            if not (phrase.language == "zh" and context.is_japanese(start))
        ]
        return [Statement(*_span(text, one.start, -one.minus_end), one.kind, one.language) for one in _standing(read)]


def _span(text: Normalized, start: int, end: int) -> tuple[int, int]:
    """Return the characters of a match, without the letter of the word beside it where the two share one."""
    begin = int((text.last if text.shared[start] else text.first)[start])
    stop = int((text.first if text.shared[end - 1] else text.last)[end - 1])
    return begin, max(begin, stop) + 1


@dataclass(slots=True)
class _Reach:
    """How far a guard reaches into a sentence: where its first occurrence ends and its last one starts."""

    first_end: int
    last_start: int

    def is_beside(self, start: int, end: int) -> bool:
        """Say whether an occurrence stands outside of ``start`` to ``end``."""
        return self.first_end <= start or self.last_start >= end


class _Context:
    """The guards that stand in a text, by their place: each is looked up once, however many statements there are.

    Args:
        written: the text itself.
        text: the same, normalised.
        index: of the guards.
        matches: the statements that guards may turn.
    """

    def __init__(self, written: str, text: Normalized, index: Index[WrittenGuard], matches: Sequence[Match]) -> None:
        self._written, self._text = written, text
        self._starts, self._shared = text.starts.tolist(), text.shared.tolist()
        self._before: dict[int, dict[WrittenGuard, Gap]] = defaultdict(dict)
        self._after: dict[int, dict[WrittenGuard, Gap]] = defaultdict(dict)
        self._sentence: dict[int, dict[WrittenGuard, _Reach]] = defaultdict(dict)
        self._near: dict[int, dict[WrittenGuard, _Reach]] = defaultdict(dict)
        self._gaps: dict[tuple[Side, int], Gap] = {}
        self._sentences: list[int] = np.flatnonzero(text.symbols < ord("0")).tolist()
        is_kana = (text.symbols >= _KANA[0]) & (text.symbols <= _KANA[1])
        self._string = text.string
        self._kana: Indexes = np.concatenate(([0], np.cumsum(is_kana)))
        edges = self._edges(matches)
        for begin, stop in self._windows(matches):
            for start, end, owner in index.matches(text.part(begin, stop), edges.part(begin, stop)):
                self._note(index.owners[owner], begin + start, begin + end)

    def turns(self, phrase: WrittenPhrase, start: int, end: int) -> bool:
        """Say whether a guard turns the statement from ``start`` to ``end``."""
        if any(guard.turns(phrase) for guard in self._directly(start, end)):
            return True
        sentence = self._sentence_of(start)
        same = self._sentence.get(sentence, {})
        near = [self._near.get(number, {}) for number in self._neighbours(sentence)]
        # Of a letter that the statement shares with the word beside it, that word is outside.
        start, end = start + self._shared[start], end - self._shared[end - 1]
        return any(
            guard.turns(phrase) and reach.is_beside(start, end)
            for reaches in (same, *near)
            for guard, reach in reaches.items()
        )

    def is_japanese(self, start: int) -> bool:
        """Say whether the sentence around ``start`` holds kana: then ideographs in it are Japanese, not Chinese."""
        sentence = self._sentence_of(start)
        begin = self._sentences[sentence - 1] if sentence else 0
        end = self._sentences[sentence] if sentence < len(self._sentences) else len(self._text.symbols)
        return bool(self._kana[end] - self._kana[begin] >= _JAPANESE)

    def _windows(self, matches: Sequence[Match]) -> Iterator[tuple[int, int]]:
        """Yield the stretches where guards are looked for: the sentences of statements, and those beside them.

        What ends a sentence belongs to the stretches on both sides of it.
        """
        symbols = self._text.symbols
        ends = np.flatnonzero((symbols == ord(SENTENCE_END)) | (symbols == ord(PARAGRAPH_END)))
        begins = np.concatenate(([0, 0], ends))
        stops = np.concatenate((ends[1:] + 1, [len(symbols)] * 2))
        sentences = np.unique(np.searchsorted(ends, [start for start, _, _ in matches]))
        # Of the sentence before, where it begins, and where the one after ends; a stretch starts where another ended.
        first, last = begins[sentences], stops[sentences]
        is_new = np.append(True, first[1:] >= last[:-1])
        yield from zip(first[is_new].tolist(), last[np.append(is_new[1:], True)].tolist(), strict=True)

    def _edges(self, matches: Sequence[Match]) -> Edges:
        """Return where a guard ends that stands right before one of ``matches``, and starts that stands right after."""
        before, after = bytearray(len(self._shared) + 2), bytearray(len(self._shared) + 2)
        for start, end, _ in matches:
            before[start] = after[end] = 1
            # The last letter of one word and the first one of the next may be one.
            before[start + self._shared[start]] = after[end - self._shared[end - 1]] = 1
        return Edges(bytes(before), bytes(after))

    def _note(self, guard: WrittenGuard, start: int, end: int) -> None:
        if guard.place in ("before", "after"):
            reached = self._reach_across(guard, start, end)
            if reached is not None:
                guards = self._before[end] if guard.place == "before" else self._after[start]
                guards[guard] = max(reached, guards.get(guard, Gap.NONE))
        else:
            reaches = (self._sentence if guard.place == "sentence" else self._near)[self._sentence_of(start)]
            reach = reaches.setdefault(guard, _Reach(end, start))
            reach.first_end, reach.last_start = min(reach.first_end, end), max(reach.last_start, start)

    def _reach_across(self, guard: WrittenGuard, start: int, end: int) -> Gap | None:
        """Return the widest gap that a guard turns a statement across; ``None`` where it is no guard here."""
        begins = [start, *(place for place in range(start + 1, end) if self._starts[place])]
        edges = zip(begins, [*(place + self._shared[place] for place in begins[1:]), end], strict=True)
        string = self._string
        words = [string[begin:stop] for begin, stop in edges]
        if len(words) > 1 and denies_something_else(words[0], self._between(begins[1]), guard.language):
            return None
        side: Side = "before" if guard.place == "before" else "after"
        return reach_across(words, guard.language, side, spaced=guard.boundaries != "none")

    def _directly(self, start: int, end: int) -> Iterator[WrittenGuard]:
        """Yield guards that stand right beside a statement, and still belong to it."""
        yield from self._reaching("before", self._before.get(start), start)
        yield from self._reaching("after", self._after.get(end), end)
        # Where the last letter of one word and the first one of the next are one.
        if self._shared[start]:
            yield from self._reaching("before", self._before.get(start + 1), start)
        if self._shared[end - 1]:
            yield from self._reaching("after", self._after.get(end - 1), end - 1)

    def _reaching(self, side: Side, guards: dict[WrittenGuard, Gap] | None, edge: int) -> Iterator[WrittenGuard]:
        if guards:
            gap = self._gap(side, edge)
            yield from (guard for guard, reach in guards.items() if reach >= gap)

    def _gap(self, side: Side, edge: int) -> Gap:
        if (side, edge) not in self._gaps:
            self._gaps[side, edge] = gap_of(self._between(edge), side)
        return self._gaps[side, edge]

    def _between(self, edge: int) -> str:
        """Return what is written between the word before ``edge`` and the one that starts there."""
        first, last = self._text.first, self._text.last
        if self._shared[edge]:
            return self._written[int(first[edge]) : int(last[edge]) + 1]
        return self._written[int(last[edge - 1]) + 1 : int(first[edge])]

    def _sentence_of(self, at: int) -> int:
        return bisect_left(self._sentences, at)

    def _neighbours(self, sentence: int) -> Iterator[int]:
        """Yield ``sentence`` and those beside it in its paragraph."""
        yield sentence
        if sentence > 0 and self._is_within_paragraph(sentence - 1):
            yield sentence - 1
        if sentence < len(self._sentences) and self._is_within_paragraph(sentence):
            yield sentence + 1

    def _is_within_paragraph(self, gap: int) -> bool:
        return bool(self._text.symbols[self._sentences[gap]] == ord(SENTENCE_END))


def load_floor(folder: Path = PHRASES) -> Floor:
    """Load every phrase file of ``folder``.

    Raises:
        StartupError: a file is not fit, or there is none; with file, line and reason.
    """
    compiled = _read_compiled() if folder == PHRASES else None
    return compiled or Floor(read_folder(folder))


def compile_floor(folder: Path) -> Path:
    """Load the phrase files of ``folder`` and write them compiled beside them; return where.

    A compiled floor loads in a fraction of the time. Only that of the package itself is ever read, and only while it is
    that of these very files and this code: it is a pickle, which runs what it says, as the package does.

    Raises:
        StartupError: as ``load_floor``.
    """
    path = folder / COMPILED
    compiled = _compiled_of(folder)
    if compiled is None:
        compiled = pickle.dumps(Floor(read_folder(folder)), protocol=5)
    fresh = path.with_name(f"{COMPILED}.{os.getpid()}")
    fresh.write_bytes(_digest(folder) + compiled)
    return fresh.replace(path)


def _read_compiled() -> Floor | None:
    compiled = _compiled_of(PHRASES)
    if compiled is None:
        return None
    floor: Floor = pickle.loads(compiled)
    return floor


def _compiled_of(folder: Path) -> bytes | None:
    """Return the package's compiled floor where it is that of the phrase files of ``folder``."""
    try:
        content = (PHRASES / COMPILED).read_bytes()
    except OSError:
        return None
    digest = _digest(folder)
    return content[len(digest) :] if content.startswith(digest) else None


def _digest(folder: Path) -> bytes:
    """Return a digest of the phrase files and of the code that reads them."""
    digest = hashlib.sha256(sys.version.encode())
    for path in (*sorted(folder.glob("*.yaml")), *sorted(Path(__file__).parent.glob("*.py"))):
        digest.update(hashlib.sha256(path.name.encode() + path.read_bytes()).digest())
    return digest.digest()


def read_folder(folder: Path) -> list[WrittenPhrases]:
    """Read every phrase file of ``folder``; the errors are those of ``load_floor``."""
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise StartupError(f"{folder}: holds no phrase file; put LANGUAGE.yaml there")
    files = [load_phrases(path) for path in paths]
    for path, file in zip(paths, files, strict=True):
        if path.stem != file.file.language:
            raise StartupError(f"{path}: line 1: the file of {file.file.language} must be {file.file.language}.yaml")
    return files


def _normalizer(files: Sequence[WrittenPhrases]) -> Normalizer:
    """Return what leaves out the fillers of all languages and reads the masked words of all.

    A filler of one language that is a word in the phrases or guards of another one stays: "no" says nothing in Polish,
    and everything in English. What is left out of a text thus depends on which files are loaded together: a folder with
    fewer files, or one file alone, may leave out more, and find more or less than the same file among all.
    """
    plain = Normalizer()
    own = [_spaced(plain, file.file.fillers, file) for file in files]
    used = [_words(plain, file) for file in files]
    words: set[str] = set()
    parts: set[str] = set()
    masks: dict[str, str] = {}
    for place, file in enumerate(files):
        others = [(own[other], used[other]) for other in range(len(files)) if other != place]
        is_free = file.file.boundaries == "none"
        kept = {one for one in own[place] if not any(_means_something(one, *other, is_free) for other in others)}
        (parts if is_free else words).update(kept)
        for letters in _spaced(plain, file.file.masked, file):
            for form in mask_forms(letters):
                masks[form] = min(masks.get(form, letters), letters, key=lambda one: (len(one), one))
    return Normalizer(Fillers(sorted(words), sorted(parts)) if words or parts else None, masks)


def _words(normalizer: Normalizer, file: WrittenPhrases) -> set[str]:
    """Return the words of a file's phrases and guards, normalised."""
    written = {word for one in (*file.phrases, *file.guards) for word in re.split(r"[\s()|]+", one.text) if word}
    return {piece.letters for piece in normalized_pieces(normalizer, sorted(written)) if piece}


def _means_something(filler: str, fillers: Sequence[str], words: set[str], is_free: bool) -> bool:
    """Say whether a language that has these fillers and words would lose one of its words with ``filler``."""
    if filler in fillers or not is_free:
        return filler in words and filler not in fillers
    return any(filler in word for word in words)


def _spaced(normalizer: Normalizer, texts: Sequence[str], file: WrittenPhrases) -> list[str]:
    """Return ``texts`` normalised, their words set apart by single spaces."""
    spaced = []
    for text, piece in zip(texts, normalized_pieces(normalizer, texts), strict=True):
        if piece is None or not piece.letters:
            raise file.phrases[0].line.refuse(f'the filler or masked word "{text}" holds no word')
        edges = [0, *piece.gaps, len(piece.letters)]
        spaced.append(" ".join(piece.letters[begin:end] for begin, end in pairwise(edges)))
    return spaced


def _standing(read: list[_Read]) -> Iterator[_Read]:
    """Yield the matches that no guard has turned, and that are no part of a longer one which a guard has turned.

    "Tried to kill myself", long ago and over, is not "kill myself" either.
    """
    reached = 0
    for one in sorted(read):
        if one.is_turned:
            reached = max(reached, -one.minus_end)
        elif -one.minus_end > reached:
            yield one


def _longest(found: list[Statement]) -> Iterator[Statement]:
    """Yield the statements that lie in no other one, in their order."""
    reached = -1
    for statement in sorted(found, key=lambda one: (one.start_char, -one.end_char, one.kind, one.language)):
        if statement.end_char > reached:
            reached = statement.end_char
            yield statement


def _check_duplicates(file: WrittenPhrases) -> None:
    """Refuse an entry that is there already: whose wordings another entry of few wordings has, or is written alike."""
    normalizer = _normalizer([file])
    seen: dict[str, WrittenPhrase] = {}
    for phrase in file.phrases:
        texts = wordings(phrase.phrase, _COMPARED) if phrase.phrase.count <= _COMPARED else []
        pieces = [piece.letters for piece in normalized_pieces(normalizer, texts) if piece] or [phrase.text]
        others = {seen.get(letters) for letters in pieces}
        other = next(iter(others)) if len(others) == 1 else None
        if other is not None:
            raise phrase.line.refuse(f'"{phrase.text}" is there already, in the entry of line {other.line.line}')
        seen.update({letters: phrase for letters in pieces if letters not in seen})


def _check_counter_examples(floor: Floor, file: WrittenPhrases) -> None:
    """Refuse phrases that find a statement in a counter-example of their language. All are read at once."""
    examples = file.counter_examples
    begins = np.cumsum([0, *(len(example.text) + len(BREAK) for example in examples)])
    for statement in floor.find(BREAK.join(example.text for example in examples)):
        example = examples[int(np.searchsorted(begins, statement.start_char, side="right")) - 1]
        if statement.language == file.file.language:
            raise example.line.refuse(
                f'the counter-example "{example.text}" is taken for a statement ({statement.kind})'
            )
