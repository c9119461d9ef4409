from __future__ import annotations

import json
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import handlers
from handlers.core.directory import (
    DEFAULT_MAX_AGE_DAYS,
    DIRECTORY_NAME,
    AgeBand,
    Directory,
    ShownLine,
    load_directory,
    main,
    parse_directory,
)
from handlers.core.errors import StartupError

FILE = Path(handlers.__file__).parent / "config" / DIRECTORY_NAME
CONTENT: dict[str, Any] = yaml.safe_load(FILE.read_bytes())
SHIPPED = load_directory(FILE)
COLLECTED = date(2026, 11, 21)
MENDED = date(2026, 11, 29)
CHECKED = date(2026, 12, 1)
MAX_AGE_DAYS = 180
EU_CODES = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK"
EU = frozenset(EU_CODES.split())

# The crisis lines as the specification gives them: country, number to call, number and word to send.
PUBLISHED = {
    ("US", "988", "988", None),
    ("US", "988", "988", "AYUDA"),
    ("US", None, "741741", "HOME"),
    ("CA", "9-8-8", "9-8-8", None),
    ("GB", "116 123", None, None),
    ("GB", None, "85258", "SHOUT"),
    ("IE", "116 123", None, None),
    ("IE", None, "50808", "HELLO"),
    ("AU", "13 11 14", "0477 13 11 14", None),
    ("NZ", "1737", "1737", None),
    ("FR", "3114", None, None),
    ("DE", "0800 1110111", None, None),
    ("DE", "0800 1110222", None, None),
    ("AT", "142", None, None),
    ("CH", "143", None, None),
    ("NL", "113", None, None),
    ("NL", "0800-0113", None, None),
    ("BE", "1813", None, None),
    ("BE", "0800 32 123", None, None),
    ("ES", "024", None, None),
    ("PT", "1411", None, None),
    ("IT", "02 2327 2327", None, None),
    ("SE", "90101", None, None),
    ("NO", "116 123", None, None),
    ("JP", "0120-279-338", None, None),
    ("JP", "0120-279-226", None, None),
    ("KR", "109", None, None),
    ("CN", "12356", None, None),
    ("HK", "18111", None, None),
    ("HK", "2389 2222", None, None),
    ("TW", "1925", None, None),
    ("SG", "1767", None, None),
    ("IN", "14416", None, None),
    ("BR", "188", None, None),
    ("MX", "800 911 2000", None, None),
    ("ZA", "0800 567 567", None, None),
}
FOR_CHILDREN = {
    ("AT", "147", None, None),
    ("AU", "1800 55 1800", None, None),
    ("BE", "102", None, None),
    ("BE", "103", None, None),
    ("BG", "116 111", None, None),
    ("CA", "1-800-668-6868", None, None),
    ("CA", None, "686868", "CONNECT"),
    ("CZ", "116 111", None, None),
    ("DE", "116 111", None, None),
    ("DK", "116 111", None, None),
    ("EE", "116 111", None, None),
    ("ES", "900 20 20 10", None, None),
    ("FI", "116 111", None, None),
    ("GB", "0800 1111", None, None),
    ("GR", "116111", None, None),
    ("HR", "116 111", None, None),
    ("HU", "116 111", None, None),
    ("IE", "1800 66 66 66", None, None),
    ("IE", None, "50101", None),
    ("IT", "19696", None, None),
    ("LT", "116 111", None, None),
    ("LU", "116 111", None, None),
    ("LV", "116111", None, None),
    ("NL", "0800-0432", None, None),
    ("PL", "116 111", None, None),
    ("PT", "116 111", None, None),
    ("RO", "116 111", None, None),
    ("SE", "116 111", None, None),
    ("SI", "116 111", None, None),
    ("SK", "116 111", None, None),
    ("US", "1-800-448-3000", "20121", "VOICE"),
}
WITH_LINES = sorted({country for country, *_ in PUBLISHED | FOR_CHILDREN})
PAGES = ["international-befrienders", "international-findahelpline"]
VERIFIED = Directory.model_validate(
    CONTENT
    | {"lines": [line | {"verified_at": CHECKED} for line in CONTENT["lines"]], "emergency_verified_at": CHECKED}
)
"""The shipped records as if an operator had verified them all."""

