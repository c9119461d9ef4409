"""Splits that leak nothing: what belongs together, or nearly repeats itself, stays on one side.

Texts are compared as sets of word pairs, without case and punctuation; two are near-duplicates
where these sets have a Jaccard similarity of at least ``NEAR``. Candidates come from locality-
sensitive hashing of MinHash sketches (Broder 1997; Leskovec, Rajaraman & Ullman, chapter 3), and
each is compared exactly: what is reported is near, and a pair at ``NEAR`` itself is missed with a
probability of 3 in 10 million, a nearer one with a smaller one. Nothing depends on the order of the rows.
"""

from __future__ import annotations

import hashlib
import math
import random
import re
import sys
import zlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final

from datasketch import MinHash, MinHashLSH  # type: ignore[import-untyped]
from tqdm import tqdm  # type: ignore[import-untyped]

from export.labelled import normalised
from training.errors import DataError
from training.labels import LABELS
from training.rows import Row

NEAR: Final = 0.8
"""Jaccard similarity from which two texts count as one."""

_BANDS: Final = 21
_BAND_ROWS: Final = 3
"""Sketches of ``_BANDS * _BAND_ROWS`` values collide with probability 1 - (1 - similarity**3)**21."""

_FEWEST_PAIRS: Final = 4
"""Smaller sets are near only where they are equal: 3 of 4 is below ``NEAR``. They need no sketch."""

_SKETCH: Final = MinHash(num_perm=_BANDS * _BAND_ROWS, seed=1, hashfunc=zlib.crc32)
_RECENT: Final = 8192
_WORD: Final = re.compile(r"\w+")
_APOSTROPHES: Final = str.maketrans("", "", "'’")
_QUIET_S: Final = 15.0
_SHARES_TOLERANCE: Final = 1e-6


@dataclass(frozen=True)
class Link:
    """Two near-duplicates, by their positions; ``first < second``. ``similarity`` is 1 where they are the same."""

    first: int
    second: int
    similarity: float


def near_duplicates(rows: Sequence[Row]) -> list[Link]:
    """The near-duplicates among ``rows``.

    They are links enough to connect each to all others of its cluster, not all pairs of it: the
    texts that follow from one template would have millions.
    """
    index = _Index()
    return [link for row in _watched(rows, "Looking for near-duplicates") for link in index.add(row.text)]


def split_rows(rows: Sequence[Row], shares: Mapping[str, float], seed: int) -> dict[str, list[Row]]:
    """Divide ``rows`` among sides.

    Rows of a group and near-duplicates form a part, which is never divided. The parts are dealt
    out one by one, those with the rarest label first and large ones before small ones; the side is
    drawn in proportion to what each still lacks of the part's rarest label, among those that have
    room for it. So each label is divided by the shares as far as the parts allow (iterative
    stratification, Sechidis et al. 2011, with a draw in place of its choice, which would always put
    large parts on the largest side). An unknown target is no label.

    Args:
        rows: what to divide; each is on exactly one side, in the order of ``rows``.
        shares: what part of the rows each side gets; they add up to 1.
        seed: the same seed divides the same rows in the same way, in whatever order they stand.

    Raises:
        DataError: the shares do not add up to 1, or there are fewer parts than sides.
    """
    _check_shares(shares)
    index = _Index()
    links = [link for row in _watched(rows, "Looking for near-duplicates") for link in index.add(row.text)]
    parts = _parts(rows, links)
    if len(parts) < len(shares):
        raise DataError(
            f"{len(rows)} rows in {len(parts)} parts that belong together are too few for {len(shares)} sides "
            f"({', '.join(shares)}); give more rows or fewer sides"
        )
    sides = _deal(_hands(rows, parts, index.keys, seed), shares, seed)
    divided: dict[str, list[Row]] = {side: [] for side in shares}
    for position, row in enumerate(rows):
        divided[sides[position]].append(row)
    return divided


def check_disjoint(sides: Mapping[str, Sequence[Row]]) -> None:
    """Refuse sides that share anything.

    Raises:
        DataError: a text, one that nearly repeats it, or a group stands on two sides; it names both rows by
            side and number, from 1.
    """
    rows = [row for its in sides.values() for row in its]
    places = [(side, number) for side, its in sides.items() for number in range(1, len(its) + 1)]
    for first, second in _group_links(rows):
        _check_side(places[first], places[second], "belong to one group")
    for link in near_duplicates(rows):
        _check_side(places[link.first], places[link.second], "hold nearly the same text")


