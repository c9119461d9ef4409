"""The commands of ``python -m deploy``: one module each, with ``add_command``.

What takes long to import is imported when a command runs, so that ``--help`` does not wait for it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

from export.progress import Progress

Commands = argparse._SubParsersAction
Command = Callable[[argparse.Namespace, str, Progress], int]
"""Takes the options, the command line as a report quotes it, and the progress line; returns the exit code."""

ARCHIVE: Final = Path("model_store/sentiment.mar")
RESULTS: Final = Path("benchmarks/results")


def add_archive(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what the replicas serve."""
    parser.add_argument("--archive", type=Path, default=ARCHIVE, help="model archive (default: %(default)s)")
    parser.add_argument("--model", default="sentiment", help="name of the model (default: %(default)s)")


def add_run_dir(parser: argparse.ArgumentParser, default: str) -> None:
    """Add the option that says where everything of a run lies."""
    parser.add_argument(
        "--run-dir",
        type=Path,
        default=Path(default),
        metavar="DIR",
        help="certificate, token, configuration, logs (default: %(default)s)",
    )


def positive(text: str) -> int:
    """Return a whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)