countries = st.one_of(
    st.none(),
    st.sampled_from([*WITH_LINES, *SHIPPED.territories]),
    st.from_regex(r"[A-Z]{2}", fullmatch=True),
    st.text(),
)
languages = st.one_of(st.none(), st.sampled_from(["en", "fr-BE", "nl", "nb_NO", "zh-Hant-TW", "xx"]), st.text())
audiences: st.SearchStrategy[AgeBand | None] = st.sampled_from(["adult", "minor", None])
days = st.one_of(st.none(), st.dates(CHECKED - timedelta(900), CHECKED + timedelta(900)))
directories = st.sampled_from([SHIPPED, VERIFIED])


def select(
    country: str | None = "GB",
    language: str | None = "en",
    audience: AgeBand | None = "adult",
    today: date | None = CHECKED,
    directory: Directory = VERIFIED,
    crisis: bool = False,
) -> tuple[ShownLine, ...]:
    return directory.select(country, language, audience, today, MAX_AGE_DAYS, crisis=crisis)


def ids(lines: tuple[ShownLine, ...]) -> list[str]:
    return [line.id for line in lines]


def line_of(record: str, **changes: Any) -> dict[str, Any]:
    found = next(line for line in CONTENT["lines"] if line["id"] == record) | {"verified_at": CHECKED}
    return {key: value for key, value in (found | changes).items() if value != "(left out)"}


def parse(*lines: dict[str, Any], **changes: Any) -> Directory:
    international = [line for line in CONTENT["lines"] if line["country"] is None]
    content = CONTENT | {"lines": [*lines, *international]} | changes
    return parse_directory(yaml.safe_dump(content, allow_unicode=True).encode(), "dir/crisis_lines.yaml")


def numbers(audience: str) -> list[tuple[str | None, str | None, str | None, str | None]]:
    lines = [line for line in SHIPPED.lines if line.country is not None and line.audience == audience]
    return [(line.country, line.dial, line.sms_to, line.sms_body) for line in lines]


@pytest.mark.parametrize(("audience", "published"), [("all", PUBLISHED), ("children", FOR_CHILDREN)])
def test_the_directory_holds_the_published_numbers_byte_for_byte_and_no_other(
    audience: str, published: set[tuple[str, str | None, str | None, str | None]]
) -> None:
    assert set(numbers(audience)) == published
    assert len(numbers(audience)) == len(published)


def test_the_international_entries_are_pages_without_numbers() -> None:
    international = {line.url: (line.dial, line.sms_to) for line in SHIPPED.lines if line.country is None}

    assert international == {"https://findahelpline.com": (None, None), "https://befrienders.org": (None, None)}


@pytest.mark.parametrize(
    ("record", "hours", "all_day"),
    [
        ("it-telefono-amico", "9–24", False),
        ("se-sjalvmordslinjen", "24/7", True),
        ("gb-childline", None, False),
        ("international-befrienders", None, False),
    ],
)
def test_only_a_line_with_hours_of_all_day_is_open_all_day(record: str, hours: str | None, all_day: bool) -> None:
    (line,) = [line for line in SHIPPED.lines if line.id == record]

    assert (line.hours, line.all_day) == (hours, all_day)


def test_nothing_claims_to_be_verified_and_the_notice_asks_the_operator_to() -> None:
    assert "must verify every record again" in SHIPPED.notice
    assert {line.verified_at for line in SHIPPED.lines} | {SHIPPED.emergency_verified_at} == {None}
    assert {line.collected_at for line in SHIPPED.lines} == {COLLECTED, MENDED}
    assert SHIPPED.emergency_collected_at == MENDED


def test_emergency_numbers_are_there_for_the_european_union_and_every_country_with_a_line() -> None:
    assert {SHIPPED.emergency[country] for country in EU} == {"112"}
    assert set(WITH_LINES) <= set(SHIPPED.emergency)
    assert [SHIPPED.emergency[code] for code in ("GB", "US", "CA", "AU", "NO")] == ["999", "911", "911", "000", "113"]


@pytest.mark.parametrize(
    ("code", "country"),
    [("UK", "GB"), ("JE", "GB"), ("PR", "US"), ("RE", "FR"), ("AX", "FI"), ("SJ", "NO"), ("GB", "GB"), ("XX", "XX")],
)
def test_a_territory_dials_its_country_s_numbers(code: str, country: str) -> None:
    assert SHIPPED.country_of(code) == country
    assert select(code, "en", None) == select(country, "en", None)


