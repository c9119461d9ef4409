"""What a running server answers is what the OpenAPI document says; over gRPC the bodies are the same."""

from __future__ import annotations

import json
from typing import Any, Final

import httpx
import pytest
import yaml
from jsonschema import Draft202012Validator, FormatChecker

from deploy.api.document import DOCUMENT
from handlers.core.errors import ERROR_TABLE
from tests.server.live import JSON, MODEL, PREDICTIONS, Live, Packed

_WRITTEN: Final[dict[str, Any]] = yaml.safe_load(DOCUMENT.read_text(encoding="utf-8"))
_PREDICT: Final = _WRITTEN["paths"]["/predictions/{model}"]["post"]
_EXAMPLES: Final = [
    pytest.param(media_type, example["value"], id=f"{media_type} {name}")
    for media_type, content in _PREDICT["requestBody"]["content"].items()
    for name, example in content["examples"].items()
]


def _strict(schema: Any) -> Any:
    """Let no field pass that is not documented."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {"additionalProperties": False} if "properties" in schema and "type" in schema else {}
    return closed | {key: _strict(part) for key, part in schema.items()}


_COMPONENTS: Final = _strict(_WRITTEN["components"])


def _resolve(response: dict[str, Any]) -> dict[str, Any]:
    name = response.get("$ref", "").rpartition("/")[2]
    return dict(_COMPONENTS["responses"][name]) if name else response


def _check(answer: httpx.Response, operation: dict[str, Any] = _PREDICT) -> Any:
    """Return the body, after a look at whether this status is documented and its body is as documented."""
    status = str(answer.status_code)
    assert status in operation["responses"], f"{status} is not documented"
    response = _resolve(operation["responses"][status])
    if not answer.content and status in ("413", "417"):
        return None
    assert answer.headers["content-type"].partition(";")[0] == "application/json"
    body = answer.json()
    _validate(body, response["content"]["application/json"]["schema"])
    for name in response.get("headers", {}):
        if name == "Retry-After":
            assert int(answer.headers[name]) >= 0
    return body


def _validate(body: Any, schema: dict[str, Any]) -> None:
    validator = Draft202012Validator({**schema, "components": _COMPONENTS}, format_checker=FormatChecker())
    assert [error.message for error in validator.iter_errors(body)] == []


def _sent(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()


@pytest.mark.parametrize(("media_type", "value"), _EXAMPLES)
def test_every_example_of_a_request_is_answered_as_documented(live: Live, media_type: str, value: Any) -> None:
    body = _check(live.post(_sent(value), headers={"content-type": media_type}))
    assert "labels" in body or "results" in body


@pytest.mark.parametrize(("media_type", "value"), _EXAMPLES)
def test_over_grpc_the_same_example_has_a_body_of_the_same_schema(live: Live, media_type: str, value: Any) -> None:
    body = json.loads(live.call(_sent(value), "text" if media_type == "text/plain" else "data"))
    _validate(body, _PREDICT["responses"]["200"]["content"]["application/json"]["schema"])


def _history(**scores: float) -> dict[str, Any]:
    return {"history": [{"entry_id": "e", "at": "2026-03-01T14:00:00Z", "scores": scores}]}


_FAULTS: Final[dict[str, Any]] = {
    "invalid_json": b'{"text": ',
    "invalid_request": {"text": "a", "option": 1},
    "invalid_text": {"text": " "},
    "unknown_label": {"text": "a", "context": _history(bored=0.5)},
}
_DECIDED: Final = {"invalid_request", "unknown_label"}
"""Codes of faults of which the text can be read."""


def _same(body: Any) -> Any:
    """Return a body without what is another's in every answer."""
    if isinstance(body, list):
        return [_same(part) for part in body]
    if not isinstance(body, dict):
        return body
    return {name: _same(part) for name, part in body.items() if name not in ("decision_id", "timing_ms")}


@pytest.mark.parametrize("code", _FAULTS)
def test_an_error_is_that_of_the_table_on_both_protocols(live: Live, code: str) -> None:
    content = _FAULTS[code] if isinstance(_FAULTS[code], bytes) else _sent(_FAULTS[code])
    answer = live.post(content)
    body = _check(answer)
    assert (answer.status_code, body["error"]["code"]) == (ERROR_TABLE[code].http, code)
    assert ("escalation" in body) == (code in _DECIDED)
    assert not body.get("escalation") or body["escalation"]["lines"]
    assert _same(json.loads(live.call(content))) == _same(body)


def test_a_call_that_fails_as_a_whole_has_documented_results_on_both_protocols(live: Live) -> None:
    request = {"entries": [{"text": "a", "country": "GB"}, {"text": " "}, {"text": "b", "mood": 1}], "locale": "en"}
    answer = live.post(request)
    body = _check(answer)
    assert (answer.status_code, body["error"]["code"], body["error"]["field"]) == (400, "invalid_request", "locale")
    assert [result["error"]["field"] for result in body["results"]] == [None, "entries[1].text", "entries[2].mood"]
    assert [bool(result.get("escalation", {}).get("lines")) for result in body["results"]] == [True, False, True]
    assert _same(json.loads(live.call(request))) == _same(body)


