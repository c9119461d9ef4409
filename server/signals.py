"""Stop signals as state that a loop can wait on."""

from __future__ import annotations

import os
import select
import signal
from types import FrameType, TracebackType
from typing import Final

_READ_BYTES: Final = 512


class StopSignals:
    """Turns SIGTERM, SIGINT and SIGHUP into ``requested``, and Ctrl-C after that into ``forced``.

    Only SIGINT forces: process managers and ``make`` may send SIGTERM more than once without meaning it. Waiting uses
    a pipe, since a lock taken by the interrupted code could not be taken again inside a handler.
    """

    def __init__(self) -> None:
        self.requested = False
        self.forced = False
        self._previous: dict[int, signal.Handlers | object] = {}
        self._previous_fd = -1
        self._read = -1
        self._write = -1

    def __enter__(self) -> StopSignals:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._previous_fd = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in _handled_signals():
            self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        signal.set_wakeup_fd(self._previous_fd)
        os.close(self._read)
        os.close(self._write)

    def wait(self, seconds: float) -> None:
        """Return after ``seconds``, or as soon as a signal arrives."""
        readable, _, _ = select.select([self._read], [], [], seconds)
        if readable:
            os.read(self._read, _READ_BYTES)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            self.forced = True
        self.requested = True


def _handled_signals() -> tuple[int, ...]:
    # nohup ignores SIGHUP on purpose.
    hangup = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
    return (signal.SIGTERM, signal.SIGINT, *hangup)
