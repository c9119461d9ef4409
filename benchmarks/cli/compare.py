"""``python -m benchmarks compare A.json B.json``."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from benchmarks.cli import Commands
from export.progress import Progress

EXIT_WORSE: Final = 10
EXIT_NOTHING: Final = 11

_END = f"""\
exit status: 0 no regression beyond noise; {EXIT_WORSE} a regression; {EXIT_NOTHING} nothing in common to compare;
2 a file cannot be read.
"""


def add_command(commands: Commands[Any]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "compare",
        help="two results of `run`: regressions beyond noise",
        description="Compare two results of `run`, A before and B after. Every figure gets an interval from the "
        "windows of both results, and a verdict.",
        epilog=_END,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("first", metavar="A.json", type=Path, help="result.json of the baseline")
    parser.add_argument("second", metavar="B.json", type=Path, help="result.json of what is judged")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace, command: str, progress: Progress) -> int:
    from benchmarks.load.compare import compare, comparison_lines
    from benchmarks.load.results import read_result

    names = (str(options.first), str(options.second))
    comparison = compare(read_result(options.first), read_result(options.second), names)
    if options.json:
        print(json.dumps({"verdict": comparison.verdict, **asdict(comparison)}, indent=1))
    else:
        print("\n".join(comparison_lines(comparison)))
    if not comparison.differences:
        return EXIT_NOTHING
    return EXIT_WORSE if comparison.worse else 0
