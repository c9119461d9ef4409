"""Seeded synthetic journal entries, from one short sentence to pages.

The sentences come from the two grammars in ``grammars/``: ``train`` for training, ``heldout``
with other templates and other wording for evaluation. A grammar has families of templates; a
family says which labels its sentences express and which they merely mention, as in "I'm not
anxious" (mentions *anxious*, expresses nothing). All families draw on the same lexicon, so a
word alone never gives the label away: who feels it, when, and whether they do has to be read.
"""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from training.labels import RISK_LABELS, Targets, targets
from training.probes import load_probes

GrammarName = Literal["train", "heldout"]

_GRAMMARS: Final = Path(__file__).with_name("grammars")
_SLOT: Final = re.compile(r"\{([A-Za-z_.]+)\}")
_WORD: Final = re.compile(r"[a-z0-9]+")
_SENTENCE_START: Final = re.compile(r"(^|[.?!:] )([a-z])")
_REDRAWS: Final = 20
_CLOSE_COPY: Final = 0.8


@dataclass(frozen=True)
class Family:
    """Templates of one kind of sentence.

    Attributes:
        name: what kind, for reports.
        slots: the lexicon sections its templates use: ``A`` and ``B``, in any mixture.
        expressed: how many of those the writer expresses, and which: "", "A", "B" or "AB".
        weight: how often it is drawn, relative to the others of its grammar.
        context: whether its sentences fit into an entry about anything.
        templates: text with ``{slot}`` in it.
    """

    name: str
    slots: str
    expressed: str
    weight: int
    context: bool
    templates: tuple[str, ...]


@dataclass(frozen=True)
class Grammar:
    """Families of templates, and the lexicon that fills their slots."""

    families: tuple[Family, ...]
    lexicon: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Sentence:
    """A sentence with the labels that its writer expresses, and all that it mentions."""

    text: str
    expressed: frozenset[str]
    mentioned: frozenset[str]
    family: str


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


def grammar_file(name: GrammarName) -> Path:
    """Where a grammar is written down."""
    return _GRAMMARS / f"{name}.json"


def load_grammar(name: GrammarName) -> Grammar:
    """Read one of the two grammars that come with this package."""
    document = json.loads(grammar_file(name).read_text(encoding="utf-8"))
    families = tuple(_family(table) for table in document["families"])
    return Grammar(families, _lexicon(document["lexicon"]))


def _family(table: Mapping[str, Any]) -> Family:
    expressed = table["labels"]
    slots = "".join(sorted(set(expressed + table.get("mentions", "")) | ({"A"} if "B" in expressed else set())))
    templates = tuple(table["templates"])
    return Family(table["name"], slots, expressed, table["weight"], table.get("context", False), templates)


def _lexicon(sections: Mapping[str, Mapping[str, Sequence[str]]]) -> dict[str, tuple[str, ...]]:
    """Shared slots by their name, the others as ``section.slot``."""
    return {
        slot if section == "shared" else f"{section}.{slot}": tuple(words)
        for section, slots in sections.items()
        for slot, words in slots.items()
    }


def normalized(text: str) -> str:
    """The words of ``text`` alone: lower case, no punctuation, "don't" as "dont"."""
    return " ".join(_WORD.findall(text.lower().replace("'", "").replace("\u2019", "")))


class Reserved:
    """Sentences kept for evaluation: the probes, and close copies of the model card's examples."""

    def __init__(self) -> None:
        probes = load_probes()
        self._exact = frozenset(normalized(probe.text) for probe in probes)
        self._cards = [frozenset(normalized(probe.text).split()) for probe in probes if probe.family == "card"]

    def __contains__(self, text: str) -> bool:
        key = normalized(text)
        words = frozenset(key.split())
        return key in self._exact or any(_overlap(words, card) >= _CLOSE_COPY for card in self._cards)


def _overlap(left: frozenset[str], right: frozenset[str]) -> float:
    """Jaccard similarity of two bags of words."""
    return len(left & right) / len(left | right)


class SentenceWriter:
    """Draws sentences of a grammar.

    Args:
        grammar: templates and lexicon.
        rng: the only source of randomness.
        reserved: sentences that must not be written.
    """

    def __init__(self, grammar: Grammar, rng: random.Random, reserved: Reserved) -> None:
        self._grammar, self._rng, self._reserved = grammar, rng, reserved

    def sentence(self, families: Sequence[Family], among: Sequence[str] = RISK_LABELS) -> Sentence:
        """Draw a sentence from ``families`` by weight, about labels ``among`` these."""
        while True:
            sentence = self._draw(families, among)
            if sentence.text not in self._reserved:
                return sentence

    def _draw(self, families: Sequence[Family], among: Sequence[str]) -> Sentence:
        family = self._rng.choices(families, [family.weight for family in families])[0]
        names = dict(zip(family.slots, self._rng.sample(among, len(family.slots)), strict=True))
        text = _capitalized(self._fill(self._rng.choice(family.templates), names, set()))
        expressed = frozenset(names[slot] for slot in family.expressed)
        return Sentence(text, expressed, frozenset(names.values()), family.name)

    def _fill(self, template: str, names: Mapping[str, str], used: set[str]) -> str:
        return _SLOT.sub(lambda match: self._fill(self._word(match[1], names, used), names, used), template)

    def _word(self, slot: str, names: Mapping[str, str], used: set[str]) -> str:
        """A filler of ``slot`` that the sentence does not have yet, where there is one."""
        section, _, rest = slot.partition(".")
        words = self._grammar.lexicon[f"{names[section]}.{rest}" if section in names else slot]
        candidates = (self._rng.choice(words) for _ in range(_REDRAWS))
        word = next((candidate for candidate in candidates if candidate not in used), words[0])
        used.add(word)
        return word


