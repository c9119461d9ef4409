"""Who is run next: a line of waiting model inputs, short ones first, none of them for ever.

An input's rank is ``arrival + min(patience * cost, most)``, in seconds, ``cost`` being that of its whole text; it is
fixed when it joins, and the lowest rank is run first. A short text so overtakes long ones, and a long text is
overtaken only by what arrives within ``patience`` times its own run time (at most ``most``): after that it has the
lower rank. Where at most ``Q`` seconds of work are let into the line, nothing waits for its first run longer than
``min(patience * cost, most) + Q`` seconds and the run that was going on, company of other ranks in the sub-batches
before it not counted (``fill_sub_batch``; at most ``token_budget`` a run).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from handlers.core.lengths import fill_sub_batch

Owner = TypeVar("Owner")

_FORGETTING = 0.9
"""What a run leaves of the weight of those before it: the pace follows a change of load within about ten runs."""


@dataclass(frozen=True)
class Waiting(Generic[Owner]):
    """One model input in the line.

    Attributes:
        owner: whose it is; compared by identity.
        index: which of the owner's inputs.
        tokens: its length.
        rank: seconds; the lowest is next.
        cost: seconds that its run is expected to take.
        deadline: second after which it is not worth running.
    """

    owner: Owner
    index: int
    tokens: int
    rank: float
    cost: float
    deadline: float


class Pace:
    """Seconds of engine time a padded token, learned from the runs.

    Zero until the first run is known, which makes the line first come, first served.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        self._tokens = 0.0

    def learn(self, padded_tokens: int, seconds: float) -> None:
        """Take one run into account."""
        self._seconds = _FORGETTING * self._seconds + seconds
        self._tokens = _FORGETTING * self._tokens + padded_tokens

    def seconds(self, tokens: int) -> float:
        """Return how long ``tokens`` are expected to take."""
        return tokens * self._seconds / self._tokens if self._tokens else 0.0


class WaitingLine(Generic[Owner]):
    """Inputs that wait for the engine. For one thread at a time.

    Args:
        budget, max_padding: see ``fill_sub_batch``.
        patience: how often its own run time a text lets later, shorter ones go first.
        cost: expected seconds of a run of so many tokens.
        most: seconds after which no text, however long, lets later ones go first.
    """

    def __init__(
        self,
        budget: int,
        max_padding: float,
        patience: float,
        cost: Callable[[int], float],
        most: float = float("inf"),
    ) -> None:
        self._budget = budget
        self._max_padding = max_padding
        self._patience = patience
        self._cost = cost
        self._most = most
        self._line: list[Waiting[Owner]] = []

    def __len__(self) -> int:
        return len(self._line)

    @property
    def seconds(self) -> float:
        """Seconds of work that wait."""
        return sum(waiting.cost for waiting in self._line)

    def join(self, owner: Owner, inputs: Sequence[int], now: float, deadline: float) -> None:
        """Put the inputs of one text into the line.

        Args:
            owner: the text.
            inputs: tokens of each of its inputs.
            now: second of its arrival.
            deadline: second after which it is not worth running.
        """
        rank = self._rank(sum(inputs), now)
        self._line += [
            Waiting(owner, index, tokens, rank, self._cost(tokens), deadline) for index, tokens in enumerate(inputs)
        ]

    def seconds_ahead(self, tokens: int, now: float) -> float:
        """Return the seconds of work that a text of ``tokens`` tokens would find before it."""
        rank = self._rank(tokens, now)
        return sum(waiting.cost for waiting in self._line if waiting.rank <= rank)

    def _rank(self, tokens: int, now: float) -> float:
        return now + min(self._patience * self._cost(tokens), self._most)

    def take(self, longest: int | None = None) -> list[Waiting[Owner]]:
        """Remove the next sub-batch and return it, the input that it is for at its head.

        Args:
            longest: leave out inputs of more tokens than this.

        Returns:
            Inputs whose run is due; empty where none waits.
        """
        fit = [waiting for waiting in self._line if longest is None or waiting.tokens <= longest]
        if not fit:
            return []
        first = min(range(len(fit)), key=lambda place: fit[place].rank)
        lengths = [waiting.tokens for waiting in fit]
        batch = [fit[place] for place in fill_sub_batch(lengths, first, self._budget, self._max_padding)]
        self._remove(batch)
        return batch

    def expire(self, now: float) -> list[Waiting[Owner]]:
        """Remove what is past its deadline, and return it."""
        late = [waiting for waiting in self._line if waiting.deadline <= now]
        self._remove(late)
        return late

    def forget(self, owner: Owner) -> None:
        """Remove every input of ``owner``."""
        self._line = [waiting for waiting in self._line if waiting.owner is not owner]

    def _remove(self, gone: Iterable[Waiting[Owner]]) -> None:
        places = {id(waiting) for waiting in gone}
        if places:
            self._line = [waiting for waiting in self._line if id(waiting) not in places]
