"""The canary: a text that was sent in every way there is can be found nowhere afterwards.

Looked through are all files of the server (logs of TorchServe, the JVM and the workers, configuration, temporary
files), its terminal, the metrics and every answer; looked for are the text, each of its words and its tokens, in the
forms that encodings give them.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc  # type: ignore[import-untyped]
import httpx
import pytest

from client import LanternClient, LanternClientError
from tests.otlp import Collector
from tests.server.live import JSON, PREDICTIONS, Live, Packed, until
from tests.server.traces import contents, digest, find, forms

_WORDS = ("Quorvanexil", "blixtemorand", "zandrupelkeif", "梟の硝子瓶七つ🦉", "ÿælgrønhævn")
_CANARY = " ".join(_WORDS)
_FIELD = "wystelbrandtquim"
"""A canary that is a field name. The contract repeats an unknown field to its caller, and to nobody else."""
_PLAIN = {"content-type": "text/plain"}
_FORM_BYTES = 300_000


@dataclass(frozen=True)
class Sent:
    """Everything that came back, by what was sent; and what was found while a worker held the text.

    ``before`` tells the files that were there before, such as those of the archive: they need no second look.
    """

    before: frozenset[str]
    answers: list[tuple[str, bytes]]
    echoed_paths: list[tuple[str, bytes]]
    files_while_held: list[str]
    killed: httpx.Response


@pytest.fixture(scope="module")
def wanted(packed: Packed) -> dict[str, bytes]:
    """All forms of the canary and of its words."""
    pieces = (_CANARY, _FIELD, *_WORDS, *(f" {word}" for word in _WORDS[1:]))
    ways = ((piece, forms(piece, packed.ids(piece))) for piece in pieces)
    return {f"{form} of {piece!r}": part for piece, found in ways for form, part in found.items()}


@pytest.fixture(scope="module")
def sent(live: Live, packed: Packed, wanted: dict[str, bytes]) -> Sent:
    """Send the canary in every way, the last time to a worker that is killed while it holds the text."""
    before = frozenset(digest(path.read_bytes()) for path in live.files())
    answers = [(name, send()) for name, send in _ways(live, packed)]
    echoed = [
        (path, live.http.post(path, content=b'{"text": "a"}', headers=JSON).content)
        for path in (f"/predictions/{quote(_CANARY)}", f"{PREDICTIONS}/{quote(_CANARY)}")
    ]
    found, killed, others = _kill_while_held(live, packed, wanted, before)
    return Sent(before, answers + others, echoed, found, killed)


def _ways(live: Live, packed: Packed) -> Iterator[tuple[str, Callable[[], bytes]]]:
    long = f"{_CANARY} {packed.text_of(packed.window * 3 // 2)} {_CANARY}"
    bodies: dict[str, Any] = {
        "valid": {"text": _CANARY, "options": {"return_logits": True}},
        "identifiers": {"text": "a", "entry_id": _CANARY, "subject_id": _CANARY},
        "cut": json.dumps({"text": _CANARY}, ensure_ascii=False).encode()[:-2],
        "no json": _CANARY.encode(),
        "not utf-8": json.dumps({"text": _CANARY}, ensure_ascii=False).encode("utf-16"),
        "lone surrogate": json.dumps({"text": _CANARY + "\ud800"}).encode(),
        "twice": f'{{"text": "{_CANARY}", "text": "{_CANARY}"}}'.encode(),
        "deep": b"[" * 100_000 + _CANARY.encode(),
        "huge number": b'{"text": ' + b"9" * 5000 + _CANARY.encode(),
        "unknown field": {"text": "a", _CANARY: _CANARY},
        "unknown option": {"text": _CANARY, "options": {_CANARY: 1}},
        "wrong type": {"text": [_CANARY]},
        "wrong choice": {"text": _CANARY, "options": {"over_length": _CANARY}},
        "locale": {"text": _CANARY, "locale": _CANARY},
        "country": {"text": _CANARY, "country": _CANARY},
        "time": {"text": _CANARY, "context": {"history": [{"entry_id": "e", "at": f"T{_CANARY}", "scores": {}}]}},
        "label": {
            "text": _CANARY,
            "context": {"history": [{"entry_id": "e", "at": "2026-03-01T14:00:00Z", "scores": {_CANARY: 0.5}}]},
        },
        "entries": {"entries": [{"text": _CANARY}, {"text": "", _CANARY: 1}, _CANARY, {"text": _CANARY, "x": _CANARY}]},
        "beside entries": {"entries": [{"text": _CANARY}], _CANARY: 1},
        "beyond all windows": {"text": f"{_CANARY} " + "\N{SNOWMAN}" * (65 * packed.window)},
    }
    bodies |= {
        f"long, {mode}": {"text": long, "options": {"over_length": mode}}
        for mode in ("window", "head", "head_tail", "reject")
    }
    for name, body in bodies.items():
        yield f"REST {name}", lambda body=body: live.post(body).content
        yield f"gRPC {name}", lambda body=body: live.call(body)
    for name in ("valid", "cut", "no json", "not utf-8", "entries"):
        yield f"gRPC text {name}", lambda body=bodies[name]: live.call(body, "text")
    yield from _http_ways(live)
    yield from _failing_ways(live)


def _http_ways(live: Live) -> Iterator[tuple[str, Callable[[], bytes]]]:
    text = _CANARY.encode()
    call = json.dumps({"text": _CANARY})
    requests: dict[str, dict[str, Any]] = {
        "plain": {"content": text, "headers": _PLAIN},
        "plain, not utf-8": {"content": text + b"\xff", "headers": _PLAIN},
        "other charset": {"content": text, "headers": {"content-type": "text/plain; charset=koi8-r"}},
        "other type": {"content": text, "headers": {"content-type": "application/xml"}},
        "no type": {"content": text},
        "type is the text": {"content": text, "headers": {"content-type": quote(_CANARY)}},
        "base64": {"content": base64.b64encode(text), "headers": JSON},
        "form": {"data": {"text": _CANARY, "body": _CANARY, "data": call}},
        "form field": {"data": {_CANARY: "a"}},
        "multipart": {"files": {"body": (quote(_CANARY), _CANARY), "data": call}},
        "query": {"params": {"text": _CANARY, "data": call, "body": call}},
        "query beside body": {"params": {_CANARY: _CANARY}, "content": b'{"text": "a"}', "headers": JSON},
        "header": {"headers": {"x-note": quote(_CANARY), **JSON}, "content": b'{"text": "a"}'},
        "over the limit": {"content": text * 120_000, "headers": JSON},
    }
    for name, fields in requests.items():
        yield f"REST {name}", lambda fields=fields: live.http.post(PREDICTIONS, **fields).content
    for method in ("GET", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"):
        yield method, lambda method=method: live.http.request(method, PREDICTIONS, content=text, headers=JSON).content
    for path in (f"/{quote(_CANARY)}", f"/ping?{quote(_CANARY)}", f"/v2/{quote(_CANARY)}", f"/models/{quote(_CANARY)}"):
        yield path, lambda path=path: live.http.post(path, content=text, headers=JSON).content
    yield "metrics", lambda: httpx.get(f"http://127.0.0.1:{live.ports.metrics}/metrics?name[]={quote(_CANARY)}").content


def _failing_ways(live: Live) -> Iterator[tuple[str, Callable[[], bytes]]]:
    clients: dict[str, Callable[[], LanternClient]] = {
        "REST": lambda: LanternClient.rest(live.url, model=_CANARY),
        "gRPC": lambda: LanternClient.grpc(live.target, model=_CANARY),
        "REST, too long": lambda: LanternClient.rest(live.url),
        "gRPC, too long": lambda: LanternClient.grpc(live.target),
    }
    for name, make in clients.items():
        yield f"client {name}", lambda name=name, make=make: _client_error(make, 120_000 if "long" in name else 1)
    yield "gRPC unknown model", lambda: _rpc_error(lambda: live.call({"text": _CANARY}, model="nobody"))
    yield "gRPC over the limit", lambda: _rpc_error(lambda: live.call(_CANARY.encode() * 120_000))
    yield "gRPC key", lambda: live.call(b"{}", key=_CANARY)


def _client_error(make: Callable[[], LanternClient], times: int) -> bytes:
    with make() as client, pytest.raises(LanternClientError) as refused:
        client.classify(_CANARY * times)
    return f"{refused.value!r} {refused.value}".encode()


def _rpc_error(call: Callable[[], bytes]) -> bytes:
    with pytest.raises(grpc.RpcError) as refused:
        call()
    return str(refused.value).encode()


def _kill_while_held(
    live: Live, packed: Packed, wanted: dict[str, bytes], before: frozenset[str]
) -> tuple[list[str], httpx.Response, list[tuple[str, bytes]]]:
    """Kill the worker inside a batch of the text, with more of it in the queue, and wait for the next worker."""
    form = {"text": _CANARY * (_FORM_BYTES // len(_CANARY))}
    with ThreadPoolExecutor(4) as callers:
        held = live.hold(callers, f"{_CANARY} {packed.text_of(packed.window * 3)}")
        try:
            queued = {
                "queued gRPC": callers.submit(live.call, {"text": _CANARY}),
                "queued form": callers.submit(lambda: live.http.post(PREDICTIONS, data=form).content),
                "queued multipart": callers.submit(lambda: live.http.post(PREDICTIONS, files=form).content),
            }
            until(lambda: live.pending() == len(queued), "the queue to fill")
            found = find(wanted, contents(live.files(), before))
        finally:
            held.worker.kill()
        killed = held.answer.result()
        others = [(name, answer.result()) for name, answer in queued.items()]
    assert live.worker().pid != held.worker.pid
    return found, killed, [*others, ("killed", killed.content)]


def test_no_file_holds_a_trace(live: Live, sent: Sent, wanted: dict[str, bytes]) -> None:
    assert find(wanted, contents(live.files(), sent.before)) == []


def test_no_file_holds_a_trace_while_the_text_is_in_the_server(sent: Sent) -> None:
    assert sent.files_while_held == []


def test_no_trace_on_the_terminal(live: Live, sent: Sent, wanted: dict[str, bytes]) -> None:
    assert find(wanted, [("terminal", "".join(live.lines).encode())]) == []


def test_no_metric_holds_a_trace(live: Live, sent: Sent, wanted: dict[str, bytes]) -> None:
    assert find(wanted, [("metrics", live.metrics())]) == []


def test_no_span_holds_a_trace(collector: Collector, sent: Sent, wanted: dict[str, bytes]) -> None:
    spans = b"".join(collector.bodies)
    assert b"classify" in spans
    assert find(wanted, [("spans", spans)]) == []


def test_no_answer_holds_a_trace(sent: Sent, wanted: dict[str, bytes]) -> None:
    assert find(wanted, sent.answers) == []


def test_path_goes_back_to_its_caller_alone(sent: Sent) -> None:
    """TorchServe's own 404 repeats the model's name and version, which the caller has made the text: nothing else."""
    kinds = [json.loads(body)["type"] for _, body in sent.echoed_paths]
    assert kinds == ["ModelNotFoundException", "ModelVersionNotFoundException"]


def test_unknown_field_goes_back_to_its_caller_alone(live: Live, sent: Sent, wanted: dict[str, bytes]) -> None:
    assert live.post({"text": "a", _FIELD: 1}).json()["error"]["field"] == _FIELD
    assert find(wanted, [*contents(live.files(), sent.before), ("metrics", live.metrics())]) == []


def test_killed_worker_is_an_error_without_the_text(sent: Sent) -> None:
    assert sent.killed.status_code >= 500
    assert sent.killed.json()["message"] == "Worker died."


def test_what_waited_for_the_killed_worker_is_answered_by_the_next(sent: Sent) -> None:
    answers = dict(sent.answers)
    assert "labels" in json.loads(answers["queued gRPC"])
    assert json.loads(answers["queued form"])["error"]["code"] == "unsupported_media_type"


def test_no_core_dump_is_left(live: Live, sent: Sent) -> None:
    dump = re.compile(r"core(\.\d+)?|(hs_err|java-crash).*")
    assert [path.name for path in live.files() if dump.fullmatch(path.name)] == []


def test_control_text_of_a_log_is_found(live: Live) -> None:
    known = forms("Torch worker started.", [])
    assert [place for place in find(known, contents(live.files())) if place == "model.log: utf-8"]


def test_control_text_of_the_metrics_is_found(live: Live) -> None:
    assert find(forms("lantern_texts_total", []), [("metrics", live.metrics())])


@pytest.mark.parametrize("piece", [_CANARY, *_WORDS])
def test_control_every_form_is_found_in_a_file_that_holds_it(
    packed: Packed, wanted: dict[str, bytes], tmp_path: Path, piece: str
) -> None:
    for number, (form, part) in enumerate(forms(piece, packed.ids(piece)).items()):
        (tmp_path / f"{number}.log").write_bytes(b"before " + part + b" after")
        assert f"{number}.log: {form} of {piece!r}" in find(wanted, contents([tmp_path / f"{number}.log"]))


@pytest.mark.parametrize("before", [0, 1, 2])
def test_control_text_inside_base64_is_found(wanted: dict[str, bytes], before: int) -> None:
    inside = base64.b64encode(b"{" * before + _CANARY.encode() + b"}")
    assert find(wanted, [("body", inside)])
