"""The labelled sentences are fit to measure with, and the phrases that are served reach their goals on them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from evaluation.errors import EvaluationError
from evaluation.statements.__main__ import main
from evaluation.statements.card import CARD, FIGURES, card_json, card_markdown, meets_goals
from evaluation.statements.figures import LanguageFigures, figures_by_language, judge
from evaluation.statements.sentences import OPPOSITES, STATEMENTS, Sentence, read_sentences, read_set
from handlers.core.statements import LANGUAGES
from handlers.floor.matcher import PHRASES, Floor, read_folder
from handlers.floor.phrase_file import WrittenPhrases
from tests.unit.floor.phrases import entry, floor_of


def sentence(text: str, family: str, kind: str | None = None) -> Sentence:
    explicit = None if family == "indirect" else family in STATEMENTS
    fields = {"text": text, "language": "en", "family": family, "explicit": explicit, "kind": kind}
    return Sentence.model_validate(fields)


def test_figures_are_shares_by_family() -> None:
    floor = floor_of(entry("i want to die"), entry("kms", "intent"))
    rows = [
        sentence("I want to die", "direct", "wish"),
        sentence("I wish I were dead", "direct", "wish"),
        sentence("kms", "slang", "wish"),
        sentence("he said i want to die", "other_person"),
        sentence("a calm day", "distress"),
        sentence("goodbye", "indirect"),
    ]

    (found,) = figures_by_language(judge(floor, rows))

    assert {name: (share.hits, share.total) for name, share in found.families.items()} == {
        "direct": (1, 2),
        "slang": (1, 1),
        "other_person": (1, 1),
        "distress": (0, 1),
        "indirect": (0, 1),
    }
    assert found.recall is not None and (found.recall.hits, found.recall.total) == (2, 3)
    assert found.false_flags is not None and (found.false_flags.hits, found.false_flags.total) == (1, 2)
    assert found.precision is not None and (found.precision.hits, found.precision.total) == (2, 3)
    assert found.kind is not None and (found.kind.hits, found.kind.total) == (1, 2)
    assert not meets_goals(found)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "JSON"),
        ('{"text": "a", "language": "en", "family": "direct", "explicit": false}', "explicit must be true"),
        ('{"text": "a", "language": "en", "family": "direct", "explicit": true}', "a kind belongs to explicit"),
        ('{"text": "a", "language": "xx", "family": "figure", "explicit": false}', "language"),
        ('{"text": "", "language": "en", "family": "figure", "explicit": false}', "text"),
    ],
)
def test_a_row_that_does_not_fit_is_named(tmp_path: Path, line: str, reason: str) -> None:
    file = tmp_path / "en.jsonl"
    file.write_text('{"text": "a", "language": "en", "family": "figure", "explicit": false}\n' + line + "\n")

    with pytest.raises(EvaluationError, match=r"en\.jsonl: line 2: ") as refused:
        read_sentences(file)

    assert reason in str(refused.value)


@pytest.mark.parametrize("name", ["development", "test"])
def test_every_language_has_every_family(name: str) -> None:
    counts = Counter((one.language, one.family) for one in read_set(name))

    assert all(counts[language, family] >= 5 for language in LANGUAGES for family in (*STATEMENTS, *OPPOSITES))


def test_no_sentence_is_in_both_sets_or_twice() -> None:
    texts = [" ".join(one.text.split()).casefold() for name in ("development", "test") for one in read_set(name)]

    twice = [text for text, count in Counter(texts).items() if count > 1]
    assert twice == []


# What is served.


@pytest.fixture(scope="module")
def files() -> list[WrittenPhrases]:
    return read_folder(PHRASES)


@pytest.fixture(scope="module")
def served(files: list[WrittenPhrases]) -> list[LanguageFigures]:
    return figures_by_language(judge(Floor(files), read_set("test")))


SHORT_OF_THEIR_GOALS = {"en"}
"""Languages whose phrases are still to be widened or guarded; the card shows by how much. None may join them."""


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_phrases_reach_their_goals_or_are_known_to_fall_short_by_little(
    served: list[LanguageFigures], language: str
) -> None:
    (figures,) = [one for one in served if one.language == language]
    assert figures.false_flags is not None

    assert meets_goals(figures) != (language in SHORT_OF_THEIR_GOALS), (figures.families["direct"], figures.false_flags)
    assert figures.families["direct"].value >= 0.70
    assert figures.false_flags.value <= 0.18


def test_the_card_is_that_of_the_phrases(served: list[LanguageFigures], files: list[WrittenPhrases]) -> None:
    assert (PHRASES / CARD).read_text(encoding="utf-8") == card_markdown(served, files), (
        "write it anew: make phrases-card"
    )
    assert (PHRASES / FIGURES).read_text(encoding="utf-8") == card_json(served)


def test_the_lines_of_own_texts_are_counted_and_not_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.txt"
    own.write_text("A calm day.\nToday I want to die, canary.\n")

    assert main(["--texts", str(own)]) == 0
    output = capsys.readouterr().out
    assert output.splitlines()[0] == "1 of 2 lines flagged"
    assert "wish (en): 1" in output and "lines: 2" in output
    assert "canary" not in output and "die" not in output


def test_a_missing_folder_or_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--phrases", str(tmp_path)]) == 1
    assert main(["--texts", str(tmp_path / "none.txt")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(line.startswith("error: ") for line in lines)


def test_figures_come_as_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--language", "en", "--json"]) == 0

    assert json.loads(capsys.readouterr().out)["en"]["families"]["direct"]["total"] >= 100
