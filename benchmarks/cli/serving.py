"""``python -m benchmarks serving``."""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.cli import Commands, add_out, finish, slug
from export.progress import Progress


def add_command(commands: Commands[Any]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("serving", help="overhead and memory of a running server on this machine")
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--grpc", default="127.0.0.1:7070")
    parser.add_argument("--requests", type=int, default=200, help="on each protocol (default: 200)")
    parser.add_argument("--words", type=int, default=100, help="in each text (default: 100)")
    add_out(parser)
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace, command: str, progress: Progress) -> int:
    from benchmarks import serving

    report = serving.run_serving_benchmark(
        options.url, options.grpc, options.requests, options.words, command, progress.update
    )
    progress.clear()
    stem = f"serving-{slug(report.model['checkpoint'])}-{report.model['precision']}"
    return finish(report, serving.report_markdown(report), options.out, stem)
