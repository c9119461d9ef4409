"""The crisis-line directory: which published helplines are shown to whom, and which are still to be checked.

Numbers come from the directory file alone, byte for byte, and are never composed, rewritten or
guessed. Showing a line discloses nothing, so it needs no consent; whatever is not known (country,
language, age, date) is decided towards showing more.

``python -m handlers.core.directory to-dial`` lists what the operator has not verified.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import cached_property
from importlib import resources
from itertools import groupby
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from handlers.core.errors import StartupError
from handlers.core.yamldata import DataFile, FrozenData, NamedFile, parse_yaml, read_file, validate_records

DIRECTORY_NAME: Final = "crisis_lines.yaml"
INTERNATIONAL: Final = "international"
"""First part of the id of a record that belongs to no country."""
ALL_DAY: Final = "24/7"
"""Hours of a line that is open all day, every day."""
DEFAULT_MAX_AGE_DAYS: Final = 180
"""Age that the command allows a verification; the packaged policy allows the same."""

AgeBand = Literal["adult", "minor"]
Audience = Literal["all", "children"]

Words = Annotated[str, Field(min_length=1, pattern=r"^\S(.*\S)?$")]
RecordId = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
Country = Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]
Number = Annotated[str, Field(pattern=r"^\+?[0-9]([0-9 ()-]*[0-9])?$")]
Url = Annotated[str, Field(pattern=r"^https?://[^\s/]+\.[^\s]+$")]


class Line(FrozenData):
    """One record of the directory.

    Attributes:
        id: unique; begins with the country's code in small letters, or ``international``.
        country: ISO 3166-1 alpha-2, or ``None`` for an international entry, which has a page and no number.
        region: part of the country that the number is for, in words; ``None`` where it is for all of it.
        languages: ISO 639 codes of the languages that are spoken; may be empty for an international entry.
        name: as the service calls itself.
        dial: the number to call, exactly as published.
        sms_to, sms_body: the number to send a text message to, and the word to send where one is asked for.
        hours: opening hours as published, local time, ``24/7`` for all day; ``None`` where they are not known.
        audience: ``children`` for a service for children and young people only.
        url: the service's own page.
        sources: published pages that the record was taken from.
        collected_at: day on which it was taken over from them.
        verified_at: day on which the operator checked it with the service; ``None`` where nobody has.
    """

    id: RecordId
    country: Country | None
    region: Words | None = None
    languages: Annotated[tuple[Language, ...], Field(strict=False)]
    name: Words
    dial: Number | None = None
    sms_to: Number | None = None
    sms_body: Words | None = None
    hours: Words | None = None
    audience: Audience = "all"
    url: Url | None = None
    sources: Annotated[tuple[Url, ...], Field(strict=False, min_length=1)]
    collected_at: date
    verified_at: date | None

    @property
    def all_day(self) -> bool:
        """Whether somebody answers at any hour: unknown hours, and a page without a number, do not count."""
        return self.country is not None and self.hours == ALL_DAY

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.id.split("-")[0] != (self.country.lower() if self.country else INTERNATIONAL):
            raise ValueError(f"country: the id must begin with the country's code, or with {INTERNATIONAL} for none")
        if len(set(self.languages)) != len(self.languages):
            raise ValueError("languages: a language is there twice")
        if self.sms_body is not None and self.sms_to is None:
            raise ValueError("sms_body: there is no sms_to to send it to")
        if self.country is None:
            self._check_international()
        else:
            self._check_national()
        return self

    def _check_international(self) -> None:
        if self.dial is not None or self.sms_to is not None:
            raise ValueError("dial: an international entry must have no number, as a number belongs to a country")
        if self.region is not None:
            raise ValueError("region: an international entry is for no part of a country")
        if self.url is None:
            raise ValueError("url: an international entry needs its page")

    def _check_national(self) -> None:
        if self.dial is None and self.sms_to is None:
            raise ValueError("dial: there must be a number to call or, in sms_to, one to send a text message to")
        if not self.languages:
            raise ValueError("languages: name at least one")


class ShownLine(FrozenData):
    """A line as it is shown, ready for JSON (``model_dump(mode="json")``).

    Attributes:
        stale: nobody has verified it, or too long ago, or the date of today is not known.
        emergency: the country's emergency number, to be shown beside the line: where it is stale or not open all
            day, and in a crisis. ``None`` otherwise, and where the directory has none for the country.

    The others are those of ``Line``.
    """

    id: str
    name: str
    region: str | None
    dial: str | None
    sms_to: str | None
    sms_body: str | None
    hours: str | None
    url: str | None
    languages: tuple[str, ...]
    audience: Audience
    collected_at: date
    verified_at: date | None
    stale: bool
    emergency: str | None


@dataclass(frozen=True)
class Check:
    """Something that the operator has still to check before it may be relied on.

    Attributes:
        country: ``None`` for an international entry.
        id: of the record; ``None`` for the country's emergency number.
        name: whose number it is.
        how: what to do, one step each, such as ``call 116 123``.
        hours: when somebody answers; ``None`` where it is not known.
        sources: pages that it was taken from.
        verified_at: day of the last check, which is too long ago; ``None`` where there was none.
    """

    country: str | None
    id: str | None
    name: str
    how: tuple[str, ...]
    hours: str | None
    sources: tuple[str, ...]
    verified_at: date | None


class Directory(FrozenData):
    """``crisis_lines.yaml`` as data.

    Attributes:
        notice: what an operator must do before use.
        emergency: number of the emergency medical service (or of all of them) by country.
        emergency_sources: where those are from.
        emergency_collected_at, emergency_verified_at: when they were taken over, and when the operator checked
            them; ``None`` where nobody has.
        territories: codes that stand for another country's numbers, such as ``UK`` for ``GB``.
        lines: every record.
    """

    schema_version: Literal[1]
    notice: Words
    emergency: dict[Country, Number]
    emergency_sources: Annotated[tuple[Url, ...], Field(strict=False, min_length=1)]
    emergency_collected_at: date
    emergency_verified_at: date | None
    territories: dict[Country, Country] = Field(default_factory=dict)
    lines: Annotated[tuple[Line, ...], Field(strict=False)]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        seen: set[str] = set()
        for line in self.lines:
            if line.id in seen:
                raise ValueError(f"{line.id}: id: there is another record of this id")
            if line.country in self.territories:
                raise ValueError(f"{line.id}: country: {line.country} is under territories, so no line would be shown")
            if line.country is not None and line.country not in self.emergency:
                raise ValueError(f"{line.id}: country: {line.country} has no number under emergency")
            seen.add(line.id)
        if not any(line.country is None and line.audience == "all" for line in self.lines):
            raise ValueError("lines: there must be an international entry for those whose country is not known")
        for territory, country in self.territories.items():
            if territory in self.emergency:
                raise ValueError(f"territories: {territory} has a number of its own under emergency")
            if country not in self.emergency:
                raise ValueError(f"territories: {territory}: {country} has no number under emergency")
        return self

    @cached_property
    def _of_countries(self) -> dict[str | None, tuple[Line, ...]]:
        """The lines of each country, and under ``None`` the international entries."""
        lines: dict[str | None, list[Line]] = {}
        for line in self.lines:
            lines.setdefault(line.country, []).append(line)
        return {country: tuple(found) for country, found in lines.items()}

    def country_of(self, code: str) -> str:
        """Return the country whose numbers are dialled from ``code``: itself, unless it is under ``territories``."""
        return self.territories.get(code, code)

    def select(
        self,
        country: str | None,
        language: str | None,
        audience: AgeBand | None,
        today: date | None,
        max_age_days: int,
        *,
        crisis: bool = False,
    ) -> tuple[ShownLine, ...]:
        """Choose the lines to show and order them; never empty.

        The country decides: its lines and those of no other. One that is not known or not covered
        gets the international entries, never a national number. Where no line of the country is for
        everybody everywhere, or none speaks the language, the international entries follow as well.

        Lines for children are not shown to adults; they come first for a minor, and last where the
        age is not known. The rest is ordered so: lines for the whole country before those for a part
        of it, those that speak the language first, fresh before stale, then by id: the order of the
        file does not matter.

        Args:
            country: ISO 3166-1 alpha-2, capital letters; a territory stands for its country.
            language: ISO 639 code or locale of the reader (``fr``, ``fr-BE``).
            audience: age band of the reader.
            today: a date that is not known makes every line stale.
            max_age_days: days after ``verified_at`` up to which a line is fresh, the last one included.
            crisis: the country's emergency number stands beside every line.
        """
        place = None if country is None else self.country_of(country)
        spoken = language_of(language)
        international = [line for line in self._of_countries[None] if _is_for(line, audience)]
        own = [line for line in self._of_countries.get(place, ()) if _is_for(line, audience)] if place else []
        for_all = any(line.audience == "all" and line.region is None for line in own)
        foreign = spoken is not None and all(spoken not in line.languages for line in own)

        def rank(line: Line) -> tuple[bool, bool, bool, bool, bool, str]:
            return (
                (line.audience == "children") != (audience == "minor"),
                line.country is None,
                line.region is not None,
                spoken not in line.languages,
                _is_stale(line.verified_at, today, max_age_days),
                line.id,
            )

        chosen = sorted(own + (international if foreign or not for_all else []), key=rank)
        emergency = self.emergency.get(place) if place is not None else None
        return tuple(
            _show(line, _is_stale(line.verified_at, today, max_age_days), crisis, emergency) for line in chosen
        )

    def to_dial(self, today: date, max_age_days: int, countries: Sequence[str] = ()) -> tuple[Check, ...]:
        """Return what the operator has never verified, or too long ago: by country, international entries last.

        Args:
            today: day to count from.
            max_age_days: as for ``select``.
            countries: only these; all, and the international entries, where there are none. A territory stands for
                its country.
        """
        wanted = {self.country_of(code) for code in countries}
        checks = [
            Check(line.country, line.id, _full_name(line), _steps(line), line.hours, line.sources, line.verified_at)
            for line in self.lines
            if (not wanted or line.country in wanted) and _is_stale(line.verified_at, today, max_age_days)
        ]
        since = self.emergency_verified_at
        if _is_stale(since, today, max_age_days):
            checks += [
                Check(code, None, f"emergency number {number}", (_EMERGENCY_STEP,), None, self.emergency_sources, since)
                for code, number in self.emergency.items()
                if not wanted or code in wanted
            ]
        return tuple(sorted(checks, key=lambda check: (check.country is None, check.country or "", check.id or "")))


def language_of(locale: str | None) -> str | None:
    """Return the language of a locale such as ``fr-BE`` or ``zh_Hant_TW``, in small letters; ``None`` where unknown."""
    return locale.replace("_", "-").split("-")[0].lower() or None if locale else None


def load_directory(path: DataFile) -> Directory:
    """Read and check the directory file.

    Raises:
        StartupError: naming file, record and key.
    """
    return parse_directory(read_file(path), str(path))


def parse_directory(payload: bytes, where: str) -> Directory:
    """Check the content of a directory file.

    Raises:
        StartupError: naming ``where``, the record by its id, and the key that is wrong.
    """
    return validate_records(Directory, parse_yaml(payload, where), where, "lines")


def _is_for(line: Line, audience: AgeBand | None) -> bool:
    return line.audience == "all" or audience != "adult"


def _is_stale(verified_at: date | None, today: date | None, max_age_days: int) -> bool:
    return verified_at is None or today is None or (today - verified_at).days > max_age_days


def state_of(verified_at: date | None, today: date, max_age_days: int) -> str:
    """Return in words how fresh a record is; empty where it was verified and is fresh."""
    if verified_at is None:
        return "never verified"
    return "older than allowed" if _is_stale(verified_at, today, max_age_days) else ""


def _show(line: Line, stale: bool, crisis: bool, emergency: str | None) -> ShownLine:
    return ShownLine(
        id=line.id,
        name=line.name,
        region=line.region,
        dial=line.dial,
        sms_to=line.sms_to,
        sms_body=line.sms_body,
        hours=line.hours,
        url=line.url,
        languages=line.languages,
        audience=line.audience,
        collected_at=line.collected_at,
        verified_at=line.verified_at,
        stale=stale,
        emergency=emergency if crisis or stale or not line.all_day else None,
    )


# The command.

EXIT_REFUSED: Final = 2
EXIT_LEFT: Final = 3

# Calling an emergency number to try it takes it from somebody.
_EMERGENCY_STEP: Final = "ask the authority or read its page; do not call it to check"
_WIDTH: Final = 80
_INDENT: Final = "    "


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 nothing left to check, 2 the file is refused, 3 something left."""
    options = _parser().parse_args(arguments)
    file: DataFile = resources.files("handlers") / "config" / DIRECTORY_NAME
    if options.directory is not None:
        file = NamedFile(options.directory)
    try:
        directory = load_directory(file)
        _check_countries(directory, options.country, file)
    except StartupError as error:
        print(f"directory: {error}", file=sys.stderr)
        return EXIT_REFUSED
    checks = directory.to_dial(options.today or date.today(), options.max_age_days, options.country)
    print(_as_json(checks) if options.json else "\n".join(_describe(checks)))
    return EXIT_LEFT if checks else 0


