from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import handlers
from handlers.core.errors import StartupError
from handlers.core.sentences import (
    RULES,
    SENTENCES_NAME,
    Sentence,
    Sentences,
    load_sentences,
    parse_sentences,
)

FILE = Path(handlers.__file__).parent / "config" / SENTENCES_NAME
SHIPPED = load_sentences(FILE)
LANGUAGES = ("en", "es", "fr", "de", "pt", "it", "nl", "pl", "zh", "ja", "ko", "ar", "hi")
ENGLISH = SHIPPED.languages["en"].sentences

# No figure, no label or diagnosis, no tier, nothing of how it was found, no command and nothing that frightens.
NEVER = re.compile(
    r"\d|%|scor|depress|anxi|stress|bipolar|suicid|diagnos|\bill\b|illness|disorder|symptom|tier|level|risk|danger"
    r"|professional|crisis|emergency|model|algorithm|detect|classif|signal|must|should|call\b|please|immediately|die\b"
    r"|dying|death|kill|harm",
    re.IGNORECASE,
)
FOREIGN_LABELS = re.compile(
    r"depres|dépress|angst|ansi|anxi|estr[ée]s|stress|bipolar|suic|suiz|zelfmoord|samobój|自杀|自殺|抑郁|焦虑|うつ|不安"
    r"|우울|불안|자살|انتحار|اكتئاب|قلق مرضي|आत्महत्या|अवसाद",
    re.IGNORECASE,
)
SCRIPTS = {
    "zh": r"[\u4e00-\u9fff]",
    "ja": r"[\u3040-\u30ff]",
    "ko": r"[\uac00-\ud7af]",
    "ar": r"[\u0600-\u06ff]",
    "hi": r"[\u0900-\u097f]",
}

locales = st.one_of(st.none(), st.sampled_from([*LANGUAGES, "de-AT", "pt_BR", "zh-Hant-TW", "xx"]), st.text())
rule_lists = st.lists(st.sampled_from([*RULES, "kill_switch", "unheard_of"]), max_size=12)


def content(**changes: Any) -> dict[str, Any]:
    texts = {rule: f"Because of {rule}." for rule in RULES}
    return {
        "schema_version": 1,
        "notice": "n",
        "languages": {"en": {"reviewed": None, "sentences": texts}},
    } | changes


def parse(**changes: Any) -> Sentences:
    return parse_sentences(yaml.safe_dump(content(**changes)).encode(), "dir/sentences.yaml")


def spoken(**texts: str | None) -> dict[str, Any]:
    """A language with every rule, but for ``texts``; a text of ``None`` is left out."""
    all_texts: dict[str, str | None] = {rule: f"Because of {rule}." for rule in RULES}
    all_texts.update(texts)
    return {"reviewed": None, "sentences": {rule: text for rule, text in all_texts.items() if text is not None}}


def test_every_language_has_a_sentence_for_every_rule() -> None:
    assert tuple(SHIPPED.languages) == LANGUAGES
    assert all(tuple(language.sentences) == RULES for language in SHIPPED.languages.values())


def test_nothing_claims_to_be_reviewed_and_the_notice_says_so() -> None:
    assert SHIPPED.unreviewed() == tuple(sorted(LANGUAGES))
    assert "language model" in SHIPPED.notice and "clinician" in SHIPPED.notice


@pytest.mark.parametrize("rule", RULES)
def test_a_sentence_says_why_without_score_label_tier_or_command(rule: str) -> None:
    text = ENGLISH[rule]

    assert text.startswith(("We show this", "We still show this")) and " because " in text
    assert NEVER.search(text) is None
    assert text.endswith(".")
    assert len(text.split()) <= 35


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_language_names_a_figure_label_or_illness(language: str) -> None:
    for rule, text in SHIPPED.languages[language].sentences.items():
        assert re.search(r"\d|%|!", text) is None, rule
        assert FOREIGN_LABELS.search(text) is None, rule
        assert text.endswith((".", "。", "।")), rule
        assert language not in SCRIPTS or re.search(SCRIPTS[language], text), rule


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_same_rules_share_a_text_in_every_language(language: str) -> None:
    texts = SHIPPED.languages[language].sentences

    assert all((texts[one] == texts[other]) == (ENGLISH[one] == ENGLISH[other]) for one in RULES for other in RULES)


