"""The command line: what it prints, where, and how it exits."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from client.__main__ import EXIT_FAULT, EXIT_REFUSED, EXIT_UNAVAILABLE, EXIT_USAGE, main

if TYPE_CHECKING:
    from tests.client.conftest import Server

CANARY = "heron-canary-7391"


@pytest.fixture
def text_file(tmp_path: Path) -> str:
    file = tmp_path / "entry.txt"
    file.write_text(f"About the {CANARY}.", encoding="utf-8")
    return str(file)


def classify(server: Server, *arguments: str) -> int:
    option = "--url" if server.transport == "rest" else "--grpc"
    return main(["classify", option, server.address, "--retries", "0", *arguments])


def failed(code: str, status: int) -> dict[str, Any]:
    return {"json": {"error": {"code": code, "message": "what to do", "field": None}}, "http": status}


def test_a_table(server: Server, response: dict[str, Any], text_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    server.say({"json": response})

    assert classify(server, text_file) == 0

    out = capsys.readouterr().out
    labels = [line.split() for line in out.splitlines()[:3]]
    assert labels == [
        ["label", "score", "threshold"],
        ["stressed", "0.910", "0.520", "positive"],
        ["neutral", "0.050", "0.500"],
    ]
    for part in ("professional", "offer_self_help  planned", "Samaritans  116 123", "truncated", "not a diagnosis"):
        assert part in out
    assert CANARY not in out


def test_a_table_without_a_decision(
    server: Server, response: dict[str, Any], text_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server.say({"json": {**response, "escalation": None}})
    assert classify(server, text_file) == 0
    assert "tier" not in capsys.readouterr().out


def test_json(server: Server, response: dict[str, Any], text_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    server.say({"json": response})
    assert classify(server, text_file, "--json") == 0
    assert json.loads(capsys.readouterr().out) == response


@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_standard_input(
    rest: Server, response: dict[str, Any], arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rest.say({"json": response})
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("Grüße".encode())))
    assert classify(rest, *arguments) == 0
    assert rest.seen[0].json == {"text": "Grüße"}


def test_options_are_sent(rest: Server, response: dict[str, Any], text_file: str) -> None:
    rest.say({"json": response})
    classify(rest, text_file, "--locale", "en-GB", "--country", "GB", "--over-length", "reject", "--model", "mood")
    sent = rest.seen[0].json
    assert (sent["locale"], sent["country"], sent["options"]) == ("en-GB", "GB", {"over_length": "reject"})
    assert rest.seen[0].path == "/predictions/mood"


def test_the_token_comes_from_the_environment(
    server: Server, response: dict[str, Any], text_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.say({"json": response})
    monkeypatch.setenv("LANTERN_TOKEN", "s3cret")
    classify(server, text_file)
    assert server.seen[0].headers["authorization"] == "Bearer s3cret"


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (failed("invalid_text", 400), EXIT_REFUSED),
        (failed("unknown_model", 404), EXIT_REFUSED),
        (failed("too_long", 413), EXIT_REFUSED),
        (failed("overloaded", 503), EXIT_UNAVAILABLE),
        (failed("deadline_exceeded", 504), EXIT_UNAVAILABLE),
        (failed("internal", 500), EXIT_FAULT),
    ],
)
def test_errors_are_one_line_and_a_status(
    server: Server, reply: dict[str, Any], status: int, text_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server.say(reply)

    assert classify(server, text_file) == status

    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == f"error: {reply['json']['error']['code']}: what to do\n"


def test_an_empty_text_is_refused(rest: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").write_text("\n")
    assert classify(rest, str(tmp_path / "empty")) == EXIT_REFUSED
    assert "invalid_text: the text is empty" in capsys.readouterr().err


def test_nobody_there(nobody: str, text_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", "--grpc", nobody, "--retries", "0", text_file]) == EXIT_UNAVAILABLE
    assert capsys.readouterr().err.startswith("error: unavailable: cannot connect")


def test_a_file_that_cannot_be_read(rest: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert classify(rest, str(tmp_path / "none")) == EXIT_USAGE
    assert "No such file" in capsys.readouterr().err


def test_a_file_that_is_not_utf_8(rest: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "latin").write_bytes(CANARY.encode() + b"\xff")
    assert classify(rest, str(tmp_path / "latin")) == EXIT_USAGE
    assert capsys.readouterr().err == "error: the text is not UTF-8 (byte 17)\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--url", "127.0.0.1:8080"],
        ["--grpc", "http://127.0.0.1:7070"],
        ["--url", "http://127.0.0.1:8080", "--timeout", "0"],
        ["--url", "http://127.0.0.1:8080", "--retries", "-1"],
        ["--url", "http://127.0.0.1:8080", "--tls"],
        ["--url", "https://127.0.0.1:8080", "--ca", "/no/such/file.pem"],
    ],
)
def test_wrong_arguments(arguments: list[str], text_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", *arguments, text_file]) == EXIT_USAGE
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("arguments", [[], ["classify"], ["classify", "--url", "http://a", "--grpc", "b"]])
def test_a_command_needs_its_arguments(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == EXIT_USAGE


@pytest.mark.parametrize("arguments", [["--help"], ["classify", "--help"], ["generate", "--help"]])
def test_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0
    assert "usage: python -m client" in capsys.readouterr().out
