from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from handlers.floor.normalize import Fillers, Normalizer, mask_forms

PLAIN = Normalizer()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I WANT to", "iwanto"),
        ("Ｉ ｗａｎｔ", "iwant"),
        ("𝐈 𝐰𝐚𝐧𝐭", "iwant"),
        ("dieeeee", "die"),
        ("d i e", "die"),
        ("d-i-e d.i.e d_i_e", "diediedie"),
        ("I don't, don’t", "idontdont"),
        ("di\u200be di\u00ade", "diedie"),
        ("quiéro morír", "quieromorir"),
        ("e\u0301 é", "e"),
        ("życie łódź", "zycielodz"),
        ("Straße", "strase"),
        ("su1c1de k!ll d13", "suicidekildie"),
        ("10 kms in 2 h", "10kmsin2h"),
        ("$uicide su@cide", "suicidesuacide"),
        ("ﬁne", "fine"),
        ("シニタイ", "しにたい"),
        ("死にたーい", "死にたい"),
        ("أريدُ أنْ", "اريدان"),
        ("ज़िंदगी", "जिंदगी"),
        ("i wаnt", "iwant"),
        ("٣ ३", "3"),
        ("", ""),
        (" \t\n", ""),
    ],
)
def test_letters_alone_are_left_however_they_were_typed(text: str, expected: str) -> None:
    assert PLAIN.normalize(text).string.replace("\n", "").replace("33", "3") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a. b", "a\nb"),
        ("a! b? c", "a\nb\nc"),
        ("a.b", "ab"),
        ("a... b", "ab"),
        ("a… b", "ab"),
        ("a, b; c: d – e", "abcde"),
        ("a\nb", "ab"),
        ("a\n\nb", "a\fb"),
        ("a\r\n \r\nb", "a\fb"),
        ("我。他！她", "我\n他\n她"),
        ("मैं। तू", "मैं\nतू"),
        ("“a!” b", "ab"),
    ],
)
def test_ends_of_sentences_and_paragraphs_are_kept(text: str, expected: str) -> None:
    assert PLAIN.normalize(text).string.strip("\n\f") == expected


@pytest.mark.parametrize(("ones", "expected"), [("i", "kilmeive"), ("l", "klmelve")])
def test_a_one_may_be_an_i_or_an_l(ones: Literal["i", "l"], expected: str) -> None:
    read = PLAIN.normalize("k1l me 11ve", ones=ones)

    assert read.has_ones
    assert read.string == expected
    assert not PLAIN.normalize("1 2 3").has_ones


def test_fillers_of_one_or_several_words_are_left_out_of_words_set_apart() -> None:
    normalizer = Normalizer(Fillers(["realy", "so much"], ["真的"]))

    assert normalizer.normalize("I really want so much, really, really!").string.strip("\n") == "iwant"
    assert normalizer.normalize("some unrealy so").string == "someunrealyso"
    assert normalizer.normalize("我真的想").string == "我想"


def test_masked_words_are_read_and_emphasis_is_not_taken_for_a_mask() -> None:
    normalizer = Normalizer(masks=dict.fromkeys(mask_forms("kil"), "kil"))

    assert normalizer.normalize("k*ll k**l *kill* k*ng").string == "kilkilkilkng"


texts = st.text(
    st.characters(categories=["L", "M", "N", "P", "Z", "S", "Cc", "Cf", "Cs"]) | st.sampled_from("aeiIl1!*.' \n0é我"),
    max_size=80,
)


@given(texts)
def test_every_symbol_stands_where_the_text_has_it(text: str) -> None:
    read = PLAIN.normalize(text)

    assert len(read.symbols) == len(read.first) == len(read.last) == len(read.starts) == len(read.ends)
    assert (read.first <= read.last).all()
    assert (read.last < len(text)).all()
    assert (read.first[1:] >= read.first[:-1]).all()


@given(texts)
def test_to_normalise_twice_changes_nothing(text: str) -> None:
    once = PLAIN.normalize(text).string.replace("\n", "").replace("\f", "")

    assume("\U0001ffff" not in once)  # stands for characters of which none is in a phrase
    assume(not any(char.isdigit() for char in once))  # a digit that has come to stand beside a letter
    assert PLAIN.normalize(once).string.replace("\n", "") == once


@given(texts, texts)
def test_paragraphs_are_read_as_if_alone(one: str, other: str) -> None:
    def lines(text: str) -> str:
        return PLAIN.normalize(text).string.strip("\n\f")

    joined = lines(f"a{one}a\n\na{other}a")

    assert joined == f"{lines(f'a{one}a')}\f{lines(f'a{other}a')}"


def test_a_filler_does_not_reach_across_the_end_of_a_sentence_or_paragraph() -> None:
    normalizer = Normalizer(Fillers(["at times", "realy"], ["真的"]))

    assert normalizer.normalize("at times I am really tired").string == "iamtired"
    assert normalizer.normalize("look at. times").string.strip("\n") == "lokat\ntimes"
    assert normalizer.normalize("look at\n\ntimes").string == "lokat\ftimes"
    assert normalizer.normalize("Really. I am").string.strip("\n") == "\niam".strip("\n")
    assert normalizer.normalize("真。的").string == "真\n的"


def test_a_letter_that_two_words_share_is_known() -> None:
    def shared(text: str) -> list[int]:
        return PLAIN.normalize(text).shared.nonzero()[0].tolist()

    assert shared("is self") == [1]
    assert shared("i i want") == [0]
    assert shared("soo off") == [1]
    assert shared("hello too, all of us") == []
    assert shared("a.a") == [0]
    assert shared("a. a") == []
