"""The commands of ``python -m benchmarks``: one module each, with ``add_command``.

What takes seconds to import is imported when a command runs, so that ``--help`` does not wait for it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.reports import write_report
from export.progress import Progress

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Commands = argparse._SubParsersAction
Command = Callable[[argparse.Namespace, str, Progress], int]
"""Takes the options, the command line as a report quotes it, and the progress line; returns the exit code."""

RESULTS: Final = Path("benchmarks/results")


def finish(report: DataclassInstance, markdown: str, folder: Path, stem: str) -> int:
    """Write a report as JSON and Markdown, print the latter and return 0."""
    write_report(report, markdown, folder, stem)
    print(markdown)
    return 0


def slug(name: str) -> str:
    """Return ``name`` as part of a file name."""
    return "".join(character if character.isalnum() else "-" for character in name)


def add_out(parser: argparse.ArgumentParser) -> None:
    """Add the option that says where reports go."""
    parser.add_argument("--out", type=Path, default=RESULTS, help=f"default: {RESULTS}")