@pytest.mark.parametrize(
    ("country", "language", "audience", "expected"),
    [
        ("GB", "en", "adult", ["gb-samaritans", "gb-shout"]),
        ("GB", "en", "minor", ["gb-childline", "gb-samaritans", "gb-shout"]),
        ("GB", "en", None, ["gb-samaritans", "gb-shout", "gb-childline"]),
        ("GB", "fr", None, ["gb-samaritans", "gb-shout", *PAGES, "gb-childline"]),
        ("GB", None, "minor", ["gb-childline", "gb-samaritans", "gb-shout"]),
        ("PL", "pl", "adult", PAGES),
        ("PL", "pl", "minor", ["pl-116111", *PAGES]),
        ("PL", "pl", None, [*PAGES, "pl-116111"]),
        ("BE", "fr", "adult", ["be-centre-de-prevention-du-suicide", "be-zelfmoordlijn"]),
        ("BE", "nl-BE", "adult", ["be-zelfmoordlijn", "be-centre-de-prevention-du-suicide"]),
        ("US", "es_MX", "adult", ["us-988-lifeline-es", "us-988-lifeline", "us-crisis-text-line"]),
        ("US", "en", "adult", ["us-988-lifeline", "us-crisis-text-line", "us-988-lifeline-es"]),
        ("NO", "nb-NO", "adult", ["no-mental-helse"]),
        ("JP", "ja", "adult", ["jp-yorisoi-hotline", "jp-yorisoi-hotline-tohoku"]),
        ("JP", "en", "adult", ["jp-yorisoi-hotline", "jp-yorisoi-hotline-tohoku", *PAGES]),
    ],
)
def test_lines_are_ordered_by_age_and_language(
    country: str, language: str | None, audience: AgeBand | None, expected: list[str]
) -> None:
    assert ids(select(country, language, audience)) == expected


@pytest.mark.parametrize("country", [None, "", "XX", "gb", "United Kingdom"])
def test_a_country_that_is_not_known_or_covered_gets_the_international_entries(country: str | None) -> None:
    lines = select(country, crisis=True)

    assert ids(lines) == PAGES
    assert {(line.dial, line.sms_to, line.emergency) for line in lines} == {(None, None, None)}


@pytest.mark.parametrize(("country", "number"), [("PL", "112"), ("TR", "112"), ("IL", "101")])
def test_a_country_with_an_emergency_number_alone_has_it_beside_the_international_entries(
    country: str, number: str
) -> None:
    assert [(line.id, line.emergency) for line in select(country)] == [(page, number) for page in PAGES]


@pytest.mark.parametrize(
    ("today", "stale"),
    [
        (CHECKED + timedelta(MAX_AGE_DAYS), False),
        (CHECKED + timedelta(MAX_AGE_DAYS + 1), True),
        (date(2026, 3, 1), False),
        (None, True),
    ],
)
def test_a_stale_line_is_shown_with_its_dates_and_the_emergency_number(today: date | None, stale: bool) -> None:
    line = select(today=today)[0]

    assert (line.stale, line.emergency) == (stale, "999" if stale else None)
    assert (line.collected_at, line.verified_at) == (COLLECTED, CHECKED)


def test_a_line_that_was_never_verified_is_stale() -> None:
    assert {(line.stale, line.emergency) for line in select(directory=SHIPPED)} == {(True, "999")}


@pytest.mark.parametrize("hours", ["9–24", "24h", "Mo–Fr 24/7", None])
def test_a_line_that_is_not_open_all_day_is_shown_with_the_emergency_number(hours: str | None) -> None:
    directory = parse(line_of("gb-samaritans", hours=hours))

    assert [(line.stale, line.emergency) for line in select(directory=directory)] == [(False, "999")]


def test_in_a_crisis_the_emergency_number_stands_beside_every_line() -> None:
    assert {line.emergency for line in select()} == {None}
    assert {line.emergency for line in select(crisis=True)} == {"999"}


def test_a_line_for_a_region_says_so_and_alone_does_not_stand_for_the_country() -> None:
    directory = parse(line_of("jp-yorisoi-hotline-tohoku"))

    lines = select("JP", "ja", directory=directory)

    assert ids(lines) == ["jp-yorisoi-hotline-tohoku", *PAGES]
    assert lines[0].region is not None and "Fukushima" in lines[0].region


def test_a_fresh_line_comes_before_a_stale_one_but_after_one_that_speaks_the_language() -> None:
    old = CHECKED - timedelta(400)
    directory = parse(
        line_of("be-zelfmoordlijn", id="be-a", verified_at=old),
        line_of("be-zelfmoordlijn", id="be-b"),
        line_of("be-centre-de-prevention-du-suicide", id="be-c", verified_at=old),
    )

    lines = select("BE", "fr", directory=directory)

    assert [(line.id, line.stale) for line in lines] == [("be-c", True), ("be-b", False), ("be-a", True)]


