from __future__ import annotations

import inspect
import itertools
import json
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.service import Service
from ts.utils.util import list_classes_from_module

import handlers
from handlers import torchserve_entry
from handlers.core.errors import StartupError
from handlers.torchserve_entry import SentimentHandler
from server.drain import is_busy
from tests.checkpoints import Tiny

METRICS = Path(handlers.__file__).parent / "config" / "metrics.yaml"
BODY = b'{"text": "I am fine."}'
Row = dict[str, Any]


class Worker:
    """The handler inside TorchServe's own service, fed as its frontend feeds it: in turns, until all is answered."""

    def __init__(self, folder: Path) -> None:
        manifest = json.loads((folder / "MAR-INF" / "MANIFEST.json").read_text(encoding="utf-8"))
        metrics = MetricsCacheYamlImpl(config_file_path=str(METRICS))
        metrics.initialize_cache()
        self.handler = SentimentHandler()
        self.answers: dict[int, Any] = {}
        self.statuses: dict[int, int] = {}
        self.sent_headers: dict[int, dict[str, str]] = {}
        self.turns = 0
        self._numbers = itertools.count()
        self._turn: list[Any] = []
        self.service = Service("sentiment", str(folder), manifest, self._handle, None, 8, True, metrics)
        self.service.set_cl_socket(None)

    def load(self) -> Worker:
        self.handler.initialize(self.service.context)
        return self

    def predict(self, *rows: Row) -> None:
        """Answer a batch, each turn with the rows that are left; what is answered is kept by its place."""
        self.answers, self.statuses, self.sent_headers, self.turns = {}, {}, {}, 0
        number = next(self._numbers)
        left = {place: row | {"requestId": f"{number}-{place}".encode()} for place, row in enumerate(rows)}
        while left:
            for place in self.take_turn(left):
                del left[place]

    def take_turn(self, left: dict[int, Row]) -> list[int]:
        """Send rows once; return the places of those that were answered."""
        self.turns += 1
        frame = self.service.predict(list(left.values()))
        assert frame[:4] == (200).to_bytes(4, "big"), frame
        context, places = self.service.context, list(left)
        for index in context.request_ids:
            self.answers[places[index]] = self._turn[index]
            self.statuses[places[index]] = int(context.get_response_status(index)[0])
            self.sent_headers[places[index]] = dict(context.get_response_headers(index))
        return [places[index] for index in context.request_ids]

    def status(self, index: int = 0) -> int:
        return self.statuses[index]

    def headers(self, index: int = 0) -> dict[str, str]:
        return self.sent_headers[index]

    def body(self, index: int = 0) -> dict[str, Any]:
        return dict(json.loads(self.answers[index]))

    def _handle(self, rows: list[Row], context: Any) -> list[Any]:
        self._turn = self.handler.handle(rows, context)
        return self._turn


def parameter(name: str, value: bytes, media_type: str | None = "") -> Row:
    return {"name": name, "value": bytearray(value), "contentType": media_type}


def rest(payload: bytes = BODY, media_type: str = "application/json", *more: Row, **headers: str) -> Row:
    """A REST request with a body, as TorchServe's frontend sends it to the worker."""
    sent = {"host": "127.0.0.1:8080", "content-type": media_type, **headers}
    return {
        "headers": [{"name": name.encode(), "value": value.encode()} for name, value in sent.items()],
        "parameters": [*more, parameter("body", payload, media_type.partition(";")[0])],
    }


def rest_without_body(*parameters: Row, **headers: str) -> Row:
    return rest(**headers) | {"parameters": list(parameters)}


def grpc(name: str, value: bytes) -> Row:
    return {"headers": [], "parameters": [parameter(name, value)]}


