"""What a caller sends and gets over REST and gRPC, against TorchServe with the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from client import InvalidRequest, LanternClient, NotFound, TooLong
from handlers.core.schema import ClassifyResponse
from tests.server.live import MODEL, PREDICTIONS, Live, Packed, until

_TEXT = "I keep worrying about the exam, and I have slept badly for weeks."


def _labels(answer: Any) -> list[tuple[str, float]]:
    return [(label["name"], label["score"]) for label in answer["labels"]]


def _error(answer: httpx.Response) -> tuple[int, str, str | None]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["field"]


def test_ready_is_true_while_serving(live: Live) -> None:
    ready = live.readiness()
    assert (ready.returncode, ready.stdout) == (0, "ready\n")


def test_rest_json_is_answered_with_every_part_of_the_contract(live: Live, packed: Packed) -> None:
    answer = live.post({"text": _TEXT})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"labels", "escalation", "input", "model", "timing_ms"}
    assert [label["name"] for label in body["labels"]] == list(packed.manifest.labels)
    assert [set(label) for label in body["labels"]] == [{"name", "score", "threshold", "positive"}] * 4
    assert all(label["positive"] == (label["score"] >= label["threshold"]) for label in body["labels"])


def test_answer_names_the_model_that_gave_it(live: Live, packed: Packed) -> None:
    model = live.post({"text": _TEXT}).json()["model"]
    expected = {"name": MODEL, "version": "1.0", "checkpoint": packed.manifest.checkpoint, "calibration": "none"}
    expected |= {"revision": packed.manifest.revision, "runtime": "onnx", "precision": "fp32"}
    assert model == expected


def test_timing_is_there_and_above_zero(live: Live) -> None:
    timing = live.post({"text": _TEXT}).json()["timing_ms"]
    assert set(timing) == {"tokenize", "queue", "run", "decide"}
    assert timing["tokenize"] > 0
    assert timing["run"] > 0
    assert timing["queue"] >= 0
    assert timing["decide"] >= 0


@pytest.mark.parametrize("content_type", ["text/plain", "text/plain; charset=utf-8", "Text/Plain;charset=US-ASCII"])
def test_plain_text_is_answered_as_json_is(live: Live, content_type: str) -> None:
    plain = live.post(_TEXT.encode(), headers={"content-type": content_type})
    assert plain.status_code == 200
    assert _labels(plain.json()) == _labels(live.post({"text": _TEXT}).json())


def test_plain_text_that_looks_like_json_stays_text(live: Live) -> None:
    text = json.dumps({"text": "x"})
    plain = live.post(text.encode(), headers={"content-type": "text/plain"}).json()
    assert plain["input"]["windows"] == [{"start_char": 0, "end_char": len(text)}]


@pytest.mark.parametrize(
    ("key", "body"), [("data", {"text": _TEXT}), ("text", _TEXT.encode()), ("text", {"text": _TEXT})]
)
def test_grpc_gives_the_labels_of_rest(live: Live, key: str, body: Any) -> None:
    assert _labels(json.loads(live.call(body, key))) == _labels(live.post({"text": _TEXT}).json())


def test_grpc_without_a_known_key_is_an_error_in_the_body(live: Live) -> None:
    assert json.loads(live.call({"text": _TEXT}, key="body_of_mine"))["error"]["code"] == "invalid_json"


def test_both_clients_give_the_same_answer(rest: LanternClient, remote: LanternClient) -> None:
    one, other = (client.classify(_TEXT, locale="en-GB", options={"return_logits": True}) for client in (rest, remote))
    assert (one.labels, one.input, one.model) == (other.labels, other.input, other.model)


def test_logits_are_returned_when_asked_for(lantern: LanternClient) -> None:
    labels = lantern.classify(_TEXT, options={"return_logits": True}).labels
    assert all(label.logit is not None and (label.logit >= 0) == (label.score >= 0.5) for label in labels)


def test_logits_are_left_out_unasked(live: Live) -> None:
    assert "logit" not in live.post({"text": _TEXT, "options": {"return_logits": False}}).text


def test_all_optional_fields_are_taken(lantern: LanternClient) -> None:
    history = [{"entry_id": "e0", "at": "2026-03-01T14:00:00Z", "scores": {"depressed": 0.7}}]
    answer = lantern.classify(
        _TEXT,
        locale="en-GB",
        country="GB",
        entry_id="e1",
        subject_id="s1",
        consent={"self_help": True, "use_history": {"granted": True, "expires_at": "2026-12-01T00:00:00Z"}},
        context={"age_band": "adult", "history": history},
        options={"over_length": "head"},
    )
    assert answer.labels == lantern.classify(_TEXT).labels


@pytest.mark.parametrize(
    "text",
    [
        "🌧️🌧️ so much rain 👩🏽‍🚀🇯🇵",
        "今日はとても疲れた。眠れない。",
        "حالي اليوم أفضل قليلا",
        "nul\0in\0the middle",
        "\0",
        "\N{REPLACEMENT CHARACTER}\N{ZERO WIDTH JOINER}e\N{COMBINING ACUTE ACCENT}\N{RIGHT-TO-LEFT OVERRIDE}",
        "</s><pad><mask><s>",
        '"\\\n\t\r\x7f\x1b[2J',
    ],
    ids=["emoji", "cjk", "rtl", "nul", "only-nul", "odd-unicode", "special-tokens", "control"],
)
def test_any_unicode_is_scored_whole_and_alike(rest: LanternClient, remote: LanternClient, text: str) -> None:
    one, other = rest.classify(text), remote.classify(text)
    assert one.labels == other.labels
    assert [(span.start_char, span.end_char) for span in one.input.windows] == [(0, len(text))]
    assert not one.input.truncated


def test_plain_text_with_nul_bytes_is_scored(live: Live) -> None:
    answer = live.post(b"a\0b", headers={"content-type": "text/plain"})
    assert _labels(answer.json()) == _labels(live.post({"text": "a\0b"}).json())


@pytest.mark.parametrize("text", ["", " ", "\n\t ", "\u3000\u2003"])
def test_empty_text_is_refused(live: Live, text: str) -> None:
    answer = live.post({"text": text})
    assert _error(answer) == (400, "invalid_text", "text")
    assert answer.json().keys() == {"error"}


def test_empty_plain_text_is_refused(live: Live) -> None:
    answer = live.http.post(PREDICTIONS, content=b"\n", headers={"content-type": "text/plain"})
    assert _error(answer) == (400, "invalid_text", "text")


def test_no_body_at_all_is_invalid_json(live: Live) -> None:
    assert _error(live.post(b""))[:2] == (400, "invalid_json")


@pytest.mark.parametrize("surrogate", [rb"\ud800", rb"\udc00\ud83d"])
def test_lone_surrogate_is_refused(live: Live, surrogate: bytes) -> None:
    body = b'{"text": "a ' + surrogate + b'"}'
    answer, over_grpc = live.post(body), json.loads(live.call(body))
    assert _error(answer) == (400, "invalid_text", "text")
    assert over_grpc["error"]["code"] == "invalid_text"
    assert answer.json()["escalation"]["lines"] and over_grpc["escalation"]["lines"]


def test_unknown_field_is_named(live: Live) -> None:
    answer = live.post({"text": _TEXT, "option": {}})
    assert _error(answer) == (400, "invalid_request", "option")
    assert answer.json()["escalation"]["lines"]
    assert _error(live.post({"text": _TEXT, "options": {"overlength": 1}}))[2] == "options.overlength"


def test_what_the_client_does_not_refuse_itself_comes_back_with_what_to_offer(lantern: LanternClient) -> None:
    with pytest.raises(InvalidRequest) as refused:
        lantern.classify(_TEXT, country="GB", options={"overlength": 1})
    assert (refused.value.kind.code, refused.value.field) == ("invalid_request", "options.overlength")
    assert refused.value.escalation is not None and refused.value.escalation["lines"]


def test_a_side_field_that_cannot_be_read_costs_no_answer(lantern: LanternClient) -> None:
    answer = lantern.classify(_TEXT, locale="english", context={"now": "noon"})
    assert answer.labels == lantern.classify(_TEXT).labels
    assert [one.field for one in answer.unread] == ["locale", "context.now"]


@pytest.mark.parametrize(
    "body",
    [b"{", b'{"text": "a"', b"text=a", b'{"text": "a", "text": "b"}', b'{"text": NaN}', b"\xff\xfe{", b"[" * 100_000],
    ids=["open", "cut", "form", "twice", "nan", "not-utf-8", "deep"],
)
def test_invalid_json_is_refused_on_both_protocols(live: Live, body: bytes) -> None:
    assert _error(live.post(body)) == (400, "invalid_json", None)
    assert json.loads(live.call(body))["error"]["code"] == "invalid_json"


def test_unknown_label_in_history_is_refused(lantern: LanternClient) -> None:
    history = [{"entry_id": "e0", "at": "2026-03-01T14:00:00Z", "scores": {"bored": 0.7}}]
    with pytest.raises(InvalidRequest) as refused:
        lantern.classify(_TEXT, context={"history": history})
    assert (refused.value.kind.code, refused.value.field) == ("unknown_label", "context.history[0].scores")
    assert refused.value.escalation is not None and refused.value.escalation["lines"]


def test_entries_with_bad_items_keep_order_and_own_statuses(live: Live) -> None:
    entries: list[Any] = [
        {"text": _TEXT},
        {"text": ""},
        {"text": "fine today"},
        {"text": "fine", "mood": 3},
        "no object",
        {"text": "fine today", "options": {"return_logits": True}},
    ]
    answer = live.post({"entries": entries})
    results = answer.json()["results"]
    assert answer.status_code == 200
    assert [result["status"] for result in results] == [200, 400, 200, 400, 400, 200]
    errors = [(result["error"]["code"], result["error"]["field"]) for result in results if "error" in result]
    assert errors == [
        ("invalid_text", "entries[1].text"),
        ("invalid_request", "entries[3].mood"),
        ("invalid_request", "entries[4]"),
    ]
    assert ["escalation" in result for result in results] == [True, False, True, True, False, True]
    assert results[0]["input"] == live.post(entries[0]).json()["input"]
    assert dict(_labels(results[2])) == pytest.approx(dict(_labels(results[5])), abs=1e-5)
    assert "logit" in results[5]["labels"][0]
    assert "logit" not in results[2]["labels"][0]


def test_entries_are_the_same_over_grpc(live: Live) -> None:
    call = {"entries": [{"text": _TEXT}, {"text": " "}, {"text": "fine today"}]}
    parts = ("status", "labels", "input", "error")
    one, other = (
        [{part: result.get(part) for part in parts} for result in answer["results"]]
        for answer in (live.post(call).json(), json.loads(live.call(call)))
    )
    assert one == other


@pytest.mark.parametrize("fault", ["reject", "label"])
def test_fault_found_after_decoding_names_its_entry(live: Live, packed: Packed, fault: str) -> None:
    history = [{"entry_id": "e0", "at": "2026-03-01T14:00:00Z", "scores": {"bored": 0.7}}]
    entries: dict[str, tuple[Any, str]] = {
        "reject": (
            {"text": packed.text_of(packed.window + 1), "options": {"over_length": "reject"}},
            "entries[1].options.over_length",
        ),
        "label": ({"text": "a", "context": {"history": history}}, "entries[1].context.history[0].scores"),
    }
    entry, field = entries[fault]
    results = live.post({"entries": [{"text": "a"}, entry]}).json()["results"]
    assert [result.get("error", {}).get("field") for result in results] == [None, field]


def test_client_puts_exceptions_in_the_place_of_bad_entries(lantern: LanternClient, packed: Packed) -> None:
    long = {"text": packed.text_of(packed.window + 1), "options": {"over_length": "reject"}}
    first, empty, too_long, last = lantern.classify_entries([_TEXT, "", long, "fine today"])
    assert isinstance(first, ClassifyResponse)
    assert isinstance(empty, InvalidRequest)
    assert isinstance(too_long, TooLong)
    assert too_long.field == "entries[2].options.over_length"
    assert isinstance(last, ClassifyResponse)


@pytest.mark.parametrize("count", [0, 65])
def test_entries_over_the_limits_are_refused(live: Live, count: int) -> None:
    answer = live.post({"entries": [{"text": "a"}] * count})
    assert _error(answer) == (400, "invalid_request", "entries")
    assert [bool(result["escalation"]["lines"]) for result in answer.json().get("results", [])] == [True] * min(
        count, 64
    )


def test_unknown_model_is_not_found_on_both_protocols(live: Live) -> None:
    with (
        LanternClient.rest(live.url, model="nobody") as rest,
        LanternClient.grpc(live.target, model="nobody") as remote,
    ):
        for client in (rest, remote):
            with pytest.raises(NotFound):
                client.classify(_TEXT)


@pytest.mark.parametrize(
    "request_fields",
    [
        {"data": {"text": _TEXT}},
        {"files": {"text": _TEXT.encode()}},
        {"content": json.dumps({"text": _TEXT}).encode()},
        {"content": json.dumps({"text": _TEXT}).encode(), "headers": {"content-type": "application/x-ndjson"}},
        {"content": _TEXT.encode("utf-16-le"), "headers": {"content-type": "text/plain; charset=utf-16"}},
        {
            "content": _TEXT.encode("latin-1"),
            "headers": {"Content-Type": 'text/plain; format=flowed; charset="latin1"'},
        },
        {"files": {"body": ("body", json.dumps({"text": _TEXT}), "application/json")}},
        {"params": {"text": _TEXT}},
        {"params": {"data": json.dumps({"text": _TEXT})}},
    ],
    ids=["form", "multipart", "none", "other", "utf-16", "latin-1", "multipart-body", "query", "query-data"],
)
def test_other_media_types_are_unsupported(live: Live, request_fields: dict[str, Any]) -> None:
    assert _error(live.http.post(PREDICTIONS, **request_fields)) == (415, "unsupported_media_type", None)


def test_query_string_never_replaces_the_body(live: Live) -> None:
    answer = live.post({"text": _TEXT}, params={"body": json.dumps({"text": "another"}), "text": "another"})
    assert answer.json()["input"] == live.post({"text": _TEXT}).json()["input"]


@pytest.mark.parametrize("name", ["describe", "explain", "body", "host-name", "X-Request-Id"])
def test_header_of_a_caller_changes_no_answer(live: Live, name: str) -> None:
    answer = live.post({"text": _TEXT}, headers={"content-type": "application/json", name: "True"})
    assert _labels(answer.json()) == _labels(live.post({"text": _TEXT}).json())


def test_body_over_the_size_limit_is_too_long(lantern: LanternClient) -> None:
    with pytest.raises(TooLong):
        lantern.classify("a" * 6_600_000)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_unexpected_method_without_a_body_is_refused(live: Live, method: str) -> None:
    assert _error(live.http.request(method, PREDICTIONS))[:2] == (415, "unsupported_media_type")


def test_options_describes_the_address_without_asking_the_model(live: Live) -> None:
    described = live.http.options(PREDICTIONS)
    assert (described.status_code, described.json()["openapi"]) == (200, "3.0.1")


def test_models_cannot_be_changed_while_serving(live: Live) -> None:
    with httpx.Client(base_url=live.management, trust_env=False) as management:
        assert management.post("/models", params={"url": "https://example.invalid/x.mar"}).status_code >= 400
        assert management.delete(f"/models/{MODEL}").status_code >= 400
    assert live.post({"text": _TEXT}).status_code == 200


def test_management_describes_what_is_served(live: Live, packed: Packed) -> None:
    answer = httpx.get(f"{live.management}/models/{MODEL}", params={"customized": "true"}, trust_env=False)
    described = answer.json()[0]["customizedMetadata"]
    assert described["max_tokens"] == packed.window
    assert [label["name"] for label in described["labels"]] == list(packed.manifest.labels)


def test_a_worker_of_the_onnx_runtime_never_loads_torch(live: Live) -> None:
    live.post({"text": _TEXT})
    httpx.get(f"{live.management}/models/{MODEL}", params={"customized": "true"}, trust_env=False).raise_for_status()
    loaded = [Path(part.path).name for part in live.worker().memory_maps()]
    assert any("onnxruntime" in name for name in loaded)
    assert not any("torch" in name for name in loaded)


def test_metrics_count_texts_tokens_errors_and_decisions(live: Live) -> None:
    live.post({"text": _TEXT})
    live.post({"text": ""})
    wanted = (
        'lantern_errors_total{code="invalid_text"',
        "lantern_texts_total{",
        "lantern_tokens_total{",
        'lantern_stage_seconds_bucket{stage="run"',
        'lantern_decisions_total{tier="',
    )
    until(lambda: all(name in live.metrics().decode() for name in wanted), "every metric")
