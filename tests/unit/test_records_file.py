from __future__ import annotations

import fcntl
import multiprocessing
import os
import resource
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.core.decision_record import DecisionRecord, HeaderLine, TornLine, line_hash, parse_line
from handlers.core.errors import StartupError
from handlers.core.records import Verdict, main, verify
from handlers.records_file import RecordsUnavailable, RecordWriter
from tests.unit.decisions import chain_lines, facts

LINE_BYTES = len(chain_lines([facts()])[1])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "decisions.jsonl"


def chain_files(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.stem}*.jsonl"))


def check(path: Path, last: str | None = None) -> Verdict:
    return verify([(file.name, file.read_bytes().splitlines(keepends=True)) for file in chain_files(path)], last)


def recorded(path: Path) -> list[str]:
    """Return the ids of the decisions in the chain, in order."""
    lines = [parse_line(line) for file in chain_files(path) for line in file.read_bytes().splitlines()]
    return [line.decision_id for line in lines if isinstance(line, DecisionRecord)]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file grow beyond ``size`` bytes, as on a full disk: a write is cut short, the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_is_appended_is_a_chain_that_the_verifier_accepts(path: Path) -> None:
    writer = RecordWriter(path)

    first = writer.append([facts(1), facts(2)])
    second = writer.append([facts(3)])

    assert first != second
    assert recorded(path) == ["d1", "d2", "d3"]
    assert check(path, last=second.last_hash).intact
    assert main(["verify", str(path), "--last", second.last_hash, "--anchor", first.last_hash]) == 0


def test_a_record_comes_back_as_it_was(path: Path) -> None:
    RecordWriter(path).append([facts(1)])

    record = parse_line(path.read_bytes().splitlines()[1])

    assert isinstance(record, DecisionRecord)
    assert record.model_dump(exclude={"idempotency_key", "prev_hash"}) == facts(1).model_dump()


def test_a_new_writer_goes_on_with_the_chain(path: Path) -> None:
    end = RecordWriter(path).append([facts(1)])

    again = RecordWriter(path)
    again.append([facts(2)])

    assert again.opened == end
    assert recorded(path) == ["d1", "d2"]
    assert check(path).intact