def test_a_statement_is_answered_gently_and_may_be_a_misreading() -> None:
    (sentence,) = SHIPPED.of(["statement_floor"], "en")

    assert sentence.text == (
        "We show this because some of your words sound as if you may not want to live. "
        "If that is not what you meant, that is fine too."
    )


@pytest.mark.parametrize(
    ("locale", "language"),
    [("de", "de"), ("de-AT", "de"), ("pt_BR", "pt"), ("zh-Hant-TW", "zh"), ("sv", "en"), ("", "en"), (None, "en")],
)
def test_the_reader_s_language_or_english_which_says_so(locale: str | None, language: str) -> None:
    (sentence,) = SHIPPED.of(["overlap"], locale)

    assert sentence == Sentence(
        rule="overlap", language=language, text=SHIPPED.languages[language].sentences["overlap"]
    )


def test_rules_that_share_a_text_give_one_sentence_and_the_first_rule_stands() -> None:
    rules = ["model_timeout", "near_crisis", "missing_signal", "truncated", "near_crisis"]

    assert [sentence.rule for sentence in SHIPPED.of(rules, "fr")] == ["model_timeout", "near_crisis"]


@given(rule_lists, locales)
def test_each_rule_with_a_sentence_is_answered_once_and_in_order(rules: list[str], locale: str | None) -> None:
    sentences = SHIPPED.of(rules, locale)
    texts = [sentence.text for sentence in sentences]
    language = {sentence.language for sentence in sentences}

    assert len(texts) == len(set(texts))
    assert len(language) <= 1
    assert [rule for rule in dict.fromkeys(rules) if rule in {sentence.rule for sentence in sentences}] == [
        sentence.rule for sentence in sentences
    ]
    spoken_texts = SHIPPED.languages[language.pop() if language else "en"].sentences
    assert {spoken_texts[rule] for rule in rules if rule in RULES} == set(texts)


def test_a_reviewed_language_is_not_among_the_unreviewed() -> None:
    review = {"by": "A. B.", "role": "native speaker", "on": date(2027, 1, 2)}
    sentences = parse(languages={"en": spoken() | {"reviewed": review}, "de": spoken()})

    assert sentences.unreviewed() == ("de",)


def test_a_sentence_of_a_further_rule_may_be_added_to_every_language() -> None:
    sentences = parse(languages={"en": spoken(new_rule="New."), "de": spoken(new_rule="Neu.")})

    assert [sentence.text for sentence in sentences.of(["new_rule"], "de")] == ["Neu."]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"languages": {"en": spoken(cumulative=None)}}, "languages.en.sentences: cumulative is missing"),
        ({"languages": {"en": spoken(), "de": spoken(in_care=None)}}, "languages.de.sentences: in_care is missing"),
        ({"languages": {"en": spoken(new="N."), "de": spoken()}}, "languages.de.sentences: new is missing"),
        ({"languages": {"en": spoken(), "de": spoken(new="N.")}}, "languages.de.sentences: new is not there in en"),
        ({"languages": {"de": spoken()}}, "languages: en is missing"),
        ({"languages": {"en": spoken(overlap="")}}, "languages.en.sentences.overlap: String should have at least 1"),
        ({"languages": {"English": spoken()}}, "languages.English."),
        ({"languages": {"en": {"sentences": {}}}}, "languages.en.reviewed: Field required"),
        ({"notice": ""}, "notice: String should have at least 1 character"),
        ({"schema_version": 2}, "schema_version: Input should be 1"),
        ({"colour": "green"}, "colour: Extra inputs are not permitted"),
    ],
)
def test_a_wrong_file_is_refused_by_language_and_rule(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StartupError) as caught:
        parse(**changes)

    assert str(caught.value).startswith(f"dir/sentences.yaml: {message}")
    assert str(caught.value).endswith("; correct the file")
