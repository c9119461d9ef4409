"""Log lines: valid JSON whatever is logged, bounded, and never in the way of the server."""

from __future__ import annotations

import io
import json
import os
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from server import diagnosis, logs
from server.console import Console
from server.logs import LineRelay, LogFormat, LogSettings, LogTarget, Rate, json_line, text_lines
from server.rundir import RunDir

_EVERY = [LogSettings(log_format, target) for log_format in LogFormat for target in LogTarget]


@pytest.mark.parametrize("settings", _EVERY)
def test_every_file_is_bounded_and_no_failure_to_write_is_passed_on(settings: LogSettings) -> None:
    root = ET.fromstring(settings.configuration(Path("/run/a & b/logs")))
    files = root.findall("./Appenders/RollingFile")
    assert {file.attrib["fileName"] for file in files} == {"/run/a & b/logs/server.log", "/run/a & b/logs/model.log"}
    for file in files:
        policy, strategy = file.find("SizeBasedTriggeringPolicy"), file.find("DefaultRolloverStrategy")
        assert policy is not None
        assert strategy is not None
        megabytes = int(policy.attrib["size"].removesuffix(" MB")) * (1 + int(strategy.attrib["max"]))
        assert megabytes <= (2 if settings.target is LogTarget.STDOUT else 40)
    assert {appender.attrib["ignoreExceptions"] for appender in root.findall("./Appenders/*")} == {"true"}


@pytest.mark.parametrize("settings", _EVERY)
def test_standard_output_is_written_where_it_was_asked_for(settings: LogSettings) -> None:
    root = ET.fromstring(settings.configuration(Path("/logs")))
    levels = {ref.attrib["level"] for ref in root.iter("AppenderRef") if ref.attrib["ref"].endswith("stdout")}
    assert levels == {"all" if settings.target is LogTarget.STDOUT else "off"}


def _relayed(content: bytes, log_format: LogFormat = LogFormat.TEXT) -> list[str]:
    read, write = os.pipe()
    with open(read, encoding="utf-8") as passed_on:  # noqa: PTH123 - a file descriptor
        with LineRelay(write, log_format) as relay:
            child = os.dup(relay.write_end)
            relay.serve()
            os.write(child, content)
            os.close(child)
        os.close(write)
        return passed_on.read().splitlines()


def test_lines_are_passed_on_as_they_are() -> None:
    assert _relayed("one\ntwo é\nno end".encode()) == ["one", "two é", "no end"]


def test_what_is_no_json_is_put_into_json() -> None:
    mine = json_line("WARN", "server", 'a\n"b" \\ \x00 \u2028')
    lines = _relayed(f"{mine}\nnot json\n{{}}\n[1]\n".encode() + b"\xff\n", LogFormat.JSON)
    entries = [json.loads(line) for line in lines]
    assert entries[0]["message"] == 'a\n"b" \\ \x00 \u2028'
    assert [entry.get("message") for entry in entries[1:]] == ["not json", None, "[1]", "�"]


def test_a_reader_that_does_not_read_costs_lines_and_not_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_LAST_WORDS_SECONDS", 0.1)
    read, write = os.pipe()
    relay = LineRelay(write, LogFormat.TEXT)
    with relay:
        child = os.dup(relay.write_end)
        relay.serve()
        for _ in range(40):
            os.write(child, b"x" * 999 + b"\n" + b"y" * 65000 + b"\n")  # each would block a pipe of 64 KB
        os.close(child)
    os.set_blocking(read, False)
    assert len(os.read(read, 1 << 20)) <= 1 << 16
    os.close(read)


def test_a_flood_is_cut_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_BURST", 100.0)
    monkeypatch.setattr(logs, "_LINES_PER_SECOND", 0.0)
    lines = _relayed(b"line\n" * 1000)
    assert lines.count("line") == 100
    told = [int(line.split()[0]) for line in lines if "dropped" in line]
    assert sum(told) == 900


def test_the_rate_comes_back_with_time() -> None:
    now = 0.0
    rate = Rate(lambda: now)
    passed = 0
    while rate.allows_one():
        passed += 1
    assert passed == logs._BURST
    now = 1.0
    assert sum(rate.allows_one() for _ in range(1000)) == logs._LINES_PER_SECOND


def test_the_console_speaks_json_where_asked() -> None:
    stream = io.StringIO()
    console = Console(stream, LogFormat.JSON)
    console.line("Ready after 2 s:\n  REST")
    console.restarted().line("Stopped.")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == [
        "Ready after 2 s:\n  REST",
        "Stopped.",
    ]


def test_json_logs_give_the_same_diagnosis_as_text(run_dir: RunDir) -> None:
    run_dir.logs.mkdir(parents=True)
    worker = {"level": "INFO", "logger": "MODEL_LOG", "thread": "W-9000-tiny_1.0-stdout", "exception": ""}
    words = [
        "Backend worker process died.",
        "Traceback (most recent call last):",
        "  File",
        "ModuleNotFoundError: No module named 'tokenizers'",
    ]
    run_dir.model_log.write_text("".join(json.dumps({"time": "t", **worker, "message": word}) + "\n" for word in words))
    server = {"time": "t", "level": "WARN", "logger": "ModelServer", "thread": "main"}
    refused = {"message": "Failed to load model: tiny.mar", "exception": "ModelException: not there\n\tat X\n"}
    run_dir.server_log.write_text(json.dumps(server | refused) + "\n")
    assert diagnosis.worker_failure(run_dir) == "ModuleNotFoundError: No module named 'tokenizers'"
    assert diagnosis.last_server_warning(run_dir) == "Failed to load model: tiny.mar (ModelException: not there)"


@pytest.mark.parametrize("line", ["plain", '{"time": broken', '{"other": 1}'])
def test_other_lines_stay_as_they_are(line: str) -> None:
    assert text_lines(line) == [line]
