"""Earlier entries: when they call for help, and when somebody may be told on account of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from handlers.core.policy_consent import scope_state
from handlers.core.policy_reading import MAX_CLOCK_SKEW, Finding, Reading, highest, lower

Dated = tuple[str | None, date]  # pragma: no mutate
"""An entry, by its id, and a day on which it was written."""


def cumulative(reading: Reading) -> Iterator[Finding]:
    """The same meaning at least ``off`` in several entries of the last days gives ``professional``.

    Only with live consent to ``use_history``; without it the history is not looked at. Entries count where they lie on
    different days of the person's, are not about somebody else, and are dated 24 hours ahead at most. The current entry
    is one of those counted, and it need not itself be among those that reach ``off``. An entry counts once, on any of
    the days of its records that qualify. A current entry without an id counts as one of its own, towards help alone.

    Somebody may be told on account of it only where this entry's own score reaches ``off`` too, every entry is said to
    be about the writer, and it holds by the caller's clock as well as by the host's.
    """
    if reading.now is None or not reading.is_scored or scope_state(reading, "use_history") != "live":
        return
    rule = reading.policy.cumulative
    past = _past(reading, reading.now)
    own = set() if reading.is_about_other else set(_meanings_of(reading, reading.scores))
    today = reading.now.date()
    for meaning, names in reading.meanings.items():
        dated = past.to_help.get(meaning, [])
        if len(dated) + (meaning in own) < rule.entries:
            continue
        count = count_on_different_days([*dated, (reading.case.entry_id, today)] if meaning in own else dated)
        if count >= rule.entries:
            yield Finding(
                "cumulative",
                tier=lower("professional", highest([reading.caps[name] for name in names])),
                uncapped="professional",
                labels=tuple(names),
                why=f"{meaning} >= off in {count} entries >= {rule.entries} on different days within {rule.days} days",
                basis="history",
                may_disclose=meaning in own and _may_be_told(reading, past.to_tell.get(meaning, []), reading.now),
            )


def _may_be_told(reading: Reading, dated: list[Dated], now: datetime) -> bool:
    """Say whether entries that are said to be about the writer are enough, with the current one, by either clock.

    Without an id the current entry may be one of those that were counted already.
    """
    own, enough = reading.case.entry_id, reading.policy.cumulative.entries
    if own is None:
        return count_on_different_days(dated) >= enough
    days = {clock.astimezone(now.tzinfo).date() for clock in reading.clocks}
    return all(count_on_different_days([*dated, (own, day)]) >= enough for day in days)


@dataclass(frozen=True, slots=True)  # pragma: no mutate
class _Past:
    """Earlier entries by meaning: those that may call for help, and those that may be told."""

    to_help: dict[str, list[Dated]] = field(default_factory=lambda: defaultdict(list))
    to_tell: dict[str, list[Dated]] = field(default_factory=lambda: defaultdict(list))


def _past(reading: Reading, now: datetime) -> _Past:
    """Sort the earlier entries. To be told, they must be recent by both clocks."""
    past = _Past()
    first, last = recent_span(reading, now)
    spans = [recent_span(reading, clock) for clock in reading.clocks]
    first_of_all, last_of_all = max(span[0] for span in spans), min(span[1] for span in spans)
    for entry in reading.case.context.history:
        at, subject = entry.at, entry.subject
        is_recent_for_all = first_of_all <= at <= last_of_all
        if subject == "other" or not (is_recent_for_all or first <= at <= last):
            continue
        if reached := _meanings_of(reading, entry.scores):
            dated = entry.entry_id, at.astimezone(now.tzinfo).date()
            for meaning in reached:
                past.to_help[meaning].append(dated)
                if is_recent_for_all and subject == "self":
                    past.to_tell[meaning].append(dated)
    return past


def _meanings_of(reading: Reading, scores: Mapping[str, float]) -> list[str]:
    """Return the meanings that reach ``off``; one that several labels have may be there more than once."""
    offs = reading.offs
    return [offs[name][1] for name, score in scores.items() if name in offs and score >= offs[name][0]]


def reached_labels(reading: Reading, scores: Mapping[str, float]) -> list[str]:
    """Return the labels that an entry counts for: those that are read, are not neutral, and reach ``off``."""
    offs = reading.offs
    return [name for name, score in scores.items() if name in offs and score >= offs[name][0]]


def recent_span(reading: Reading, clock: datetime) -> tuple[datetime, datetime]:
    """Return the first and the last time of entries that count at ``clock``: some days back, and 24 hours ahead."""
    return clock - timedelta(days=reading.policy.cumulative.days), clock + MAX_CLOCK_SKEW


def count_on_different_days(dated: Iterable[tuple[Hashable, date]]) -> int:
    """Return how many entries can be given a day each, of their own days and no day twice.

    A maximum matching of entries and days (Kuhn, 1955): a further record of an entry can so never lower the count.
    """
    pairs = set(dated)
    if len({entry for entry, _ in pairs}) == len(pairs):  # a day each, as it nearly always is
        return len({day for _, day in pairs})
    days: dict[Hashable, list[date]] = defaultdict(list)
    for entry, day in pairs:
        days[entry].append(day)
    taken: dict[date, Hashable] = {}

    def find(entry: Hashable, tried: set[date]) -> bool:
        for day in days[entry]:
            if day not in tried:
                tried.add(day)
                if day not in taken or find(taken[day], tried):
                    taken[day] = entry
                    return True
        return False

    return sum(find(entry, set()) for entry in list(days))
