"""``python -m deploy chaos``: break replicas behind the gateway, and count what callers lose."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from deploy.cli import Commands, add_archive, positive
from deploy.errors import DeployError
from export.progress import Progress

EXIT_FAILED: Final = 1
LIMIT_S: Final = 300
"""Of everything together, the start of the replicas included."""
_STOP_S: Final = 10.0


def add_command(commands: Commands[Any]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "chaos",
        help="break replicas behind the gateway under load, and count what callers lose",
        description="Run the scenarios one after another on two replicas behind nginx, with callers on both protocols "
        "who know every answer beforehand. Exit status 1 if anything went otherwise than it should.",
    )
    parser.add_argument("scenario", nargs="*", help="which to run (default: all; --list says what there is)")
    parser.add_argument("--list", action="store_true", help="list the scenarios and end")
    parser.add_argument("--rate", type=positive, default=80, help="calls a second on both protocols (default: 80)")
    parser.add_argument("--limit", type=positive, default=LIMIT_S, metavar="S", help="seconds (default: %(default)s)")
    add_archive(parser)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="also write chaos.json and chaos.md there")
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace, command: str, progress: Progress) -> int:
    from deploy.chaos.catalogue import BY_NAME, SCENARIOS

    if options.list:
        for scenario in SCENARIOS:
            print(f"{scenario.name:20} {scenario.title}")
        return 0
    unknown = sorted(set(options.scenario) - set(BY_NAME))
    if unknown:
        raise DeployError(f"no scenario {', '.join(unknown)}; there are {', '.join(BY_NAME)}")
    if not options.archive.is_file():
        raise DeployError(f"no archive at {options.archive}: `make archive` makes one, `make chaos` does both")
    return _break_things(options, command, progress)


def _break_things(options: argparse.Namespace, command: str, progress: Progress) -> int:
    from benchmarks.machine import describe_machine
    from benchmarks.reports import write_report
    from deploy.chaos.catalogue import BY_NAME, SCENARIOS
    from deploy.chaos.load import LoadSettings
    from deploy.chaos.report import ChaosReport, report_markdown, table
    from deploy.chaos.run import open_arena, run_all

    ends = time.monotonic() + options.limit - _STOP_S
    chosen = [BY_NAME[name] for name in options.scenario] or list(SCENARIOS)
    with tempfile.TemporaryDirectory(prefix="lantern-chaos-") as folder:
        settings = LoadSettings(rate=options.rate)
        with open_arena(options.archive, options.model, Path(folder), settings, progress.note) as arena:
            outcomes = tuple(run_all(arena, chosen, ends - time.monotonic()))
    print(table(outcomes))
    machine = describe_machine(threads=0) | {"threads": "the server's own"}
    report = ChaosReport(command, machine, float(options.rate), outcomes)
    if options.out is not None:
        write_report(report, report_markdown(report), options.out, "chaos")
    return 0 if report.passed else EXIT_FAILED
