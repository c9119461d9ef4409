from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LongformerForSequenceClassification

from handlers.core.answered import Answered
from handlers.core.errors import DRAINING, OVERLOADED, LanternError, StartupError
from handlers.core.events import OK, Decided, Event, Fault, Loaded, RequestDone, SubBatchDone
from handlers.core.manifest import Manifest, SmokeEntry
from handlers.core.policy_model import THIRD_PARTY
from handlers.core.scores import LabelRule
from handlers.core.settings import Settings
from handlers.core.statements import Statement
from handlers.core.wire import PLAIN_TEXT, Outcome, RawRequest
from handlers.escalation import Escalation
from handlers.pipeline import Pipeline, warm_up_lengths
from handlers.runtime import Logits, Runtime, RuntimeDescription, TokenIds
from handlers.runtime.bundle import Bundle
from tests.checkpoints import Tiny
from tests.unit.conftest import open_pipeline

WINDOW = 254
OVERLAP = 15
LONG = "".join(chr(ord("a") + (index * 7 + index // 26) % 26) for index in range(600))
"""600 characters and, as every byte is a token, 600 tokens: three windows."""

CANARY = "QxZ73 nobody may read this"
POISON = "\x07"


def request(text: str | None = None, **fields: Any) -> RawRequest:
    body = fields if text is None else {"text": text, **fields}
    return RawRequest(json.dumps(body).encode())


def answer(pipeline: Pipeline, raw: RawRequest) -> dict[str, Any]:
    """Return the body of a successful answer."""
    (outcome,) = pipeline.handle([raw])
    assert outcome.status == 200, outcome.body
    return fields(outcome)


def fields(outcome: Outcome) -> dict[str, Any]:
    body = json.loads(outcome.body)
    assert isinstance(body, dict)
    return body


def history(**found: float) -> dict[str, Any]:
    return {"history": [{"entry_id": "e", "at": "2026-03-01T14:00:00Z", "scores": found}]}


def scores(body: dict[str, Any]) -> list[float]:
    return [label["score"] for label in body["labels"]]


def logits(pipeline: Pipeline, text: str, **options: Any) -> list[float]:
    body = answer(pipeline, request(text, options={"return_logits": True, **options}))
    return [label["logit"] for label in body["labels"]]


class PoisonedRuntime:
    """The real runtime, until an input holds the token of ``POISON``."""

    def __init__(self, runtime: Runtime, poison: int, answer: float | Exception) -> None:
        self._runtime, self._poison, self._answer = runtime, poison, answer

    def prepare(self, lengths: Sequence[int]) -> None:
        self._runtime.prepare(lengths)

    def run(self, input_ids: TokenIds, attention_mask: TokenIds) -> Logits:
        found = self._runtime.run(input_ids, attention_mask)
        poisoned = (input_ids == self._poison).any(axis=1)
        if poisoned.any() and isinstance(self._answer, Exception):
            raise self._answer
        found[poisoned] = self._answer if isinstance(self._answer, float) else 0.0
        return found

    def describe(self) -> RuntimeDescription:
        return self._runtime.describe()


class PoisonedBundle(Bundle):
    """A bundle whose runtime fails for a text with ``POISON``."""

    answer: float | Exception = RuntimeError(CANARY)

    def open_runtime(self, settings: Settings) -> Runtime:
        poison = self.open_tokenizer().tokenize(POISON).encoding.ids[0]
        return PoisonedRuntime(super().open_runtime(settings), poison, self.answer)


class NanBundle(PoisonedBundle):
    """A bundle whose graph gives NaN for a text with ``POISON``."""

    answer = float("nan")


def with_manifest(bundle: Bundle, **changes: Any) -> Bundle:
    return replace(bundle, manifest=bundle.manifest.model_copy(update=changes))


def test_a_request_is_answered_with_every_field_of_the_contract(pipeline: Pipeline, bundle: Bundle) -> None:
    body = answer(pipeline, request("I am fine."))

    assert [label["name"] for label in body["labels"]] == ["neutral", "depressed", "anxious", "stressed"]
    assert all(label.keys() == {"name", "score", "threshold", "positive"} for label in body["labels"])
    assert body["input"] == {
        "tokens": 10,
        "tokens_scored": 10,
        "windows": [{"start_char": 0, "end_char": 10}],
        "truncated": False,
    }
    assert body["model"] == {
        "name": "sentiment",
        "version": "1.0",
        "checkpoint": "checkpoint",
        "revision": bundle.manifest.revision,
        "runtime": "onnx",
        "precision": "fp32",
        "calibration": "none",
    }
    assert body["timing_ms"].keys() == {"tokenize", "queue", "run", "decide"}


def test_no_decision_is_made_without_a_policy(pipeline: Pipeline) -> None:
    assert answer(pipeline, request("a"))["escalation"] is None


def test_plain_text_is_answered_like_the_same_text_in_json(pipeline: Pipeline) -> None:
    plain = answer(pipeline, RawRequest("grüße".encode(), PLAIN_TEXT))

    assert plain["labels"] == answer(pipeline, request("grüße"))["labels"]


def test_logits_are_returned_on_request_and_agree_with_the_scores(pipeline: Pipeline) -> None:
    body = answer(pipeline, request("a", options={"return_logits": True}))

    for label in body["labels"]:
        assert label["score"] == pytest.approx(1 / (1 + np.exp(-label["logit"])), abs=1e-12)
        assert label["positive"] == (label["score"] >= label["threshold"])


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 31, 32, 33, 64, 65, 128, WINDOW])
def test_an_answer_is_that_of_transformers(pipeline: Pipeline, tiny: Tiny, length: int) -> None:
    model = LongformerForSequenceClassification.from_pretrained(tiny.checkpoint).eval()
    text = LONG[:length]
    ids = torch.tensor([[0, *pipeline._tokenizer.tokenize(text).encoding.ids, 2]])
    with torch.inference_mode():
        expected = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]

    np.testing.assert_allclose(logits(pipeline, text), expected, atol=1e-5, rtol=0)