def drop_contradictions(rows: Sequence[Row]) -> tuple[list[Row], int]:
    """Leave out every row whose text occurs with another known target or emotion class; which is right nobody knows.

    Texts are the same where they differ in case and white space alone. What is said about one by
    one row and left open by another is no contradiction.

    Returns:
        The other rows in their order, and how many were left out.
    """
    keys = [normalised(row.text) for row in rows]
    known: defaultdict[str, dict[str, Hashable]] = defaultdict(dict)
    wrong: set[str] = set()
    for key, row in zip(keys, rows, strict=True):
        for name, value in _statements(row):
            if known[key].setdefault(name, value) != value:
                wrong.add(key)
    kept = [row for key, row in zip(keys, rows, strict=True) if key not in wrong]
    return kept, len(rows) - len(kept)


def drop_close_copies(rows: Sequence[Row], of: Sequence[str]) -> tuple[list[Row], int]:
    """Leave out every row whose text repeats or nearly repeats one of the texts ``of``, such as those of an evaluation.

    Returns:
        The other rows in their order, and how many were left out.
    """
    index = _Index()
    for text in of:
        index.add(text)
    kept = [row for row in _watched(rows, "Looking for close copies") if not index.holds(row.text)]
    return kept, len(rows) - len(kept)


class _Clusters:
    """Disjoint sets of the numbers from 0."""

    def __init__(self, size: int = 0) -> None:
        self._parents = list(range(size))

    def add(self) -> int:
        """A new number, in a set of its own."""
        self._parents.append(len(self._parents))
        return self._parents[-1]

    def join(self, first: int, second: int) -> None:
        """Make one set of the sets of both."""
        self._parents[self.find(second)] = self.find(first)

    def find(self, number: int) -> int:
        """The number that stands for the set of ``number``."""
        parents = self._parents
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = parents[number]
        return number


class _Index:
    """The texts so far, and which of them a further one nearly repeats.

    Word pairs are made anew where they are compared: those of all texts would not fit into memory.
    """

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        """One for each text; the same for equal sets of word pairs."""
        self._texts: list[str] = []
        self._sizes: list[int] = []
        self._clusters = _Clusters()
        self._firsts: dict[bytes, int] = {}
        self._lsh = MinHashLSH(num_perm=len(_SKETCH), params=(_BANDS, _BAND_ROWS))
        self._pairs = lru_cache(_RECENT)(lambda position: _word_pairs(self._texts[position]))

    def add(self, text: str) -> list[Link]:
        """Take ``text`` up, and link it with one text of each cluster that it is near to."""
        position = self._clusters.add()
        pairs = _word_pairs(text)
        key = _key(pairs)
        self.keys.append(key)
        self._texts.append(text)
        self._sizes.append(len(pairs))
        first = self._firsts.setdefault(key, position)
        if first != position:
            self._clusters.join(first, position)
            return [Link(first, position, 1.0)]
        if len(pairs) < _FEWEST_PAIRS:
            return []
        sketch = _sketch(pairs)
        links = list(self._links(position, pairs, sketch))
        self._lsh.insert(position, sketch, check_duplication=False)
        return links

    def holds(self, text: str) -> bool:
        """Whether one of the texts is ``text`` or near to it."""
        pairs = _word_pairs(text)
        if _key(pairs) in self._firsts:
            return True
        return len(pairs) >= _FEWEST_PAIRS and any(
            self._similarity(pairs, other) >= NEAR for other in self._lsh.query(_sketch(pairs))
        )

    def _links(self, position: int, pairs: frozenset[str], sketch: MinHash) -> Iterator[Link]:
        for other in sorted(self._lsh.query(sketch)):
            if self._clusters.find(other) != self._clusters.find(position):
                similarity = self._similarity(pairs, other)
                if similarity >= NEAR:
                    self._clusters.join(other, position)
                    yield Link(other, position, similarity)

    def _similarity(self, pairs: frozenset[str], other: int) -> float:
        """The Jaccard similarity, or 0 where the sizes alone rule out that it is near."""
        sizes = len(pairs), self._sizes[other]
        if min(sizes) / max(sizes) < NEAR:
            return 0.0
        common = len(pairs & self._pairs(other))
        return common / (sum(sizes) - common)


def _word_pairs(text: str) -> frozenset[str]:
    """Each word with the next; a single word stands alone, and signs are words where there are no others."""
    plain = normalised(text)
    words = _WORD.findall(plain.translate(_APOSTROPHES)) or [sign for sign in plain if sign != " "]
    if len(words) == 1:
        return frozenset(words)
    return frozenset(map(" ".join, pairwise(words)))


def _key(pairs: frozenset[str]) -> bytes:
    return hashlib.blake2b("\n".join(sorted(pairs)).encode(), digest_size=16).digest()


def _sketch(pairs: frozenset[str]) -> MinHash:
    sketch = _SKETCH.copy()
    sketch.update_batch([pair.encode() for pair in pairs])
    return sketch


@dataclass(frozen=True)
class _Part:
    """Rows that stay together.

    Attributes:
        positions: of its rows.
        features: how many of its rows have each known label; the rarest feature of all rows comes first.
        place: random, but the same wherever its rows stand.
    """

    positions: tuple[int, ...]
    features: dict[str, int]
    place: bytes