def _check_countries(directory: Directory, countries: Sequence[str], file: DataFile) -> None:
    for code in countries:
        if directory.country_of(code) not in directory.emergency:
            raise StartupError(f"{file}: {code}: there is no record of this country; give a code such as GB")


def _as_json(checks: Sequence[Check]) -> str:
    rows = [asdict(check) | {"verified_at": check.verified_at and check.verified_at.isoformat()} for check in checks]
    return json.dumps({"left": len(rows), "checks": rows}, ensure_ascii=False)


def _describe(checks: Sequence[Check]) -> Iterator[str]:
    """Yield the list, each number and address whole on a line of its own, so that it can be copied."""
    for country, group in groupby(checks, key=lambda check: check.country):
        yield country or INTERNATIONAL
        for check in group:
            yield from _wrapped("  " if check.id is None else f"  {check.id}: ", check.name)
            yield from (f"{_INDENT}{step}" for step in check.how)
            yield f"{_INDENT}{_state(check)}"
            # They are the same for all emergency numbers, and stand once, at the end.
            yield from (f"{_INDENT}from {url}" for url in check.sources if check.id is not None)
        yield ""
    emergency = [check for check in checks if check.id is None]
    if emergency:
        yield "Emergency numbers were taken from"
        yield from (f"{_INDENT}{url}" for url in emergency[0].sources)
        yield ""
    lines = len(checks) - len(emergency)
    yield f"{len(checks)} left to check: {_count(lines, 'line')}, {_count(len(emergency), 'emergency number')}"


