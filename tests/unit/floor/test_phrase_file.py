"""What a phrase file may hold: what is wrong is refused when it is loaded, with its line and a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from handlers.core.errors import StartupError
from handlers.floor.matcher import Floor, load_floor
from handlers.floor.phrase_file import parse_phrases

HEAD = """language: en
boundaries: both
author: a test
fillers: [really]
"""
GOOD = """phrases:
  - phrase: i want to die
    kind: wish
    source: author
    not: [I want to diet]
"""


def load(payload: str, where: str = "en.yaml") -> Floor:
    return Floor([parse_phrases(payload.encode(), where)])


@pytest.mark.parametrize(
    ("payload", "line", "reason"),
    [
        (HEAD + GOOD + "  - {phrase: I WANT to die!, kind: wish, source: author}\n", 10, "is there already"),
        (HEAD + GOOD + "  - {phrase: 'I  want (really|) to die', kind: wish, source: a}\n", 10, "entry of line 6"),
        (HEAD + GOOD + "  - {phrase: '', kind: wish, source: author}\n", 10, "phrases.1.phrase"),
        (HEAD + GOOD + "  - {phrase: ' ', kind: wish, source: author}\n", 10, "phrases.1.phrase"),
        (HEAD + GOOD + "  - {phrase: '...', kind: wish, source: author}\n", 10, "is empty"),
        (HEAD + GOOD + "  - {phrase: really, kind: wish, source: author}\n", 10, "is empty"),
        (HEAD + GOOD + "  - {phrase: die. now, kind: wish, source: author}\n", 10, "more than one sentence"),
        (HEAD + GOOD + "  - {phrase: 'i (want', kind: wish, source: author}\n", 10, "not closed"),
        (HEAD + GOOD + "  - {phrase: end it, kind: threat, source: author}\n", 10, "phrases.1.kind"),
        (HEAD + GOOD + "  - {phrase: end it, kind: wish}\n", 10, "phrases.1.source"),
        (HEAD + GOOD + "  - {phrase: end it, kind: wish, source: a, score: 1}\n", 10, "phrases.1.score"),
        (
            HEAD + GOOD + "  - phrase: i hate this\n    kind: wish\n    source: a\n    not:\n      - Fine.\n"
            "      - I hate this\n",
            15,
            'the counter-example "I hate this" is taken for a statement (wish)',
        ),
        (
            HEAD + GOOD + "  - {phrase: end (really|all) it, kind: wish, source: a}\n",
            10,
            '"really" is a filler, and too',
        ),
        (HEAD + "guards:\n  before:\n    - no (really|really)\n" + GOOD, 7, "holds nothing but fillers"),
        (HEAD.replace("en", "xx", 1) + GOOD, 1, "language"),
        (HEAD.replace("both", "some") + GOOD, 2, "boundaries"),
        (HEAD.replace("really", "'!'") + GOOD, 6, "holds no word"),
        (HEAD + "guards:\n  before:\n    - fine\n    - {phrase: '(', kinds: [wish]}\n" + GOOD, 8, "not closed"),
        (HEAD + "guards:\n  within: [a]\n" + GOOD, 6, "guards.within"),
        (HEAD + "phrases: []\n", 5, "phrases"),
        (HEAD, 1, "phrases"),
        (HEAD + HEAD + GOOD, 5, "language is given twice"),
    ],
)
def test_what_is_wrong_is_refused_with_its_line(payload: str, line: int, reason: str) -> None:
    with pytest.raises(StartupError) as refused:
        load(payload)

    message = str(refused.value)
    assert message.startswith(f"en.yaml: line {line}: ")
    assert reason in message
    assert message.endswith("; correct the file")


def test_a_good_file_loads() -> None:
    assert load(HEAD + GOOD).find("I want to die")


@pytest.mark.parametrize(
    "phrase", ["i (really|) want to go", "end it (really|all of it) for good", "(really|!) end it"]
)
def test_a_filler_may_be_an_option_where_it_changes_little(phrase: str) -> None:
    assert load(HEAD + GOOD + f"  - {{phrase: '{phrase}', kind: wish, source: author}}\n").find("I want to die")


def test_a_file_must_be_named_for_its_language(tmp_path: Path) -> None:
    (tmp_path / "de.yaml").write_text(HEAD + GOOD)

    with pytest.raises(StartupError, match=r"de\.yaml: line 1: the file of en must be en\.yaml"):
        load_floor(tmp_path)


def test_a_folder_without_a_phrase_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="holds no phrase file"):
        load_floor(tmp_path)