def test_thresholds_come_from_the_manifest_and_are_inclusive(bundle: Bundle, pipeline: Pipeline) -> None:
    score = dict(zip(bundle.manifest.labels, scores(answer(pipeline, request("a"))), strict=True))
    changed = open_pipeline(with_manifest(bundle, thresholds=score | {"neutral": 1.0}))

    labels = answer(changed, request("a"))["labels"]

    assert [label["positive"] for label in labels] == [False, True, True, True]


TEXTS = st.integers(1, 700).flatmap(lambda n: st.integers(0, 25).map(lambda k: (LONG[k:] + LONG)[:n]))
UNICODE = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(str.strip)


@settings(max_examples=25)
@given(st.lists(TEXTS | UNICODE, min_size=2, max_size=8))
def test_a_mixed_batch_is_answered_like_each_text_alone(pipeline: Pipeline, texts: list[str]) -> None:
    together = [fields(outcome) for outcome in pipeline.handle([request(text) for text in texts])]
    alone = [answer(pipeline, request(text)) for text in texts]

    assert [body["input"] for body in together] == [body["input"] for body in alone]
    np.testing.assert_allclose([scores(body) for body in together], [scores(body) for body in alone], atol=1e-5, rtol=0)


def test_entries_are_answered_like_the_texts_alone(pipeline: Pipeline) -> None:
    texts = ["a", LONG, "short one"]
    results = answer(pipeline, request(entries=[{"text": text} for text in texts]))["results"]

    assert [result["status"] for result in results] == [200, 200, 200]
    alone = [scores(answer(pipeline, request(text))) for text in texts]
    np.testing.assert_allclose([scores(result) for result in results], alone, atol=1e-5, rtol=0)


def test_each_entry_has_an_error_of_its_own(pipeline: Pipeline) -> None:
    entries = [{"text": "a"}, {"text": ""}, {"text": LONG, "options": {"over_length": "reject"}}, {"text": "b"}]
    results = answer(pipeline, request(entries=entries))["results"]

    assert [result["status"] for result in results] == [200, 400, 413, 200]
    assert results[1]["error"]["field"] == "entries[1].text"
    assert results[2]["error"]["code"] == "too_long"
    assert results[2]["error"]["field"] == "entries[2].options.over_length"


def test_one_bad_request_does_not_fail_its_batch(pipeline: Pipeline) -> None:
    batch = [request("a"), RawRequest(b"{"), request("b", colour=1), RawRequest(b"", ""), request("c")]

    assert [outcome.status for outcome in pipeline.handle(batch)] == [200, 400, 400, 415, 200]


def test_a_batch_of_nothing_is_answered_with_nothing(pipeline: Pipeline) -> None:
    assert pipeline.handle([]) == []


@pytest.mark.parametrize("mode", ["window", "head", "head_tail", "reject"])
def test_a_text_that_just_fits_is_scored_whole_in_every_mode(pipeline: Pipeline, mode: str) -> None:
    body = answer(pipeline, request(LONG[:WINDOW], options={"over_length": mode}))

    assert body["input"] == {
        "tokens": WINDOW,
        "tokens_scored": WINDOW,
        "windows": [{"start_char": 0, "end_char": WINDOW}],
        "truncated": False,
    }


@pytest.mark.parametrize(
    ("mode", "scored", "spans"),
    [
        ("window", 600, [(0, 254), (239, 493), (346, 600)]),
        ("head", WINDOW, [(0, 254)]),
        ("head_tail", WINDOW, [(0, 127), (473, 600)]),
    ],
)
def test_a_long_text_is_reported_as_it_was_cut(
    pipeline: Pipeline, mode: str, scored: int, spans: list[tuple[int, int]]
) -> None:
    body = answer(pipeline, request(LONG, options={"over_length": mode}))

    assert body["input"] == {
        "tokens": 600,
        "tokens_scored": scored,
        "windows": [{"start_char": start, "end_char": end} for start, end in spans],
        "truncated": scored < 600,
    }


def test_a_long_text_is_rejected_with_its_length(pipeline: Pipeline) -> None:
    (outcome,) = pipeline.handle([request(LONG, options={"over_length": "reject"})])

    assert outcome.status == 413
    error = fields(outcome)["error"]
    assert (error["code"], error["field"]) == ("too_long", "options.over_length")
    assert "600 tokens and the model takes 254" in error["message"]