def test_an_adult_where_only_children_have_a_line_gets_the_international_entries() -> None:
    directory = parse(line_of("gb-childline"))

    assert ids(select(directory=directory)) == PAGES
    assert ids(select(audience="minor", directory=directory)) == ["gb-childline", *PAGES]


def test_a_shown_line_is_json() -> None:
    line = select(directory=SHIPPED)[0]

    assert json.loads(json.dumps(line.model_dump(mode="json"))) == {
        "id": "gb-samaritans",
        "name": "Samaritans",
        "region": None,
        "dial": "116 123",
        "sms_to": None,
        "sms_body": None,
        "hours": "24/7",
        "url": "https://www.samaritans.org",
        "languages": ["en"],
        "audience": "all",
        "collected_at": "2026-11-21",
        "verified_at": None,
        "stale": True,
        "emergency": "999",
    }


@given(directories, countries, languages, audiences, days, st.integers(0, 800), st.booleans())
def test_help_is_always_shown_and_never_another_country_s_number(
    directory: Directory,
    country: str | None,
    language: str | None,
    audience: AgeBand | None,
    today: date | None,
    max_age_days: int,
    crisis: bool,
) -> None:
    lines = directory.select(country, language, audience, today, max_age_days, crisis=crisis)
    records = {line.id: line for line in directory.lines}
    place = directory.country_of(country or "")

    assert lines
    for line in lines:
        record = records[line.id]
        assert record.country in (None, place)
        assert (line.dial, line.sms_to, line.sms_body) == (record.dial, record.sms_to, record.sms_body)
        beside = crisis or line.stale or not record.all_day
        assert line.emergency == (directory.emergency.get(place) if beside else None)
        assert audience != "adult" or record.audience == "all"
    assert audience == "minor" or records[lines[0].id].audience == "all"
    hidden = {record.id for record in directory.lines if record.country == place} - set(ids(lines))
    assert all(audience == "adult" and records[name].audience == "children" for name in hidden)


@given(countries, languages, audiences, days)
def test_a_minor_sees_at_least_what_an_adult_sees(
    country: str | None, language: str | None, audience: AgeBand | None, today: date | None
) -> None:
    adult = select(country, language, "adult", today)

    assert set(ids(adult)) <= set(ids(select(country, language, "minor", today)))


