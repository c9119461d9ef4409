from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.__main__ import main
from deploy.fuzz.report import markdown
from deploy.fuzz.run import Finding, Report
from deploy.fuzz.target import Memory, files_with
from deploy.fuzz.verdicts import judge_grpc, judge_rest


def _error(code: str) -> bytes:
    return json.dumps({"error": {"code": code, "message": "m", "field": None}}).encode()


def _refusal(status: int, kind: str) -> bytes:
    return json.dumps({"code": status, "type": kind, "message": "m"}).encode()


_INDEX = _refusal(500, "ArrayIndexOutOfBoundsException")


@pytest.mark.parametrize(
    ("status", "body", "reaches", "is_head"),
    [
        (200, b'{"labels": []}', True, False),
        (400, _error("invalid_json"), True, False),
        (503, _error("overloaded"), True, False),
        (404, _refusal(404, "ModelNotFoundException"), False, False),
        (413, b"", True, False),
        (500, _INDEX, False, False),
        (415, b"", True, True),
        (None, b"", False, False),
    ],
)
def test_what_may_come_over_rest(status: int | None, body: bytes, reaches: bool, is_head: bool) -> None:
    assert judge_rest(status, body, is_head=is_head, reaches=reaches) == ""


@pytest.mark.parametrize(
    ("status", "body", "reaches", "is_head", "what"),
    [
        (500, _error("internal"), True, False, "500 internal"),
        (504, _error("deadline_exceeded"), True, False, "504 deadline_exceeded"),
        (200, _error("invalid_json")[:-1], True, False, "200 without JSON"),
        (413, _error("invalid_json"), True, False, "413 with the code invalid_json, which is 400"),
        (400, _error("no_such"), True, False, "unknown code"),
        (400, _refusal(400, "BadRequestException"), True, False, "has to be an error of Lantern's"),
        (400, b"", True, False, "has to be an error of Lantern's"),
        (500, _INDEX, True, False, "500 ArrayIndexOutOfBoundsException"),
        (500, _refusal(500, "NullPointerException"), False, False, "500 NullPointerException"),
        (507, _refusal(507, "InternalServerException"), False, False, "507 InternalServerException"),
        (500, b"", True, True, "500 to HEAD"),
        (None, b"", True, False, "no answer"),
    ],
)
def test_what_must_not_come_over_rest(status: int | None, body: bytes, reaches: bool, is_head: bool, what: str) -> None:
    assert what in judge_rest(status, body, is_head=is_head, reaches=reaches)


def test_grpc_is_judged_by_status_and_body() -> None:
    ok = frozenset({"OK"})
    assert judge_grpc("OK", "", _error("invalid_json"), ok) == ""
    assert judge_grpc("OK", "", b'{"labels": []}', ok) == ""
    assert judge_grpc("OK", "", _error("internal"), ok) == "500 internal"
    assert judge_grpc("OK", "", b"labels", ok) == "a prediction that is no JSON"
    assert judge_grpc("DEADLINE_EXCEEDED", "", b"", ok) == "DEADLINE_EXCEEDED instead of OK"
    internal = frozenset({"INTERNAL"})
    assert judge_grpc("INTERNAL", "Model not found: x", b"", internal) == ""
    assert judge_grpc("INTERNAL", "Worker died.", b"", internal) == "INTERNAL for no known reason"


def test_files_that_hold_what_was_sent_are_found(tmp_path: Path) -> None:
    word = "fzbcdfghjklm"
    (tmp_path / "logs").mkdir()
    for name, content in {"a": word.encode(), "b": word.encode("utf-16-le"), "c": word.encode().hex().encode()}.items():
        (tmp_path / "logs" / name).write_bytes(b"x" + content + b"y")
    (tmp_path / "logs" / "clean").write_bytes(b"nothing")
    assert files_with(word, tmp_path) == ["logs/a", "logs/b", "logs/c"]


_GOOD = Report(
    command="python -m deploy fuzz",
    seed=1,
    canary="fz",
    seconds=300.0,
    requests=10,
    sent={"http: cut": 10},
    answers={"http 400": 10},
    known_5xx=0,
    findings=[],
    after_warm_up=Memory(500.0, 250.0),
    at_end=Memory(510.0, 255.0),
    course=[Memory(505.0, 251.0)],
    worker_growth=0.02,
    jvm_growth=0.02,
    restarted=False,
    files_with_canary=[],
)


def test_a_run_in_which_all_holds_has_passed() -> None:
    assert _GOOD.failures == []
    assert "# Fuzz: passed" in markdown(_GOOD)


@pytest.mark.parametrize(
    ("change", "failure"),
    [
        ({"findings": [Finding("http", 1, 2, "cut", "500 internal")]}, "1 answers that must not be"),
        ({"worker_growth": 0.051}, "the worker grew by 5.1%"),
        ({"jvm_growth": 0.2}, "the JVM grew by 20.0%"),
        ({"restarted": True}, "the worker or the JVM was restarted"),
        ({"files_with_canary": ["logs/a"]}, "logs/a holds what was sent"),
        ({"requests": 0}, "nothing was sent"),
    ],
)
def test_each_thing_that_does_not_hold_fails_the_run(change: dict[str, object], failure: str) -> None:
    report = replace(_GOOD, **change)  # type: ignore[arg-type]
    assert report.failures == [failure]
    assert failure in markdown(report)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--url", "http://192.0.2.1:8080", "--grpc", "127.0.0.1:7070"], "192.0.2.1 is not this machine"),
        (["--url", "http://127.0.0.1:8080"], "--url and --grpc are of one server"),
        (["--archive", "no/such.mar"], "no model archive at"),
    ],
)
def test_what_cannot_be_fuzzed_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    run_dir = ["--run-dir", str(tmp_path / "run"), "--out", str(tmp_path / "out")]
    assert main(["fuzz", "--minutes", "0.01", "--seed", "1", *options, *run_dir]) == 2
    assert words in capsys.readouterr().err