def test_more_windows_than_allowed_are_refused(bundle: Bundle) -> None:
    pipeline = open_pipeline(bundle, max_windows=2)

    assert [outcome.status for outcome in pipeline.handle([request(LONG), request("a")])] == [413, 200]


def test_a_long_text_takes_the_worst_of_its_windows(pipeline: Pipeline) -> None:
    body = answer(pipeline, request(LONG))
    parts = [LONG[span["start_char"] : span["end_char"]] for span in body["input"]["windows"]]
    alone = np.array([scores(answer(pipeline, request(part))) for part in parts])

    expected = [alone[:, 0].min(), *alone[:, 1:].max(axis=0)]
    np.testing.assert_allclose(scores(body), expected, atol=1e-5, rtol=0)
    assert (alone.max(axis=0) - alone.min(axis=0)).min() > 1e-4  # the windows do differ


def test_head_is_the_text_up_to_the_limit(pipeline: Pipeline) -> None:
    expected = logits(pipeline, LONG[:WINDOW])

    np.testing.assert_allclose(logits(pipeline, LONG, over_length="head"), expected, atol=1e-5, rtol=0)


def test_head_tail_is_both_ends_as_one_text(pipeline: Pipeline) -> None:
    expected = logits(pipeline, LONG[:127] + LONG[-127:])

    np.testing.assert_allclose(logits(pipeline, LONG, over_length="head_tail"), expected, atol=1e-5, rtol=0)


