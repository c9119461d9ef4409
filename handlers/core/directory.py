"""The crisis-line directory: which published helplines are shown to whom.

Numbers come from the directory file alone, byte for byte, and are never composed, rewritten or
guessed. Showing a line discloses nothing, so it needs no consent; whatever is not known (country,
language, age, date) is decided towards showing more.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from handlers.core.yamldata import DataFile, parse_yaml, read_file, validate_records

DIRECTORY_NAME: Final = "crisis_lines.yaml"
INTERNATIONAL: Final = "international"
"""First part of the id of a record that belongs to no country."""

AgeBand = Literal["adult", "minor"]
Audience = Literal["all", "children"]

Words = Annotated[str, Field(min_length=1, pattern=r"^\S(.*\S)?$")]
RecordId = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
Country = Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]
Number = Annotated[str, Field(pattern=r"^\+?[0-9]([0-9 ()-]*[0-9])?$")]
Url = Annotated[str, Field(pattern=r"^https?://[^\s/]+\.[^\s]+$")]


class _Frozen(BaseModel):
    # Strict, so that an unquoted 024 (to YAML the number 20) or NO (to YAML false) is refused, not shown.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class Line(_Frozen):
    """One record of the directory.

    Attributes:
        id: unique; begins with the country's code in small letters, or ``international``.
        country: ISO 3166-1 alpha-2, or ``None`` for an international entry, which has a page and no number.
        languages: ISO 639 codes of the languages that are spoken; may be empty for an international entry.
        name: as the service calls itself.
        dial: the number to call, exactly as published.
        sms_to, sms_body: the number to send a text message to, and the word to send where one is asked for.
        hours: opening hours as published, local time; ``None`` where they are not known.
        audience: ``children`` for a service for children and young people only.
        url: the service's own page.
        sources: published pages that the record was taken from.
        verified_at: day on which the record was last checked.
    """

    id: RecordId
    country: Country | None
    languages: Annotated[tuple[Language, ...], Field(strict=False)]
    name: Words
    dial: Number | None = None
    sms_to: Number | None = None
    sms_body: Words | None = None
    hours: Words | None = None
    audience: Audience = "all"
    url: Url | None = None
    sources: Annotated[tuple[Url, ...], Field(strict=False, min_length=1)]
    verified_at: date

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
        if self.url is None:
            raise ValueError("url: an international entry needs its page")

    def _check_national(self) -> None:
        if self.dial is None and self.sms_to is None:
            raise ValueError("dial: there must be a number to call or, in sms_to, one to send a text message to")
        if not self.languages:
            raise ValueError("languages: name at least one")


class ShownLine(_Frozen):
    """A line as it is shown, ready for JSON (``model_dump(mode="json")``).

    Attributes:
        stale: it was last checked too long ago, or the date of today is not known.
        emergency: the country's emergency number, to be shown beside a stale line; ``None`` for a fresh
            one, or where the country has none in the directory.

    The others are those of ``Line``.
    """

    id: str
    name: str
    dial: str | None
    sms_to: str | None
    sms_body: str | None
    hours: str | None
    url: str | None
    languages: tuple[str, ...]
    audience: Audience
    verified_at: date
    stale: bool
    emergency: str | None


class Directory(_Frozen):
    """``crisis_lines.yaml`` as data.

    Attributes:
        notice: what an operator must do before use.
        emergency: number of the emergency medical service (or of all of them) by country.
        emergency_sources, emergency_verified_at: where those are from, and when they were last checked.
        lines: every record.
    """

    schema_version: Literal[1]
    notice: Words
    emergency: dict[Country, Number]
    emergency_sources: Annotated[tuple[Url, ...], Field(strict=False, min_length=1)]
    emergency_verified_at: date
    lines: Annotated[tuple[Line, ...], Field(strict=False)]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        seen: set[str] = set()
        for line in self.lines:
            if line.id in seen:
                raise ValueError(f"{line.id}: id: there is another record of this id")
            if line.country is not None and line.country not in self.emergency:
                raise ValueError(f"{line.id}: country: {line.country} has no number under emergency")
            seen.add(line.id)
        if not any(line.country is None and line.audience == "all" for line in self.lines):
            raise ValueError("lines: there must be an international entry for those whose country is not known")
        return self

    def select(
        self,
        country: str | None,
        language: str | None,
        audience: AgeBand | None,
        today: date | None,
        max_age_days: int,
    ) -> tuple[ShownLine, ...]:
        """Choose the lines to show and order them; never empty.

        The country decides: its lines and those of no other. One that is not known or not covered
        gets the international entries, never a national number. Where no line of the country speaks
        the language, the international entries follow as well.

        Lines for children are not shown to adults; they come first for a minor, and last where the
        age is not known. Then come those that speak the language, then fresh before stale, then by
        id: the order of the file does not matter.

        Args:
            country: ISO 3166-1 alpha-2, capital letters.
            language: ISO 639 code or locale of the reader (``fr``, ``fr-BE``).
            audience: age band of the reader.
            today: a date that is not known makes every line stale.
            max_age_days: days after ``verified_at`` up to which a line is fresh, the last one included.
        """
        spoken = language.replace("_", "-").split("-")[0].lower() if language else None
        international = [line for line in self.lines if line.country is None and _is_for(line, audience)]
        national = [line for line in self.lines if line.country is not None and line.country == country]
        own = [line for line in national if _is_for(line, audience)]
        foreign = spoken is not None and all(spoken not in line.languages for line in own)

        def rank(line: Line) -> tuple[bool, bool, bool, bool, str]:
            return (
                line.country is None,
                (line.audience == "children") != (audience == "minor"),
                spoken not in line.languages,
                _is_stale(line, today, max_age_days),
                line.id,
            )

        chosen = sorted(own + (international if foreign or not own else []), key=rank)
        emergency = self.emergency.get(country) if country is not None else None
        return tuple(_show(line, _is_stale(line, today, max_age_days), emergency) for line in chosen)


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


def _is_stale(line: Line, today: date | None, max_age_days: int) -> bool:
    return today is None or (today - line.verified_at).days > max_age_days


def _show(line: Line, stale: bool, emergency: str | None) -> ShownLine:
    return ShownLine(
        id=line.id,
        name=line.name,
        dial=line.dial,
        sms_to=line.sms_to,
        sms_body=line.sms_body,
        hours=line.hours,
        url=line.url,
        languages=line.languages,
        audience=line.audience,
        verified_at=line.verified_at,
        stale=stale,
        emergency=emergency if stale else None,
    )
