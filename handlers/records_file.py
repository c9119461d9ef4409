"""Where decision records are written: one chain in append-only files that several workers may share.

``handlers.core.records`` says what is in the files and how to check them. This module keeps four promises:

* One chain for all workers of one machine: whoever writes holds an exclusive ``flock`` on ``FILE.lock`` and reads the
  end of the file under it, so no worker needs to know of the others. That takes a local file system; on network
  storage give each server a file of its own.
* Only whole lines: each is one ``write`` to a file opened with ``O_APPEND``. What a full disk cuts short is taken back
  at once. What a crash cuts short is moved to ``FILE.torn-DIGEST`` by the next writer, which says so in the chain.
* Nothing is lost silently: ``RecordsUnavailable`` carries the decisions that are not in the file. The caller answers
  the person all the same, and keeps, repeats or reports these decisions.
* Files of a bounded size: a full ``NAME.jsonl`` becomes ``NAME.000000.jsonl`` and so on, and the chain goes on in a
  new ``NAME.jsonl``, so that ``NAME*.jsonl`` in alphabetical order is the chain. Nothing here deletes a file; all but
  the newest may be moved away.

Files are made with mode 0600.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from handlers.core.decision_record import (
    GENESIS,
    MAX_LINE_BYTES,
    DecisionFacts,
    HeaderLine,
    TornLine,
    chain_decision,
    encode_line,
    line_hash,
    parse_line,
)
from handlers.core.errors import StartupError

SUFFIX: Final = ".jsonl"
DEFAULT_MAX_BYTES: Final = 64 << 20
DEFAULT_LOCK_TIMEOUT_S: Final = 5.0

_LOCK_PAUSE_S: Final = 0.001
_HEADER_BYTES: Final = 1024
_TAIL_BYTES: Final = 8192

Sync = Literal["batch", "never"]


class RecordsUnavailable(Exception):
    """Decisions could not be recorded; the message names the file and the reason.

    Attributes:
        unwritten: the decisions of the call that are not in the file, in order. None are left where all were written
            and the disk did not confirm it: to append those again would record them twice.
    """

    def __init__(self, message: str, unwritten: tuple[DecisionFacts, ...] = ()) -> None:
        super().__init__(message)
        self.unwritten = unwritten


class _NotRecords(Exception):
    """The file is not what a writer of records leaves behind."""


@dataclass(frozen=True)
class ChainEnd:
    """Where a chain ends after a call.

    Attributes:
        last_hash: of the last line; kept outside the machine, it shows lines that are cut off later.
        torn_bytes: length of an unfinished line that the call found and moved aside; 0 where there was none.
    """

    last_hash: str
    torn_bytes: int


class RecordWriter:
    """Appends decisions to the chain that ends in ``path``. It holds no file open: threads and forks may share it.

    Args:
        path: of the newest file; it must be called ``NAME.jsonl`` and its folder must exist.
        max_bytes: size from which on the next call begins a new file.
        sync: ``batch`` returns when a call's decisions are on the disk; ``never`` leaves it to the system when to
            write, so that a power cut may lose the last seconds.
        lock_timeout_s: seconds to wait while other workers write.
        new_chain_id: makes the 32 hexadecimal digits that name a new chain.

    Attributes:
        opened: where the chain ended when the writer was made.

    Raises:
        StartupError: the file cannot be written, or is not a chain of records.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        sync: Sync = "batch",
        lock_timeout_s: float = DEFAULT_LOCK_TIMEOUT_S,
        new_chain_id: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        if path.suffix != SUFFIX:
            raise StartupError(f"{path}: the file of decision records must be called NAME{SUFFIX}")
        self._path = path.resolve()  # renaming a symlink would leave the full file where it is
        self._max_bytes = max_bytes
        self._sync = sync
        self._lock_timeout_s = lock_timeout_s
        self._new_chain_id = new_chain_id
        try:
            self.opened = self.append(())
        except RecordsUnavailable as error:
            raise StartupError(f"{error}; decisions cannot be recorded there") from error

    def append(self, decisions: Sequence[DecisionFacts]) -> ChainEnd:
        """Record ``decisions`` in order, after everything that any worker has recorded.

        Raises:
            RecordsUnavailable: with the decisions that are not in the file. What is in it are whole lines, and the
                next call goes on after them.
        """
        written: list[str] = []
        try:
            with self._locked():
                end = self._make_ready()
                if decisions:
                    self._write(decisions, end.last_hash, written)
        except (OSError, _NotRecords) as error:
            raise self._unavailable(error, tuple(decisions), len(written)) from error
        return ChainEnd(written[-1] if written else end.last_hash, end.torn_bytes)

    def _write(self, decisions: Sequence[DecisionFacts], last_hash: str, written: list[str]) -> None:
        """Append lines to the file and their hashes to ``written``, which so tells how far it came."""
        with _opened(self._path) as file:
            for facts in decisions:
                line = chain_decision(facts, written[-1] if written else last_hash)
                _write_line(file, line)
                written.append(line_hash(line))
            if self._sync == "batch":
                os.fsync(file)

    def _unavailable(self, error: Exception, decisions: tuple[DecisionFacts, ...], written: int) -> RecordsUnavailable:
        reason = f"{self._path}: {error.strerror or error}" if isinstance(error, OSError) else str(error)
        unwritten = decisions[written:]
        if unwritten:
            reason += f"; {len(unwritten)} of {len(decisions)} decisions are not recorded"
        elif decisions:
            reason += f"; {len(decisions)} decisions are written, but may not outlive a power cut"
        return RecordsUnavailable(reason, unwritten)

    # Who may write.

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock. Each call opens its file anew: threads and forks would share the lock of one descriptor."""
        lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            self._wait_for(lock)
            yield
        finally:
            os.close(lock)

    def _wait_for(self, lock: int) -> None:
        deadline = time.monotonic() + self._lock_timeout_s
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise TimeoutError(f"another process has held the lock for {self._lock_timeout_s:g} s") from None
                time.sleep(_LOCK_PAUSE_S)

    # Where to write. All of this runs under the lock.

    def _make_ready(self) -> ChainEnd:
        """Leave ``path`` with a header, whole lines and room, and say where it ends."""
        if not self._path.exists() or self._path.stat().st_size == 0:
            return ChainEnd(self._begin(self._following_header()), 0)
        with _opened(self._path) as file:
            header = _read_header(file, self._path)
            end = self._mend(file)
            if os.fstat(file).st_size < self._max_bytes:
                return end
            os.fsync(file)
        following = HeaderLine(chain_id=header.chain_id, file=header.file + 1, prev_hash=end.last_hash)
        return ChainEnd(self._begin(following, self._rotated(header.file)), end.torn_bytes)

    def _mend(self, file: int) -> ChainEnd:
        """Move an unfinished last line aside and say so in the chain."""
        last_line, torn = _read_tail(file, self._path)
        end = line_hash(last_line)
        if not torn:
            return ChainEnd(end, 0)
        digest = line_hash(torn)
        _write_whole(Path(f"{self._path}.torn-{digest[:16]}"), torn)
        os.ftruncate(file, os.fstat(file).st_size - len(torn))
        line = encode_line(TornLine(torn_bytes=len(torn), torn_sha256=digest, prev_hash=end))
        _write_line(file, line)
        os.fsync(file)
        return ChainEnd(line_hash(line), len(torn))

    def _begin(self, header: HeaderLine, rotated: Path | None = None) -> str:
        """Put a new file in the place of ``path``, which becomes ``rotated``, and return the hash of its header.

        The new file is complete before it is put there. A crash between the two renames leaves no ``path``; the
        next call goes on after ``rotated``.
        """
        if rotated is not None and rotated.exists():
            raise FileExistsError(errno.EEXIST, f"{rotated.name} is there already, but should be the next old file")
        line = encode_line(header)
        partial = Path(f"{self._path}.partial")
        _write_whole(partial, line + b"\n")
        if rotated is not None:
            self._path.rename(rotated)
        partial.replace(self._path)
        _sync_folder(self._path.parent)
        return line_hash(line)

    def _following_header(self) -> HeaderLine:
        """Return the header of a ``path`` that is not there: after the newest old file, or of a new chain."""
        pattern = re.compile(rf"{re.escape(self._path.stem)}\.(\d{{6,}}){re.escape(SUFFIX)}")
        matches = [pattern.fullmatch(path.name) for path in self._path.parent.iterdir()]
        numbers = [int(match[1]) for match in matches if match]
        if not numbers:
            return HeaderLine(chain_id=self._new_chain_id(), file=0, prev_hash=GENESIS)
        newest = self._rotated(max(numbers))
        with _opened(newest) as file:
            header = _read_header(file, newest)
            last_line, torn = _read_tail(file, newest)
        if torn:
            raise _NotRecords(f"{newest}: its last line is not whole, as in no old file; move it away or restore it")
        return HeaderLine(chain_id=header.chain_id, file=header.file + 1, prev_hash=line_hash(last_line))

    def _rotated(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.stem}.{number:06d}{SUFFIX}")


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        yield file
    finally:
        os.close(file)


def _read_header(file: int, path: Path) -> HeaderLine:
    line, newline, _ = os.pread(file, _HEADER_BYTES, 0).partition(b"\n")
    try:
        header = parse_line(line) if newline else None
    except ValueError:
        header = None
    if not isinstance(header, HeaderLine):
        raise _NotRecords(f"{path}: line 1 is not the header of decision records; move the file away or name another")
    return header


def _read_tail(file: int, path: Path) -> tuple[bytes, bytes]:
    """Return the last whole line, without its newline, and what follows it."""
    start = os.fstat(file).st_size
    tail = b""
    while start and tail.count(b"\n") < 2:
        if len(tail) > 2 * MAX_LINE_BYTES:
            raise _NotRecords(f"{path}: the last line is longer than any record; move the file away or restore it")
        step = min(start, _TAIL_BYTES)
        start -= step
        tail = os.pread(file, step, start) + tail
    whole, _, torn = tail.rpartition(b"\n")
    return whole.rpartition(b"\n")[2], torn


def _write_line(file: int, line: bytes) -> None:
    """Append a line in one write, or nothing of it."""
    size = os.fstat(file).st_size
    written = os.write(file, line + b"\n")
    if written != len(line) + 1:
        os.ftruncate(file, size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _write_whole(path: Path, content: bytes) -> None:
    """Make a file of mode 0600 with ``content``, on the disk when this returns."""
    path.unlink(missing_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if os.write(file, content) != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file)
    finally:
        os.close(file)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
