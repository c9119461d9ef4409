"""``python -m deploy gateway-latency``: what the gateway adds to a request."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any, Final

from deploy.cli import RESULTS, Commands, add_archive, positive
from export.progress import Progress

_UNLIMITED: Final = {"rate_per_s": 10_000, "burst": 10_000}


def add_command(commands: Commands[Any]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "gateway-latency",
        help="the milliseconds that the gateway adds, REST and gRPC",
        description="Send the same requests in turns straight to a replica and through the gateway.",
    )
    parser.add_argument("--rounds", type=positive, default=1000, help="requests on each way (default: %(default)s)")
    add_archive(parser)
    parser.add_argument("--out", type=Path, default=RESULTS, help="default: %(default)s")
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace, command: str, progress: Progress) -> int:
    from benchmarks.cli import finish
    from deploy.gateway.latency import measure, report_markdown
    from deploy.gateway.local import LocalOptions, local_gateway

    with tempfile.TemporaryDirectory(prefix="lantern-gateway-") as folder:
        chosen = LocalOptions(options.archive, Path(folder), 1, model=options.model, options=_UNLIMITED)
        with local_gateway(chosen, progress.note) as gateway:
            report = measure(gateway, options.rounds, command, progress.update)
    progress.clear()
    return finish(report, report_markdown(report), options.out, "gateway-latency")
