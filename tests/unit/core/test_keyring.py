from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.core.errors import StartupError
from handlers.core.keyring import Keyring, Pseudonyms, parse_keyring

OLD, NEW = bytes(range(32)).hex(), bytes(range(32, 72)).hex()
RING = parse_keyring(f"new:{NEW}, old:{OLD}\n")


def test_an_identifier_becomes_an_hmac_of_the_newest_key() -> None:
    named = RING.pseudonyms("person-7", "entry-9")

    expected = hmac.new(bytes.fromhex(NEW), b"lantern/subject/1\0person-7", hashlib.sha256).hexdigest()
    assert (named.subject_hmac, named.key_id) == (expected, "new")


def test_person_and_entry_of_the_same_name_cannot_be_linked() -> None:
    named = RING.pseudonyms("same", "same")

    assert named.subject_hmac != named.entry_hmac


def test_without_a_key_or_without_identifiers_there_is_nothing() -> None:
    assert parse_keyring("").pseudonyms("person-7", "entry-9") == Pseudonyms(None, None, None)
    assert parse_keyring(" \n") == Keyring()
    assert RING.pseudonyms(None, None) == Pseudonyms(None, None, None)


def test_one_identifier_alone_is_named() -> None:
    assert RING.pseudonyms("person-7", None).entry_hmac is None
    assert RING.pseudonyms(None, "entry-9").subject_hmac is None
    assert RING.pseudonyms(None, "entry-9").key_id == "new"


def test_records_of_an_older_key_can_still_be_told_apart() -> None:
    before = parse_keyring(f"old:{OLD}").pseudonyms("person-7", None)
    assert before.subject_hmac is not None
    assert before.subject_hmac != RING.pseudonyms("person-7", None).subject_hmac

    assert RING.matches("subject", "person-7", before.subject_hmac, "old")
    assert not RING.matches("subject", "person-8", before.subject_hmac, "old")
    assert not RING.matches("entry", "person-7", before.subject_hmac, "old")
    with pytest.raises(KeyError):
        RING.matches("subject", "person-7", before.subject_hmac, "older")


@given(st.text(st.characters(exclude_categories=[]), max_size=30), st.text(max_size=30))
def test_different_identifiers_have_different_names(one: str, other: str) -> None:
    assert (RING.pseudonyms(one, None) == RING.pseudonyms(other, None)) == (one == other)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (OLD, "entry 1: not id:hex"),
        (f"new:{NEW},{OLD}", "entry 2: not id:hex"),
        (f"new:{NEW},", "entry 2: not id:hex"),
        (f":{OLD}", "entry 1: not id:hex"),
        (f"a b:{OLD}", "entry 1: not id:hex"),
        (f"new:{OLD}f", "entry 1: not id:hex"),
        (f"new:{OLD[:-2]}xy", "entry 1: not id:hex"),
        (f"new:{OLD[:-2]}", "entry 1: the key has 31 bytes; it needs 32"),
        (f"new:{'00' * 32}", "entry 1: the key is one byte repeated"),
        (f"new:{NEW},new:{OLD}", "entry 2: another entry has the same id"),
    ],
)
def test_keys_that_are_malformed_are_refused_without_being_shown(value: str, message: str) -> None:
    with pytest.raises(StartupError, match=f"^LANTERN_HMAC_KEYS: {message}") as caught:
        parse_keyring(value)

    shown = f"{caught.value!r}{caught.value.__cause__!r}"
    assert OLD[:8] not in shown
    assert NEW[:8] not in shown


def test_a_ring_does_not_print_its_secrets() -> None:
    assert "new" in repr(RING)
    assert NEW not in repr(RING)
    assert repr(bytes.fromhex(NEW)) not in repr(RING)