@given(st.permutations(CONTENT["lines"]), countries, languages, audiences, days)
def test_the_order_of_the_file_does_not_matter(
    lines: list[dict[str, Any]],
    country: str | None,
    language: str | None,
    audience: AgeBand | None,
    today: date | None,
) -> None:
    shuffled = Directory.model_validate(CONTENT | {"lines": lines})

    assert select(country, language, audience, today, shuffled) == select(country, language, audience, today, SHIPPED)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dial": 20}, "gb-samaritans: dial: Input should be a valid string"),
        ({"dial": "116 123 "}, "gb-samaritans: dial: String should match pattern"),
        ({"dial": "call us"}, "gb-samaritans: dial: String should match pattern"),
        ({"dial": "116 123\n"}, "gb-samaritans: dial: String should match pattern"),
        ({"dial": None}, "gb-samaritans: dial: there must be a number to call"),
        ({"country": False}, "gb-samaritans: country: Input should be a valid string"),
        ({"country": "gb"}, "gb-samaritans: country: String should match pattern"),
        ({"country": "US"}, "gb-samaritans: country: the id must begin with the country's code"),
        ({"country": None}, "gb-samaritans: country: the id must begin with"),
        ({"languages": []}, "gb-samaritans: languages: name at least one"),
        ({"languages": ["english"]}, "gb-samaritans: languages.0: String should match pattern"),
        ({"languages": ["en", "en"]}, "gb-samaritans: languages: a language is there twice"),
        ({"sms_body": "HELLO"}, "gb-samaritans: sms_body: there is no sms_to"),
        ({"audience": "teens"}, "gb-samaritans: audience: Input should be 'all' or 'children'"),
        ({"url": "samaritans.org"}, "gb-samaritans: url: String should match pattern"),
        ({"sources": []}, "gb-samaritans: sources: Tuple should have at least 1 item"),
        ({"verified_at": "21 November"}, "gb-samaritans: verified_at: Input should be a valid date"),
        ({"verified_at": "(left out)"}, "gb-samaritans: verified_at: Field required"),
        ({"collected_at": None}, "gb-samaritans: collected_at: Input should be a valid date"),
        ({"region": ""}, "gb-samaritans: region: String should have at least 1 character"),
        ({"verified_at": 20261121}, "gb-samaritans: verified_at: Input should be a valid date"),
        ({"name": ""}, "gb-samaritans: name: String should have at least 1 character"),
        ({"name": "(left out)"}, "gb-samaritans: name: Field required"),
        ({"colour": "green"}, "gb-samaritans: colour: Extra inputs are not permitted"),
        ({"id": "GB samaritans"}, "GB samaritans: id: String should match pattern"),
        ({"id": "(left out)"}, "lines[0]: id: Field required"),
        ({"id": 7}, "lines[0]: id: Input should be a valid string"),
    ],
)
def test_a_wrong_record_is_refused_by_file_record_and_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StartupError) as caught:
        parse(line_of("gb-samaritans", **changes))

    assert str(caught.value).startswith(f"dir/crisis_lines.yaml: {message}")
    assert str(caught.value).endswith("; correct the file")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dial": "116 123"}, "dial: an international entry must have no number"),
        ({"sms_to": "85258"}, "dial: an international entry must have no number"),
        ({"region": "Scotland"}, "region: an international entry is for no part of a country"),
        ({"url": None}, "url: an international entry needs its page"),
    ],
)
def test_a_wrong_international_entry_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StartupError, match=f": international-befrienders: {message}"):
        parse(lines=[line_of("international-befrienders", **changes)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 2}, "schema_version: Input should be 1"),
        ({"notice": ""}, "notice: String should have at least 1 character"),
        ({"emergency": {"GB": 999}}, "emergency.GB: Input should be a valid string"),
        ({"emergency": {"US": "911"}}, "gb-samaritans: country: GB has no number under emergency"),
        ({"emergency_collected_at": None}, "emergency_collected_at: Input should be a valid date"),
        ({"territories": {"GB": "US"}}, "gb-samaritans: country: GB is under territories"),
        ({"territories": {"UK": "XX"}}, "territories: UK: XX has no number under emergency"),
        ({"territories": {"FR": "GB"}}, "territories: FR has a number of its own under emergency"),
        ({"territories": {"uk": "GB"}}, "territories.uk."),
        ({"emergency_sources": []}, "emergency_sources: "),
        ({"lines": []}, "lines: there must be an international entry"),
        ({"lines": None}, "lines: Input should be a valid tuple"),
        ({"lines": ["116 123"]}, "lines[0]: Input should be"),
        ({"colour": "green"}, "colour: Extra inputs are not permitted"),
    ],
)
def test_a_wrong_file_is_refused_by_its_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StartupError) as caught:
        parse(line_of("gb-samaritans"), **changes)

    assert str(caught.value).startswith(f"dir/crisis_lines.yaml: {message}")


def test_an_id_that_is_there_twice_is_refused() -> None:
    with pytest.raises(StartupError, match="gb-samaritans: id: there is another record of this id"):
        parse(line_of("gb-samaritans"), line_of("gb-samaritans"))


def test_a_number_that_yaml_would_change_is_refused(tmp_path: Path) -> None:
    path = tmp_path / DIRECTORY_NAME
    path.write_text(FILE.read_text("utf-8").replace('dial: "024"', "dial: 024"), "utf-8")

    with pytest.raises(StartupError, match=rf"{DIRECTORY_NAME}: es-linea-024: dial: Input should be a valid string"):
        load_directory(path)


def command(*arguments: str) -> int:
    return main(["to-dial", "--today", CHECKED.isoformat(), *arguments])


def written(tmp_path: Path, content: dict[str, Any]) -> Path:
    path = tmp_path / DIRECTORY_NAME
    path.write_text(yaml.safe_dump(content, allow_unicode=True), "utf-8")
    return path


def verified(**changes: Any) -> dict[str, Any]:
    lines = [line | {"verified_at": CHECKED} for line in CONTENT["lines"]]
    return CONTENT | {"lines": lines, "emergency_verified_at": CHECKED} | changes


