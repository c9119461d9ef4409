from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import handlers
from handlers.core.directory import (
    DIRECTORY_NAME,
    AgeBand,
    Directory,
    ShownLine,
    load_directory,
    parse_directory,
)
from handlers.core.errors import StartupError

FILE = Path(handlers.__file__).parent / "config" / DIRECTORY_NAME
CONTENT: dict[str, Any] = yaml.safe_load(FILE.read_bytes())
SHIPPED = load_directory(FILE)
CHECKED = date(2026, 11, 21)
MAX_AGE_DAYS = 180

# The crisis lines as the specification gives them: country, number to call, number and word to send.
PUBLISHED = {
    ("US", "988", "988", None),
    ("US", None, "741741", "HOME"),
    ("CA", "9-8-8", None, None),
    ("GB", "116 123", None, None),
    ("GB", "0800 1111", None, None),
    ("IE", "116 123", None, None),
    ("AU", "13 11 14", "0477 13 11 14", None),
    ("NZ", "1737", None, None),
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
COUNTRIES = sorted({country for country, *_ in PUBLISHED})

countries = st.one_of(st.none(), st.sampled_from(COUNTRIES), st.from_regex(r"[A-Z]{2}", fullmatch=True), st.text())
languages = st.one_of(st.none(), st.sampled_from(["en", "fr-BE", "nl", "nb_NO", "zh-Hant-TW", "xx"]), st.text())
audiences: st.SearchStrategy[AgeBand | None] = st.sampled_from(["adult", "minor", None])
days = st.one_of(st.none(), st.dates(CHECKED - timedelta(900), CHECKED + timedelta(900)))


def select(
    country: str | None = "GB",
    language: str | None = "en",
    audience: AgeBand | None = "adult",
    today: date | None = CHECKED,
    directory: Directory = SHIPPED,
) -> tuple[ShownLine, ...]:
    return directory.select(country, language, audience, today, MAX_AGE_DAYS)


def ids(lines: tuple[ShownLine, ...]) -> list[str]:
    return [line.id for line in lines]


def line_of(record: str, **changes: Any) -> dict[str, Any]:
    found = next(line for line in CONTENT["lines"] if line["id"] == record)
    return {key: value for key, value in (found | changes).items() if value != "(left out)"}


def parse(*lines: dict[str, Any], **changes: Any) -> Directory:
    international = [line for line in CONTENT["lines"] if line["country"] is None]
    content = CONTENT | {"lines": [*lines, *international]} | changes
    return parse_directory(yaml.safe_dump(content, allow_unicode=True).encode(), "dir/crisis_lines.yaml")


def test_the_directory_holds_the_published_numbers_byte_for_byte_and_no_other() -> None:
    national = [line for line in SHIPPED.lines if line.country is not None]

    assert {(line.country, line.dial, line.sms_to, line.sms_body) for line in national} == PUBLISHED
    assert len(national) == len(PUBLISHED)


def test_the_international_entries_are_pages_without_numbers() -> None:
    international = {line.url: (line.dial, line.sms_to) for line in SHIPPED.lines if line.country is None}

    assert international == {"https://findahelpline.com": (None, None), "https://befrienders.org": (None, None)}


def test_childline_alone_is_for_children() -> None:
    assert [line.id for line in SHIPPED.lines if line.audience == "children"] == ["gb-childline"]


def test_hours_follow_the_specification_where_it_gives_them() -> None:
    assert {line.hours for line in SHIPPED.lines if line.country == "IT"} == {"10–24 h"}


def test_the_notice_asks_the_operator_to_verify() -> None:
    assert "must verify every record again" in SHIPPED.notice
    assert {line.verified_at for line in SHIPPED.lines} == {CHECKED}


def test_emergency_numbers_are_there_for_the_countries_with_lines_and_no_other() -> None:
    assert sorted(SHIPPED.emergency) == COUNTRIES
    assert {SHIPPED.emergency[country] for country in ("DE", "FR", "IE", "SE")} == {"112"}
    assert (SHIPPED.emergency["GB"], SHIPPED.emergency["US"], SHIPPED.emergency["AU"]) == ("999", "911", "000")


@pytest.mark.parametrize(
    ("country", "language", "audience", "expected"),
    [
        ("GB", "en", "adult", ["gb-samaritans"]),
        ("GB", "en", "minor", ["gb-childline", "gb-samaritans"]),
        ("GB", "en", None, ["gb-samaritans", "gb-childline"]),
        ("GB", None, "minor", ["gb-childline", "gb-samaritans"]),
        ("BE", "fr", "adult", ["be-centre-de-prevention-du-suicide", "be-zelfmoordlijn"]),
        ("BE", "nl-BE", "adult", ["be-zelfmoordlijn", "be-centre-de-prevention-du-suicide"]),
        ("US", "es_MX", "adult", ["us-988-lifeline", "us-crisis-text-line"]),
        ("NO", "nb-NO", "adult", ["no-mental-helse"]),
        ("JP", "en", "adult", ["jp-yorisoi-hotline", "international-befrienders", "international-findahelpline"]),
    ],
)
def test_lines_are_ordered_by_age_and_language(
    country: str, language: str | None, audience: AgeBand | None, expected: list[str]
) -> None:
    assert ids(select(country, language, audience)) == expected


@pytest.mark.parametrize("country", [None, "", "PL", "XX", "gb", "United Kingdom"])
def test_a_country_that_is_not_known_or_covered_gets_the_international_entries(country: str | None) -> None:
    lines = select(country)

    assert ids(lines) == ["international-befrienders", "international-findahelpline"]
    assert {(line.dial, line.sms_to, line.emergency) for line in lines} == {(None, None, None)}


@pytest.mark.parametrize(
    ("today", "stale"),
    [
        (CHECKED + timedelta(MAX_AGE_DAYS), False),
        (CHECKED + timedelta(MAX_AGE_DAYS + 1), True),
        (date(2026, 3, 1), False),
        (None, True),
    ],
)
def test_a_stale_line_is_shown_with_its_date_and_the_emergency_number(today: date | None, stale: bool) -> None:
    (line,) = select(today=today)

    assert (line.stale, line.emergency, line.verified_at) == (stale, "999" if stale else None, CHECKED)


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

    assert ids(select(directory=directory)) == ["international-befrienders", "international-findahelpline"]
    assert ids(select(audience="minor", directory=directory)) == ["gb-childline"]


def test_a_shown_line_is_json() -> None:
    (line,) = select(today=None)

    assert json.loads(json.dumps(line.model_dump(mode="json"))) == {
        "id": "gb-samaritans",
        "name": "Samaritans",
        "dial": "116 123",
        "sms_to": None,
        "sms_body": None,
        "hours": "24/7",
        "url": "https://www.samaritans.org",
        "languages": ["en"],
        "audience": "all",
        "verified_at": "2026-11-21",
        "stale": True,
        "emergency": "999",
    }


@given(countries, languages, audiences, days, st.integers(0, 800))
def test_help_is_always_shown_and_never_another_country_s_number(
    country: str | None, language: str | None, audience: AgeBand | None, today: date | None, max_age_days: int
) -> None:
    lines = SHIPPED.select(country, language, audience, today, max_age_days)
    records = {line.id: line for line in SHIPPED.lines}

    assert lines
    for line in lines:
        record = records[line.id]
        assert record.country in (None, country)
        assert (line.dial, line.sms_to, line.sms_body) == (record.dial, record.sms_to, record.sms_body)
        assert line.emergency == (SHIPPED.emergency.get(country or "") if line.stale else None)
        assert audience != "adult" or record.audience == "all"
    hidden = {record.id for record in SHIPPED.lines if country is not None and record.country == country} - set(
        ids(lines)
    )
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

    assert select(country, language, audience, today, shuffled) == select(country, language, audience, today)


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