@pytest.fixture(scope="module")
def folder(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive as TorchServe unpacks it."""
    folder = tmp_path_factory.mktemp("model")
    with zipfile.ZipFile(tiny.archive) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def loaded(folder: Path) -> Iterator[Worker]:
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("LANTERN_RUN_DIR", raising=False)
        yield Worker(folder).load()


def test_the_entry_defines_exactly_one_class_with_the_two_methods_that_torchserve_calls() -> None:
    (handler,) = list_classes_from_module(torchserve_entry)

    assert handler is SentimentHandler
    assert list(inspect.signature(handler.handle).parameters)[1:] == ["rows", "context"]
    assert list(inspect.signature(handler.initialize).parameters)[1:] == ["context"]


@pytest.mark.parametrize(
    "row",
    [
        rest(),
        rest(media_type="application/json; charset=utf-8"),
        rest(b"I am fine.", "text/plain"),
        grpc("data", BODY),
        grpc("text", BODY),
        grpc("text", b" \n" + BODY),
        grpc("text", b"I am fine."),
    ],
    ids=["rest", "rest charset", "rest text", "grpc data", "grpc text json", "grpc text json spaced", "grpc text"],
)
def test_a_request_of_any_protocol_is_answered_alike(loaded: Worker, row: Row) -> None:
    loaded.predict(row)

    assert loaded.status() == 200
    assert loaded.body()["input"]["tokens"] == 10
    assert loaded.headers()["content-type"] == "application/json"


@pytest.mark.parametrize(
    "row",
    [
        rest_without_body(),
        rest_without_body(parameter("text", b"I am fine.")),
        rest_without_body(parameter("data", BODY)),
        rest(b"", "", parameter("body", BODY)),
        rest(BODY, ""),
        rest(BODY, "application/json; charset=latin-1"),
        rest(b"text=I+am+fine.", "application/x-www-form-urlencoded"),
        rest_without_body(parameter("text", b"I am", "text/plain"), parameter("data", BODY, "application/json")),
    ],
    ids=["nothing", "query text", "query data", "query body", "no media type", "charset", "form", "multipart"],
)
def test_a_query_string_a_form_or_no_body_is_not_accepted(loaded: Worker, row: Row) -> None:
    loaded.predict(row)

    assert (loaded.status(), loaded.body()["error"]["code"]) == (415, "unsupported_media_type")


def test_a_grpc_call_without_input_is_an_error_of_the_table(loaded: Worker) -> None:
    loaded.predict(grpc("other", b"x"))

    assert (loaded.status(), loaded.body()["error"]["code"]) == (400, "invalid_json")


def test_every_item_of_a_batch_has_its_own_status_and_body(loaded: Worker) -> None:
    long = json.dumps({"text": "a" * 600, "options": {"over_length": "reject"}}).encode()
    loaded.predict(rest(), rest(b"{"), rest(long), rest(b"x", "image/png"), grpc("data", BODY))

    assert [loaded.status(index) for index in range(5)] == [200, 400, 413, 415, 200]
    assert [loaded.body(index).get("error", {}).get("code") for index in range(5)] == [
        None,
        "invalid_json",
        "too_long",
        "unsupported_media_type",
        None,
    ]


@pytest.mark.parametrize(
    ("value", "media_type"),
    [({"text": "I am fine."}, "application/json"), ("I am fine.", "text/plain")],
)
def test_a_server_that_decodes_bodies_itself_is_answered_too(loaded: Worker, value: object, media_type: str) -> None:
    row = rest(b"", media_type)
    row["parameters"][0]["value"] = value
    loaded.predict(row)
    assert (loaded.status(), loaded.body()["input"]["windows"]) == (200, [{"start_char": 0, "end_char": 10}])


def test_a_number_that_json_does_not_know_is_refused_however_the_server_decodes(loaded: Worker) -> None:
    row = rest(b"")
    row["parameters"][0]["value"] = {"text": "I am fine.", "context": {"history": [float("nan")]}}
    loaded.predict(row)
    assert loaded.body()["error"]["code"] == "invalid_json"


def test_an_explicit_statement_is_found_in_an_answer_and_in_an_error(loaded: Worker) -> None:
    stated = {"text": "I want to die.", "country": "GB"}
    loaded.predict(rest(json.dumps(stated).encode()), rest(json.dumps(stated | {"colour": 1}).encode()))

    assert [loaded.status(index) for index in range(2)] == [200, 400]
    for index in range(2):
        found = loaded.body(index)["escalation"]
        assert (found["tier"], bool(found["lines"])) == ("crisis", True)
        assert [(one["kind"], one["language"]) for one in found["statements"]] == [("wish", "en")]


def test_a_query_is_no_substitute_for_an_empty_body(loaded: Worker) -> None:
    loaded.predict(rest(b"", "application/json", parameter("body", BODY), parameter("text", b"I am fine.")))

    assert (loaded.status(), loaded.body()["error"]["code"]) == (400, "invalid_json")


def test_a_query_beside_a_body_is_ignored(loaded: Worker) -> None:
    loaded.predict(rest(BODY, "application/json", parameter("text", b"another text")))

    assert loaded.body()["input"]["tokens"] == 10


@pytest.mark.parametrize("name", ["body", "Body", "data", "text"])
def test_a_header_named_like_a_parameter_hurts_nobody(loaded: Worker, name: str) -> None:
    loaded.predict(rest(), rest(**{name: "x"}), rest())

    assert [loaded.status(index) for index in range(3)] == [200, 200, 200]


def test_a_caller_cannot_ask_for_a_description_in_the_name_of_others(loaded: Worker) -> None:
    loaded.predict(rest(describe="True"), rest())

    assert all("labels" in loaded.body(index) and "timing_ms" in loaded.body(index) for index in range(2))


@pytest.mark.parametrize("name", ["content-type", "host", "traceparent", "x-request-id"])
def test_input_that_is_named_like_a_header_is_none(loaded: Worker, name: str) -> None:
    over_grpc = {"headers": [], "parameters": [parameter(name, b"x"), parameter("data", BODY)]}
    loaded.predict(rest(BODY, "application/json", parameter(name, b"x")), over_grpc)

    assert [loaded.status(index) for index in range(2)] == [200, 200]


def test_torchserve_can_ask_for_a_description(loaded: Worker) -> None:
    loaded.predict({"headers": [{"name": b"describe", "value": b"True"}], "parameters": []})

    description = json.loads(loaded.answers[0])
    assert description["model"]["name"] == "sentiment"
    assert description["max_tokens"] == 254


def test_a_text_never_reaches_a_log(loaded: Worker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    loaded.predict(rest(b'{"text": "QxZ73"}'), rest(b'QxZ73 {"'), rest(b"QxZ73", "text/plain"), grpc("text", b"QxZ73"))

    assert caplog.text
    assert "QxZ73" not in caplog.text


def test_a_batch_is_counted_in_metrics_that_the_archive_declares(
    loaded: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    loaded.predict(rest(), rest(b"{"))
    loaded.handler._relay.close()  # what it holds back is out now

    declared = yaml.safe_load(METRICS.read_text(encoding="utf-8"))["model_metrics"]
    names = {metric["name"] for metrics in declared.values() for metric in metrics}
    counted = {name for name in names if f"{name}." in caplog.text}
    assert {"lantern_texts_total", "lantern_tokens_total", "lantern_padded_tokens_total"} <= counted
    assert {"lantern_errors_total", "lantern_stage_seconds_bucket"} <= counted


def test_cores_are_shared_out_among_the_workers(folder: Path) -> None:
    from handlers.runtime.cores import available_cores

    worker = Worker(folder)
    worker.service.context.model_yaml_config["maxWorkers"] = 10_000
    assert worker.load().handler._pipeline.describe()["threads"] == 1

    worker.service.context.model_yaml_config["maxWorkers"] = 1
    assert worker.load().handler._pipeline.describe()["threads"] == available_cores()


def test_a_replica_that_drains_refuses_and_asks_to_come_back(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANTERN_RUN_DIR", str(tmp_path))
    worker = Worker(folder).load()
    worker.predict(rest())
    assert worker.status() == 200

    (tmp_path / "draining").touch()
    entries = b'{"entries": [{"text": "I am fine."}, {"text": " "}]}'
    worker.predict(rest(), grpc("data", BODY), rest(entries), rest(b"{"))

    assert [worker.status(index) for index in range(4)] == [503, 503, 503, 400]
    assert worker.headers(1)["Retry-After"] == "1"
    assert [worker.body(index)["error"]["code"] for index in range(3)] == ["draining"] * 3
    assert all(worker.body(index)["escalation"]["lines"] for index in range(2))
    results = worker.body(2)["results"]
    assert [(result["status"], bool(result.get("escalation"))) for result in results] == [(503, True), (400, False)]
    assert worker.body(3)["error"]["code"] == "invalid_json"


def test_only_a_retryable_answer_asks_to_come_back(loaded: Worker) -> None:
    loaded.predict(rest(), rest(b"{"))

    assert all("Retry-After" not in loaded.headers(index) for index in range(2))


def test_a_worker_reports_that_it_is_ready(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANTERN_RUN_DIR", str(tmp_path))
    Worker(folder).load()

    (report,) = (tmp_path / "workers").iterdir()
    assert json.loads(report.read_text(encoding="utf-8"))["state"] == "ready"


def test_a_worker_that_cannot_load_says_why(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANTERN_RUN_DIR", str(tmp_path))
    worker = Worker(folder)
    worker.service.context.model_yaml_config["lantern"]["device"] = "tpu"

    with pytest.raises(StartupError, match=r"lantern\.device"):
        worker.load()
    (report,) = (tmp_path / "workers").iterdir()
    found = json.loads(report.read_text(encoding="utf-8"))
    assert found["state"] == "failed"
    assert "lantern.device" in found["message"]


def test_phrases_of_the_serving_machine_take_the_place_of_those_in_the_archive(folder: Path, tmp_path: Path) -> None:
    worker = Worker(folder)
    worker.service.context.model_yaml_config["lantern"]["phrases"] = str(tmp_path)
    with pytest.raises(StartupError, match="phrase"):
        worker.load()


def test_a_bundle_that_was_changed_does_not_load(folder: Path, tmp_path: Path) -> None:
    from tests.unit.conftest import copy_folder

    changed = copy_folder(folder, tmp_path / "model")
    with (changed / "bundle" / "tokenizer.json").open("a", encoding="utf-8") as file:
        file.write(" ")

    with pytest.raises(StartupError, match=r"tokenizer\.json is not the file"):
        Worker(changed).load()


def let_lanes_run(worker: Worker) -> None:
    """Let the engine pass for one so slow that no text is run in the host's own thread."""
    worker.handler._scheduler._pace.learn(1, 1.0)


def test_a_turn_answers_what_is_done_and_leaves_the_rest_to_later_ones(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A short text that comes while a long one is being run is answered in an earlier turn."""
    monkeypatch.setenv("LANTERN_RUN_DIR", str(tmp_path))
    worker, let_go, inside = Worker(folder), threading.Event(), threading.Event()
    worker.service.context.model_yaml_config["lantern"]["express_tokens"] = 64
    runtime = worker.load().handler._pipeline._runtime
    run = runtime.run

    def held_run(input_ids: Any, attention_mask: Any) -> Any:
        if input_ids.shape[1] > 256 - 2:
            inside.set()
            assert let_go.wait(30)
        return run(input_ids, attention_mask)

    monkeypatch.setattr(runtime, "run", held_run)
    let_lanes_run(worker)
    long = rest(json.dumps({"text": "b" * 253}).encode())
    left = {0: long | {"requestId": b"long"}}
    while not inside.is_set():
        assert worker.take_turn(left) == []
    left[1] = rest() | {"requestId": b"short"}
    worker.turns = 0
    while not (answered := worker.take_turn(left)):
        assert worker.turns < 1000
    assert answered == [1]
    assert is_busy(tmp_path / "busy.lock")

    del left[1]
    let_go.set()
    while not (answered := worker.take_turn(left)):
        assert worker.turns < 1000
    assert answered == [0]
    assert (worker.status(0), worker.status(1)) == (200, 200)
    assert not is_busy(tmp_path / "busy.lock")


def test_without_turns_a_batch_is_answered_as_a_whole(folder: Path) -> None:
    worker = Worker(folder)
    worker.service.context.model_yaml_config["continuousBatching"] = False
    worker.load().predict(rest(), rest(b"{"), rest(json.dumps({"text": "b" * 250}).encode()))

    assert worker.turns == 1
    assert [worker.status(index) for index in range(3)] == [200, 400, 200]


def test_a_stuck_engine_ends_the_worker(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(folder).load()
    monkeypatch.setattr(type(worker.handler._scheduler), "is_stuck", property(lambda _: True))

    with pytest.raises(SystemExit):
        worker.predict(rest())


def test_what_drains_still_answers_what_it_has_taken(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANTERN_RUN_DIR", str(tmp_path))
    worker, let_go = Worker(folder).load(), threading.Event()
    runtime = worker.handler._pipeline._runtime
    run = runtime.run
    monkeypatch.setattr(runtime, "run", lambda *inputs: let_go.wait(30) and run(*inputs))
    let_lanes_run(worker)
    left = {0: rest() | {"requestId": b"taken"}}
    assert worker.take_turn(left) == []

    (tmp_path / "draining").touch()
    left[1] = rest() | {"requestId": b"late"}
    assert worker.take_turn(left) == [1]
    assert worker.body(1)["error"]["code"] == "draining"

    let_go.set()
    del left[1]
    while not worker.take_turn(left):
        assert worker.turns < 1000
    assert worker.status(0) == 200
