"""Several texts in one call: one result each, in order, errors in their places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from client import (
    ClassifyRequest,
    ClassifyResponse,
    InvalidRequest,
    LanternClientError,
    ServerFault,
    TooLong,
    Unavailable,
)

if TYPE_CHECKING:
    from tests.client.conftest import Server


def ok(response: dict[str, Any]) -> dict[str, Any]:
    return {"status": 200, **response}


def failed(code: str, status: int, field: str | None = None) -> dict[str, Any]:
    return {"status": status, "error": {"code": code, "message": "m", "field": field}}


def test_texts_fields_and_requests_mix(server: Server, response: dict[str, Any]) -> None:
    server.say({"json": {"results": [ok(response)] * 3}})

    results = server.client().classify_entries(
        ["One.", {"text": "Two.", "country": "GB"}, ClassifyRequest(text="Three.", entry_id="e3")]
    )

    assert server.seen[0].json == {
        "entries": [{"text": "One."}, {"text": "Two.", "country": "GB"}, {"text": "Three.", "entry_id": "e3"}]
    }
    assert results == [ClassifyResponse.model_validate(response)] * 3


def test_a_bad_entry_stands_in_its_place(server: Server, response: dict[str, Any]) -> None:
    server.say({"json": {"results": [ok(response), failed("too_long", 413, "entries[1].text"), ok(response)]}})

    first, second, third = server.client().classify_entries(["One.", "Two.", "Three."])

    assert isinstance(first, ClassifyResponse)
    assert isinstance(second, TooLong)
    assert second.field == "entries[1].text"
    assert isinstance(third, ClassifyResponse)


def test_an_entry_without_a_text_is_not_sent_and_the_others_keep_their_places(
    server: Server, response: dict[str, Any]
) -> None:
    offer = {"tier": "none", "lines": [{"id": "gb-samaritans"}]}
    refused = {**failed("invalid_request", 400, "entries[1].mood"), "escalation": offer}
    unread = [{"field": "entries[3].locale", "message": "not a locale"}]
    results_sent = [
        ok(response),
        refused,
        failed("too_long", 413, "entries[2].text"),
        ok({**response, "unread": unread}),
    ]
    server.say({"json": {"results": results_sent}})

    entries: list[Any] = [
        " ",
        "One.",
        {"text": "Two.", "mood": 1},
        "Three.",
        7,
        {"text": "Four.", "locale": "?"},
        {"text": "Five.", "mood": object()},
    ]
    results = server.client().classify_entries(entries)

    assert server.seen[0].json == {
        "entries": [
            {"text": "One."},
            {"text": "Two.", "mood": 1},
            {"text": "Three."},
            {"text": "Four.", "locale": "?"},
        ]
    }
    assert [(result.field, result.escalation) for result in results if isinstance(result, LanternClientError)] == [
        ("entries[0].text", None),
        ("entries[2].mood", offer),
        ("entries[3].text", None),
        ("entries[4]", None),
        ("entries[6]", None),
    ]
    assert isinstance(results[1], ClassifyResponse) and results[1].unread == ()
    assert isinstance(results[3], TooLong)
    assert isinstance(results[5], ClassifyResponse)
    assert [one.field for one in results[5].unread] == ["entries[5].locale"]


def test_nothing_is_sent_when_there_is_no_text(server: Server) -> None:
    results = server.client().classify_entries(["", {"text": 7}, {"locale": "en"}])
    assert [result.kind.code for result in results if isinstance(result, LanternClientError)] == [
        "invalid_text",
        "invalid_text",
        "invalid_text",
    ]
    assert server.seen == []


def test_an_entry_that_may_be_sent_again_says_so(server: Server, response: dict[str, Any]) -> None:
    server.say({"json": {"results": [failed("overloaded", 503), ok(response)]}})

    busy, _ = server.client(retries=3).classify_entries(["One.", "Two."])

    assert isinstance(busy, Unavailable)
    assert busy.kind.retryable
    assert len(server.seen) == 1


def test_a_code_of_a_newer_server_keeps_the_status_of_its_entry(server: Server) -> None:
    server.say({"json": {"results": [failed("out_of_tune", 413)]}})
    assert isinstance(server.client().classify_entries(["One."])[0], TooLong)


@pytest.mark.parametrize(
    "item", [None, 7, "canary", [], {}, {"status": 200}, {"error": "canary"}, {"labels": "canary"}]
)
def test_a_malformed_result_fails_its_entry_alone(server: Server, response: dict[str, Any], item: Any) -> None:
    server.say({"json": {"results": [item, ok(response)]}})

    bad, good = server.client().classify_entries(["One.", "Two."])

    assert isinstance(bad, ServerFault)
    assert "canary" not in str(bad)
    assert isinstance(good, ClassifyResponse)


@pytest.mark.parametrize("results", [None, "canary", [], [{}], [{}, {}, {}]])
def test_an_answer_of_another_length_fails_the_call(server: Server, results: Any) -> None:
    server.say({"json": {"results": results}})
    with pytest.raises(ServerFault, match="one result per entry"):
        server.client().classify_entries(["One.", "Two."])


def test_an_error_of_the_whole_call_is_raised(server: Server) -> None:
    server.say({"json": {"error": {"code": "draining", "message": "m"}}, "http": 503})
    with pytest.raises(Unavailable):
        server.client().classify_entries(["One.", "Two."])


@pytest.mark.parametrize("count", [0, 65])
def test_too_few_or_too_many(server: Server, count: int) -> None:
    with pytest.raises(InvalidRequest, match="1 to 64"):
        server.client().classify_entries(["x"] * count)
    assert server.seen == []


def test_one_text_is_not_a_list_of_letters(server: Server) -> None:
    with pytest.raises(TypeError, match="classify"):
        server.client().classify_entries("Text.")


def test_a_call_that_fails_as_a_whole_says_what_to_offer_each_writer(server: Server) -> None:
    offers = [{"tier": "crisis", "lines": [{"id": "gb-samaritans"}]}, {"tier": "none", "lines": []}]
    results = [{**failed("draining", 503), "escalation": offer} for offer in offers]
    server.say({"http": 503, "json": {"error": failed("draining", 503)["error"], "results": results}})

    with pytest.raises(Unavailable) as caught:
        server.client(retries=0).classify_entries(["One.", "Two."])

    assert [one.escalation for one in caught.value.results] == offers
    assert all(isinstance(one, Unavailable) for one in caught.value.results)
