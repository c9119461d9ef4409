"""What callers got, counted. Pure: no clock, no processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

ANSWERED: Final = "answered"
WRONG: Final = "wrong"
LOST: Final = "lost"
"""Neither an answer nor an error came before the caller's deadline."""


@dataclass(frozen=True)
class Sample:
    """One call.

    Attributes:
        protocol: ``rest`` or ``grpc``.
        began, took_s: seconds of the monotonic clock.
        outcome: ``answered``, ``wrong``, ``lost``, or the code of the error that was left after the retries.
        retries: attempts after the first.
        decision: id of the decision in the answer; empty without one.
    """

    protocol: str
    began: float
    took_s: float
    outcome: str
    retries: int = 0
    decision: str = ""


@dataclass(frozen=True)
class Tally:
    """The counts of one scenario.

    Attributes:
        sent: calls, by protocol.
        answered: calls with the right answer.
        wrong: calls with another answer than the text's own.
        duplicated: answers that came to two calls.
        lost: calls that had neither answer nor error in time.
        errors: the other calls, by code.
        retried: calls that took more than one attempt.
        longest_s: the slowest right answer.
    """

    sent: dict[str, int]
    answered: int
    wrong: int
    duplicated: int
    lost: int
    errors: dict[str, int]
    retried: int
    longest_s: float

    @property
    def total(self) -> int:
        """Calls on both protocols."""
        return sum(self.sent.values())


def tally(samples: Sequence[Sample]) -> Tally:
    """Count ``samples``."""
    outcomes = Counter(sample.outcome for sample in samples)
    decisions = Counter(sample.decision for sample in samples if sample.decision)
    return Tally(
        sent=dict(sorted(Counter(sample.protocol for sample in samples).items())),
        answered=outcomes[ANSWERED],
        wrong=outcomes[WRONG],
        duplicated=sum(count - 1 for count in decisions.values()),
        lost=outcomes[LOST],
        errors={code: count for code, count in sorted(outcomes.items()) if code not in (ANSWERED, WRONG, LOST)},
        retried=sum(sample.retries > 0 for sample in samples),
        longest_s=max((sample.took_s for sample in samples if sample.outcome == ANSWERED), default=0.0),
    )
