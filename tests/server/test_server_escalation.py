"""Decisions on real answers, over REST and gRPC, against TorchServe with the model."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.server.live import Live

_RISK = "I feel hopeless and empty, I cry every night and nothing matters to me any more."
_CHINESE = "今天我觉得非常难过，不知道该怎么办，晚上也睡不着，吃不下饭，也不想见任何人。"
_CONTEXT = {"now": "2026-03-01T14:00:00Z", "age_band": "adult"}


def _request(text: str = _RISK, **fields: Any) -> dict[str, Any]:
    return {"text": text, "country": "GB", "context": _CONTEXT, **fields}


def _statuses(escalation: dict[str, Any]) -> dict[str, tuple[str, str | None]]:
    return {action["action"]: (action["status"], action["reason"]) for action in escalation["actions"]}


def test_consent_decides_what_becomes_of_an_action(live: Live) -> None:
    granted = live.post(_request(consent={"self_help": True, "notify_therapist": True})).json()["escalation"]
    absent = live.post(_request()).json()["escalation"]
    assert granted["tier"] == absent["tier"] != "none"
    assert _statuses(granted)["offer_self_help"] == ("planned", None)
    assert _statuses(absent)["offer_self_help"] == ("suppressed", "consent_missing")
    assert set(granted["policy"]) == {"id", "version", "sha256"}


def test_the_decision_is_the_same_over_grpc(live: Live) -> None:
    body = _request(consent={"self_help": True})
    over_rest, over_grpc = live.post(body).json()["escalation"], json.loads(live.call(body))["escalation"]
    assert over_rest.pop("decision_id") != over_grpc.pop("decision_id")
    assert over_rest == over_grpc


def test_another_language_is_told_and_its_scores_are_ignored(live: Live) -> None:
    escalation = live.post(_request(_CHINESE, consent={"notify_therapist": True})).json()["escalation"]
    assert "unsupported_language" in escalation["uncertainty"]
    assert [line["dial"] for line in escalation["lines"] if line["id"].startswith("gb")]
    assert all(status != "planned" for name, (status, _) in _statuses(escalation).items() if "notify" in name)


def test_every_entry_has_a_decision_of_its_own(live: Live) -> None:
    calm = "We baked bread and walked the dog along the river."
    results = live.post({"entries": [_request(), _request(calm), _request("")]}).json()["results"]
    assert [result["status"] for result in results] == [200, 200, 400]
    assert results[0]["escalation"]["tier"] != "none"
    assert results[1]["escalation"]["tier"] == "none"
    assert "escalation" not in results[2]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"context": {"active": ["grumpy"]}}, "context.active[0]"),
        (
            {"context": {"last_actions": [{"action": "call_police", "at": "2026-03-01T14:00:00Z"}]}},
            "context.last_actions[0].action",
        ),
        ({"context": {"mood": "low"}}, "context.mood"),
        ({"consent": {"alert_everybody": True}}, "consent.alert_everybody"),
    ],
)
def test_wrong_consent_or_context_is_an_error_that_names_the_field_and_says_what_to_offer(
    live: Live, change: dict[str, Any], field: str
) -> None:
    answer = live.post({**_request(), **change})
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == field
    assert answer.json()["escalation"]["lines"][0]["id"].startswith("gb")
    assert "police" not in answer.text


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"context": {"now": "yesterday"}}, "context.now"),
        ({"consent": {"alert_contact": {"granted": True, "expires_at": "soon"}}}, "consent.alert_contact"),
        ({"consent": {"self_help": "yes"}}, "consent.self_help"),
    ],
)
def test_consent_or_context_that_cannot_be_read_counts_as_not_known_and_is_named(
    live: Live, change: dict[str, Any], field: str
) -> None:
    answer = live.post({**_request(), **change}).json()
    assert [one["field"] for one in answer["unread"]] == [field]
    assert "unread_field" in answer["escalation"]["flags"]
    assert all(status != "planned" for name, (status, _) in _statuses(answer["escalation"]).items() if "alert" in name)


def test_an_explicit_statement_is_a_crisis_and_its_care_lasts(live: Live) -> None:
    stated = live.post(_request("Nobody knows it, but I want to die.")).json()["escalation"]
    assert (stated["tier"], "explicit_statement" in stated["flags"]) == ("crisis", True)
    assert [(one["kind"], one["language"]) for one in stated["statements"]] == [("wish", "en")]

    context = {"now": "2026-03-02T14:00:00Z", "care_until": stated["care_until"]}
    after = live.post(_request("We baked bread.", context=context)).json()
    assert "in_care" in after["escalation"]["flags"] and after["escalation"]["lines"]
    assert after["escalation"]["care_until"] == stated["care_until"]
