from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.core.errors import StartupError
from handlers.policy_source import MAX_POLICY_BYTES, PolicyChange, PolicySource

GOOD, BETTER, BAD = b"policy 1\n", b"policy 2\n", b"policy\n"


def parse(payload: bytes, where: str) -> str:
    """Read ``policy N``, refuse anything else."""
    words = payload.decode("utf-8").split()
    if len(words) != 2 or words[0] != "policy":
        raise StartupError(f"{where}: version:\n  there is none; correct the policy")
    return words[1]


def digest(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()


def reloaded(payload: bytes) -> PolicyChange:
    return PolicyChange("reloaded", digest(payload))


@dataclass
class Watched:
    """A policy file, its source, a clock of our own, and what was reported."""

    path: Path
    parse: Callable[[bytes, str], str] = parse
    now: float = 0.0
    reports: list[PolicyChange] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.path.exists():
            self.path.write_bytes(GOOD)
        self.source = PolicySource(
            self.path, lambda payload, where: self.parse(payload, where), self.reports.append, 5.0, lambda: self.now
        )

    def later(self) -> str:
        """Return the policy in force when the next look is due."""
        self.now += 5.0
        return self.source.current()

    def taken(self) -> list[PolicyChange]:
        reports = list(self.reports)
        self.reports.clear()
        return reports


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "policy.yaml")


def refusal(watched: Watched, payload: bytes) -> PolicyChange:
    return PolicyChange("refused", digest(payload), f"{watched.path}: version: there is none; correct the policy")


def test_the_file_is_in_force_from_the_beginning(watched: Watched) -> None:
    assert watched.source.current() == "1"
    assert watched.source.sha256 == digest(GOOD)
    assert watched.source.refused is None
    assert watched.reports == []


def test_a_changed_file_is_taken_up_and_reported_once(watched: Watched) -> None:
    watched.path.write_bytes(BETTER)

    assert [watched.later(), watched.later()] == ["2", "2"]
    assert watched.source.sha256 == digest(BETTER)
    assert watched.taken() == [reloaded(BETTER)]


def test_the_file_is_only_looked_at_when_it_is_time(watched: Watched) -> None:
    watched.path.write_bytes(BETTER)

    watched.now = 4.999
    assert watched.source.current() == "1"
    watched.now = 5.0
    assert watched.source.current() == "2"


def test_a_bad_file_is_refused_once_and_the_last_good_one_stays(watched: Watched) -> None:
    watched.path.write_bytes(BAD)

    assert [watched.later(), watched.later(), watched.later()] == ["1", "1", "1"]
    assert watched.taken() == [refusal(watched, BAD)]
    assert watched.source.refused == refusal(watched, BAD)
    assert watched.source.sha256 == digest(GOOD)


def test_another_bad_file_is_reported_again(watched: Watched) -> None:
    for payload in (BAD, b"other\n"):
        watched.path.write_bytes(payload)
        watched.later()

    assert watched.taken() == [refusal(watched, BAD), refusal(watched, b"other\n")]


def test_a_half_written_file_is_taken_up_when_it_is_whole(watched: Watched) -> None:
    watched.path.write_bytes(BETTER[:7])
    assert watched.later() == "1"
    watched.path.write_bytes(BETTER)

    assert watched.later() == "2"
    assert watched.source.refused is None
    assert watched.taken() == [refusal(watched, BETTER[:7]), reloaded(BETTER)]


def test_the_way_back_from_a_bad_file_is_reported_too(watched: Watched) -> None:
    watched.path.write_bytes(BAD)
    watched.later()
    watched.taken()
    watched.path.write_bytes(GOOD)

    assert watched.later() == "1"
    assert watched.taken() == [reloaded(GOOD)]
    assert watched.source.refused is None


def test_a_file_written_again_as_it_was_is_no_change(watched: Watched) -> None:
    watched.path.unlink()
    watched.path.write_bytes(GOOD)
    os.utime(watched.path, (1, 1))

    assert watched.later() == "1"
    assert watched.reports == []


