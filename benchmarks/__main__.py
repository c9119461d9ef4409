"""``python -m benchmarks``: measure the engine and a running server."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from typing import Final

from benchmarks.cli import batching, compare, engine, gpu_check, peers, plan, run, serving, settings
from benchmarks.errors import BenchmarkError
from export.errors import ExportRefused
from export.progress import Progress
from handlers.core.errors import LanternError, StartupError

EXIT_REFUSED: Final = 2
COMMANDS: Final = (batching, engine, gpu_check, peers, serving, settings, run, plan, compare)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one benchmark and print its table."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    command = shlex.join(["python", "-m", "benchmarks", *given])
    progress = Progress()
    try:
        return int(options.command(options, command, progress))
    except (BenchmarkError, ExportRefused, LanternError, StartupError) as error:
        progress.note(f"error: {error}")
        return EXIT_REFUSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="benchmark")
    for module in COMMANDS:
        module.add_command(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
