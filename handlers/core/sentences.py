"""Sentences that tell the person why something is shown to them: one for each rule, in each language.

They carry no score, label, diagnosis or tier and none of the person's words. They are data, so that native speakers
and a clinician can read, change and sign them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from handlers.core.directory import Language, Words, language_of
from handlers.core.selfhelp import FALLBACK_LANGUAGE, Review
from handlers.core.yamldata import DataFile, FrozenData, parse_yaml, read_file, validate_records

SENTENCES_NAME: Final = "sentences.yaml"
RULES: Final = (
    "statement_floor",
    "label_active",
    "label_acute",
    "overlap",
    "cumulative",
    "crisis_signal",
    "emergency_signal",
    "near_crisis",
    "in_care",
    "cleared",
    "unread_help",
    "third_party_guidance",
    "truncated",
    "missing_signal",
    "non_finite_signal",
    "unsupported_language",
    "model_timeout",
    "stale_model",
    "missing_time",
    "clock_skew",
    "lines_only",
    "policy_expired",
)
"""Rules on whose account the person is shown something, so that each language must have a sentence for them."""

RuleName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class Sentence(FrozenData):
    """What the person reads, ready for JSON: ``text`` in ``language`` on account of ``rule``."""

    rule: RuleName
    language: Language
    text: Words


class SentencesOfLanguage(FrozenData):
    """The sentences of one language.

    Attributes:
        reviewed: who read them as a native speaker or a clinician; ``None`` where nobody has.
        sentences: text by rule.
    """

    reviewed: Review | None
    sentences: dict[RuleName, Words]


class Sentences(FrozenData):
    """``sentences.yaml`` as data.

    Attributes:
        notice: how the sentences came about, and what must be done before use.
        languages: by ISO 639 code; English is there, as the others fall back to it.
    """

    schema_version: Literal[1]
    notice: Words
    languages: dict[Language, SentencesOfLanguage]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if FALLBACK_LANGUAGE not in self.languages:
            raise ValueError(f"languages: {FALLBACK_LANGUAGE} is missing, and the others fall back to it")
        rules = dict.fromkeys((*RULES, *self.languages[FALLBACK_LANGUAGE].sentences))
        for code, language in self.languages.items():
            missing = [rule for rule in rules if rule not in language.sentences]
            if missing:
                raise ValueError(f"languages.{code}.sentences: {missing[0]} is missing")
            unknown = [rule for rule in language.sentences if rule not in rules]
            if unknown:
                raise ValueError(f"languages.{code}.sentences: {unknown[0]} is not there in {FALLBACK_LANGUAGE}")
        return self

    def of(self, rules: Sequence[str], locale: str | None) -> tuple[Sentence, ...]:
        """Return a sentence for each rule that has one, in order; of rules that share a text the first one stands.

        Args:
            rules: that fired; those without a sentence are passed over.
            locale: of the reader, such as ``de`` or ``de-AT``. One without sentences gets the English ones, which
                say so by their ``language``.
        """
        wanted = language_of(locale)
        language = wanted if wanted in self.languages else FALLBACK_LANGUAGE
        texts = self.languages[language].sentences
        first: dict[str, str] = {}
        for rule in rules:
            if rule in texts:
                first.setdefault(texts[rule], rule)
        return tuple(Sentence(rule=rule, language=language, text=text) for text, rule in first.items())

    def unreviewed(self) -> tuple[str, ...]:
        """Return the languages whose sentences nobody has reviewed, sorted."""
        return tuple(sorted(code for code, language in self.languages.items() if language.reviewed is None))


def load_sentences(path: DataFile) -> Sentences:
    """Read and check the file of sentences.

    Raises:
        StartupError: naming file, language and rule.
    """
    return parse_sentences(read_file(path), str(path))


def parse_sentences(payload: bytes, where: str) -> Sentences:
    """Check the content of a file of sentences.

    Raises:
        StartupError: naming ``where``, the language and the rule that is missing or wrong.
    """
    return validate_records(Sentences, parse_yaml(payload, where), where, "languages")