_ANY: Final = ""
"""The feature of every row."""


def _parts(rows: Sequence[Row], links: Iterable[Link]) -> list[list[int]]:
    """The positions of the rows that are linked, directly or through others."""
    clusters = _Clusters(len(rows))
    for first, second in [*((link.first, link.second) for link in links), *_group_links(rows)]:
        clusters.join(first, second)
    parts: defaultdict[int, list[int]] = defaultdict(list)
    for position in range(len(rows)):
        parts[clusters.find(position)].append(position)
    return list(parts.values())


def _group_links(rows: Sequence[Row]) -> Iterator[tuple[int, int]]:
    """Each row of a group with the first of it."""
    firsts: dict[str, int] = {}
    for position, row in enumerate(rows):
        if row.group is not None and firsts.setdefault(row.group, position) != position:
            yield firsts[row.group], position


def _hands(rows: Sequence[Row], parts: Iterable[Sequence[int]], keys: Sequence[bytes], seed: int) -> list[_Part]:
    """The parts in the order in which they are dealt out."""
    features = [_features(row) for row in rows]
    counts = Counter(feature for its in features for feature in its)
    rarity = {feature: rank for rank, feature in enumerate(sorted(counts, key=lambda name: (counts[name], name)))}
    dealt = []
    for positions in parts:
        found = Counter(feature for position in positions for feature in features[position])
        place = hashlib.blake2b(min(keys[position] for position in positions), key=str(seed).encode()).digest()
        dealt.append(_Part(tuple(positions), dict(sorted(found.items(), key=lambda item: rarity[item[0]])), place))
    return sorted(dealt, key=lambda part: (rarity[next(iter(part.features))], -len(part.positions), part.place))


def _features(row: Row) -> list[str]:
    return [_ANY, *(f"{name}={value}" for name, value in _statements(row)), *_comment_emotions(row)]


def _comment_emotions(row: Row) -> list[str]:
    return [f"comment emotion {number}" for number, value in enumerate(row.comment_emotions) if value == 1.0]


def _statements(row: Row) -> Iterator[tuple[str, Hashable]]:
    """What is known of the row: its known targets and its emotion class."""
    for label, value in zip(LABELS, row.targets, strict=True):
        if not math.isnan(value):
            yield label, value
    if row.emotion is not None:
        yield "emotion", row.emotion


def _deal(parts: Sequence[_Part], shares: Mapping[str, float], seed: int) -> dict[int, str]:
    """The side of each position."""
    rng = random.Random(seed)
    sides = sorted(shares)
    totals: Counter[str] = Counter()
    for part in parts:
        totals.update(part.features)
    lacking = {feature: {side: shares[side] * total for side in sides} for feature, total in totals.items()}
    empty = set(sides)
    dealt: dict[int, str] = {}
    for left, part in zip(range(len(parts), 0, -1), parts, strict=True):
        # No side goes without a row: the last parts are for those that still have none.
        side = _draw(part, sorted(empty) if left <= len(empty) else sides, lacking, rng)
        empty.discard(side)
        for feature, count in part.features.items():
            lacking[feature][side] -= count
        dealt.update(dict.fromkeys(part.positions, side))
    return dealt


def _draw(part: _Part, sides: Sequence[str], lacking: Mapping[str, Mapping[str, float]], rng: random.Random) -> str:
    roomy = [side for side in sides if lacking[_ANY][side] >= len(part.positions)]
    if not roomy:
        return max(sides, key=lambda side: lacking[_ANY][side])
    rarest = lacking[next(iter(part.features))]
    weights = [max(rarest[side], 0.0) for side in roomy]
    return rng.choices(roomy, weights if any(weights) else [lacking[_ANY][side] for side in roomy])[0]


def _check_shares(shares: Mapping[str, float]) -> None:
    if not all(share > 0 for share in shares.values()) or abs(sum(shares.values()) - 1) > _SHARES_TOLERANCE:
        given = ", ".join(f"{side} {share:g}" for side, share in shares.items())
        raise DataError(f"shares must be above 0 and add up to 1, not {given or 'none at all'}")


def _check_side(one: tuple[str, int], other: tuple[str, int], what: str) -> None:
    if one[0] != other[0]:
        raise DataError(
            f"row {one[1]} of {one[0]} and row {other[1]} of {other[0]} {what}; keep them on one side, or drop one"
        )


def _watched(rows: Sequence[Row], what: str) -> Iterator[Row]:
    """The rows, with a progress bar once it takes more than a second; rarely renewed where there is no terminal."""
    pause = 0.2 if sys.stderr.isatty() else _QUIET_S
    bar: Iterable[Row] = tqdm(
        rows, desc=what, unit=" texts", delay=1.0, mininterval=pause, maxinterval=60.0, leave=False
    )
    yield from bar
