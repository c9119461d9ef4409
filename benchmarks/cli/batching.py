"""``python -m benchmarks batching``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.cli import Commands, add_out, finish, slug
from benchmarks.errors import BenchmarkError
from export.progress import Progress


def add_command(commands: Commands[Any]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("batching", help="what company costs, and what order and cut do to waiting")
    parser.add_argument("--bundle", type=Path, required=True, help="an exported bundle; it is run on the CPU")
    parser.add_argument(
        "--workload", default="thirds", help="a name in benchmarks/workloads, or a file (default: thirds)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--threads", type=int, default=0, help="default: every core")
    add_out(parser)
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace, command: str, progress: Progress) -> int:
    from benchmarks import batching
    from benchmarks.load.workload import load_workload
    from handlers.core.settings import Settings
    from handlers.runtime.bundle import read_bundle

    workload = load_workload(options.workload)
    if workload.tokens is None:
        raise BenchmarkError(f"workload {workload.name} has no `tokens`: the lengths of texts must be known")
    if options.rounds < 1:
        raise BenchmarkError(f"--rounds {options.rounds}: at least one is needed")
    bundle = read_bundle(options.bundle)
    manifest = bundle.manifest
    runtime = bundle.open_runtime(Settings(device="cpu", threads=options.threads))
    names = (manifest.checkpoint, manifest.precision, command)
    report = batching.run_batching_benchmark(
        runtime, names, workload, manifest.max_length, options.rounds, progress.update
    )
    progress.clear()
    stem = f"batching-{slug(manifest.checkpoint)}-{manifest.precision}-{slug(workload.name)}"
    return finish(report, batching.report_markdown(report), options.out, stem)
