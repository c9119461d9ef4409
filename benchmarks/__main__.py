"""``python -m benchmarks``: measure the engine and a running server."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.errors import BenchmarkError
from benchmarks.reports import write_report
from export.errors import ExportRefused
from export.progress import Progress
from handlers.core.errors import LanternError, StartupError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

EXIT_REFUSED: Final = 2
RESULTS: Final = Path("benchmarks/results")
LENGTHS: Final = (16, 64, 128, 256, 512, 1024, 2048, 4096)


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


def _engine(options: argparse.Namespace, command: str, progress: Progress) -> int:
    from benchmarks import engine
    from export.checkpoint import load_model, open_checkpoint
    from handlers.runtime.bundle import GRAPH_NAME, read_bundle
    from handlers.runtime.onnx import OnnxRuntime

    bundle = read_bundle(options.bundle)
    model = load_model(open_checkpoint(options.checkpoint))
    runtime = OnnxRuntime(bundle.folder / GRAPH_NAME, "cpu", options.threads)
    names = (bundle.manifest.checkpoint, bundle.manifest.precision, command)
    lengths = [length for length in options.lengths if length <= bundle.manifest.max_length]
    report = engine.run_engine_benchmark(model, runtime, names, lengths, options.rounds, progress.update)
    progress.clear()
    stem = f"engine-{_slug(bundle.manifest.checkpoint)}-{bundle.manifest.precision}"
    return _finish(report, engine.report_markdown(report), options.out, stem)


def _serving(options: argparse.Namespace, command: str, progress: Progress) -> int:
    from benchmarks import serving

    report = serving.run_serving_benchmark(
        options.url, options.grpc, options.requests, options.words, command, progress.update
    )
    progress.clear()
    stem = f"serving-{_slug(report.model['checkpoint'])}-{report.model['precision']}"
    return _finish(report, serving.report_markdown(report), options.out, stem)


def _finish(report: DataclassInstance, markdown: str, folder: Path, stem: str) -> int:
    write_report(report, markdown, folder, stem)
    print(markdown)
    return 0


def _slug(name: str) -> str:
    return "".join(character if character.isalnum() else "-" for character in name)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="benchmark")

    engine = commands.add_parser("engine", help="the graph against transformers eager and the GEMM rate")
    engine.add_argument("--checkpoint", required=True, help="as for python -m export")
    engine.add_argument("--bundle", type=Path, required=True, help="its exported bundle")
    engine.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    engine.add_argument("--rounds", type=int, default=5, help="default: 5")
    engine.add_argument("--threads", type=int, default=0, help="default: every core")
    engine.add_argument("--out", type=Path, default=RESULTS, help=f"default: {RESULTS}")
    engine.set_defaults(command=_engine)

    serving = commands.add_parser("serving", help="overhead and memory of a running server on this machine")
    serving.add_argument("--url", default="http://127.0.0.1:8080")
    serving.add_argument("--grpc", default="127.0.0.1:7070")
    serving.add_argument("--requests", type=int, default=200, help="on each protocol (default: 200)")
    serving.add_argument("--words", type=int, default=100, help="in each text (default: 100)")
    serving.add_argument("--out", type=Path, default=RESULTS, help=f"default: {RESULTS}")
    serving.set_defaults(command=_serving)
    return parser


if __name__ == "__main__":
    sys.exit(main())
