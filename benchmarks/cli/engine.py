"""``python -m benchmarks engine``."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.cli import Commands, add_out, slug
from benchmarks.errors import BenchmarkError
from export.progress import Progress

if TYPE_CHECKING:
    from benchmarks.engine.contenders import Contender
    from benchmarks.engine.measurements import Measurements, Setup

LENGTHS: Final = (16, 64, 128, 256, 512, 1024, 2048, 4096)
BATCHES: Final = (1, 2, 4, 8)
BATCH_LENGTHS: Final = (16, 128, 512)
MEMORY_LENGTHS: Final = (128, 512, 1024, 4096)
PEERS: Final = ("eager", "compile", "openvino")
PACKAGES: Final = ("torch", "transformers", "onnxruntime", "openvino", "numpy")
EXIT_INTERRUPTED: Final = 130


def add_command(commands: Commands[Any]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("engine", help="bundles beside transformers, OpenVINO and the machine's matrix rate")
    parser.add_argument("--checkpoint", required=True, help="as for python -m export")
    parser.add_argument(
        "--bundle", type=Path, required=True, action="append", help="an exported bundle of it; may be repeated"
    )
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=PEERS, help="default: all that are installed")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--batches", type=int, nargs="*", default=BATCHES, help="batch sizes of the bundles' engines")
    parser.add_argument("--batch-lengths", type=int, nargs="*", default=BATCH_LENGTHS, help="lengths of the batches")
    parser.add_argument("--memory-lengths", type=int, nargs="*", default=MEMORY_LENGTHS)
    parser.add_argument("--rounds", type=int, default=5, help="at most (default: 5)")
    parser.add_argument(
        "--budget-minutes", type=float, default=12.0, help="after which no further round starts (default: 12)"
    )
    parser.add_argument(
        "--compile-minutes", type=float, default=3.0, help="of compiling, after which no length is added (default: 3)"
    )
    parser.add_argument("--threads", type=int, default=0, help="default: every core")
    parser.add_argument("--fresh", action="store_true", help="measure anew where an unfinished run could go on")
    add_out(parser)
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace, command: str, progress: Progress) -> int:
    if find_spec("matplotlib") is None:
        raise BenchmarkError("matplotlib is not installed: pip install -r requirements/bench.txt")
    from benchmarks.engine.ceilings import GEMM_SHAPE, Ceilings
    from benchmarks.engine.measurements import read_measurements, resume_or_start
    from benchmarks.engine.report import report_markdown
    from benchmarks.engine.rounds import Limits, run_rounds

    setup = _setup(options)
    stem = options.out / f"engine-{slug(setup.checkpoint)}"
    found = None if options.fresh else read_measurements(stem.with_suffix(".json"))
    measurements = resume_or_start(found, setup, command)
    limits = Limits(options.rounds, 60 * options.budget_minutes, 60 * options.compile_minutes)
    try:
        ceilings = Ceilings(setup.machine["threads"], GEMM_SHAPE)
        run_rounds(measurements, limits, ceilings, progress.update, lambda state: _save(state, stem))
    except KeyboardInterrupt:
        progress.note(f"stopped; what was finished is in {stem}.md, the same command goes on from there")
        return EXIT_INTERRUPTED
    progress.clear()
    print(report_markdown(measurements))
    return 0


def _setup(options: argparse.Namespace) -> Setup:
    from transformers import LongformerConfig

    from benchmarks.engine.contenders import bundle_contender, openvino_contender, peer_contenders
    from benchmarks.engine.measurements import Setup
    from benchmarks.flops import ModelShape, needed_flops
    from benchmarks.machine import describe_machine
    from export.checkpoint import open_checkpoint
    from handlers.runtime.bundle import read_bundle
    from handlers.runtime.cores import available_cores

    checkpoint = open_checkpoint(options.checkpoint)
    manifests = [read_bundle(folder).manifest for folder in options.bundle]
    for folder, manifest in zip(options.bundle, manifests, strict=True):
        if manifest.revision != checkpoint.revision:
            raise BenchmarkError(f"{folder} was made of another revision of {checkpoint.name}; export it again")
    longest = min(manifest.max_length for manifest in manifests)
    lengths = tuple(sorted(length for length in options.lengths if length <= longest))
    peers = [one for one in peer_contenders(options.checkpoint, checkpoint.folder) if one.kind in options.peers]
    ours: list[Contender] = [bundle_contender(folder) for folder in options.bundle]
    plain = [folder for folder, one in zip(options.bundle, ours, strict=True) if _is_plain_graph(folder)]
    if "openvino" in options.peers and plain:
        peers.append(openvino_contender(plain[0]))
    config = LongformerConfig.from_pretrained(checkpoint.folder)
    shape = ModelShape.of(config)
    return Setup(
        checkpoint=checkpoint.name,
        revision=checkpoint.revision,
        contenders=(*peers, *ours),
        lengths=lengths,
        batches=tuple(options.batches),
        batch_lengths=tuple(length for length in options.batch_lengths if length in lengths),
        memory_lengths=tuple(length for length in options.memory_lengths if length <= longest),
        machine=describe_machine(options.threads or available_cores(), PACKAGES),
        flops=tuple(needed_flops(shape, length) for length in lengths),
        vocabulary=config.vocab_size,
    )


def _is_plain_graph(folder: Path) -> bool:
    """Tell whether a bundle holds an fp32 ONNX graph, which other engines read too."""
    from handlers.runtime.bundle import read_bundle

    manifest = read_bundle(folder).manifest
    return (manifest.runtime, manifest.precision) == ("onnx", "fp32")


def _save(measurements: Measurements, stem: Path) -> None:
    """Write what there is: JSON, Markdown, and the plot once there is something to draw."""
    from benchmarks.engine.measurements import as_json
    from benchmarks.engine.plot import draw_latency
    from benchmarks.engine.report import report_markdown, summarise, summary_fields
    from export.manifests import replace_text

    stem.parent.mkdir(parents=True, exist_ok=True)
    plot = stem.with_suffix(".svg")
    report = summarise(measurements)
    if report.cells:
        draw_latency(measurements, plot)
    replace_text(stem.with_suffix(".json"), as_json(measurements, summary_fields(report)))
    replace_text(stem.with_suffix(".md"), report_markdown(measurements, plot.name if report.cells else None))
