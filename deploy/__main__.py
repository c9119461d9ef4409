"""``python -m deploy``: a gateway with replicas on this machine, and what they do when something breaks."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from typing import Final

from deploy.cli import chaos, fuzz, gateway, gateway_latency, gateway_render, gateway_watch, openapi, sbom
from deploy.errors import DeployError
from export.progress import Progress

EXIT_REFUSED: Final = 2
COMMANDS: Final = (gateway, gateway_render, gateway_watch, gateway_latency, chaos, openapi, fuzz, sbom)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    command = shlex.join(["python", "-m", "deploy", *given])
    progress = Progress()
    try:
        return int(options.command(options, command, progress))
    except DeployError as error:
        progress.note(f"error: {error}")
        return EXIT_REFUSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    for module in COMMANDS:
        module.add_command(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