def test_what_is_not_read_is_named_as_documented_on_both_protocols(live: Live) -> None:
    request = {"text": "a", "locale": "english", "consent": {"self_help": 1}, "context": {"history": [{}]}}
    body = _check(live.post(request))
    over_grpc = json.loads(live.call(request))
    assert [one["field"] for one in body["unread"]] == ["locale", "consent.self_help", "context.history[0]"]
    assert "unread_field" in body["escalation"]["flags"]
    assert over_grpc["unread"] == body["unread"]
    assert _same(over_grpc["escalation"]) == _same(body["escalation"])


def test_an_explicit_statement_is_told_as_documented(live: Live) -> None:
    body = _check(live.post({"text": "I want to die.", "country": "GB"}))
    assert body["escalation"]["tier"] == "crisis"
    assert [(one["kind"], one["language"]) for one in body["escalation"]["statements"]] == [("wish", "en")]


def test_a_text_that_is_too_long_is_that_of_the_table_on_both_protocols(live: Live, packed: Packed) -> None:
    request = _sent({"text": packed.text_of(packed.window + 1), "options": {"over_length": "reject"}})
    answer = live.post(request)
    body = _check(answer)
    assert (answer.status_code, body["error"]["code"]) == (413, "too_long")
    assert body["escalation"]["lines"]
    assert _same(json.loads(live.call(request))) == _same(body)


@pytest.mark.parametrize(
    "content_type",
    ["application/xml", "text/plain; charset=koi8-r", "application/x-www-form-urlencoded", "multipart/form-data"],
)
def test_another_content_type_is_refused_as_documented(live: Live, content_type: str) -> None:
    body = _check(live.post(b"text=%zz&text", headers={"content-type": content_type}))
    assert body["error"]["code"] == "unsupported_media_type"


def _post_raw(live: Live, path: str, content: bytes) -> httpx.Response:
    """Send a path as it is, which httpx would mend."""
    request = live.http.build_request("POST", live.url, content=content, headers=JSON)
    request.url = httpx.URL(live.url).copy_with(raw_path=path.encode())
    return live.http.send(request)


def test_a_form_and_a_path_that_cannot_be_read_reach_no_log(live: Live) -> None:
    word = "grolnevaskim"
    live.post(f"text=%zz{word}".encode(), headers={"content-type": "application/x-www-form-urlencoded"})
    _post_raw(live, f"/predictions/%zz{word}", b"{}")
    assert [path.name for path in live.files() if word.encode() in path.read_bytes()] == []


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("/predictions/nobody", b"{}", 404),
        (f"{PREDICTIONS}/9.9", b"{}", 404),
        ("/predictions/%zz", b"{}", 403),
        (PREDICTIONS, b"a" * 6_600_000, 413),
    ],
    ids=["model", "version", "path", "size"],
)
def test_what_torchserve_refuses_itself_is_documented_too(live: Live, path: str, content: bytes, status: int) -> None:
    answer = _post_raw(live, path, content)
    assert answer.status_code == status
    _check(answer)


def test_an_expectation_that_nobody_meets_is_documented(live: Live) -> None:
    answer = live.post({"text": "a"}, headers=JSON | {"expect": "tea"})
    assert answer.status_code == 417
    _check(answer)


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_a_probe_is_answered_as_documented(live: Live, path: str) -> None:
    answer = httpx.get(f"http://127.0.0.1:{live.ports.health}{path}", trust_env=False, timeout=10)
    body = _check(answer, _WRITTEN["paths"][path]["get"])
    assert answer.status_code == 200
    assert body["reason"] == ""


def test_the_request_id_of_the_caller_comes_back(live: Live) -> None:
    name = "x-request-id"
    example = _COMPONENTS["parameters"][name]["example"]
    traceparent = _COMPONENTS["parameters"]["traceparent"]["example"]
    answer = live.post({"text": "a"}, headers=JSON | {name: example, "traceparent": traceparent})
    _check(answer)
    assert name in answer.headers


def test_a_stream_is_not_served_and_harms_nobody(live: Live) -> None:
    import grpc  # type: ignore[import-untyped]

    from deploy.fuzz.grpc_cases import GrpcCase, message
    from deploy.fuzz.senders import GrpcSender

    worker = live.worker().pid
    with GrpcSender(live.target) as sender:
        for method in ("StreamPredictions", "StreamPredictions2"):
            sent = message(MODEL, {"data": b'{"text": "a"}'})
            assert sender.send(GrpcCase("stream", method, sent, frozenset()))[0] == grpc.StatusCode.UNIMPLEMENTED.name
    assert json.loads(live.call({"text": "a"}))["labels"]
    assert live.worker().pid == worker
