from __future__ import annotations

import gc
import pickle
import sys
import tracemalloc
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.core.statements import LANGUAGES, Statement, kinds_of, languages_of
from handlers.floor.alternatives import wordings
from handlers.floor.matcher import PHRASES, Floor, _Context, load_floor, read_folder
from tests.unit.floor.phrases import entry, file_of, floor_of, found

SMALL = floor_of(
    entry("i (want|wish) to die"),
    entry("kill myself", "intent"),
    entry("i tried to kill myself", "attempt"),
    entry("kms", "intent"),
    entry("i am (going|about) to (end|take) my (own|) life (tonight|today|)", "intent"),
    fillers=["really", "just"],
    masked=["kill", "die"],
    guards={
        "before": ["i don't think", "(he|she) said", "#"],
        "after": ["laughing", "(he|she) said"],
        "sentence": ["in the song"],
        "near": [{"phrase": "glad i survived", "kinds": ["attempt"]}],
    },
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I really WANT to dieeee", "I really WANT to dieeee"),
        ("and i want to d i e now", "i want to d i e"),
        ("k*ll myself", "k*ll myself"),
        ("K1ll my self", "K1ll my self"),
        ("ki11 myself", "ki11 myself"),
        ("k!ll my-self", "k!ll my-self"),
        ("i k i l l m y s e l f", "k i l l m y s e l f"),
        ("kms", "kms"),
        ("k.m.s.", "k.m.s"),
        ("*I want to die*", "I want to die"),
        ("#iwanttodie", "iwanttodie"),
        ("I want,\nto… die", "I want,\nto… die"),
        ("K\u200bill my\u00adself", "K\u200bill my\u00adself"),
        ("𝐈 𝐰𝐚𝐧𝐭 𝐭𝐨 𝐝𝐢𝐞", "𝐈 𝐰𝐚𝐧𝐭 𝐭𝐨 𝐝𝐢𝐞"),
        ("i wаnt to diе", "i wаnt to diе"),
        ("\ud83d i want to die \udc00", "i want to die"),
        ("I am about to just take my life", "I am about to just take my life"),
        ("I'm fine. I am going to end my own life tonight!", "I am going to end my own life tonight"),
    ],
)
def test_a_statement_is_found_however_it_is_typed(text: str, words: str) -> None:
    assert words in found(SMALL, text)


@pytest.mark.parametrize(
    "text",
    [
        "I want to. Die Hard is on.",
        "I want to\n\ndie",
        "skill myself",
        "kill myselfie",
        "back, my son; km s",
        "I ran 10 kms",
        "I ran 25kms",
        "I don't think I want to die",
        "he said: “I want to die”",
        "“I want to die,” she said",
        "I want to die laughing",
        "In the song I want to die comes twice",
        "I tried to kill myself. Glad I survived.",
        "I am going to end my sentence",
        "",
    ],
)
def test_what_only_looks_like_a_statement_is_not(text: str) -> None:
    assert found(SMALL, text) == []


@pytest.mark.parametrize(
    "text",
    [
        "I want to die. Glad I survived.",  # a wish of today is not over because an attempt is
        "I tried to kill myself.\n\nGlad I survived.",  # another paragraph
        "He said no. I want to die.",
        "I want to die. In the song they dance.",
    ],
)
def test_a_guard_reaches_as_far_as_it_says_and_turns_its_kinds_alone(text: str) -> None:
    assert found(SMALL, text)


def test_a_statement_knows_its_kind_language_and_place() -> None:
    text = "Dear diary, i tried to kill myself; I want to die 😀"

    assert SMALL.find(text) == (Statement(12, 34, "attempt", "en"), Statement(36, 49, "wish", "en"))
    assert kinds_of(SMALL.find(text)) == ("wish", "attempt")
    assert languages_of(SMALL.find(text)) == ("en",)


def test_languages_that_set_no_spaces_are_found_within_words_and_latin_in_them_is_not() -> None:
    floor = floor_of(entry("我(好|)想死"), entry("zs", "intent"), language="zh", boundaries="none", fillers=["真的"])

    assert found(floor, "今天我真的想死了。") == ["我真的想死"]
    assert found(floor, "jazs") == []
    assert found(floor, "zs") == ["zs"]
    assert found(floor, "我想。死了") == []


