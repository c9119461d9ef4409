"""What is left in memory of a request that was refused."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from handlers.core.errors import LanternError
from handlers.core.schema import Call, Received, parse_call, parse_request


class Body(dict[str, Any]):
    """A decoded body that can be watched."""


def _read(body: Body) -> Received | LanternError:
    """Hold what came of it in a variable, as whoever answers with it does."""
    try:
        return parse_request(body)
    except LanternError as error:
        refusal = error
    return refusal


@pytest.mark.parametrize(
    "fields",
    [
        {"text": "  "},
        {"text": "\ud800"},
        {"text": "a", "locale": "no locale"},
        {"text": 1},
        {"text": "a", "unknown": 1},
        {"text": "a", "context": {"history": [1], "now": "now"}, "consent": {"self_help": "yes"}},
        {"text": "a", "options": {"over_length": "cut"}, "locale": 1},
    ],
)
def test_a_request_with_something_wrong_is_not_kept(fields: dict[str, Any]) -> None:
    body = Body(fields)
    watched = weakref.ref(body)
    _read(body)
    del body
    gc.collect()
    assert watched() is None


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"text": "\ud800"}, "invalid_text"),
        ({"text": "a", "unknown": 1}, "invalid_request"),
        ({"text": "a", "options": {"over_length": "cut"}, "locale": 1}, "invalid_request"),
    ],
)
def test_what_is_held_of_a_request_in_error_holds_none_of_what_was_wrong(fields: dict[str, Any], code: str) -> None:
    """The error is answered with and the request decided on: the body is gone although both are held."""
    body = Body(fields)
    watched = weakref.ref(body)
    received = parse_request(body)
    del body, fields
    gc.collect()
    assert received.error is not None and received.error.kind.code == code
    assert received.error.__traceback__ is None and received.error.__context__ is None
    assert watched() is None


def test_a_history_that_was_cut_is_not_kept() -> None:
    entry = Body(entry_id="e", at="2026-03-01T14:00:00Z", scores={"stressed": 0.5})
    body = Body(text="a", context={"history": [entry] * 1001})
    watched = weakref.ref(body), weakref.ref(entry)
    received = parse_request(body)
    del body, entry
    gc.collect()
    assert received.history_cut
    assert [ref() for ref in watched] == [None, None]


@pytest.mark.parametrize("more", [{"locale": "en"}, {}])
def test_a_refused_call_is_not_kept(more: dict[str, Any]) -> None:
    entries = [Body(text="a", unknown=1), Body(text="\ud800"), Body(text=" "), *(Body(text="b") for _ in range(62))]
    body = Body(entries=entries, **more)
    watched = [weakref.ref(one) for one in (body, *entries)]
    call: Call = parse_call(body)
    del body, entries
    gc.collect()
    assert call.error is not None and len(call.items) == 64
    assert [ref() for ref in watched] == [None] * 66
