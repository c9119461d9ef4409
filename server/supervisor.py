"""``start``: one server from preflight to its clean end, in the foreground."""

from __future__ import annotations

import os
import shlex
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final

from server import home, java, mended, preflight, process, settings
from server.console import Console
from server.drain import Drain
from server.endpoints import Endpoints, from_properties
from server.errors import ExitCode, ServerError
from server.health import Board, Limits
from server.listener import HealthListener
from server.logs import LineRelay, LogSettings, LogTarget
from server.probe import ModelDescription
from server.process import JavaServer
from server.readiness import ReadinessWait, java_ended
from server.rundir import ServerState, started_after_boot
from server.settings import StartSettings
from server.signals import StopSignals
from server.watch import Watch

_WATCH_SECONDS: Final = 0.1
_POLL_SECONDS: Final = 0.05
# TorchServe needs 2.5 to 3.6 s from SIGTERM to its end, and longer only for gRPC calls that the drain has given up.
_JAVA_END_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Plan:
    """Everything that preflight has settled."""

    settings: StartSettings
    properties: dict[str, str]
    endpoints: Endpoints
    command: list[str]
    verified: str


def start(chosen: StartSettings) -> ExitCode:
    """Serve until a stop signal; return how it ended.

    Raises:
        ServerError: it could not start, or TorchServe ended by itself.
    """
    console = Console(log_format=chosen.logs.format)
    with StopSignals() as signals:
        preflight.check_archive(chosen.archive)
        verified = preflight.verify_archive(chosen.archive, chosen.archive_sha256)
        with chosen.run_dir.locked():
            plan = _plan(chosen, verified)
            chosen.run_dir.prepare()
            try:
                return _run(plan, signals, console)
            finally:
                chosen.run_dir.clean()


def _plan(chosen: StartSettings, verified: str) -> Plan:
    effective = settings.effective_properties(settings.read_config(chosen.config), chosen)
    endpoints = from_properties(effective)
    runtime = java.find(os.environ)
    process.kill_leftovers(chosen.run_dir)
    preflight.check_ports(endpoints)
    return Plan(chosen, effective, endpoints, process.command(runtime, chosen, effective), verified)


def _run(plan: Plan, signals: StopSignals, console: Console) -> ExitCode:
    run_dir = plan.settings.run_dir
    settings.write_config(plan.settings, plan.properties)
    mended.write_mended(process.frontend_jar(), run_dir.mended)
    home.write_home(process.torchserve_site(), run_dir.home)
    run_dir.write_state(_state(plan))
    what = f"model '{plan.settings.model}' from {plan.settings.archive} ({plan.verified})"
    console.line(f"Starting {what}; Ctrl-C stops.")
    board = Board(lambda: signals.requested)
    with HealthListener(plan.endpoints.health, board) as listener, _relay(plan.settings.logs) as relay:
        output = relay.write_end if relay is not None else None
        server = JavaServer.start(plan.command, process.environment(os.environ, run_dir), run_dir, output)
        try:
            listener.serve()
            if relay is not None:
                relay.serve()
            return _serve(server, plan, signals, console, board)
        finally:
            server.end(at_once=True)


def _relay(logs: LogSettings) -> AbstractContextManager[LineRelay | None]:
    return LineRelay(sys.stdout.fileno(), logs.format) if logs.target is LogTarget.STDOUT else nullcontext()


def _serve(server: JavaServer, plan: Plan, signals: StopSignals, console: Console, board: Board) -> ExitCode:
    chosen = plan.settings
    waiting = ReadinessWait(server, chosen.run_dir, plan.endpoints, chosen.model, chosen.startup_timeout, console)
    description = waiting.until_ready(signals)
    if description is None:
        return _stop(server, signals, console.restarted(), unfinished="")
    console.line(_ready_message(plan, description, console.elapsed))
    limits = Limits(chosen.hang_timeout, chosen.recovery_timeout)
    with Watch(server, chosen.run_dir, plan.endpoints, chosen.model, limits, board, console) as watch:
        _until_stop(server, plan, watch, signals)
        console = console.restarted()
        _let_callers_leave(server, plan, signals, console)
        unfinished = _drain(server, plan, signals, console)
    return _stop(server, signals, console, unfinished=unfinished)


