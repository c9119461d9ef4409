"""Retries under one deadline: exponential backoff with full jitter, at least ``Retry-After``."""

from __future__ import annotations

import itertools
import logging
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from client._errors import LanternClientError, client_error
from handlers.core.errors import DEADLINE_EXCEEDED

_log = logging.getLogger("lantern.client")
_T = TypeVar("_T")


@dataclass(frozen=True)
class RetryPolicy:
    """When to send the same call again.

    Only what the error table calls retryable is sent again. That includes a call whose connection
    broke after it was sent: the server may then have done the work twice, which is harmless, as
    classifying a text changes nothing.

    Attributes:
        retries: attempts after the first.
        first_wait_s: upper bound of the first wait; it doubles with every retry.
        longest_wait_s: upper bound of every wait, apart from what ``Retry-After`` asks for.
        sleep: waits so many seconds.
        uniform: draws from an interval; the source of the jitter.
        clock: monotonic seconds.
    """

    retries: int = 2
    first_wait_s: float = 0.1
    longest_wait_s: float = 5.0
    sleep: Callable[[float], None] = time.sleep
    uniform: Callable[[float, float], float] = random.uniform
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        if self.retries < 0:
            raise ValueError("retries must be 0 or more")
        if not 0 <= self.first_wait_s <= self.longest_wait_s < math.inf:
            raise ValueError("the waits must be 0 <= first_wait_s <= longest_wait_s, in seconds")

    def run(self, attempt: Callable[[float], _T], timeout_s: float) -> _T:
        """Return what ``attempt`` returns, trying again within ``timeout_s`` seconds in all.

        ``attempt`` gets the seconds that are left. A wait that would outlast the deadline is not
        begun: the error at hand is raised at once.
        """
        ends = self.clock() + timeout_s
        for retry in itertools.count():
            left = ends - self.clock()
            if left <= 0:
                break
            try:
                return attempt(left)
            except LanternClientError as error:
                wait = self._wait(retry, error.retry_after_s or 0.0)
                if not error.kind.retryable or retry >= self.retries or self.clock() + wait >= ends:
                    raise
                _log.debug("attempt %d: %s; again in %.3f s", retry + 1, error.kind.code, wait)
            self.sleep(wait)
        raise client_error(DEADLINE_EXCEEDED, "the deadline passed between two attempts")

    def _wait(self, retry: int, retry_after_s: float) -> float:
        """Add the jitter to ``Retry-After``, so that clients sent away together do not return together."""
        most = min(self.longest_wait_s, self.first_wait_s * 2.0 ** min(retry, 60))
        return retry_after_s + self.uniform(0.0, most)
