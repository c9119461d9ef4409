"""Sentences drawn from one of the two grammars in ``grammars/``.

``train`` is for training, ``heldout``, with other templates and other wording, for evaluation. A
grammar has families of templates; a family says which labels its sentences express and which they
merely mention, as in "I'm not anxious" (mentions *anxious*, expresses nothing). All families draw
on the same lexicon, so a word alone never gives the label away: who feels it, when, and whether
they do has to be read.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from training.labels import RISK_LABELS
from training.sentences import Reserved, Sentence

GrammarName = Literal["train", "heldout"]

_GRAMMARS: Final = Path(__file__).with_name("grammars")
_SLOT: Final = re.compile(r"\{([A-Za-z_.]+)\}")
_SENTENCE_START: Final = re.compile(r"(^|[.?!:] )([a-z])")
_REDRAWS: Final = 20


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


def grammar_file(name: GrammarName) -> Path:
    """Where a grammar is written down."""
    return _GRAMMARS / f"{name}.json"


@cache
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


class GrammarSource:
    """Sentences that a grammar writes.

    Args:
        grammar: templates and lexicon.
        rng: the only source of randomness.
    """

    def __init__(self, grammar: Grammar, rng: random.Random) -> None:
        self._rng = rng
        self._writer = SentenceWriter(grammar, rng, Reserved())
        self._families = grammar.families
        self._felt = tuple(family for family in grammar.families if family.expressed == "A")
        self._neutral = tuple(family for family in grammar.families if not family.expressed)
        self._context = tuple(family for family in grammar.families if family.context)
        # Beside a feeling, "I'm fine" would contradict it; these families do not.
        self._aside = tuple(family for family in self._neutral if family.context or family.slots)

    def sentence(self) -> Sentence:
        """Any sentence."""
        return self._writer.sentence(self._families)

    def feeling(self, label: str) -> Sentence:
        """A sentence that expresses ``label`` alone."""
        return self._writer.sentence(self._felt, (label,))

    def neutral(self) -> Sentence:
        """A sentence that expresses nothing but may mention anything."""
        return self._writer.sentence(self._neutral)

    def aside(self, labels: frozenset[str]) -> Sentence:
        """A neutral sentence that denies none of ``labels``, mostly one of everyday life."""
        others = [label for label in RISK_LABELS if label not in labels]
        fitting = [family for family in self._aside if len(family.slots) <= len(others)]
        families = self._context if self._rng.random() < 0.6 else fitting
        return self._writer.sentence(families, others)

    def everyday(self) -> Sentence:
        """A sentence about nothing but everyday life."""
        return self._writer.sentence(self._context)