def _until_stop(server: JavaServer, plan: Plan, watch: Watch, signals: StopSignals) -> None:
    while not signals.requested:
        _raise_if_ended(server, plan)
        if watch.lost:
            raise ServerError(
                ExitCode.WORKER_LOST,
                f"this server is given up, as it did not get ready within --recovery-timeout: {watch.lost}; "
                f"see {plan.settings.run_dir.logs}",
            )
        signals.wait(_WATCH_SECONDS)


def _raise_if_ended(server: JavaServer, plan: Plan) -> None:
    code = server.exit_code()
    if code is not None:
        raise ServerError(ExitCode.JAVA_ENDED, java_ended(code, plan.settings.run_dir))


def _drain(server: JavaServer, plan: Plan, signals: StopSignals, console: Console) -> str:
    console.line("Draining: new requests are refused, those in flight finish. Ctrl-C again ends at once.")
    drain = Drain(server, plan.settings.run_dir, plan.endpoints, plan.settings.model, console)
    return drain.run(signals, plan.settings.drain_timeout).unfinished


def _let_callers_leave(server: JavaServer, plan: Plan, signals: StopSignals, console: Console) -> None:
    """Serve on while gateways find out that the server is not ready any more."""
    if not plan.settings.drain_grace:
        return
    plan.settings.run_dir.stopping_flag.touch(mode=0o600)
    console.line(f"Stopping: not ready from now on, and still serving for {plan.settings.drain_grace:.0f} s.")
    end = time.monotonic() + plan.settings.drain_grace
    while not signals.forced and server.exit_code() is None and (left := end - time.monotonic()) > 0:
        signals.wait(min(left, _WATCH_SECONDS))


def _stop(server: JavaServer, signals: StopSignals, console: Console, *, unfinished: str) -> ExitCode:
    server.ask_to_end()
    deadline = time.monotonic() + _JAVA_END_SECONDS
    while server.exit_code() is None and not signals.forced and time.monotonic() < deadline:
        console.progress("stopping TorchServe")
        signals.wait(_POLL_SECONDS)
    server.end(at_once=signals.forced)
    if unfinished:
        console.line(f"Stopped after {console.elapsed:.1f} s; cut off: {unfinished}.")
        return ExitCode.CUT_OFF
    console.line(f"Stopped after {console.elapsed:.1f} s; nothing was cut off.")
    return ExitCode.OK


def _state(plan: Plan) -> ServerState:
    return ServerState(
        pid=os.getpid(),
        started=started_after_boot(os.getpid()),
        model=plan.settings.model,
        http=plan.endpoints.http.authority,
        management=plan.endpoints.management.authority,
        health=plan.endpoints.health.authority,
        stop_seconds=plan.settings.drain_grace + plan.settings.drain_timeout,
    )


def _ready_message(plan: Plan, description: ModelDescription, seconds: float) -> str:
    endpoints = plan.endpoints
    url = f"http://{endpoints.http.authority}/predictions/{plan.settings.model}"
    body = '{"text": "I feel on edge before the exam."}'
    workers = f"{description.ready_workers} worker{'s' if description.ready_workers > 1 else ''}"
    return "\n".join(
        (
            f"Ready after {seconds:.1f} s: model '{plan.settings.model}', {workers}.",
            f"  REST     {url}",
            f"  gRPC     {endpoints.grpc.authority}",
            f"  metrics  http://{endpoints.metrics.authority}/metrics",
            f"  health   http://{endpoints.health.authority}/readyz",
            f"  logs     {plan.settings.run_dir.logs}",
            "Try it:",
            f"  curl -s {url} -H 'Content-Type: application/json' -d {shlex.quote(body)}",
        )
    )