def test_endings_may_follow_where_the_file_says_so() -> None:
    floor = floor_of(entry("죽고 싶"), language="ko", boundaries="start")

    assert found(floor, "정말 죽고싶어요") == ["죽고싶"]
    assert found(floor, "안죽고싶어요") == []


def test_a_text_is_read_in_every_language_at_once() -> None:
    floor = Floor(
        [
            file_of(entry("i want to die")),
            file_of(entry("quiero morir"), language="es"),
            file_of(entry("ich will sterben"), language="de"),
        ]
    )

    assert [one.language for one in floor.find("Quiero morir. I want to die. Ich will sterben!")] == ["es", "en", "de"]


def test_letters_that_meet_at_the_edge_of_two_parts_are_one() -> None:
    left = "|".join(f"some words {letter}e" for letter in "abcdfghjk")
    floor = floor_of(entry(f"({left}) (end it|exit now)"), guards={"before": ["because"]})

    assert found(floor, "some words be end it") == ["some words be end it"]
    assert found(floor, "because some words be end it") == []


@pytest.mark.parametrize("text", ["not that i want to die", "I am not tired, no other reason i want to die"])
def test_a_short_guard_is_known_by_its_words_and_by_a_letter_that_it_shares(text: str) -> None:
    floor = floor_of(
        entry("i want to die"), guards={"before": ["not (that|this)"], "sentence": ["not", "no other"]}, fillers=[]
    )

    assert found(floor, text) == []
    assert found(floor, "a knot. I want to die") == ["I want to die"]


# The phrases that are served.


@pytest.fixture(scope="module")
def served() -> Floor:
    return load_floor()


def test_there_is_a_phrase_file_for_every_language() -> None:
    assert sorted(path.stem for path in PHRASES.glob("*.yaml")) == sorted(LANGUAGES)


def test_every_entry_is_found_by_its_own_wordings(served: Floor) -> None:
    """A wording may be turned by a guard of its language; most of an entry's must not be."""
    for file in read_folder(PHRASES):
        for phrase in file.phrases:
            some = wordings(phrase.phrase, 40)
            assert any(served.find(wording) for wording in some), f"{phrase.line}: {phrase.text[:80]}"


@pytest.mark.parametrize(
    "text",
    [
        "I want to kill myself tonight",
        "quiero morir",
        "je veux mourir",
        "ich will sterben",
        "quero morrer",
        "voglio morire",
        "ik wil dood",
        "chcę umrzeć",
        "我想死",
        "死にたい",
        "죽고 싶어",
        "أريد أن أموت",
        "मैं मरना चाहता हूँ",
    ],
)
def test_the_plainest_statement_of_each_language_is_found(served: Floor, text: str) -> None:
    assert served.find(text)
    assert served.find(f"Today was long. {text}. Good night.")


@given(st.text(max_size=60), st.sampled_from(["I want to kill myself tonight", "quiero morir", "我想死"]))
def test_a_paragraph_of_its_own_is_found_whatever_stands_around_it(text: str, statement: str) -> None:
    around = f"{text}\n\n{statement}\n\n{text}"

    assert any(around[one.start_char : one.end_char] in statement for one in load_once().find(around))


@given(st.text(max_size=200))
def test_places_lie_in_the_text_and_do_not_lie_in_one_another(text: str) -> None:
    statements = load_once().find(text + " i want to die")

    assert all(0 <= one.start_char < one.end_char <= len(text) + 14 for one in statements)
    assert list(statements) == sorted(statements)
    assert all(a.end_char < b.end_char for a, b in pairwise(statements))


_LOADED: list[Floor] = []


def load_once() -> Floor:
    if not _LOADED:
        _LOADED.append(load_floor())
    return _LOADED[0]