def _capitalized(text: str) -> str:
    return _SENTENCE_START.sub(lambda match: match[1] + match[2].upper(), text)


class EntryWriter:
    """Writes entries out of sentences: one, a few, or pages of them.

    Args:
        grammar: templates and lexicon.
        seed: the same seed gives the same entries.
    """

    def __init__(self, grammar: Grammar, seed: int) -> None:
        self._rng = random.Random(seed)
        self._sentences = SentenceWriter(grammar, self._rng, Reserved())
        self._families = grammar.families
        self._neutral = tuple(family for family in grammar.families if not family.expressed)
        self._context = tuple(family for family in grammar.families if family.context)
        # Beside a feeling, "I'm fine" would contradict it; these families do not.
        self._aside = tuple(family for family in self._neutral if family.context or family.slots)

    def short(self) -> Entry:
        """One sentence, as people write to a chat."""
        sentence = self._sentences.sentence(self._families)
        return self._entry([sentence], sentence.expressed, sentence.family)

    def journal(self, sentences: int) -> Entry:
        """An entry of about ``sentences`` sentences, one in three of them about feelings."""
        if self._rng.random() < 0.4:
            return self._neutral_journal(sentences)
        return self._risk_journal(sentences, max(1, round(sentences * self._rng.uniform(0.15, 0.6))))

    def neutral(self, sentences: int) -> list[str]:
        """Sentences that express nothing but may mention anything."""
        return [self._finished(self._sentences.sentence(self._neutral)) for _ in range(sentences)]

    def everyday(self, sentences: int) -> list[str]:
        """Sentences about nothing but everyday life."""
        return [self._finished(self._sentences.sentence(self._context)) for _ in range(sentences)]

    def feelings(self, labels: frozenset[str], sentences: int) -> list[str]:
        """Sentences that express exactly ``labels`` between them."""
        return [self._finished(sentence) for sentence in self._core(labels, sentences)]

    def _neutral_journal(self, sentences: int) -> Entry:
        written = [self._sentences.sentence(self._neutral) for _ in range(sentences)]
        return self._entry(written, frozenset(), "journal")

    def _risk_journal(self, sentences: int, feelings: int) -> Entry:
        labels = frozenset(self._rng.sample(RISK_LABELS, self._rng.choice((1, 1, 1, 2))))
        core = self._core(labels, feelings)
        others = [self._aside_sentence(labels) for _ in range(sentences - len(core))]
        return self._entry(self._shuffled(core + others), labels, "journal")

    def _entry(self, sentences: Sequence[Sentence], labels: frozenset[str], family: str) -> Entry:
        mentioned = frozenset[str]().union(*(sentence.mentioned for sentence in sentences))
        return Entry(self._join(sentences), labels, mentioned, family)

    def _core(self, labels: frozenset[str], count: int) -> list[Sentence]:
        """At least one sentence for each of ``labels``, ``count`` in all where that is more."""
        order = self._rng.sample(sorted(labels), len(labels))
        return [self._feeling(label) for label in itertools.islice(itertools.cycle(order), max(count, len(order)))]

    def _feeling(self, label: str) -> Sentence:
        """A sentence that expresses ``label`` alone."""
        families = [family for family in self._families if family.expressed == "A"]
        return self._sentences.sentence(families, (label,))

    def _aside_sentence(self, labels: frozenset[str]) -> Sentence:
        """A neutral sentence that denies none of ``labels``."""
        others = [label for label in RISK_LABELS if label not in labels]
        fitting = [family for family in self._aside if len(family.slots) <= len(others)]
        families = self._context if self._rng.random() < 0.6 else fitting
        return self._sentences.sentence(families, others)

    def _shuffled(self, sentences: list[Sentence]) -> list[Sentence]:
        return self._rng.sample(sentences, len(sentences))

    def _join(self, sentences: Iterable[Sentence]) -> str:
        return " ".join(self._finished(sentence) for sentence in sentences)

    def _finished(self, sentence: Sentence) -> str:
        """The sentence with an end mark."""
        if sentence.text[-1] in ".?!":
            return sentence.text
        return sentence.text + self._rng.choices((".", "!", "...", ""), (80, 5, 5, 10))[0]


def entries(name: GrammarName, count: int, seed: int) -> Iterator[Entry]:
    """``count`` entries of a grammar: about half one sentence, the others up to 16.

    Args:
        name: ``train`` or ``heldout``.
        count: how many.
        seed: the same seed gives the same entries.
    """
    writer = EntryWriter(load_grammar(name), seed)
    rng = random.Random(seed + 1)
    for _ in range(count):
        chance = rng.random()
        if chance < 0.55:
            yield writer.short()
        elif chance < 0.9:
            yield writer.journal(rng.randint(2, 4))
        else:
            yield writer.journal(rng.randint(5, 16))