def _wrapped(first: str, text: str) -> Iterator[str]:
    yield from textwrap.wrap(text, _WIDTH, initial_indent=first, subsequent_indent=_INDENT, break_on_hyphens=False)


def _state(check: Check) -> str:
    since = "never verified" if check.verified_at is None else f"last verified {check.verified_at}"
    if check.id is None:
        return since
    return f"hours {check.hours or 'not known'}; {since}"


def _steps(line: Line) -> tuple[str, ...]:
    steps = [f"call {line.dial}"] if line.dial is not None else []
    if line.sms_to is not None:
        steps.append(f"text {line.sms_body} to {line.sms_to}" if line.sms_body else f"text {line.sms_to}")
    if line.url is not None:
        steps.append(f"open {line.url}")
    return tuple(steps)


def _full_name(line: Line) -> str:
    audience = ", for children" if line.audience == "children" else ""
    return f"{line.name}{f', for {line.region}' if line.region else ''}{audience}"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m handlers.core.directory",
        description="The crisis-line directory.",
        epilog="exit status: 0 nothing left to check, 2 the file is refused, 3 something is left",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "to-dial",
        help="list what the operator must still check",
        description="List by country what was never verified, or too long ago, and how to check it. Call a line at a "
        "quiet hour and say at once that it is a check and that nobody is in need; ask for hours, languages and ages. "
        "Then set verified_at in the file to that day.",
        epilog=parser.epilog,
    )
    command.add_argument(
        "--directory", metavar="FILE", help=f"the file to read; default: the bundle's {DIRECTORY_NAME}"
    )
    command.add_argument(
        "--country", nargs="+", type=str.upper, default=[], metavar="CC", help="only these countries, such as GB IE"
    )
    command.add_argument("--today", type=parse_day, metavar="DATE", help="the day to count from; default: today")
    command.add_argument(
        "--max-age-days",
        type=_days,
        default=DEFAULT_MAX_AGE_DAYS,
        metavar="N",
        help="days that a verification holds, as the policy's max_age_days; default: %(default)s",
    )
    command.add_argument("--json", action="store_true", help="print the list as one line of JSON")
    return parser


def parse_day(value: str) -> date:
    """Read a day of the command line; for ``argparse``."""
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise argparse.ArgumentTypeError("a date such as 2026-03-01") from None


def _days(value: str) -> int:
    if not value.isdecimal():
        raise argparse.ArgumentTypeError("a number of days such as 180")
    return int(value)


if __name__ == "__main__":
    sys.exit(main())
