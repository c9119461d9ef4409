"""Seeded synthetic journal entries, from one short sentence to pages.

Training entries mix the sentences of a grammar with lines written by hand; those for evaluation
come from the held-out grammar alone.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from training.grammar import GrammarName, GrammarSource, load_grammar
from training.labels import RISK_LABELS, Targets, targets
from training.lines import LineSource, load_lines
from training.sentences import Sentence, SentenceSource

_LINE_SHARE: Final = 0.6


@dataclass(frozen=True)
class Entry:
    """A journal entry: its text, the risk labels it expresses (none: neutral), all that it mentions, its kind."""

    text: str
    labels: frozenset[str]
    mentioned: frozenset[str]
    family: str

    @property
    def targets(self) -> Targets:
        """One value for each of ``LABELS``."""
        return targets(self.labels)


class MixedSource:
    """Each sentence from one source or another, by chance.

    Args:
        first, second: the sources.
        share: of the sentences that come from ``second``, 0 to 1.
        rng: the only source of randomness.
    """

    def __init__(self, first: SentenceSource, second: SentenceSource, share: float, rng: random.Random) -> None:
        self._first, self._second, self._share, self._rng = first, second, share, rng

    def _drawn(self) -> SentenceSource:
        return self._second if self._rng.random() < self._share else self._first

    def sentence(self) -> Sentence:
        """Any sentence."""
        return self._drawn().sentence()

    def feeling(self, label: str) -> Sentence:
        """A sentence that expresses ``label`` alone."""
        return self._drawn().feeling(label)

    def neutral(self) -> Sentence:
        """A sentence that expresses nothing but may mention anything."""
        return self._drawn().neutral()

    def aside(self, labels: frozenset[str]) -> Sentence:
        """A neutral sentence that denies none of ``labels``."""
        return self._drawn().aside(labels)

    def everyday(self) -> Sentence:
        """A sentence about nothing but everyday life."""
        return self._drawn().everyday()


class EntryWriter:
    """Writes entries out of sentences: one, a few, or pages of them.

    Args:
        source: of the sentences.
        rng: the only source of randomness.
    """

    def __init__(self, source: SentenceSource, rng: random.Random) -> None:
        self._source, self._rng = source, rng

    def short(self) -> Entry:
        """One sentence, as people write to a chat."""
        sentence = self._source.sentence()
        return self._entry([sentence], sentence.expressed, sentence.family)

    def journal(self, sentences: int) -> Entry:
        """An entry of about ``sentences`` sentences, one in three of them about feelings."""
        if self._rng.random() < 0.4:
            return self._neutral_journal(sentences)
        return self._risk_journal(sentences, max(1, round(sentences * self._rng.uniform(0.15, 0.6))))

    def neutral(self, sentences: int) -> list[str]:
        """Sentences that express nothing but may mention anything."""
        return [self._finished(self._source.neutral()) for _ in range(sentences)]

    def everyday(self, sentences: int) -> list[str]:
        """Sentences about nothing but everyday life."""
        return [self._finished(self._source.everyday()) for _ in range(sentences)]

    def feelings(self, labels: frozenset[str], sentences: int) -> list[str]:
        """Sentences that express exactly ``labels`` between them."""
        return [self._finished(sentence) for sentence in self._core(labels, sentences)]

    def _neutral_journal(self, sentences: int) -> Entry:
        written = [self._source.neutral() for _ in range(sentences)]
        return self._entry(written, frozenset(), "journal")

    def _risk_journal(self, sentences: int, feelings: int) -> Entry:
        labels = frozenset(self._rng.sample(RISK_LABELS, self._rng.choice((1, 1, 1, 2))))
        core = self._core(labels, feelings)
        others = [self._source.aside(labels) for _ in range(sentences - len(core))]
        return self._entry(self._shuffled(core + others), labels, "journal")

    def _entry(self, sentences: Sequence[Sentence], labels: frozenset[str], family: str) -> Entry:
        mentioned = frozenset[str]().union(*(sentence.mentioned for sentence in sentences))
        return Entry(self._join(sentences), labels, mentioned, family)

    def _core(self, labels: frozenset[str], count: int) -> list[Sentence]:
        """At least one sentence for each of ``labels``, ``count`` in all where that is more."""
        order = self._rng.sample(sorted(labels), len(labels))
        drawn = itertools.islice(itertools.cycle(order), max(count, len(order)))
        return [self._source.feeling(label) for label in drawn]

    def _shuffled(self, sentences: list[Sentence]) -> list[Sentence]:
        return self._rng.sample(sentences, len(sentences))

    def _join(self, sentences: Iterable[Sentence]) -> str:
        return " ".join(self._finished(sentence) for sentence in sentences)

    def _finished(self, sentence: Sentence) -> str:
        """The sentence with an end mark."""
        if sentence.text[-1] in ".?!":
            return sentence.text
        return sentence.text + self._rng.choices((".", "!", "...", ""), (80, 5, 5, 10))[0]


def entry_writer(name: GrammarName, seed: int) -> EntryWriter:
    """A writer of entries: ``train`` mixes its grammar with the hand-written lines, ``heldout`` has a grammar alone."""
    rng = random.Random(seed)
    grammar = GrammarSource(load_grammar(name), rng)
    if name == "heldout":
        return EntryWriter(grammar, rng)
    return EntryWriter(MixedSource(grammar, LineSource(load_lines("train"), rng), _LINE_SHARE, rng), rng)


def entries(name: GrammarName, count: int, seed: int) -> Iterator[Entry]:
    """The first ``count`` of ``endless_entries``."""
    return itertools.islice(endless_entries(name, seed), count)


def endless_entries(name: GrammarName, seed: int) -> Iterator[Entry]:
    """Entries without end: about half one sentence, the others up to 16.

    Args:
        name: ``train`` or ``heldout``.
        seed: the same seed gives the same entries.
    """
    writer = entry_writer(name, seed)
    rng = random.Random(seed + 1)
    while True:
        chance = rng.random()
        if chance < 0.55:
            yield writer.short()
        elif chance < 0.9:
            yield writer.journal(rng.randint(2, 4))
        else:
            yield writer.journal(rng.randint(5, 16))
