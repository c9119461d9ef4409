from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.grammar import GrammarName, GrammarSource, SentenceWriter, load_grammar
from training.labels import LABELS, RISK_LABELS, targets
from training.noise import noisy
from training.probes import all_probes, load_probes
from training.sentences import Reserved, normalized
from training.synthetic import Entry, EntryWriter, MixedSource, entries, entry_writer

SENTENCES = 20_000


def sentences(name: GrammarName, count: int = SENTENCES) -> set[str]:
    grammar = load_grammar(name)
    writer = SentenceWriter(grammar, random.Random(1), Reserved())
    return {normalized(writer.sentence(grammar.families).text) for _ in range(count)}


@given(st.integers(0, 2**32), st.sampled_from(["train", "heldout"]))
@settings(max_examples=20, deadline=None)
def test_same_seed_same_entries(seed: int, name: GrammarName) -> None:
    assert list(entries(name, 5, seed)) == list(entries(name, 5, seed))


def test_another_seed_gives_other_entries() -> None:
    assert list(entries("train", 20, 1)) != list(entries("train", 20, 2))


@given(st.integers(0, 2**32), st.sampled_from(["train", "heldout"]))
@settings(max_examples=20, deadline=None)
def test_neutral_is_exclusive_and_no_slot_stays_open(seed: int, name: GrammarName) -> None:
    for entry in entries(name, 10, seed):
        assert entry.labels <= set(RISK_LABELS)
        assert (entry.targets[0] == 1.0) == (sum(entry.targets[1:]) == 0.0)
        assert entry.text
        assert "{" not in entry.text and "}" not in entry.text


def test_every_label_and_number_of_labels_occurs() -> None:
    seen = {entry.labels for entry in entries("train", 2000, 0)}
    assert {len(labels) for labels in seen} == {0, 1, 2, 3}
    assert frozenset().union(*seen) == set(RISK_LABELS)


def test_a_sentence_expresses_nothing_that_it_does_not_mention() -> None:
    grammar = load_grammar("train")
    writer = SentenceWriter(grammar, random.Random(0), Reserved())
    for _ in range(2000):
        sentence = writer.sentence(grammar.families)
        assert sentence.expressed <= sentence.mentioned


@pytest.mark.parametrize("name", ["train", "heldout"])
def test_every_template_can_be_filled(name: GrammarName) -> None:
    grammar = load_grammar(name)
    for family in grammar.families:
        for slot in re.findall(r"{(.*?)}", " ".join(family.templates)):
            section, _, rest = slot.partition(".")
            sections = RISK_LABELS if section in family.slots else (section,)
            assert all(grammar.lexicon[f"{name}.{rest}" if rest else slot] for name in sections)


def test_the_grammars_share_no_template_and_no_sentence() -> None:
    train, heldout = load_grammar("train"), load_grammar("heldout")
    templates = {template for family in train.families for template in family.templates}
    assert templates.isdisjoint(template for family in heldout.families for template in family.templates)
    assert sentences("train").isdisjoint(sentences("heldout", 5000))


def test_no_probe_can_be_generated() -> None:
    reserved = Reserved()
    probes = {normalized(probe.text) for probe in all_probes()}
    assert all(probe.text in reserved for probe in all_probes())
    assert sentences("train").isdisjoint(probes)
    assert sentences("heldout", 5000).isdisjoint(probes)


def test_close_copies_of_the_card_are_reserved() -> None:
    assert "sometimes I just feel hopeless and empty!" in Reserved()
    assert "I went to the market." not in Reserved()


def test_probes_are_many_and_consistent() -> None:
    probes = all_probes()
    assert len(load_probes("first")) >= 60 and len(load_probes("second")) >= 250
    assert len({normalized(probe.text) for probe in probes}) == len(probes)
    assert {probe.family for probe in probes} == {
        *("card", "paraphrase", "negation", "other_person", "recovery", "idiom", "mixed", "everyday"),
        *("tense", "voice", "passage"),
    }
    assert all(probe.labels <= set(RISK_LABELS) for probe in probes)


def test_a_journal_expresses_its_labels_beside_other_sentences() -> None:
    writer = entry_writer("train", seed=3)
    written: list[Entry] = [writer.journal(8) for _ in range(50)]
    assert {bool(entry.labels) for entry in written} == {True, False}
    assert all(len(entry.text.split()) > 10 for entry in written)


def test_sources_are_mixed_by_their_share() -> None:
    rng = random.Random(0)
    grammars = (GrammarSource(load_grammar(name), rng) for name in ("train", "heldout"))
    source = MixedSource(*grammars, share=0.3, rng=rng)
    heldout = {template for family in load_grammar("heldout").families for template in family.templates}
    assert heldout
    drawn = [source.feeling("anxious") for _ in range(300)]
    assert all(sentence.expressed == {"anxious"} for sentence in drawn)
    assert 50 < sum(sentence.family == "state" for sentence in drawn) < 300
    assert EntryWriter(source, rng).short().text


def test_targets_refuse_what_is_no_risk_label() -> None:
    assert targets(frozenset({"anxious"})) == tuple(float(label == "anxious") for label in LABELS)
    with pytest.raises(ValueError, match="neutral"):
        targets(frozenset({"neutral"}))


@given(st.text(max_size=80), st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_noise_is_seeded(text: str, seed: int) -> None:
    assert noisy(text, random.Random(seed)) == noisy(text, random.Random(seed))
