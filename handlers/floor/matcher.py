"""Finds the statements of the phrase files in a text: many patterns at once (Aho and Corasick, 1975), in one pass."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import sys
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar

import numpy as np
from ahocorasick_rs import AhoCorasick

from handlers.core.errors import StartupError
from handlers.core.statements import Statement, StatementKind, StatementLanguage
from handlers.floor.alternatives import InvalidAlternatives, Part, Phrase, join, slots, wordings
from handlers.floor.normalize import (
    PARAGRAPH_END,
    SENTENCE_END,
    STAR,
    Fillers,
    Indexes,
    Normalized,
    Normalizer,
    mask_forms,
)
from handlers.floor.phrase_file import (
    Written,
    WrittenGuard,
    WrittenPhrase,
    WrittenPhrases,
    load_phrases,
)

COMPILED: Final = "compiled.pickle"

PHRASES: Final = Path(__file__).with_name("phrases")

_FREE_LETTERS: Final = 8
"""From so many letters on, a phrase is known however it is spaced; "kms" is not in "back, my son"."""

_COMPARED: Final = 32
"""Up to so many wordings an entry is compared with the others wording by wording."""

_KANA: Final = (0x3041, 0x309F)
"""Code points of hiragana, which katakana are folded to."""
_JAPANESE: Final = 2
"""Kana in a sentence that make it Japanese; one alone is also written in Chinese."""

_BREAK: Final = "\n\n"
"""Between texts that are normalised together: the end of a paragraph."""


class _Match(NamedTuple):
    start: int
    end: int
    owner: int


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
        self._phrases = _Index(phrases, self._normalizer)
        self._guards = _Index([guard for file in files for guard in file.guards], self._normalizer)
        for file in files:
            _check_duplicates(file)
            _check_counter_examples(self, file)

    def find(self, text: str) -> tuple[Statement, ...]:
        """Return the statements in ``text``, in their order; of two that overlap, the longer one.

        The time is linear in the length of ``text``, of which nothing is kept.
        """
        normalized = self._normalizer.normalize(text)
        found = self._find(normalized)
        if normalized.has_ones:
            found += self._find(self._normalizer.normalize(text, ones="l"))
        return tuple(_longest(found))

    def _find(self, text: Normalized) -> list[Statement]:
        matches = self._phrases.matches(text)
        if not matches:
            return []
        context = _Context(text, self._guards)
        read = [
            _Read(start, -end, context.turns(phrase, start, end), phrase.kind, phrase.language)
            for start, end, owner in matches
            for phrase in (self._phrases.owners[owner],)
            if not (phrase.language == "zh" and context.is_japanese(start))
        ]
        return [
            Statement(int(text.first[one.start]), int(text.last[-one.minus_end - 1]) + 1, one.kind, one.language)
            for one in _standing(read)
        ]


_Owner = TypeVar("_Owner", bound=Written)
_Result = TypeVar("_Result")


_PLACES: Final = 1024
"""More than a branch has parts: a use of a part is one number, its branch times this and its place."""


class _Index(Generic[_Owner]):
    """Finds phrases by their parts: every part is looked for, and those that follow one another make a phrase.

    Args:
        owners: whose phrases they are.
        normalizer: brings parts into the form of texts.

    Raises:
        StartupError: a phrase is empty or more than one sentence, with its line.
    """

    def __init__(self, owners: Sequence[_Owner], normalizer: Normalizer) -> None:
        self.owners = owners
        self._branches: list[tuple[int, int]] = []  # owner and last place of each
        uses: dict[_Piece, list[int]] = {}
        for owner, pieces in enumerate(_cut(owners, normalizer)):
            for parts in pieces:
                first_use = len(self._branches) * _PLACES
                self._branches.append((owner, len(parts) - 1))
                for place, part in enumerate(parts):
                    for piece in part:
                        uses.setdefault(piece, []).append(first_use + place)
        self._pieces = list(uses)
        self._uses = [array("q", one) for one in uses.values()]
        self._build()

    def _build(self) -> None:
        self._automaton = AhoCorasick([piece.letters for piece in self._pieces], store_patterns=False)
        needs = [self._needs_edges(number) for number in range(len(self._pieces))]
        self._needs_start, self._needs_end = [need[0] for need in needs], [need[1] for need in needs]

    def _needs_edges(self, number: int) -> tuple[bool, bool]:
        """Say whether a piece counts only where a word starts, and ends: short ones of languages that set spaces."""
        piece = self._pieces[number]
        owners = [self.owners[self._branches[use // _PLACES][0]] for use in self._uses[number]]
        if len(piece.letters) >= _FREE_LETTERS or any(_is_free(owner, piece) for owner in owners):
            return False, False
        is_latin = piece.letters.isascii()
        starts = not piece.letters[0].isdecimal()
        return starts, is_latin or all(owner.boundaries == "both" for owner in owners)

    def __getstate__(self) -> tuple[Any, ...]:
        """Return what a compiled floor keeps: everything but the automaton, and of the owners what matching needs."""
        owners = [replace(owner, text="", phrase=Phrase(())) for owner in self.owners]
        return owners, self._branches, [tuple(piece) for piece in self._pieces], self._uses

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.owners, self._branches, pieces, self._uses = state
        self._pieces = [_Piece(*piece) for piece in pieces]
        self._build()

    def matches(self, text: Normalized) -> list[_Match]:
        """Return where phrases stand, edges and spaces considered; positions are those of ``text.symbols``."""
        found: dict[_Match, None] = {}
        starts, ends = text.starts.tolist(), _word_ends(text)
        # Of the parts found so far: where the phrases began that may go on at a place.
        begun: dict[tuple[int, int], int] = {}
        # They come in the order of their ends, so that a part is there before the one that follows it.
        for number, start, end in self._automaton.find_matches_as_indexes(text.string, overlapping=True):
            if (self._needs_start[number] and not starts[start]) or (self._needs_end[number] and not ends[end - 1]):
                continue
            piece = self._pieces[number]
            for use in self._uses[number]:
                branch, place = divmod(use, _PLACES)
                owner, last = self._branches[branch]
                begin = start if place == 0 else self._begin(begun, text, use, start)
                if begin is None or (place == 0 and not _may_start(self.owners[owner], piece, starts, start)):
                    continue
                if place < last:
                    begun.setdefault((use + 1, end), begin)
                elif _may_end(self.owners[owner], piece, starts, ends, begin, end):
                    found[_Match(begin, end, owner)] = None
        return list(found)

    def _begin(self, begun: dict[tuple[int, int], int], text: Normalized, use: int, start: int) -> int | None:
        """Return where the phrase began whose next part starts at ``start``, if one did.

        Where one part ends with the letter that the next one starts with, the two have become one.
        """
        if (begin := begun.get((use, start))) is not None:
            return begin
        return begun.get((use, start + 1)) if text.starts[start] and text.ends[start] else None


def _may_start(written: Written, piece: _Piece, starts: list[bool], start: int) -> bool:
    return starts[start] or _is_free(written, piece) or piece.letters[0].isdecimal()


def _may_end(written: Written, piece: _Piece, starts: list[bool], ends: list[bool], start: int, end: int) -> bool:
    if _is_free(written, piece):
        return True
    if not (ends[end - 1] or (written.boundaries == "start" and not piece.letters.isascii())):
        return False
    size = end - start
    if size >= _FREE_LETTERS or size != len(piece.letters):  # of several parts, which all end with a word
        return True
    gaps = {gap for gap in range(1, size) if starts[start + gap]}
    if not ends[end - 2]:
        gaps.discard(size - 1)  # its last letter is the first one of the next word as well
    return gaps.issubset(piece.gaps) or len(gaps) == size - 1


def _is_free(written: Written, piece: _Piece) -> bool:
    """Say whether a phrase may stand inside of words: where the language sets no spaces, unless it is Latin."""
    return written.boundaries == "none" and not piece.letters.isascii()


class _Piece(NamedTuple):
    """One wording of a part, normalised. ``gaps``: where in it a word starts, apart from its beginning."""

    letters: str
    gaps: tuple[int, ...]


def _cut(owners: Sequence[Written], normalizer: Normalizer) -> Iterator[list[list[list[_Piece]]]]:
    """Yield the branches of every phrase, as parts of normalised wordings; all are normalised at once."""
    cut = [_refusing(written, partial(slots, written.phrase)) for written in owners]
    words = (text for one in cut for branch in one for slot in branch for text in slot)
    letters = {text: _weight(piece) for text, piece in _normalized(normalizer, words).items()}
    joined = [
        [
            parts
            for branch in one
            for parts in _refusing(written, partial(join, branch, letters, spaced=written.boundaries != "none"))
        ]
        for written, one in zip(owners, cut, strict=True)
    ]
    pieces = _normalized(normalizer, (text for one in joined for branch in one for part in branch for text in part))
    for written, one in zip(owners, joined, strict=True):
        found = [[_pieces(written, part, pieces) for part in branch] for branch in one]
        full = [branch for branch in found if all(branch)]
        if not full:
            raise written.line.refuse(f'"{written.text}" is empty but for fillers and punctuation')
        yield full


def _weight(piece: _Piece | None) -> int:
    """Return how many letters count: an ideograph is as rare in a text as several."""
    return 1 if piece is None else sum(3 if char >= "\u3400" else 1 for char in piece.letters)


def _refusing(written: Written, work: Callable[[], _Result]) -> _Result:
    try:
        return work()
    except InvalidAlternatives as error:
        raise written.line.refuse(str(error)) from None


def _pieces(written: Written, part: Part, pieces: Mapping[str, _Piece | None]) -> list[_Piece]:
    """Return the wordings of a part; those that are empty but for fillers are none."""
    found: dict[_Piece, None] = {}
    for text in part:
        piece = pieces[text]
        if piece is None:
            raise written.line.refuse(f'"{" ".join(text.split())}" is more than one sentence')
        if piece.letters:
            found[piece] = None
    return list(found)


def _normalized(normalizer: Normalizer, texts: Iterable[str]) -> dict[str, _Piece | None]:
    """Normalise different wordings."""
    different = list(dict.fromkeys(texts))
    return dict(zip(different, normalized_pieces(normalizer, different), strict=True))


def normalized_pieces(normalizer: Normalizer, texts: Sequence[str]) -> list[_Piece | None]:
    """Normalise wordings, all at once; ``None`` stands for one of more than one sentence."""
    whole = normalizer.normalize(_BREAK.join(texts))
    begins = np.cumsum([0, *(len(text) + len(_BREAK) for text in texts)])
    owner = np.searchsorted(begins, whole.first, side="right") - 1
    edges = np.searchsorted(owner, np.arange(len(texts) + 1)).tolist()
    string, starts = whole.string, whole.starts.tolist()
    pieces: list[_Piece | None] = []
    for begin, end in pairwise(edges):
        letters = string[begin:end].rstrip(SENTENCE_END + PARAGRAPH_END)
        gaps = tuple(place for place in range(1, len(letters)) if starts[begin + place])
        pieces.append(None if SENTENCE_END in letters else _Piece(letters, gaps))
    return pieces


def _word_ends(text: Normalized) -> list[bool]:
    """Return where words end, before the star of a word that could not be read as well."""
    starred = np.concatenate((text.symbols[1:] == ord(STAR), [False])) if len(text.symbols) else text.ends
    ends: list[bool] = (text.ends | starred).tolist()
    return ends


@dataclass(slots=True)
class _Reach:
    """How far a guard reaches into a sentence: where its first occurrence ends and its last one starts."""

    first_end: int
    last_start: int

    def is_beside(self, start: int, end: int) -> bool:
        """Say whether an occurrence stands outside of ``start`` to ``end``."""
        return self.first_end <= start or self.last_start >= end


@dataclass
class _Context:
    """The guards that stand in a text, by their place: each is looked up once, however many statements there are."""

    text: Normalized
    index: _Index[WrittenGuard]
    _before: dict[int, set[WrittenGuard]] = field(default_factory=lambda: defaultdict(set))
    _after: dict[int, set[WrittenGuard]] = field(default_factory=lambda: defaultdict(set))
    _sentence: dict[int, dict[WrittenGuard, _Reach]] = field(default_factory=lambda: defaultdict(dict))
    _near: dict[int, dict[WrittenGuard, _Reach]] = field(default_factory=lambda: defaultdict(dict))

    def __post_init__(self) -> None:
        symbols = self.text.symbols
        self._sentences: Indexes = np.flatnonzero(symbols < ord("0"))
        is_kana = (symbols >= _KANA[0]) & (symbols <= _KANA[1])
        self._kana: Indexes = np.concatenate(([0], np.cumsum(is_kana)))
        for start, end, owner in self.index.matches(self.text):
            self._note(self.index.owners[owner], start, end)

    def turns(self, phrase: WrittenPhrase, start: int, end: int) -> bool:
        """Say whether a guard turns the statement from ``start`` to ``end``."""
        directly = (*self._at(self._before, start, start), *self._at(self._after, end, end - 1))
        if any(guard.turns(phrase) for guard in directly):
            return True
        sentence = self._sentence_of(start)
        same = self._sentence.get(sentence, {})
        near = [self._near.get(number, {}) for number in self._neighbours(sentence)]
        return any(
            guard.turns(phrase) and reach.is_beside(start, end)
            for reaches in (same, *near)
            for guard, reach in reaches.items()
        )

    def is_japanese(self, start: int) -> bool:
        """Say whether the sentence around ``start`` holds kana: then ideographs in it are Japanese, not Chinese."""
        sentence = self._sentence_of(start)
        begin = int(self._sentences[sentence - 1]) if sentence else 0
        end = int(self._sentences[sentence]) if sentence < len(self._sentences) else len(self.text.symbols)
        return bool(self._kana[end] - self._kana[begin] >= _JAPANESE)

    def _note(self, guard: WrittenGuard, start: int, end: int) -> None:
        if guard.place == "before":
            self._before[end].add(guard)
        elif guard.place == "after":
            self._after[start].add(guard)
        else:
            reaches = (self._sentence if guard.place == "sentence" else self._near)[self._sentence_of(start)]
            reach = reaches.setdefault(guard, _Reach(end, start))
            reach.first_end, reach.last_start = min(reach.first_end, end), max(reach.last_start, start)

    def _at(self, guards: dict[int, set[WrittenGuard]], edge: int, shared: int) -> Iterable[WrittenGuard]:
        """Yield guards that meet ``edge``, also where the last letter of one word and the first of the next are one."""
        yield from guards.get(edge, ())
        if self.text.starts[shared] and self.text.ends[shared] and self.text.first[shared] != self.text.last[shared]:
            yield from guards.get(shared if shared != edge else edge + 1, ())

    def _sentence_of(self, at: int) -> int:
        return int(np.searchsorted(self._sentences, at))

    def _neighbours(self, sentence: int) -> Iterator[int]:
        """Yield ``sentence`` and those beside it in its paragraph."""
        yield sentence
        if sentence > 0 and self._is_within_paragraph(sentence - 1):
            yield sentence - 1
        if sentence < len(self._sentences) and self._is_within_paragraph(sentence):
            yield sentence + 1

    def _is_within_paragraph(self, gap: int) -> bool:
        return bool(self.text.symbols[self._sentences[gap]] == ord(SENTENCE_END))


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
    and everything in English.
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
    begins = np.cumsum([0, *(len(example.text) + len(_BREAK) for example in examples)])
    for statement in floor.find(_BREAK.join(example.text for example in examples)):
        example = examples[int(np.searchsorted(begins, statement.start_char, side="right")) - 1]
        if statement.language == file.file.language:
            raise example.line.refuse(
                f'the counter-example "{example.text}" is taken for a statement ({statement.kind})'
            )
