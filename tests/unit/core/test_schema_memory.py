"""What is left in memory of a request that was refused."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from handlers.core.errors import LanternError
from handlers.core.schema import parse_request


class Body(dict[str, Any]):
    """A decoded body that can be watched."""


def _refuse(body: Body) -> LanternError:
    """Hold the refusal in a variable, as whoever answers with it does."""
    try:
        parse_request(body)
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
    ],
)
def test_a_refused_request_is_not_kept(fields: dict[str, Any]) -> None:
    body = Body(fields)
    watched = weakref.ref(body)
    _refuse(body)
    del body
    gc.collect()
    assert watched() is None
