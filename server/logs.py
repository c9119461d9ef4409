"""What is logged, in which form and where to: the configuration of TorchServe's logger, and lines on standard output.

The files in the run folder are always written, as the reason of a failed start is read from them; where the log goes
to standard output they are small. Standard output may be slow, or not be read at all: what it does not take in time is
dropped and counted, and never holds up the server.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from string import Template
from types import TracebackType
from typing import Final
from xml.sax.saxutils import escape

_TEMPLATE: Final = Path(__file__).with_name("log4j2.xml")
# Of an exception only its class and where it was thrown: its message may quote the request.
_EXCEPTION: Final = (
    r"%replace{%ex{short}}{^\s*([\w.$]+)[\s\S]*}{$1}"
    "%notEmpty{ at %ex{short.className} %ex{short.methodName} line %ex{short.lineNumber}}"
)
_TEXT: Final = (f"%d{{ISO8601}} %-5p %c{{1}} - %m {_EXCEPTION}%n", "%d{ISO8601} %t - %m%n")
_JSON: Final = (
    '{"time":"%d{yyyy-MM-dd\'T\'HH:mm:ss.SSS}{UTC}Z","level":"%p","logger":"%enc{%c{1}}{JSON}",'
    '"thread":"%enc{%t}{JSON}","message":"%enc{%m}{JSON}","exception":"%enc{' + _EXCEPTION + '}{JSON}"}%n'
)
_JAVA_LOGGER: Final = "java"
_LONGEST_LINE: Final = 65536
_MOST_WAITING: Final = 2000
_LINES_PER_SECOND: Final = 200.0
_BURST: Final = 2000.0
_LAST_WORDS_SECONDS: Final = 2.0
_TELL_SECONDS: Final = 5.0


class LogFormat(StrEnum):
    """Lines for people, or one JSON object a line."""

    TEXT = "text"
    JSON = "json"


class LogTarget(StrEnum):
    """Files in the run folder alone, or standard output as well."""

    FILES = "files"
    STDOUT = "stdout"


@dataclass(frozen=True)
class LogSettings:
    """How this server logs."""

    format: LogFormat = LogFormat.TEXT
    target: LogTarget = LogTarget.FILES

    def configuration(self, folder: Path) -> str:
        """Return the log4j2 configuration that writes to ``folder``."""
        server_pattern, model_pattern = (_JSON, _JSON) if self.format is LogFormat.JSON else _TEXT
        stdout = self.target is LogTarget.STDOUT
        return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
            folder=_attribute(str(folder)),
            server_pattern=_attribute(server_pattern),
            model_pattern=_attribute(model_pattern),
            file_size="1 MB" if stdout else "10 MB",
            old_files="1" if stdout else "3",
            stdout_level="all" if stdout else "off",
        )


def json_line(level: str, logger: str, message: str) -> str:
    """Return one log line of this process in the form of those of TorchServe."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    entry = {"time": now, "level": level, "logger": logger, "thread": "", "message": message, "exception": ""}
    return json.dumps(entry)


class Rate:
    """How many lines may pass: ``_LINES_PER_SECOND`` on average, ``_BURST`` at once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left = _BURST
        self._at = clock()

    def allows_one(self) -> bool:
        """Return whether one more may pass, and count it."""
        now = self._clock()
        self._left = min(_BURST, self._left + (now - self._at) * _LINES_PER_SECOND)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class LineRelay:
    """Passes on what a child writes to its end of a pipe, line by line, to a descriptor that may block.

    The pipe is there once it is entered; ``serve`` is called after the fork, since it starts threads.
    """

    def __init__(self, target: int, log_format: LogFormat) -> None:
        self._target = target
        self._format = log_format
        self._waiting: queue.Queue[bytes | None] = queue.Queue(_MOST_WAITING)
        self._rate = Rate()
        self._dropped = 0  # for the thread that takes
        self._told = 0  # for the one that passes on
        self._told_at = -_TELL_SECONDS
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> LineRelay:
        self._read, self.write_end = os.pipe()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_write_end()
        if not self._threads:
            os.close(self._read)
        for thread in self._threads:
            thread.join(_LAST_WORDS_SECONDS)

    def serve(self) -> None:
        """Leave the writing end to the child, and pass on lines in threads until the child has closed it."""
        self._close_write_end()
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._take, self._pass_on)]
        for thread in self._threads:
            thread.start()

    def _close_write_end(self) -> None:
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1

    def _take(self) -> None:
        with open(self._read, "rb") as lines:  # noqa: PTH123 - a file descriptor
            while line := lines.readline(_LONGEST_LINE):
                self._offer(self._formed(line))
        self._waiting.put(None)

    def _offer(self, line: bytes) -> None:
        if not self._rate.allows_one():
            self._dropped += 1
            return
        try:
            self._waiting.put_nowait(line)
        except queue.Full:
            self._dropped += 1

    def _pass_on(self) -> None:
        while (line := self._waiting.get()) is not None:
            if time.monotonic() - self._told_at >= _TELL_SECONDS:
                self._tell_of_dropped()
            self._write(line)
        self._tell_of_dropped()

    def _tell_of_dropped(self) -> None:
        dropped = self._dropped - self._told
        if not dropped:
            return
        self._told += dropped
        self._told_at = time.monotonic()
        self._write(self._formed(f"{dropped} log lines were dropped: more than standard output takes\n".encode()))

    def _formed(self, line: bytes) -> bytes:
        """Return a line as it is or, where it is no JSON object but should be one, inside of one."""
        if not line.endswith(b"\n"):
            line += b"\n"
        if self._format is LogFormat.TEXT or _is_object(line):
            return line
        return json_line("INFO", _JAVA_LOGGER, line.decode("utf-8", "replace").rstrip()).encode() + b"\n"

    def _write(self, content: bytes) -> None:
        with suppress(OSError):
            while content:
                content = content[os.write(self._target, content) :]


def text_lines(line: str) -> list[str]:
    """Return a log line of either form as lines of text."""
    if not line.startswith('{"time":'):
        return [line]
    try:
        entry = json.loads(line)
    except ValueError:
        return [line]
    if entry["logger"] == "MODEL_LOG":
        return [f"{entry['time']} {entry['thread']} - {entry['message']}"]
    return [
        f"{entry['time']} {entry['level']} {entry['logger']} - {entry['message']}",
        *entry["exception"].splitlines(),
    ]


def _attribute(value: str) -> str:
    return escape(value, {'"': "&quot;"})


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
