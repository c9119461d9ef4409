"""Exit codes and the one exception that carries them to the command line."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit statuses of ``python -m server``; 2 is left to argparse."""

    OK = 0
    NOT_READY = 1
    ARCHIVE_MISSING = 10
    ARCHIVE_INVALID = 11
    PORT_IN_USE = 12
    NO_JAVA = 13
    ALREADY_RUNNING = 14
    CONFIG_INVALID = 15
    ARCHIVE_DIGEST = 16
    LOAD_FAILED = 20
    JAVA_ENDED = 21
    STARTUP_TIMEOUT = 22
    CANARY_FAILED = 23
    WORKER_LOST = 24
    CUT_OFF = 30
    STOP_TIMEOUT = 31


class ServerError(Exception):
    """A failure that ends the command: one line for the terminal, one exit status."""

    def __init__(self, code: ExitCode, message: str) -> None:
        super().__init__(message)
        self.code = code