def test_each_chain_has_a_name_of_its_own(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        RecordWriter(tmp_path / name)

    assert (tmp_path / "a.jsonl").read_bytes() != (tmp_path / "b.jsonl").read_bytes()


def test_nobody_else_may_read_the_files(path: Path) -> None:
    umask = os.umask(0)
    try:
        writer = RecordWriter(path, max_bytes=1)
        path.write_bytes(path.read_bytes() + b"torn")
        writer.append([facts(1)])
        writer.append([facts(2)])
    finally:
        os.umask(umask)

    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert set(modes.values()) == {0o600}
    assert len(modes) >= 5


@pytest.mark.parametrize("sync", ["batch", "never"])
def test_the_disk_is_asked_once_for_each_call(path: Path, sync: str, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = RecordWriter(path, sync=sync)  # type: ignore[arg-type]
    calls: list[int] = []
    monkeypatch.setattr(os, "fsync", calls.append)

    writer.append([facts(1), facts(2), facts(3)])

    assert len(calls) == (1 if sync == "batch" else 0)


# Several writers.


def _append_many(path: Path, worker: int, count: int) -> None:
    writer = RecordWriter(path, max_bytes=40 * LINE_BYTES, sync="never", lock_timeout_s=60)
    for number in range(0, count, 2):
        writer.append([facts(number, decision_id=f"w{worker}-{n}") for n in (number, number + 1)])


def test_four_processes_write_one_chain(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_append_many, args=(path, worker, 50)) for worker in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert [worker.exitcode for worker in workers] == [0] * 4
    ids = recorded(path)
    assert check(path).intact
    assert len(chain_files(path)) >= 5
    for worker in range(4):
        assert [name for name in ids if name.startswith(f"w{worker}-")] == [f"w{worker}-{n}" for n in range(50)]


def test_threads_may_share_a_writer(path: Path) -> None:
    writer = RecordWriter(path, sync="never", lock_timeout_s=60)
    threads = [
        threading.Thread(target=lambda: [writer.append([facts(number)]) for number in range(25)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(recorded(path)) == 100
    assert check(path).intact


def test_a_writer_outlives_a_fork(path: Path) -> None:
    writer = RecordWriter(path, sync="never", lock_timeout_s=60)
    workers = [
        multiprocessing.get_context("fork").Process(target=lambda: [writer.append([facts(n)]) for n in range(25)])
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert len(recorded(path)) == 50
    assert check(path).intact


def test_a_lock_that_is_never_given_back_is_an_error_and_loses_nothing(path: Path) -> None:
    writer = RecordWriter(path, lock_timeout_s=0.02)
    with Path(f"{path}.lock").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(RecordsUnavailable, match=r"held the lock for 0\.02 s; 1 of 1 decisions") as caught:
            writer.append([facts(1)])

    writer.append(caught.value.unwritten)
    assert recorded(path) == ["d1"]


# Crashes and full disks.


@given(st.integers(1, LINE_BYTES - 1), st.binary(max_size=3))
def test_a_torn_last_line_is_moved_aside_and_the_chain_goes_on(size: int, noise: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "decisions.jsonl"
        RecordWriter(path).append([facts(1), facts(2)])
        whole = path.read_bytes()
        torn = whole.splitlines(keepends=True)[-1][:size] + noise.replace(b"\n", b"\0")
        path.write_bytes(whole + torn)
        assert not check(path).intact

        writer = RecordWriter(path)
        end = writer.append([facts(3)])

        assert writer.opened.torn_bytes == len(torn)
        assert end.torn_bytes == 0
        assert recorded(path) == ["d1", "d2", "d3"]
        assert check(path).intact
        mark = parse_line(path.read_bytes().splitlines()[3])
        assert mark == TornLine(
            torn_bytes=len(torn), torn_sha256=line_hash(torn), prev_hash=line_hash(whole.splitlines()[-1])
        )
        aside = list(path.parent.glob("*.torn-*"))
        assert [file.read_bytes() for file in aside] == [torn]


def test_a_worker_that_runs_on_mends_what_another_one_left(path: Path) -> None:
    writer = RecordWriter(path)
    writer.append([facts(1)])
    with path.open("ab") as file:
        file.write(b'{"actions"')

    assert writer.append([facts(2)]).torn_bytes == 10
    assert check(path).intact


@given(st.integers(0, 3), st.integers(0, LINE_BYTES - 1))
def test_a_full_disk_leaves_whole_lines_and_gives_back_what_is_not_written(whole: int, rest: int) -> None:
    batch = [facts(number) for number in range(5)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "decisions.jsonl"
        writer = RecordWriter(path)
        with (
            largest_file(path.stat().st_size + whole * LINE_BYTES + rest),
            pytest.raises(RecordsUnavailable, match=f"; {5 - whole} of 5 decisions are not recorded$") as caught,
        ):
            writer.append(batch)

        assert caught.value.unwritten == tuple(batch[whole:])
        assert str(path) in str(caught.value)
        assert check(path).intact
        writer.append(caught.value.unwritten)
        assert recorded(path) == [f"d{number}" for number in range(5)]
        assert check(path).intact


def test_decisions_that_the_disk_does_not_confirm_are_not_to_be_written_twice(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = RecordWriter(path)

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RecordsUnavailable, match="2 decisions are written, but may not outlive") as caught:
        writer.append([facts(1), facts(2)])

    assert caught.value.unwritten == ()
    assert recorded(path) == ["d1", "d2"]


# Files of a bounded size.


def test_full_files_are_put_aside_and_the_chain_goes_on(path: Path) -> None:
    writer = RecordWriter(path, max_bytes=2 * LINE_BYTES)
    for number in range(7):
        end = writer.append([facts(number)])

    names = [file.name for file in chain_files(path)]
    assert names == [*(f"decisions.{number:06d}.jsonl" for number in range(len(names) - 1)), "decisions.jsonl"]
    assert len(names) == 4
    assert recorded(path) == [f"d{number}" for number in range(7)]
    assert check(path, last=end.last_hash).intact
    assert main(["verify", *map(str, chain_files(path))]) == 0


def test_old_files_may_be_moved_away(path: Path, tmp_path: Path) -> None:
    writer = RecordWriter(path, max_bytes=LINE_BYTES)
    for number in range(4):
        writer.append([facts(number)])
    for old in chain_files(path)[:-1]:
        old.unlink()
    writer.append([facts(4)])

    verdict = check(path)
    assert (verdict.intact, verdict.first_file) == (True, 3)


def test_a_crash_between_putting_aside_and_going_on_is_survived(path: Path) -> None:
    writer = RecordWriter(path, max_bytes=LINE_BYTES)
    for number in range(3):
        writer.append([facts(number)])
    path.rename(path.with_name("decisions.000002.jsonl"))
    Path(f"{path}.partial").write_bytes(b'{"chain":')

    RecordWriter(path).append([facts(3)])

    assert recorded(path) == ["d0", "d1", "d2", "d3"]
    assert check(path).intact
    assert not Path(f"{path}.partial").exists()


def test_an_old_file_is_never_written_over(path: Path) -> None:
    writer = RecordWriter(path, max_bytes=LINE_BYTES)
    writer.append([facts(1)])
    other = path.with_name("decisions.000000.jsonl")
    other.write_text("of somebody else")

    with pytest.raises(RecordsUnavailable, match=r"decisions\.000000\.jsonl is there already"):
        writer.append([facts(2)])

    assert other.read_text() == "of somebody else"
    assert b'"d1"' in path.read_bytes()
    assert b'"d2"' not in path.read_bytes()


def test_a_full_disk_at_the_change_of_files_loses_nothing(path: Path) -> None:
    writer = RecordWriter(path, max_bytes=LINE_BYTES)
    writer.append([facts(1)])
    with largest_file(50), pytest.raises(RecordsUnavailable) as caught:
        writer.append([facts(2)])

    writer.append(caught.value.unwritten)

    assert recorded(path) == ["d1", "d2"]
    assert check(path).intact


def test_a_symlink_to_the_file_is_followed_once_and_stays(path: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    path.symlink_to(tmp_path / "disk" / "real.jsonl")
    writer = RecordWriter(path, max_bytes=1)
    writer.append([facts(1)])

    assert path.is_symlink()
    assert [file.name for file in chain_files(tmp_path / "disk" / "real.jsonl")] == ["real.000000.jsonl", "real.jsonl"]


# Files that are not fit.


@pytest.mark.parametrize("name", ["decisions", "decisions.log", ".jsonl"])
def test_another_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StartupError, match=r"must be called NAME\.jsonl$"):
        RecordWriter(tmp_path / name)


@pytest.mark.parametrize(
    "content", [b"hello\n", b"hello", b'{"text":"x"}\n', b"x" * 5000 + b"\n", chain_lines([facts()])[1]]
)
def test_a_file_of_something_else_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)

    with pytest.raises(StartupError, match=r"decisions\.jsonl: line 1 is not the header of decision records"):
        RecordWriter(path)

    assert path.read_bytes() == content


def test_an_empty_file_becomes_a_chain(path: Path) -> None:
    path.touch()

    RecordWriter(path).append([facts(1)])

    assert check(path).intact


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"decisions\.jsonl: No such file or directory; decisions cannot"):
        RecordWriter(tmp_path / "missing" / "decisions.jsonl")


def test_an_endless_last_line_is_refused(path: Path) -> None:
    RecordWriter(path)
    with path.open("ab") as file:
        file.write(b"x" * (3 << 20))

    with pytest.raises(StartupError, match="the last line is longer than any record"):
        RecordWriter(path)


def test_an_old_file_whose_end_is_torn_is_not_built_on(path: Path) -> None:
    RecordWriter(path).append([facts(1)])
    path.write_bytes(path.read_bytes()[:-1])
    path.rename(path.with_name("decisions.000000.jsonl"))

    with pytest.raises(StartupError, match=r"decisions\.000000\.jsonl: its last line is not whole"):
        RecordWriter(path)


def test_a_chain_begins_with_the_header_of_its_own_name(path: Path) -> None:
    RecordWriter(path, new_chain_id=lambda: "0123456789abcdef" * 2)

    header = parse_line(path.read_bytes().splitlines()[0])

    assert header == HeaderLine(chain_id="0123456789abcdef" * 2, file=0, prev_hash="0" * 64)