@given(UNICODE | st.sampled_from([" a", "a ", " 字 ", "\x00😀"]), st.integers(260, 600))
@settings(max_examples=25)
def test_windows_are_characters_that_cover_the_text(pipeline: Pipeline, part: str, tokens: int) -> None:
    text = part * (tokens // len(part.encode()) + 1)
    report = answer(pipeline, request(text))["input"]
    windows = report["windows"]

    assert report["tokens"] == len(text.encode())
    assert (windows[0]["start_char"], windows[-1]["end_char"]) == (0, len(text))
    assert {at for span in windows for at in range(span["start_char"], span["end_char"])} == set(range(len(text)))


def test_a_label_that_the_model_lacks_is_an_error_of_that_request(pipeline: Pipeline) -> None:
    outcomes = pipeline.handle([request("a", context=history(happy=0.5)), request("a", context=history(stressed=0.5))])

    assert [outcome.status for outcome in outcomes] == [400, 200]
    error = fields(outcomes[0])["error"]
    assert (error["code"], error["field"]) == ("unknown_label", "context.history[0].scores")
    assert "anxious, depressed, neutral, stressed" in error["message"]
    assert "happy" not in error["message"]


def test_a_fault_of_ours_is_one_answer_with_an_opaque_id(bundle: Bundle) -> None:
    events: list[Event] = []
    pipeline = open_pipeline(PoisonedBundle(bundle.folder, bundle.manifest), events.append)
    outcomes = pipeline.handle([request("well"), request(f"{CANARY}{POISON}"), request("fine")])

    assert [outcome.status for outcome in outcomes] == [200, 500, 200]
    faults = [event for event in events if isinstance(event, Fault)]
    error = fields(outcomes[1])["error"]
    assert error["code"] == "internal"
    assert faults[-1].fault_id in error["message"]
    assert (faults[-1].exception, faults[-1].place.split(":")[0]) == ("RuntimeError", "test_pipeline.py")
    assert "QxZ73" not in f"{events} {outcomes}"


def test_a_score_that_is_not_a_number_is_never_returned(bundle: Bundle) -> None:
    pipeline = open_pipeline(NanBundle(bundle.folder, bundle.manifest))
    outcomes = pipeline.handle([request("well"), request(f"a{POISON}")])

    assert [outcome.status for outcome in outcomes] == [200, 500]
    assert fields(outcomes[1])["error"]["code"] == "non_finite_scores"


def escalation(sink: Callable[[Event], None] = lambda _: None) -> Escalation:
    """The real policy, for a bundle with the labels that it knows."""
    return Escalation(Settings(), [LabelRule(name) for name in ("neutral", "depressed", "anxious", "stressed")], sink)


def test_a_text_that_a_fault_left_without_scores_is_decided_on_beside_its_error(bundle: Bundle) -> None:
    pipeline = open_pipeline(NanBundle(bundle.folder, bundle.manifest), decider=escalation())
    bodies = [fields(outcome) for outcome in pipeline.handle([request(f"a{POISON}", country="GB"), RawRequest(b"{")])]

    assert bodies[0]["error"]["code"] == "non_finite_scores"
    assert bodies[0]["escalation"]["lines"]
    assert bodies[0]["escalation"]["uncertainty"]
    assert "escalation" not in bodies[1]


@pytest.mark.parametrize(
    ("raw", "status", "code", "field"),
    [
        (request("a", colour=1), 400, "invalid_request", "colour"),
        (request("a", entry_id=7), 400, "invalid_request", "entry_id"),
        (request("a", options={"over_length": "cut"}), 400, "invalid_request", "options.over_length"),
        (request("a", context={"history": {}}), 400, "invalid_request", "context.history"),
        (request("a \ud83d"), 400, "invalid_text", "text"),
        (request("a", **{"\ud83d": 1}), 400, "invalid_request", None),
        (request("a", context={"active": ["happy"]}), 400, "unknown_label", "context.active[0]"),
        (request(LONG, options={"over_length": "reject"}), 413, "too_long", "options.over_length"),
    ],
    ids=["field", "type", "option", "group", "surrogate", "key", "label", "too long"],
)
def test_a_text_that_is_refused_is_decided_on_as_one_without_scores(
    bundle: Bundle, raw: RawRequest, status: int, code: str, field: str | None
) -> None:
    (outcome,) = open_pipeline(bundle, decider=escalation()).handle([raw])
    body = fields(outcome)

    assert (outcome.status, body["error"]["code"], body["error"]["field"]) == (status, code, field)
    assert body["escalation"]["lines"]
    assert body["escalation"]["uncertainty"] == ["missing_signal"]
    assert {action["status"] for action in body["escalation"]["actions"] if action["action"] in THIRD_PARTY} == {
        "suppressed"
    }


@pytest.mark.parametrize(
    "raw", [request(" "), request(country="GB"), RawRequest(b'{"text": 7}'), RawRequest(b"a\xff", PLAIN_TEXT)]
)
def test_where_there_is_no_text_nothing_is_decided(bundle: Bundle, raw: RawRequest) -> None:
    (outcome,) = open_pipeline(bundle, decider=escalation()).handle([raw])

    assert outcome.status == 400
    assert fields(outcome).keys() == {"error"}


def test_what_cannot_be_read_beside_a_text_is_named_in_its_answer_and_costs_nothing_else(bundle: Bundle) -> None:
    pipeline = open_pipeline(bundle, decider=escalation())
    context = {"now": "yesterday", "age_band": "child", "history": [1]}
    told = answer(pipeline, request("a", locale="english", country="gb", consent={"self_help": 1}, context=context))
    plain = answer(pipeline, request("a"))

    assert [one["field"] for one in told["unread"]] == [
        "locale",
        "country",
        "consent.self_help",
        "context.now",
        "context.age_band",
        "context.history[0]",
    ]
    assert all(one.keys() == {"field", "message"} and one["message"] for one in told["unread"])
    assert told["labels"] == plain["labels"]
    assert "unread_field" in told["escalation"]["flags"]
    assert "unread" not in plain and "unread_field" not in plain["escalation"]["flags"]


def test_what_cannot_be_read_of_an_entry_is_named_with_its_place(bundle: Bundle) -> None:
    entries = [{"text": "a"}, {"text": "b", "locale": "english", "context": {"history": [{}]}}]
    first, second = answer(open_pipeline(bundle, decider=escalation()), request(entries=entries))["results"]

    assert (first["status"], second["status"]) == (200, 200)
    assert "unread" not in first
    assert [one["field"] for one in second["unread"]] == ["entries[1].locale", "entries[1].context.history[0]"]


def test_a_history_that_is_too_long_is_cut_and_the_answer_says_so(bundle: Bundle) -> None:
    past = [{"entry_id": f"e{n}", "at": "2026-03-01T14:00:00Z", "scores": {"stressed": 0.5}} for n in range(1001)]
    body = answer(open_pipeline(bundle, decider=escalation()), request("a", context={"history": past}))

    assert "history_cut" in body["escalation"]["flags"]
    assert "unread" not in body


@pytest.mark.parametrize(
    ("more", "count", "field"), [({"locale": "en"}, 3, "locale"), ({}, 65, "entries")], ids=["sibling", "too many"]
)
def test_a_call_that_fails_as_a_whole_says_what_to_offer_the_writer_of_each_text(
    bundle: Bundle, more: dict[str, Any], count: int, field: str
) -> None:
    events: list[Event] = []
    pipeline = open_pipeline(bundle, events.append, decider=escalation(), floor=Phrases())
    events.clear()
    entries = [{"text": f"{PHRASE} 1"}, {"text": " "}, *({"text": "a", "x": 1} for _ in range(count - 2))]
    (outcome,) = pipeline.handle([request(entries=entries, **more)])
    body = fields(outcome)

    assert outcome.status == 400
    assert (body["error"]["code"], body["error"]["field"]) == ("invalid_request", field)
    results = body["results"]
    assert len(results) == min(count, 64)
    assert {result["status"] for result in results} == {400}
    assert results[0]["error"] == {"code": "invalid_request", "message": body["error"]["message"], "field": None}
    assert results[0]["escalation"]["tier"] == "crisis" and results[0]["escalation"]["lines"]
    assert (results[1]["error"]["field"], "escalation" in results[1]) == ("entries[1].text", False)
    assert [result["error"]["field"] for result in results[2:]] == [
        f"entries[{index}].x" for index in range(2, len(results))
    ]
    assert all(result["escalation"]["lines"] for result in results[2:])
    (done,) = (event for event in events if isinstance(event, RequestDone))
    assert done.code == "invalid_request"
    assert not any(isinstance(event, SubBatchDone) for event in events)


PHRASE = "end it all"
STATED = (Statement(2, 12, "intent", "en"),)
"""What is found in ``f"a {PHRASE}"``."""


class Phrases:
    """A floor that knows one phrase, and fails for ``BROKEN``."""

    def __init__(self, log: Callable[[Any], None] = lambda _: None) -> None:
        self._log = log

    def find(self, text: str) -> tuple[Statement, ...]:
        self._log("floor")
        if BROKEN in text:
            raise ValueError(text)
        start = text.find(PHRASE)
        return () if start < 0 else (Statement(start, start + len(PHRASE), "intent", "en"),)


class Kept:
    """Decides nothing and keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Answered] = []

    def decide(self, answered: Answered) -> dict[str, Any]:
        self.asked.append(answered)
        return {"tier": "none", "number": len(self.asked)}

    def record(self) -> None:
        pass


BROKEN = "BROKEN"


def test_statements_are_looked_for_before_anything_is_run(bundle: Bundle) -> None:
    log: list[Any] = []
    pipeline = open_pipeline(bundle, log.append, floor=Phrases(log.append))
    log.clear()
    pipeline.handle([request("a"), request("b")])

    assert log[:2] == ["floor", "floor"]
    assert isinstance(log[2], SubBatchDone)


def test_the_statements_of_a_text_are_decided_on_beside_its_scores(bundle: Bundle) -> None:
    kept = Kept()
    pipeline = open_pipeline(bundle, decider=kept, floor=Phrases())
    body = answer(pipeline, request(f"a {PHRASE}"))
    answer(pipeline, request("a"))

    assert [asked.statements for asked in kept.asked] == [STATED, ()]
    assert [asked.received.request.text for asked in kept.asked] == [f"a {PHRASE}", "a"]
    assert [label.name for label in kept.asked[0].labels] == ["neutral", "depressed", "anxious", "stressed"]
    assert body["escalation"] == {"tier": "none", "number": 1}


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (request(f"a {PHRASE}{POISON}"), "internal"),
        (request(f"a {PHRASE}", colour=1), "invalid_request"),
        (request(f"a {PHRASE}\ud83d"), "invalid_text"),
        (request(f"a {PHRASE}", context=history(happy=0.5)), "unknown_label"),
        (request(f"a {PHRASE}{LONG}", options={"over_length": "reject"}), "too_long"),
    ],
    ids=["model", "request", "surrogate", "label", "too long"],
)
def test_the_statements_of_a_text_are_decided_on_whatever_becomes_of_its_scores(
    bundle: Bundle, raw: RawRequest, code: str
) -> None:
    kept = Kept()
    poisoned = PoisonedBundle(bundle.folder, bundle.manifest)
    (outcome,) = open_pipeline(poisoned, decider=kept, floor=Phrases()).handle([raw])

    assert fields(outcome)["error"]["code"] == code
    assert fields(outcome)["escalation"] == {"tier": "none", "number": 1}
    (asked,) = kept.asked
    assert (asked.statements, asked.labels, asked.input, asked.faults) == (STATED, (), None, ())


def test_the_statements_of_a_text_with_non_finite_scores_are_decided_on(bundle: Bundle) -> None:
    kept = Kept()
    pipeline = open_pipeline(NanBundle(bundle.folder, bundle.manifest), decider=kept, floor=Phrases())
    (outcome,) = pipeline.handle([request(f"a {PHRASE}{POISON}")])

    assert fields(outcome)["error"]["code"] == "non_finite_scores"
    assert [(asked.statements, asked.labels) for asked in kept.asked] == [(STATED, ())]


def test_the_statements_of_a_text_that_came_too_late_are_decided_on(bundle: Bundle) -> None:
    ticks, kept = count(), Kept()
    pipeline = open_pipeline(bundle, clock=lambda: float(next(ticks)), decider=kept, floor=Phrases(), deadline_s=0.5)
    (outcome,) = pipeline.handle([request(f"a {PHRASE}")])

    assert fields(outcome)["error"]["code"] == "deadline_exceeded"
    assert [(asked.statements, asked.faults) for asked in kept.asked] == [(STATED, ("model_timeout",))]


def test_the_statements_of_a_text_that_was_not_let_in_are_decided_on(bundle: Bundle) -> None:
    kept = Kept()
    pipeline = open_pipeline(bundle, decider=kept, floor=Phrases())
    call = pipeline.prepare(request(f"a {PHRASE}"))
    call.texts[0].result = LanternError(OVERLOADED, "full")
    (outcome,) = pipeline.finish([call])

    assert (outcome.status, outcome.retryable) == (503, True)
    assert fields(outcome)["escalation"] == {"tier": "none", "number": 1}
    assert [(asked.statements, asked.labels) for asked in kept.asked] == [(STATED, ())]


def test_the_statements_of_each_entry_are_decided_on(bundle: Bundle) -> None:
    kept = Kept()
    pipeline = open_pipeline(PoisonedBundle(bundle.folder, bundle.manifest), decider=kept, floor=Phrases())
    texts = [f"a {PHRASE}", "a", f"a {PHRASE}{POISON}", " ", PHRASE]
    results = answer(pipeline, request(entries=[{"text": text} for text in texts]))["results"]

    assert [result["status"] for result in results] == [200, 200, 500, 400, 200]
    assert [asked.statements for asked in kept.asked] == [STATED, (), STATED, (Statement(0, 10, "intent", "en"),)]
    assert [result.get("escalation", {}).get("number") for result in results] == [1, 2, 3, None, 4]


def test_a_writer_who_objects_to_scores_is_not_scored_and_still_looked_after(bundle: Bundle) -> None:
    kept, events = Kept(), list[Event]()
    pipeline = open_pipeline(bundle, events.append, decider=kept, floor=Phrases())
    events.clear()
    objecting = {"context": {"processing": "lines_only"}, "options": {"over_length": "reject"}}
    first, second = pipeline.handle([request(f"{LONG} {PHRASE}", **objecting), request("a")])

    body = fields(first)
    assert (first.status, body["labels"], body["escalation"]) == (200, [], {"tier": "none", "number": 1})
    tokens = body["input"]["tokens"]
    assert body["input"] == {"tokens": tokens, "tokens_scored": 0, "windows": [], "truncated": True}
    assert tokens > 600
    assert len(fields(second)["labels"]) == 4
    assert [bool(asked.statements) for asked in kept.asked] == [True, False]
    assert sum(isinstance(event, SubBatchDone) for event in events) == 1


def test_a_label_that_the_model_lacks_is_named_by_its_place_in_the_request(bundle: Bundle) -> None:
    pipeline = open_pipeline(bundle)
    entry = {"entry_id": "e", "at": "2026-02-01T14:00:00Z", "scores": {"rage": 0.2}}
    (outcome,) = pipeline.handle([request("a", context={"history": [1, entry]})])

    assert fields(outcome)["error"]["field"] == "context.history[1].scores"


def test_a_text_that_is_refused_unread_is_looked_through_and_decided_on_and_not_run(bundle: Bundle) -> None:
    kept, events = Kept(), list[Event]()
    pipeline = open_pipeline(bundle, events.append, decider=kept, floor=Phrases())
    events.clear()
    outcome = pipeline.refuse(request(f"a {PHRASE}"), LanternError(DRAINING, "stopping"))

    assert (outcome.status, outcome.retryable) == (503, True)
    assert fields(outcome) == {
        "error": {"code": "draining", "message": "stopping", "field": None},
        "escalation": {"tier": "none", "number": 1},
    }
    assert [(asked.statements, asked.labels) for asked in kept.asked] == [(STATED, ())]
    (done,) = events
    assert isinstance(done, RequestDone)
    assert (done.code, [text.code for text in done.texts]) == ("draining", ["draining"])


def test_entries_that_are_refused_unread_say_what_to_offer_the_writer_of_each(bundle: Bundle) -> None:
    kept = Kept()
    pipeline = open_pipeline(bundle, decider=kept, floor=Phrases())
    entries = [{"text": f"a {PHRASE}"}, {"text": " "}, {"text": "a"}]
    outcome = pipeline.refuse(request(entries=entries), LanternError(DRAINING, "stopping"))
    body = fields(outcome)

    assert (outcome.status, outcome.retryable, body["error"]["code"]) == (503, True, "draining")
    assert [result["status"] for result in body["results"]] == [503, 400, 503]
    assert [result.get("escalation", {}).get("number") for result in body["results"]] == [1, None, 2]
    assert [asked.statements for asked in kept.asked] == [STATED, ()]


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (RawRequest(b"{"), "invalid_json"),
        (request(" "), "invalid_text"),
        (request("a", colour=1), "invalid_request"),
        (request(entries=[{"text": "a"}], colour=1), "invalid_request"),
    ],
)
def test_what_is_wrong_with_a_request_is_told_before_that_it_is_not_taken(
    bundle: Bundle, raw: RawRequest, code: str
) -> None:
    events: list[Event] = []
    pipeline = open_pipeline(bundle, events.append)
    events.clear()
    outcome = pipeline.refuse(raw, LanternError(DRAINING, "stopping"))

    assert (outcome.status, outcome.retryable, fields(outcome)["error"]["code"]) == (400, False, code)
    assert [event.code for event in events if isinstance(event, RequestDone)] == [code]


def test_a_floor_that_fails_is_an_error_with_what_to_offer_and_no_calm_answer(bundle: Bundle) -> None:
    events: list[Event] = []
    pipeline = open_pipeline(bundle, events.append, decider=escalation(), floor=Phrases())
    events.clear()
    outcomes = pipeline.handle([request(f"{CANARY} {BROKEN}", country="GB"), request("a", country="GB")])

    assert [outcome.status for outcome in outcomes] == [500, 200]
    body = fields(outcomes[0])
    assert body["error"]["code"] == "internal"
    assert body["escalation"]["lines"]
    assert body["escalation"]["uncertainty"] == ["missing_signal"]
    (fault,) = (event for event in events if isinstance(event, Fault))
    assert (fault.exception, fault.fault_id in body["error"]["message"]) == ("ValueError", True)
    assert [event.inputs for event in events if isinstance(event, SubBatchDone)] == [1]
    assert "QxZ73" not in f"{events} {outcomes}"


def test_a_request_that_is_wrong_is_told_so_although_the_floor_fails(bundle: Bundle) -> None:
    pipeline = open_pipeline(bundle, decider=escalation(), floor=Phrases())
    (outcome,) = pipeline.handle([request(BROKEN, colour=1)])

    assert (outcome.status, fields(outcome)["error"]["code"]) == (400, "invalid_request")
    assert fields(outcome)["escalation"]["lines"]


def test_an_explicit_statement_is_a_crisis_in_an_answer_and_in_an_error_alike(bundle: Bundle) -> None:
    events: list[Event] = []
    pipeline = open_pipeline(bundle, events.append, decider=escalation(events.append), floor=Phrases())
    events.clear()
    answered, refused = (
        fields(outcome)
        for outcome in pipeline.handle(
            [
                request(f"a {PHRASE}", country="GB"),
                request(f"a {PHRASE}", country="GB", colour=1),
            ]
        )
    )

    assert "labels" in answered and refused["error"]["code"] == "invalid_request"
    for body in (answered, refused):
        found = body["escalation"]
        assert (found["tier"], found["lines"][0]["id"]) == ("crisis", "gb-samaritans")
        assert "explicit_statement" in found["flags"] and "statement_floor" in found["rules_fired"]
        assert found["statements"] == [{"start_char": 2, "end_char": 12, "kind": "intent", "language": "en"}]
        assert found["care_until"]
    decided = [event for event in events if isinstance(event, Decided)]
    assert [(event.tier, event.statements) for event in decided] == [("crisis", (("intent", "en"),))] * 2
    assert PHRASE not in f"{events}"


def test_an_event_says_how_long_statements_were_looked_for(bundle: Bundle) -> None:
    ticks, events = count(), list[Event]()
    pipeline = open_pipeline(bundle, events.append, clock=lambda: float(next(ticks)), floor=Phrases())
    pipeline.handle([request("a"), request(" ")])

    assert [text.floor_s for event in events if isinstance(event, RequestDone) for text in event.texts] == [1.0]


def test_what_came_too_late_is_told_to_the_policy(bundle: Bundle) -> None:
    ticks = count()
    pipeline = open_pipeline(bundle, clock=lambda: float(next(ticks)), decider=escalation(), deadline_s=0.5)
    (outcome,) = pipeline.handle([request("a")])

    assert outcome.status == 504
    assert "model_timeout" in fields(outcome)["escalation"]["uncertainty"]


class BrokenDecider:
    """Fails on every answer."""

    def decide(self, answered: Answered) -> dict[str, Any]:
        raise ValueError(CANARY)

    def record(self) -> None:
        pass


def test_a_decision_that_fails_is_an_error_and_never_a_calm_answer(bundle: Bundle) -> None:
    events: list[Event] = []
    pipeline = open_pipeline(bundle, events.append, decider=BrokenDecider())
    (outcome,) = pipeline.handle([request("a")])

    assert outcome.status == 500
    assert fields(outcome)["error"]["code"] == "internal"
    assert any(isinstance(event, Fault) for event in events)
    assert CANARY not in f"{events} {outcome}"


def test_a_window_that_fails_fails_its_text_alone(bundle: Bundle) -> None:
    pipeline = open_pipeline(PoisonedBundle(bundle.folder, bundle.manifest))

    assert [outcome.status for outcome in pipeline.handle([request(LONG + POISON), request(LONG)])] == [500, 200]


def test_what_the_deadline_leaves_is_answered_as_late(bundle: Bundle) -> None:
    ticks = count()
    pipeline = open_pipeline(bundle, clock=lambda: float(next(ticks)), deadline_s=0.5)
    outcomes = pipeline.handle([request("a"), RawRequest(b"{")])

    assert [outcome.status for outcome in outcomes] == [504, 400]
    assert fields(outcomes[0])["error"]["code"] == "deadline_exceeded"


def test_events_count_texts_tokens_and_errors(bundle: Bundle) -> None:
    events: list[Event] = []
    pipeline = open_pipeline(bundle, events.append)
    events.clear()
    pipeline.handle([request("abc"), request("defg"), RawRequest(b"{")])

    run, *requests = events
    lengths = (4 + 2, 3 + 2)
    assert run == SubBatchDone(inputs=2, tokens=sum(lengths), padded_tokens=2 * max(lengths), run_s=0.0)
    first, second, failed = (event for event in requests if isinstance(event, RequestDone))
    assert [(request.code, request.texts[0].tokens) for request in (first, second)] == [(OK, 3), (OK, 4)]
    assert sorted(first.texts[0].runs[0].lengths) == sorted(lengths)
    assert first.texts[0].runs[0].padded_tokens == run.padded_tokens
    assert (failed.code, failed.refused, failed.texts) == ("invalid_json", ("invalid_json",), ())


@pytest.mark.parametrize(
    ("mode", "handling", "windows"), [("window", "window", 3), ("head", "head", 1), ("reject", "reject", 0)]
)
def test_an_event_says_what_was_done_with_a_text_that_is_too_long(
    bundle: Bundle, mode: str, handling: str, windows: int
) -> None:
    events: list[Event] = []
    pipeline = open_pipeline(bundle, events.append)
    events.clear()
    pipeline.handle([request(LONG, options={"over_length": mode}), request("abc")])

    long, short = (event.texts[0] for event in events if isinstance(event, RequestDone))
    assert (long.handling, long.windows) == (handling, windows)
    assert (short.handling, short.windows) == ("none", 1)


def test_an_event_holds_the_scores_and_the_error_of_each_entry(bundle: Bundle) -> None:
    events: list[Event] = []
    pipeline = open_pipeline(bundle, events.append)
    events.clear()
    too_long = {"text": LONG, "options": {"over_length": "reject"}}
    (outcome,) = pipeline.handle([request(entries=[{"text": "abc"}, {"text": ""}, too_long])])

    (done,) = (event for event in events if isinstance(event, RequestDone))
    assert (done.code, done.refused) == (OK, ("invalid_text",))
    assert [text.code for text in done.texts] == [OK, "too_long"]
    answered = fields(outcome)["results"][0]["labels"]
    assert [(each.label, each.score, each.positive) for each in done.texts[0].scores] == [
        (label["name"], label["score"], label["positive"]) for label in answered
    ]


def test_a_fault_of_one_entry_is_the_code_of_its_request(bundle: Bundle) -> None:
    events: list[Event] = []
    pipeline = open_pipeline(NanBundle(bundle.folder, bundle.manifest), events.append)
    events.clear()
    pipeline.handle([request(entries=[{"text": "abc"}, {"text": POISON}])])

    (done,) = (event for event in events if isinstance(event, RequestDone))
    assert done.code == "non_finite_scores"


def test_loading_reports_what_is_served(bundle: Bundle) -> None:
    events: list[Event] = []
    open_pipeline(bundle, events.append, warm_up=True)

    loaded = events[-1]
    assert isinstance(loaded, Loaded)
    assert (loaded.checkpoint, loaded.runtime, loaded.device) == ("checkpoint", "onnx", "cpu")


@given(UNICODE | st.just(" "), st.sampled_from(["window", "reject", "x"]))
@settings(max_examples=25)
def test_no_event_or_error_holds_a_text(bundle: Bundle, text: str, mode: str) -> None:
    events: list[Event] = []
    pipeline = open_pipeline(PoisonedBundle(bundle.folder, bundle.manifest), events.append)
    written = f"{CANARY} {text}"
    outcomes = pipeline.handle(
        [
            request(written, options={"over_length": mode}),
            request(written * 20, options={"over_length": "reject"}),
            request(f"{written}{POISON}"),
            request("a", **{written: 1}),
            request("a", entry_id=written, context=history(**{written: 0.5})),
            RawRequest(written.encode()),
            RawRequest(written.encode(), PLAIN_TEXT),
        ]
    )

    assert "QxZ73" not in f"{events}"
    assert "QxZ73" not in "".join(outcome.body.decode() for outcome in outcomes)


def test_smoke_entries_that_come_out_right_let_it_load(bundle: Bundle, pipeline: Pipeline) -> None:
    open_pipeline(with_manifest(bundle, smoke=(SmokeEntry(text="a", expected=_top(pipeline, "a")),)))

    assert _top(pipeline, "a") in bundle.manifest.labels


def test_a_smoke_entry_that_comes_out_wrong_stops_loading(bundle: Bundle, pipeline: Pipeline) -> None:
    top = _top(pipeline, "a secret")
    wrong = next(label for label in bundle.manifest.labels if label != top)
    smoke = (SmokeEntry(text="a secret", expected=top), SmokeEntry(text="a secret", expected=wrong))

    with pytest.raises(StartupError, match=f"smoke entry 2 came out as {top} instead of {wrong}") as caught:
        open_pipeline(with_manifest(bundle, smoke=smoke))
    assert "secret" not in str(caught.value)


def test_labels_in_another_order_do_not_load(bundle: Bundle, pipeline: Pipeline) -> None:
    smoke = (SmokeEntry(text="a", expected=_top(pipeline, "a")),)

    with pytest.raises(StartupError, match="the labels are in the wrong order"):
        open_pipeline(with_manifest(bundle, smoke=smoke, labels=bundle.manifest.labels[::-1]))


def test_a_smoke_entry_that_fails_stops_loading(bundle: Bundle) -> None:
    poisoned = PoisonedBundle(bundle.folder, bundle.manifest)

    with pytest.raises(StartupError, match="smoke entry 1 failed: internal"):
        open_pipeline(with_manifest(poisoned, smoke=(SmokeEntry(text=POISON, expected="neutral"),)))


def test_describe_says_what_runs(pipeline: Pipeline) -> None:
    description = pipeline.describe()

    assert (description["device"], description["threads"], description["max_tokens"]) == ("cpu", 1, WINDOW)
    assert description["labels"][0] == {"name": "neutral", "threshold": 0.5}
    assert description["model"]["runtime"] == "onnx"
    assert json.loads(json.dumps(description)) == description


@pytest.mark.parametrize(
    ("windows", "max_length", "lengths"),
    [
        ((512,) * 12, 4096, [3, 128, 256, 512, 1024, 4096]),
        ((32, 64), 256, [3, 16, 32, 64, 128, 256]),
        ((8,), 6, [4, 6]),
    ],
)
def test_every_length_regime_is_warmed_up(
    bundle: Bundle, windows: tuple[int, ...], max_length: int, lengths: list[int]
) -> None:
    manifest: Manifest = with_manifest(bundle, attention_window=windows, max_length=max_length).manifest

    assert [length for length in lengths if length not in warm_up_lengths(manifest)] == []
    assert max(warm_up_lengths(manifest)) == max_length


def _top(pipeline: Pipeline, text: str) -> str:
    labels = answer(pipeline, request(text))["labels"]
    return str(max(labels, key=lambda label: label["score"])["name"])
