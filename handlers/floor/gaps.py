"""What stands between a guard and a statement: only some guards still turn a statement across punctuation.

"I don't want to die" says the opposite of "No, I want to die", although the words are nearly the same. To silence a
statement is worse than to flag its opposite, so a guard that punctuation sets apart turns a statement only where it
plainly still belongs to it: somebody's words after a colon or in quotation marks, or several words without a negation,
such as "she told me, I want to die".
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from enum import IntEnum
from functools import cache
from typing import Final, Literal

from handlers.core.statements import StatementLanguage
from handlers.floor.normalize import Normalizer


class Gap(IntEnum):
    """What stands in a gap, and how wide a gap a guard reaches across."""

    NONE = 0
    """Nothing but spaces, apostrophes and emphasis."""
    SPEECH = 1
    """A colon or quotation marks, beside whatever else: somebody's words begin or end."""
    BREAK = 2
    """Other punctuation, a new line or an emoji."""


Side = Literal["before", "after"]

_QUOTES: Final = frozenset('"“”„‟«»‹›「」『』《》〈〉﹁﹂﹃﹄＂')
_COLONS: Final = frozenset(":：︰﹕")
_DASHES: Final = frozenset("–—―‒⸺")
"""After a statement they are quotation marks too: «— Quiero morir — dijo»."""
_HYPHENS: Final = frozenset("-‐‑−")
"""Within a word they set nothing apart; beside a space they are dashes."""
_IGNORED: Final = frozenset("'’‘‛`´＇′*_~#@$|")
"""Apostrophes, emphasis, and signs that are read as letters."""

_NEGATIONS: Final[Mapping[StatementLanguage, str]] = {
    "en": "no nope nah not never nor neither none cannot dont cant wont isnt wasnt arent werent aint didnt doesnt "
    "wouldnt couldnt shouldnt havent hasnt hadnt without",
    "es": "no nunca jamás tampoco ni sin nn n",
    "fr": "non ne n pas jamais ni nullement sans pus",
    "de": "nein nee nö nicht nich net nix nie niemals kein keine keinen keinem keiner keinerlei ohne",
    "pt": "não nao num nunca jamais nem tampouco sem nn n",
    "it": "no non nn mai né neanche nemmeno neppure mica senza",
    "nl": "nee neen niet nooit geen nimmer noch zonder",
    "pl": "nie nigdy ani bez wcale",
    "zh": "不 没 沒 别 別 非 未 勿",
    "ja": "いや いいえ ううん 違う ちがう",
    "ko": "아니 아니요 아뇨 아니야 안 못",
    "ar": "لا ولا فلا لن ولن فلن لم ولم فلم ما وما فما مش ومش مو ومو مب موب ليس ليست وليس لست ولست بدون دون مهوب ماني "
    "la mish mesh mosh mush mch msh mouch",
    "hi": "नहीं नही नहि ना न मत बिना nahi nahin nahee nai nhi nhin nehi na mat bina",
}
_COMMA_CLAUSES: Final = frozenset({"de"})
"""Languages whose grammar sets a comma before a clause that belongs to the verb: "gedroht, mich …"."""
_POSTPOSED: Final = frozenset({"ja", "ko"})
"""Languages in which what follows a statement is bound to it, comma or not: 「死にたい、と言った」."""
_FEW: Final = 6
"""Letters, an ideograph for three of them: where no spaces are set, so many may be one word alone."""


def gap_of(text: str, side: Side) -> Gap:
    """Return what stands in ``text``, the characters between a statement and what is on that ``side`` of it."""
    found = Gap.NONE
    for place, char in enumerate(text):
        if char in _QUOTES or char in _COLONS or (side == "after" and char in _DASHES):
            return Gap.SPEECH
        if found is Gap.NONE and _sets_apart(text, place):
            found = Gap.BREAK
    return found


def reach_across(words: Sequence[str], language: StatementLanguage, side: Side, *, spaced: bool) -> Gap:
    """Return the widest gap that a guard still turns a statement across.

    Args:
        words: of the guard as they stand in the text, normalised.
        language: of the guard.
        side: on which it stands.
        spaced: whether the language sets spaces.
    """
    if is_negation("".join(words), language) or all(is_negation(word, language) for word in words):
        return Gap.NONE
    if language in (_COMMA_CLAUSES if side == "before" else _POSTPOSED):
        return Gap.BREAK
    if _is_single(words, spaced=spaced):
        return Gap.SPEECH
    if side == "after":  # "…, so I would never do it" goes on about the statement
        return Gap.BREAK
    parts = words if spaced else "".join(words)
    return Gap.SPEECH if any(is_negation(part, language) for part in parts) else Gap.BREAK


def is_negation(word: str, language: StatementLanguage) -> bool:
    """Say whether a normalised word denies."""
    return word in _negations(language)


def denies_something_else(negation: str, following: str, language: StatementLanguage) -> bool:
    """Say whether a guard's first word, a negation, is an answer of its own: "No, I said …".

    Args:
        negation: the first word of a guard, normalised.
        following: the characters between it and the next word.
        language: of the guard. "Nicht, dass …" is one clause in German.
    """
    if language in _COMMA_CLAUSES or not is_negation(negation, language):
        return False
    return gap_of(following, "before") is not Gap.NONE


def _is_single(words: Sequence[str], *, spaced: bool) -> bool:
    """Say whether it is one word, which may be a name, an address or the end of another clause."""
    if spaced:
        return len(words) == 1
    return sum(3 if char >= "\u3400" else 1 for word in words for char in word) <= _FEW


def _sets_apart(text: str, place: int) -> bool:
    char = text[place]
    if char in _IGNORED:
        return False
    if char in _HYPHENS:
        around = text[max(0, place - 1) : place] + text[place + 1 : place + 2]
        return any(other.isspace() for other in around)
    return char in "\n\r\u2028\x0b" or unicodedata.category(char)[0] in "PS"


@cache
def _negations(language: StatementLanguage) -> frozenset[str]:
    plain = Normalizer()
    return frozenset(plain.normalize(word).string for word in _NEGATIONS[language].split())