@pytest.mark.parametrize(
    ("unit", "size"),
    [
        ("I want to die ", 100_000),
        ("I want to die. ", 100_000),
        ("he said ", 100_000),
        ("k*ll ", 1_000_000),
        ("i 1 w ", 1_000_000),
        ("我想死", 1_000_000),
        ("a", 1_000_000),
        ("A calm day by the river. ", 1_000_000),
    ],
)
def test_a_long_text_is_read_to_its_end(served: Floor, unit: str, size: int) -> None:
    text = unit * (size // len(unit.encode())) + "\n\nI want to kill myself tonight"

    last = served.find(text)[-1]

    assert text[last.start_char : last.end_char].startswith("I want to kill myself")


def test_nothing_of_a_text_stays_in_memory(served: Floor) -> None:
    def read(number: int) -> None:
        served.find(f"My secret {number}: I want to die, k*ll myself, su1c1de. He said nothing. " * 60)

    for number in range(2):
        read(number)
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(4):
        read(number)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert after - before < 4_000  # one such text has more characters


def test_the_floor_needs_nothing_but_the_core() -> None:
    for path in sorted((Path(PHRASES).parent).glob("*.py")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("from handlers."):
                assert line.split()[1].startswith(("handlers.core", "handlers.floor")), f"{path.name}: {line}"
    assert "onnxruntime" not in Path(sys.modules["handlers.floor.matcher"].__file__ or "").read_text(encoding="utf-8")


def test_a_letter_that_two_words_share_makes_no_other_words_of_them() -> None:
    floor = floor_of(entry("i self harm", "self_harm"), entry("my mind is at ease"))

    assert found(floor, "i self harm") == ["i self harm"]
    assert found(floor, "I s-self harm") == ["I s-self harm"]
    assert found(floor, "is self harm the answer") == []
    assert found(floor, "this is self-harm") == []
    assert found(floor, "my mind is at tease") == []


def test_parts_follow_one_another_at_a_shared_letter_only_where_two_words_share_it() -> None:
    left = "|".join(f"some words {letter}" for letter in "abcdfghjkis")
    floor = floor_of(entry(f"({left}) (self harming|other words|i do it)"))

    assert found(floor, "some words i self harming") == ["some words i self harming"]
    assert found(floor, "some words is self harming") == []
    assert found(floor, "some words s self harming") == ["some words s self harming"]


def test_of_two_beginnings_of_a_phrase_none_is_forgotten() -> None:
    many = "|".join(f"word{letter} one" for letter in "abcdefgh")
    floor = floor_of(entry(f"(so and |)({many}) (end it|stop it)"), guards={"before": ["because so and"]})

    assert found(floor, "so and worda one end it") == ["so and worda one end it"]
    assert found(floor, "because so and worda one end it") == ["so and worda one end it"]


def test_a_guard_in_the_sentence_may_share_a_letter_with_the_statement() -> None:
    floor = floor_of(entry("i want to die"), guards={"sentence": ["every song", "so i"]})

    assert found(floor, "I want to die every song says") == []
    assert found(floor, "I want to die everywhere") == ["I want to die"]


def test_fillers_are_no_options_of_a_guard() -> None:
    floor = floor_of(
        entry("i want to die"), guards={"before": ["she (really|thinks)", "he (really|)"]}, fillers=["really"]
    )

    assert found(floor, "she thinks I want to die") == []
    assert found(floor, "with her she I want to die") == ["I want to die"]
    assert found(floor, "he I want to die") == []


def test_a_compiled_index_finds_the_same() -> None:
    again = pickle.loads(pickle.dumps(SMALL))
    text = "I am about to take my life. kms. I don't think I want to die. I wish, I want to die."

    assert again.find(text) == SMALL.find(text)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["i want to die", "i tried to kill myself", "he said", "in the song", "glad i survived", "a song", ""]
            ),
            st.sampled_from([" ", ". ", "! ", "\n", "\n\n", ", "]),
        ),
        max_size=16,
    )
)
def test_guards_are_looked_for_wherever_they_reach(said: list[tuple[str, str]]) -> None:
    text = "".join(words + sign for words, sign in said)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Context, "_windows", lambda self, matches: [(0, len(self._text.symbols))])
        everywhere = SMALL.find(text)

    assert SMALL.find(text) == everywhere
