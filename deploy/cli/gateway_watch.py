"""``python -m deploy gateway-watch``: the sidecar that keeps nginx's list of replicas true."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from deploy.cli import Commands
from deploy.cli.gateway_options import add_replica
from export.progress import Progress
from server.signals import StopSignals


def add_command(commands: Commands[Any]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "gateway-watch",
        help="ask every replica whether it is ready, and tell nginx",
        description="Ask /readyz of every replica, and on a change rewrite FOLDER/upstreams.conf and reload the nginx "
        "that runs from FOLDER. Runs until SIGTERM, as the user that nginx's master has.",
    )
    parser.add_argument("--folder", type=Path, required=True, help="where gateway-render wrote to")
    add_replica(parser)
    parser.add_argument("--interval", type=float, default=0.25, metavar="S", help="default: %(default)s")
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace, command: str, progress: Progress) -> int:
    from deploy.gateway.watch import Watch

    replicas = tuple(options.replica)
    watch = Watch(options.folder, replicas, progress.note, frozenset(replicas), options.interval)
    with StopSignals() as signals:
        while not signals.requested:
            watch.look()
            signals.wait(options.interval)
    return 0
