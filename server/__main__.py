"""Command line of the server: ``start``, ``ready``, ``stop``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from server.endpoints import PortOverrides
from server.errors import ExitCode, ServerError
from server.logs import LogFormat, LogSettings, LogTarget, json_line
from server.preflight import parse_sha256
from server.readiness import why_not_ready
from server.rundir import RunDir
from server.settings import StartSettings
from server.stop import stop
from server.supervisor import start

_DEFAULT_RUN_DIR: Final = Path(".lantern/run")
_EXIT_CODES: Final = "exit status: " + ", ".join(
    f"{code.value} {code.name.lower().replace('_', ' ')}" for code in ExitCode
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    chosen = _parser().parse_args(arguments)
    try:
        return int(_run(chosen))
    except ServerError as error:
        as_json = getattr(chosen, "log_format", None) is LogFormat.JSON
        print(json_line("ERROR", "server", str(error)) if as_json else f"server: {error}", file=sys.stderr)
        return int(error.code)


def _run(chosen: argparse.Namespace) -> ExitCode:
    run_dir = RunDir(chosen.run_dir.absolute())
    if chosen.command == "start":
        return start(_start_settings(chosen, run_dir))
    if chosen.command == "stop":
        return stop(run_dir, chosen.timeout)
    return _report_readiness(why_not_ready(run_dir, chosen.timeout, canary=chosen.canary))


def _report_readiness(reason: str) -> ExitCode:
    print(f"not ready: {reason}" if reason else "ready")
    return ExitCode.NOT_READY if reason else ExitCode.OK


def _start_settings(chosen: argparse.Namespace, run_dir: RunDir) -> StartSettings:
    return StartSettings(
        archive=chosen.archive.absolute(),
        model=chosen.model,
        config=chosen.config.absolute(),
        run_dir=run_dir,
        logs=LogSettings(chosen.log_format, chosen.log_to),
        archive_sha256=chosen.archive_sha256,
        ports=PortOverrides(
            http=chosen.http_port,
            management=chosen.management_port,
            metrics=chosen.metrics_port,
            grpc=chosen.grpc_port,
            grpc_management=chosen.grpc_management_port,
            health=chosen.health_port,
            bind=chosen.bind,
        ),
        startup_timeout=chosen.startup_timeout,
        drain_timeout=chosen.drain_timeout,
        drain_grace=chosen.drain_grace,
        hang_timeout=chosen.hang_timeout,
        recovery_timeout=chosen.recovery_timeout,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m server", description="Serve a model archive with TorchServe on loopback.", epilog=_EXIT_CODES
    )
    commands = parser.add_subparsers(dest="command", required=True)
    _add_start(commands)
    _add_ready(commands)
    _add_stop(commands)
    return parser


def _add_start(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "start",
        help="start, wait until a prediction comes back, serve in the foreground",
        description="Start TorchServe and serve in the foreground. SIGTERM or Ctrl-C drains and stops; a second Ctrl-C "
        "ends at once.",
        epilog=_EXIT_CODES,
    )
    command.add_argument(
        "--archive", type=Path, default=Path("model_store/sentiment.mar"), help="model archive (default: %(default)s)"
    )
    command.add_argument(
        "--archive-sha256",
        type=_sha256,
        metavar="HEX",
        help="refuse any other archive than the one of this digest (default: that in ARCHIVE.sha256, where it exists)",
    )
    command.add_argument("--model", default="sentiment", help="name in the URL of predictions (default: %(default)s)")
    command.add_argument(
        "--config", type=Path, default=Path("config.properties"), help="TorchServe properties (default: %(default)s)"
    )
    _add_run_dir(command)
    for name in ("http", "management", "metrics", "grpc", "grpc-management", "health"):
        command.add_argument(
            f"--{name}-port", type=_port, metavar="PORT", help=f"{name} port (default: that of --config)"
        )
    command.add_argument(
        "--bind",
        metavar="HOST",
        help="host of REST, gRPC, metrics and health, such as 0.0.0.0 in a container; management stays on loopback "
        "(default: those of --config)",
    )
    command.add_argument(
        "--log-format",
        type=LogFormat,
        choices=list(LogFormat),
        default=LogFormat.TEXT,
        help="lines for people, or one JSON object a line (default: %(default)s)",
    )
    command.add_argument(
        "--log-to",
        type=LogTarget,
        choices=list(LogTarget),
        default=LogTarget.FILES,
        help="files in the run folder, or standard output as well, where the files are small (default: %(default)s)",
    )
    command.add_argument(
        "--startup-timeout",
        type=_seconds,
        default=300.0,
        metavar="S",
        help="seconds until ready (default: %(default)s)",
    )
    command.add_argument(
        "--drain-timeout",
        type=_seconds,
        default=30.0,
        metavar="S",
        help="seconds for requests in flight at a stop (default: %(default)s)",
    )
    command.add_argument(
        "--drain-grace",
        type=_seconds,
        default=0.0,
        metavar="S",
        help="seconds at a stop in which it is not ready but still serves, for gateways to find out; "
        "the drain begins after it (default: %(default)s)",
    )
    command.add_argument(
        "--hang-timeout",
        type=_seconds,
        default=20.0,
        metavar="S",
        help="seconds after which a worker that hangs is killed, and started anew (default: %(default)s)",
    )
    command.add_argument(
        "--recovery-timeout",
        type=_seconds,
        default=120.0,
        metavar="S",
        help="seconds after which a server that does not get ready again ends itself (default: %(default)s)",
    )


def _add_ready(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "ready",
        help="exit 0 when the server answers predictions, else 1 with the reason",
    )
    _add_run_dir(command)
    command.add_argument(
        "--timeout",
        type=_seconds,
        default=10.0,
        metavar="S",
        help="seconds for the test prediction (default: %(default)s)",
    )
    command.add_argument(
        "--no-canary", dest="canary", action="store_false", help="look at the workers only, without a test prediction"
    )


def _add_stop(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("stop", help="drain and stop the server of a run folder, and wait for its end")
    _add_run_dir(command)
    command.add_argument(
        "--timeout", type=_seconds, metavar="S", help="seconds to wait (default: its drain timeout and a margin)"
    )


def _add_run_dir(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--run-dir",
        type=Path,
        default=_DEFAULT_RUN_DIR,
        metavar="DIR",
        help="pid file, logs, flags (default: %(default)s)",
    )


def _sha256(text: str) -> str:
    try:
        return parse_sha256(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to 65535")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds") from None
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
