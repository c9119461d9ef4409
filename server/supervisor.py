"""``start``: one server from preflight to its clean end, in the foreground."""

from __future__ import annotations

import os
import shlex
import time
from dataclasses import dataclass
from typing import Final

from server import java, mended, preflight, process, settings
from server.console import Console
from server.drain import Drain
from server.endpoints import Endpoints, from_properties
from server.errors import ExitCode, ServerError
from server.probe import ModelDescription
from server.process import JavaServer
from server.readiness import ReadinessWait, java_ended
from server.rundir import ServerState, current_process_created
from server.settings import StartSettings
from server.signals import StopSignals

_WATCH_SECONDS: Final = 0.5
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


def start(chosen: StartSettings) -> ExitCode:
    """Serve until a stop signal; return how it ended.

    Raises:
        ServerError: it could not start, or TorchServe ended by itself.
    """
    console = Console()
    with StopSignals() as signals:
        preflight.check_archive(chosen.archive)
        with chosen.run_dir.locked():
            plan = _plan(chosen)
            chosen.run_dir.prepare()
            try:
                return _run(plan, signals, console)
            finally:
                chosen.run_dir.clean()


def _plan(chosen: StartSettings) -> Plan:
    effective = settings.effective_properties(settings.read_config(chosen.config), chosen)
    endpoints = from_properties(effective)
    runtime = java.find(os.environ)
    process.kill_leftovers(chosen.run_dir)
    preflight.check_ports(endpoints)
    return Plan(chosen, effective, endpoints, process.command(runtime, chosen, effective))


def _run(plan: Plan, signals: StopSignals, console: Console) -> ExitCode:
    run_dir = plan.settings.run_dir
    settings.write_config(plan.settings, plan.properties)
    mended.write_mended(process.frontend_jar(), run_dir.mended)
    run_dir.write_state(_state(plan))
    console.line(f"Starting model '{plan.settings.model}' from {plan.settings.archive}; Ctrl-C stops.")
    started = time.monotonic()
    server = JavaServer.start(plan.command, process.environment(os.environ, run_dir), run_dir)
    try:
        waiting = ReadinessWait(
            server, run_dir, plan.endpoints, plan.settings.model, plan.settings.startup_timeout, console
        )
        description = waiting.until_ready(signals)
        if description is None:
            return _stop(server, signals, Console(), unfinished="")
        console.line(_ready_message(plan, description, time.monotonic() - started))
        _watch(server, plan, signals)
        return _drain_and_stop(server, plan, signals)
    finally:
        server.end(at_once=True)


def _watch(server: JavaServer, plan: Plan, signals: StopSignals) -> None:
    while not signals.requested:
        code = server.exit_code()
        if code is not None:
            raise ServerError(ExitCode.JAVA_ENDED, java_ended(code, plan.settings.run_dir))
        signals.wait(_WATCH_SECONDS)


def _drain_and_stop(server: JavaServer, plan: Plan, signals: StopSignals) -> ExitCode:
    console = Console()
    console.line("Draining: new requests are refused, those in flight finish. Ctrl-C again ends at once.")
    drain = Drain(server, plan.settings.run_dir, plan.endpoints, plan.settings.model, console)
    result = drain.run(signals, plan.settings.drain_timeout)
    return _stop(server, signals, console, unfinished=result.unfinished)


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
        created=current_process_created(),
        model=plan.settings.model,
        http=plan.endpoints.http.authority,
        management=plan.endpoints.management.authority,
        drain_timeout=plan.settings.drain_timeout,
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
            f"  logs     {plan.settings.run_dir.logs}",
            "Try it:",
            f"  curl -s {url} -H 'Content-Type: application/json' -d {shlex.quote(body)}",
        )
    )