def test_a_change_that_leaves_size_and_time_alone_is_seen(watched: Watched) -> None:
    before = watched.path.stat()
    with watched.path.open("r+b") as file:
        file.write(BETTER)
    os.utime(watched.path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert watched.later() == "2"


def test_a_file_that_is_gone_leaves_the_policy_in_force(watched: Watched) -> None:
    watched.path.unlink()

    assert [watched.later(), watched.later()] == ["1", "1"]
    message = f"{watched.path}: cannot be read (No such file or directory); put the policy there"
    assert watched.taken() == [PolicyChange("refused", None, message)]
    watched.path.write_bytes(BETTER)
    assert watched.later() == "2"


def test_a_symlink_that_is_swung_over_as_kubernetes_does_is_followed(tmp_path: Path) -> None:
    for name, payload in (("..2026_01", GOOD), ("..2026_02", BETTER)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "policy.yaml").write_bytes(payload)
    (tmp_path / "..data").symlink_to("..2026_01")
    (tmp_path / "policy.yaml").symlink_to("..data/policy.yaml")
    watched = Watched(tmp_path / "policy.yaml")
    assert watched.source.current() == "1"

    (tmp_path / "..data_tmp").symlink_to("..2026_02")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")

    assert watched.later() == "2"
    assert watched.taken() == [reloaded(BETTER)]


def test_a_policy_that_is_not_in_force_yet_is_taken_up_on_its_day(watched: Watched) -> None:
    def parse_by_date(payload: bytes, where: str) -> str:
        if payload == BETTER and watched.now < 86_400:
            raise StartupError(f"{where}: valid_from: not in force yet")
        return parse(payload, where)

    watched.parse = parse_by_date
    watched.path.write_bytes(BETTER)
    assert [watched.later(), watched.later()] == ["1", "1"]
    watched.now = 86_400

    assert watched.later() == "2"
    assert [change.outcome for change in watched.taken()] == ["refused", "reloaded"]


@pytest.mark.parametrize("fault", [KeyError("secret words"), RecursionError(), MemoryError(), UnicodeError()])
def test_no_fault_of_a_parser_gets_out_once_a_policy_is_in_force(watched: Watched, fault: Exception) -> None:
    def fail(payload: bytes, where: str) -> str:
        raise fault

    watched.parse = fail
    watched.path.write_bytes(BETTER)

    assert watched.later() == "1"
    message = f"{watched.path}: {type(fault).__name__} while it was read; correct the policy"
    assert watched.taken() == [PolicyChange("refused", digest(BETTER), message)]


def test_a_file_that_is_no_policy_by_its_size_is_not_read_whole(watched: Watched) -> None:
    watched.path.write_bytes(GOOD + b" " * MAX_POLICY_BYTES)

    assert watched.later() == "1"
    assert watched.taken()[0].message == f"{watched.path}: larger than {MAX_POLICY_BYTES} bytes; this is no policy"


@given(st.lists(st.sampled_from([GOOD, BETTER, BAD, b"", b"\xff", None]), max_size=8))
def test_whatever_happens_to_the_file_the_last_good_one_is_in_force(contents: list[bytes | None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        watched = Watched(Path(folder) / "policy.yaml")
        in_force = GOOD
        for payload in contents:
            watched.path.unlink(missing_ok=True)
            if payload is not None:
                watched.path.write_bytes(payload)
            in_force = payload if payload in (GOOD, BETTER) else in_force

            assert watched.later() == parse(in_force, "")
            assert watched.source.sha256 == digest(in_force)
            assert (watched.source.refused is None) == (payload in (GOOD, BETTER))
        assert all("\n" not in change.message for change in watched.reports)


def test_without_a_good_policy_there_is_no_source(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    with pytest.raises(StartupError, match="cannot be read"):
        PolicySource(path, parse, print)
    path.write_bytes(BAD)
    with pytest.raises(StartupError, match="version"):
        PolicySource(path, parse, print)
