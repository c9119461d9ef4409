from __future__ import annotations

import grpc  # type: ignore[import-untyped]
import pytest

from handlers.core import errors
from handlers.core.errors import ERROR_TABLE, GATEWAY_TABLE, INVALID_REQUEST, ErrorKind, LanternError

KINDS = [value for value in vars(errors).values() if isinstance(value, ErrorKind)]


def test_the_tables_hold_every_kind_under_a_code_of_its_own() -> None:
    assert sorted([*ERROR_TABLE, *GATEWAY_TABLE]) == sorted(kind.code for kind in KINDS)
    assert len(ERROR_TABLE | GATEWAY_TABLE) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.code)
def test_a_kind_has_an_http_error_status_and_a_real_grpc_status(kind: ErrorKind) -> None:
    assert 400 <= kind.http < 600
    assert kind.grpc in grpc.StatusCode.__members__
    assert kind.grpc != "OK"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.code)
def test_only_an_answer_of_503_or_of_a_rate_limit_may_be_retried_as_it_is(kind: ErrorKind) -> None:
    assert kind.retryable == (kind.http in {503, 429})


@pytest.mark.parametrize(("field", "expected"), [("text", "entries[2].text"), (None, "entries[2]")])
def test_an_error_of_an_entry_carries_its_place(field: str | None, expected: str) -> None:
    error = LanternError(INVALID_REQUEST, "wrong", field).under("entries[2]")

    assert (error.kind, error.message, error.field) == (INVALID_REQUEST, "wrong", expected)


def test_an_error_prints_its_code_message_and_field() -> None:
    assert str(LanternError(INVALID_REQUEST, "wrong", "text")) == "invalid_request: wrong (field text)"
