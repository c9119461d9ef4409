"""``python -m benchmarks engine``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

from benchmarks.cli import Commands, add_out, finish, slug
from export.progress import Progress

LENGTHS: Final = (16, 64, 128, 256, 512, 1024, 2048, 4096)


def add_command(commands: Commands[Any]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("engine", help="the graph against transformers eager and the GEMM rate")
    parser.add_argument("--checkpoint", required=True, help="as for python -m export")
    parser.add_argument("--bundle", type=Path, required=True, help="its exported bundle")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--threads", type=int, default=0, help="default: every core")
    add_out(parser)
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace, command: str, progress: Progress) -> int:
    from benchmarks import engine
    from export.checkpoint import load_model, open_checkpoint
    from handlers.runtime.bundle import read_bundle
    from handlers.runtime.onnx import OnnxRuntime

    bundle = read_bundle(options.bundle)
    model = load_model(open_checkpoint(options.checkpoint))
    runtime = OnnxRuntime(bundle.graph, "cpu", options.threads)
    names = (bundle.manifest.checkpoint, bundle.manifest.precision, command)
    lengths = [length for length in options.lengths if length <= bundle.manifest.max_length]
    report = engine.run_engine_benchmark(model, runtime, names, lengths, options.rounds, progress.update)
    progress.clear()
    stem = f"engine-{slug(bundle.manifest.checkpoint)}-{bundle.manifest.precision}"
    return finish(report, engine.report_markdown(report), options.out, stem)