def test_the_command_lists_everything_that_was_never_verified(capsys: pytest.CaptureFixture[str]) -> None:
    assert command() == 3

    out = capsys.readouterr().out
    assert all(f"  {line.id}: " in out for line in SHIPPED.lines)
    assert all(f"call {line.dial}\n" in out for line in SHIPPED.lines if line.dial)
    assert "text SHOUT to 85258\n" in out and "open https://findahelpline.com\n" in out
    total = len(SHIPPED.lines) + len(SHIPPED.emergency)
    assert out.endswith(
        f"\n{total} left to check: {len(SHIPPED.lines)} lines, {len(SHIPPED.emergency)} emergency numbers\n"
    )
    # An address or number is never broken; all else fits a terminal.
    assert all(len(row) <= 80 or "://" in row for row in out.splitlines())


def test_an_emergency_number_is_not_to_be_called_to_check_it(capsys: pytest.CaptureFixture[str]) -> None:
    command("--country", "TR")

    assert capsys.readouterr().out == (
        "TR\n"
        "  emergency number 112\n"
        "    ask the authority or read its page; do not call it to check\n"
        "    never verified\n"
        "\n"
        "Emergency numbers were taken from\n"
        "    https://digital-strategy.ec.europa.eu/en/policies/112\n"
        "    https://en.wikipedia.org/wiki/List_of_emergency_telephone_numbers\n"
        "\n"
        "1 left to check: 0 lines, 1 emergency number\n"
    )


def test_the_command_takes_countries_and_territories_in_any_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--country", "uk", "ie", "--json") == 3

    checks = json.loads(capsys.readouterr().out)
    assert {check["country"] for check in checks["checks"]} == {"GB", "IE"}
    assert checks["left"] == len(checks["checks"])
    shout = next(check for check in checks["checks"] if check["id"] == "gb-shout")
    assert shout == {
        "country": "GB",
        "id": "gb-shout",
        "name": "Shout 85258",
        "how": ["text SHOUT to 85258", "open https://giveusashout.org"],
        "hours": "24/7",
        "sources": ["https://giveusashout.org/about-us/faq/", "https://www.giveusashout.org/faqs/"],
        "verified_at": None,
    }


def test_the_command_is_content_once_all_is_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, verified())

    assert command("--directory", str(file)) == 0
    assert capsys.readouterr().out == "0 left to check: 0 lines, 0 emergency numbers\n"


def test_what_was_verified_too_long_ago_is_listed_with_the_day(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = verified()["lines"]
    old = [line | {"verified_at": date(2026, 5, 1)} if line["id"] == "fr-3114" else line for line in lines]
    file = written(tmp_path, verified(lines=old))

    assert command("--directory", str(file), "--max-age-days", "214") == 0
    assert command("--directory", str(file), "--max-age-days", "213") == 3
    out = capsys.readouterr().out
    assert "hours 24/7; last verified 2026-05-01" in out
    assert out.endswith("1 left to check: 1 line, 0 emergency numbers\n")


def test_the_command_refuses_a_file_or_a_country_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("--directory", str(written(tmp_path, {}))) == 2
    assert command("--directory", str(tmp_path / "none.yaml")) == 2
    assert command("--country", "XX") == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert [line.startswith("directory: ") for line in err.splitlines()] == [True, True, True]
    assert "XX: there is no record of this country" in err


@pytest.mark.parametrize(("option", "value"), [("--today", "1 March"), ("--max-age-days", "-1")])
def test_a_wrong_argument_is_refused(option: str, value: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["to-dial", option, value])

    assert caught.value.code == 2


def test_the_command_s_age_is_that_of_the_packaged_policy() -> None:
    policy = yaml.safe_load((FILE.parent / "policy.yaml").read_bytes())

    assert policy["actions"]["show_crisis_lines"]["max_age_days"] == DEFAULT_MAX_AGE_DAYS


def test_the_module_runs_as_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "handlers.core.directory", "to-dial", "--country", "GB"],
        cwd=FILE.parents[2],
        capture_output=True,
        text=True,
    )

    assert done.returncode == 3
    assert done.stdout.startswith("GB\n")


def test_a_copy_with_other_lines_shows_those() -> None:
    before = SHIPPED.select("GB", "en", "adult", date(2026, 12, 1), MAX_AGE_DAYS)
    other = SHIPPED.model_copy(
        update={"lines": tuple(line.model_copy(update={"name": "Another name"}) for line in SHIPPED.lines)}
    )

    after = other.select("GB", "en", "adult", date(2026, 12, 1), MAX_AGE_DAYS)

    assert {line.name for line in after} == {"Another name"}
    assert "Another name" not in {line.name for line in before}
