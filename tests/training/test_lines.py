from __future__ import annotations

import random
from collections import Counter
from math import ceil, floor
from pathlib import Path

import pytest

from training.errors import DataError
from training.labels import RISK_LABELS
from training.lines import LineSource, line_files, load_lines, load_posts, parse_line
from training.probes import all_probes
from training.sentences import normalized


@pytest.mark.parametrize(
    ("line", "expressed", "mentioned"),
    [
        ("d|x", {"depressed"}, {"depressed"}),
        ("-d|x", set(), {"depressed"}),
        ("a-d|x", {"anxious"}, {"anxious", "depressed"}),
        ("das|x", set(RISK_LABELS), set(RISK_LABELS)),
        ("-|x", set(), set()),
    ],
)
def test_a_code_says_what_is_expressed_and_what_is_mentioned(
    line: str, expressed: set[str], mentioned: set[str]
) -> None:
    found = parse_line(line, "here")
    assert (found.text, found.expressed, found.mentioned) == ("x", expressed, mentioned)


@pytest.mark.parametrize("line", ["no code", "x|text", "|text", "ad|text", "d|", "d-x|text"])
def test_a_line_without_a_code_is_refused_by_its_place(line: str) -> None:
    with pytest.raises(DataError, match="here: expected CODE"):
        parse_line(line, "here")


def test_the_lines_are_many_and_no_two_alike() -> None:
    lines = [*load_lines("train"), *load_lines("dev"), *load_posts("train"), *load_posts("dev")]
    assert len(lines) > 13_000
    repeated = [text for text, count in Counter(normalized(line.text) for line in lines).items() if count > 1]
    assert repeated == []


def test_training_and_development_share_no_line() -> None:
    train = {line.text for line in [*load_lines("train"), *load_posts("train")]}
    dev = {line.text for line in [*load_lines("dev"), *load_posts("dev")]}
    assert len(dev) > 500
    assert train.isdisjoint(dev)


def test_no_line_is_a_close_copy_of_a_probe() -> None:
    """Four fifths of the words in common would make the probes a test of memory."""
    probes: dict[int, list[frozenset[str]]] = {}
    for probe in all_probes():
        words = frozenset(normalized(probe.text).split())
        probes.setdefault(len(words), []).append(words)
    lines = [line for part in ("train", "dev") for line in load_lines(part)]  # type: ignore[arg-type]
    for words in (frozenset(normalized(line.text).split()) for line in lines):
        # No others are near enough in length.
        for size in range(floor(0.8 * len(words)), ceil(len(words) / 0.8) + 1):
            assert all(len(words & probe) < 0.8 * len(words | probe) for probe in probes.get(size, []))


def test_every_file_is_read() -> None:
    assert {path.name.split("-")[0] for path in line_files()} == {
        *("anxious", "depressed", "stressed", "neutral", "plain", "chat", "posts", "told")
    }
    assert all(isinstance(path, Path) for path in line_files())


def test_an_aside_never_mentions_what_the_entry_is_about() -> None:

    source = LineSource(load_lines("dev"), random.Random(0))
    for label in RISK_LABELS:
        assert all(label not in source.aside(frozenset({label})).mentioned for _ in range(200))
        assert all(source.feeling(label).expressed == {label} for _ in range(50))
    assert all(not source.everyday().mentioned for _ in range(50))
    assert all(not source.neutral().expressed for _ in range(50))
