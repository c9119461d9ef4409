"""Earlier entries: when they call for help, and when somebody may be told on account of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TypeVar

from handlers.core.policy_consent import scope_state
from handlers.core.policy_reading import MAX_CLOCK_SKEW, Finding, Reading, highest, lower

Days = dict[str | None, set[date]]
"""The days of each entry, by its id, on which a meaning reaches ``off``."""


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
    own = _reached_meanings(reading, reading.scores)
    for meaning, names in reading.meanings.items():
        is_own = meaning in own and not reading.is_about_other
        count = _count(reading, past.to_help.get(meaning, {}), reading.now, is_own)
        if count >= rule.entries:
            yield Finding(
                "cumulative",
                tier=lower("professional", highest([reading.caps[name] for name in names])),
                uncapped="professional",
                labels=tuple(names),
                why=f"{meaning} >= off in {count} entries >= {rule.entries} on different days within {rule.days} days",
                basis="history",
                may_disclose=is_own and _may_be_told(reading, past.to_tell.get(meaning, {})),
            )


def _may_be_told(reading: Reading, days: Days) -> bool:
    """Say whether entries that are said to be about the writer are enough, by either clock, with the current one.

    Without an id the current entry may be one of those that were counted already.
    """
    is_own = reading.case.entry_id is not None
    enough = reading.policy.cumulative.entries
    return all(_count(reading, days, clock, is_own) >= enough for clock in reading.clocks)


@dataclass(frozen=True, slots=True)
class _Past:
    """The days of earlier entries by meaning: of those that may call for help, and of those that may be told."""

    to_help: dict[str, Days] = field(default_factory=dict)
    to_tell: dict[str, Days] = field(default_factory=dict)


def _past(reading: Reading, now: datetime) -> _Past:
    """Sort the earlier entries. To be told, they must be recent by both clocks."""
    past = _Past()
    first, last = recent_span(reading, now)
    spans = [recent_span(reading, clock) for clock in reading.clocks]
    first_of_all, last_of_all = max(span[0] for span in spans), min(span[1] for span in spans)
    for entry in reading.case.context.history:
        if entry.subject != "other" and first <= entry.at <= last:
            day = entry.at.astimezone(now.tzinfo).date()
            is_told = entry.subject == "self" and first_of_all <= entry.at <= last_of_all
            for meaning in _reached_meanings(reading, entry.scores):
                past.to_help.setdefault(meaning, {}).setdefault(entry.entry_id, set()).add(day)
                if is_told:
                    past.to_tell.setdefault(meaning, {}).setdefault(entry.entry_id, set()).add(day)
    return past


def _reached_meanings(reading: Reading, scores: Mapping[str, float]) -> list[str]:
    return [reading.labels[name].means or name for name in reached_labels(reading, scores)]


def reached_labels(reading: Reading, scores: Mapping[str, float]) -> list[str]:
    """Return the labels that an entry counts for: those that are read, are not neutral, and reach ``off``."""
    offs = reading.offs
    return [name for name, score in scores.items() if name in offs and score >= offs[name]]


def recent_span(reading: Reading, clock: datetime) -> tuple[datetime, datetime]:
    """Return the first and the last time of entries that count at ``clock``: some days back, and 24 hours ahead."""
    return clock - timedelta(days=reading.policy.cumulative.days), clock + MAX_CLOCK_SKEW


def _count(reading: Reading, days: Days, clock: datetime, is_own: bool) -> int:
    """Count entries on different days, with the current one where ``is_own``: of the day at ``clock``."""
    if not is_own:
        return count_on_different_days(days)
    zone = None if reading.now is None else reading.now.tzinfo
    own = reading.case.entry_id
    return count_on_different_days({**days, own: {*days.get(own, ()), clock.astimezone(zone).date()}})


Entry = TypeVar("Entry")


def count_on_different_days(days: Mapping[Entry, Collection[date]]) -> int:
    """Return how many entries can be given a day each, of their own days and no day twice.

    A maximum matching of entries and days (Kuhn, 1955): a further record of an entry can so never lower the count.
    """
    if sum(map(len, days.values())) == len(days):  # a day each, as it nearly always is
        return len(set().union(*days.values()))
    taken: dict[date, Entry] = {}

    def find(entry: Entry, tried: set[date]) -> bool:
        for day in days[entry]:
            if day not in tried:
                tried.add(day)
                if day not in taken or find(taken[day], tried):
                    taken[day] = entry
                    return True
        return False

    return sum(find(entry, set()) for entry in days)
