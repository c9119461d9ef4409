"""Retries, waits and deadlines. Time passes only where ``Pace`` lets it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from client import DeadlineExceeded, LanternClientError, RetryPolicy, Unavailable
from client._rest import _read, _retry_after
from handlers.core.errors import ERROR_TABLE, RETRY_AFTER_S

if TYPE_CHECKING:
    from tests.client.conftest import Pace, Server

RETRYABLE = [kind for kind in ERROR_TABLE.values() if kind.retryable]
FINAL = [kind for kind in ERROR_TABLE.values() if not kind.retryable]
BUSY: dict[str, Any] = {"http": 503, "grpc": "UNAVAILABLE"}


def envelope(code: str, **other: Any) -> dict[str, Any]:
    return {"json": {"error": {"code": code, "message": "m"}}, "http": ERROR_TABLE[code].http, **other}


@pytest.mark.parametrize("kind", RETRYABLE, ids=lambda kind: kind.code)
def test_a_retryable_error_is_tried_again(server: Server, pace: Pace, response: dict[str, Any], kind: Any) -> None:
    server.say(envelope(kind.code), envelope(kind.code), {"json": response})

    server.client(retries=pace.policy(2)).classify("Text.")

    assert len(server.seen) == 3
    assert server.seen[0].body == server.seen[2].body
    assert len(pace.waits) == 2


@pytest.mark.parametrize("kind", FINAL, ids=lambda kind: kind.code)
def test_other_errors_are_not(server: Server, pace: Pace, kind: Any) -> None:
    server.say(envelope(kind.code))

    with pytest.raises(LanternClientError):
        server.client(retries=pace.policy(5)).classify("Text.")

    assert len(server.seen) == 1
    assert pace.waits == []


def test_a_broken_answer_is_not_tried_again(server: Server, pace: Pace) -> None:
    server.say({"body": b"not JSON"})
    with pytest.raises(LanternClientError):
        server.client(retries=pace.policy(5)).classify("Text.")
    assert len(server.seen) == 1


def test_a_connection_that_breaks_is_tried_again(server: Server, pace: Pace, response: dict[str, Any]) -> None:
    server.say({"drop": True}, {"json": response})
    server.client(retries=pace.policy(1)).classify("Text.")
    assert len(server.seen) == 2


def test_the_last_error_is_raised_when_the_retries_are_spent(server: Server, pace: Pace) -> None:
    server.say(BUSY)
    with pytest.raises(Unavailable):
        server.client(retries=pace.policy(3)).classify("Text.")
    assert len(server.seen) == 4


def test_no_retries(server: Server) -> None:
    server.say(BUSY)
    with pytest.raises(Unavailable):
        server.client(retries=0).classify("Text.")
    assert len(server.seen) == 1


def test_a_call_of_entries_is_tried_again(server: Server, pace: Pace, response: dict[str, Any]) -> None:
    server.say(BUSY, {"json": {"results": [{"status": 200, **response}]}})
    assert len(server.client(retries=pace.policy(1)).classify_entries(["Text."])) == 1


def test_the_wait_doubles_up_to_the_longest(server: Server, pace: Pace) -> None:
    server.say(BUSY)
    policy = pace.policy(5, first_wait_s=0.1, longest_wait_s=0.5)
    with pytest.raises(Unavailable):
        server.client(retries=policy).classify("Text.")
    assert pace.waits == pytest.approx([0.1, 0.2, 0.4, 0.5, 0.5])


def test_the_jitter_is_full(pace: Pace) -> None:
    asked: list[tuple[float, float]] = []

    def least(low: float, high: float) -> float:
        asked.append((low, high))
        return low

    def busy(_: float) -> None:
        raise Unavailable(ERROR_TABLE["overloaded"], "m")

    policy = RetryPolicy(2, first_wait_s=1.0, sleep=pace.sleep, uniform=least, clock=lambda: pace.now)
    with pytest.raises(Unavailable):
        policy.run(busy, 10.0)

    assert asked == [(0.0, 1.0), (0.0, 2.0), (0.0, 4.0)]
    assert pace.waits == [0.0, 0.0]


def test_retry_after_is_the_least_wait(rest: Server, pace: Pace, response: dict[str, Any]) -> None:
    rest.say({"http": 503, "headers": {"retry-after": "3"}}, {"json": response})
    rest.client(retries=pace.policy(1)).classify("Text.")
    assert pace.waits == pytest.approx([3.1])


def test_grpc_waits_as_long_as_the_contract_says(grpc_: Server, pace: Pace, response: dict[str, Any]) -> None:
    grpc_.say(envelope("overloaded"), {"json": response})
    grpc_.client(retries=pace.policy(1)).classify("Text.")
    assert pace.waits == pytest.approx([RETRY_AFTER_S + 0.1])


def test_the_error_tells_how_long_to_wait(rest: Server) -> None:
    rest.say(envelope("draining", headers={"retry-after": "7"}))
    with pytest.raises(Unavailable) as caught:
        rest.client().classify("Text.")
    assert caught.value.retry_after_s == 7.0


def test_retry_after_beyond_the_deadline_is_not_waited_for(rest: Server, pace: Pace) -> None:
    rest.say({"http": 503, "headers": {"retry-after": "60"}})
    with pytest.raises(Unavailable):
        rest.client(retries=pace.policy(5), timeout=10).classify("Text.")
    assert len(rest.seen) == 1
    assert pace.waits == []


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, None), ("0", 0.0), ("12", 12.0), ("soon", None), ("-1", None), ("²", None), ("9" * 400, None), ("", None)],
)
def test_retry_after_in_seconds(value: str | None, seconds: float | None) -> None:
    assert _retry_after(value) == seconds


def test_retry_after_as_a_date() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=90)
    assert _retry_after(format_datetime(soon, usegmt=True)) == pytest.approx(90, abs=5)
    assert _retry_after(format_datetime(soon.replace(tzinfo=None))) == pytest.approx(90, abs=5)
    assert _retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0


def test_the_deadline_bounds_all_attempts(server: Server, pace: Pace) -> None:
    server.say(BUSY)
    policy = pace.policy(50, first_wait_s=1.0, longest_wait_s=1.0)
    with pytest.raises(Unavailable):
        server.client(retries=policy, timeout=3.5).classify("Text.")
    assert pace.waits == [1.0, 1.0, 1.0]
    assert len(server.seen) == 4


def test_each_attempt_gets_the_time_that_is_left(pace: Pace) -> None:
    left: list[float] = []

    def busy(seconds: float) -> None:
        left.append(seconds)
        pace.now += 0.5
        raise Unavailable(ERROR_TABLE["overloaded"], "m")

    with pytest.raises(Unavailable):
        pace.policy(9, first_wait_s=1.0, longest_wait_s=1.0).run(busy, 4.0)
    assert left == [4.0, 2.5, 1.0]


def test_a_wait_that_took_too_long_ends_the_call(pace: Pace) -> None:
    def busy(_: float) -> None:
        raise Unavailable(ERROR_TABLE["overloaded"], "m")

    def oversleep(seconds: float) -> None:
        pace.now += seconds + 100.0

    policy = RetryPolicy(1, sleep=oversleep, clock=lambda: pace.now)
    with pytest.raises(DeadlineExceeded):
        policy.run(busy, 10.0)


def test_a_silent_server_is_given_up(server: Server, pace: Pace) -> None:
    server.say({"hang": True})
    with pytest.raises(DeadlineExceeded):
        server.client(retries=pace.policy(5)).classify("Text.", timeout=0.1)
    assert len(server.seen) == 1


def test_the_timeout_of_the_client_is_the_default(server: Server) -> None:
    server.say({"hang": True})
    client = server.client(timeout=0.1)
    with pytest.raises(DeadlineExceeded):
        client.classify_entries(["Text."])
    with pytest.raises(DeadlineExceeded):
        client.ping()


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan"), "5"])
def test_a_call_cannot_do_without_a_timeout(server: Server, timeout: Any) -> None:
    with pytest.raises(ValueError, match="timeout"):
        server.client().classify("Text.", timeout=timeout)


def test_a_policy_is_checked() -> None:
    with pytest.raises(ValueError, match="retries"):
        RetryPolicy(-1)
    with pytest.raises(ValueError, match="waits"):
        RetryPolicy(1, first_wait_s=2.0, longest_wait_s=1.0)


def test_an_answer_that_drips_past_the_deadline_is_given_up() -> None:
    error = _read(httpx.Response(200, content=b"{"), ends=time.monotonic() - 1.0)
    assert isinstance(error, DeadlineExceeded)
