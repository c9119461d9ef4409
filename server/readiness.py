"""When the server really answers: every worker has the model, and a prediction comes back."""

from __future__ import annotations

import threading
import time
from typing import Final

from server import diagnosis, probe
from server.console import Console
from server.endpoints import Endpoints
from server.errors import ExitCode, ServerError
from server.process import JavaServer
from server.rundir import RunDir
from server.signals import StopSignals

_POLL_SECONDS: Final = 0.1
_EXPLANATION_SECONDS: Final = 1.5


class ReadinessWait:
    """Waits for one starting server; every way to fail is a ``ServerError``."""

    def __init__(
        self, server: JavaServer, run_dir: RunDir, endpoints: Endpoints, model: str, timeout: float, console: Console
    ) -> None:
        self._server = server
        self._run_dir = run_dir
        self._endpoints = endpoints
        self._model = model
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._console = console
        self._waiting_for = "starting TorchServe"
        self._unexplained_since: float | None = None

    def until_ready(self, signals: StopSignals) -> probe.ModelDescription | None:
        """Return the ready model, or ``None`` when a stop was asked for meanwhile.

        Raises:
            ServerError: a worker cannot load, Java ended, the canary was refused, or the time is over.
        """
        canary: _Canary | None = None
        while not signals.requested:
            self._raise_failures()
            description = self._describe()
            if description is not None and description.is_ready:
                canary = canary or _Canary(self._endpoints.http.authority, self._model, self._deadline)
                if self._is_good(canary):
                    return description
                canary = None if canary.answer else canary
            self._console.progress(self._waiting_for)
            signals.wait(_POLL_SECONDS)
        return None

    def _describe(self) -> probe.ModelDescription | None:
        try:
            description = probe.describe(self._endpoints.management.authority, self._model)
        except probe.ModelMissingError:
            reason = diagnosis.last_server_warning(self._run_dir) or "no reason was logged"
            raise ServerError(ExitCode.LOAD_FAILED, f"TorchServe refused the archive: {reason}") from None
        if description is not None:
            self._waiting_for = (
                f"loading the model: {description.ready_workers} of {description.min_workers} workers ready"
            )
        return description

    def _is_good(self, canary: _Canary) -> bool:
        self._waiting_for = "waiting for a test prediction"
        answer = canary.answer
        if answer is None:
            return False
        if answer.fault and answer.final:
            raise ServerError(ExitCode.CANARY_FAILED, f"{answer.fault}; see {self._run_dir.model_log}")
        self._waiting_for = answer.fault
        return not answer.fault

    def _raise_failures(self) -> None:
        reason = diagnosis.worker_failure(self._run_dir) or self._unexplained_failure()
        if reason is not None:
            raise ServerError(ExitCode.LOAD_FAILED, f"the model could not be loaded: {reason}")
        code = self._server.exit_code()
        if code is not None:
            raise ServerError(ExitCode.JAVA_ENDED, java_ended(code, self._run_dir))
        if time.monotonic() > self._deadline:
            raise ServerError(
                ExitCode.STARTUP_TIMEOUT,
                f"not ready within {self._timeout:.0f} s, still {self._waiting_for}; "
                f"see {self._run_dir.logs}, or raise --startup-timeout",
            )

    def _unexplained_failure(self) -> str | None:
        reason = diagnosis.unexplained_failure(self._run_dir)
        if reason is None:
            return None
        # The worker's own reason may be on its way: its output reaches the log through another thread.
        self._unexplained_since = self._unexplained_since or time.monotonic()
        if time.monotonic() - self._unexplained_since < _EXPLANATION_SECONDS:
            return None
        return f"{reason} It left no message; was it out of memory?"


class _Canary:
    """A test prediction in a thread of its own, so that a stop need not wait for a hanging one."""

    def __init__(self, authority: str, model: str, deadline: float) -> None:
        self.answer: probe.CanaryAnswer | None = None
        timeout = max(1.0, deadline - time.monotonic())
        threading.Thread(target=self._ask, args=(authority, model, timeout), daemon=True).start()

    def _ask(self, authority: str, model: str, timeout: float) -> None:
        self.answer = probe.ask_canary(authority, model, timeout)


def java_ended(code: int, run_dir: RunDir) -> str:
    """Return the line that says that Java ended, with its last words where it ended by itself."""
    if code < 0:
        return f"TorchServe was killed by signal {-code}; see {run_dir.logs}"
    reason = diagnosis.java_failure(run_dir)
    return f"TorchServe ended with status {code}" + (f": {reason}" if reason else f"; see {run_dir.logs}")


def why_not_ready(run_dir: RunDir, timeout: float, *, canary: bool) -> str:
    """Return why the server of ``run_dir`` is not ready, or an empty text when it is."""
    state = run_dir.read_state()
    if state is None or not state.is_alive():
        return f"no server runs from {run_dir.path}"
    if run_dir.stopping_flag.exists():
        return "the server is stopping"
    return probe.why_unready(state.health, timeout) or (
        probe.ask_canary(state.http, state.model, timeout).fault if canary else ""
    )
