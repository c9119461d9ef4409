"""``python -m benchmarks gpu-check``."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from typing import Any, Final

from benchmarks.cli import Commands, add_out, finish, slug
from export.progress import Progress

LENGTHS: Final = (128, 256, 512, 1024, 2048, 4096)
LENGTHS_WITHOUT_GPU: Final = (16, 128, 300, 1025)
BATCHES: Final = (1, 8, 16, 32)
RUNTIMES: Final = ("torch", "windowed", "onnx", "tensorrt")
EXIT_FAILED: Final = 1
EXIT_NO_GPU: Final = 3


def add_command(commands: Commands[Any]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "gpu-check",
        help="every runtime on this machine's GPU: parity, speed, share of its rate; exit 3 where there is none",
        description=(
            "Compare every runtime with transformers and time it on this machine's GPU. Needs no download: the "
            "default checkpoint is the base model's shape with random weights. Bundles are kept in --cache, so that "
            "the next check is quick. Exit code: 0 where everything that ran agrees, 1 where something failed, "
            "3 where there is no GPU and everything that can be checked without one agrees."
        ),
    )
    parser.add_argument("--checkpoint", default="random:longformer-base", help="as for python -m export")
    parser.add_argument(
        "--lengths", type=int, nargs="+", help=f"default: {LENGTHS}; without a GPU {LENGTHS_WITHOUT_GPU}"
    )
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, help=f"default: {BATCHES}")
    parser.add_argument("--token-budget", type=int, default=65536, help="padded tokens of a batch (default: 65536)")
    parser.add_argument("--runtimes", nargs="+", choices=RUNTIMES, default=RUNTIMES, help="besides transformers")
    parser.add_argument("--rounds", type=int, default=7, help="default: 7")
    parser.add_argument("--cache", type=Path, default=Path(".lantern/gpu-check"), help="default: .lantern/gpu-check")
    add_out(parser)
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace, command: str, progress: Progress) -> int:
    from benchmarks import gpu_check, gpu_report

    there_is_one = gpu_check.missing_gpu() is None
    plan = gpu_check.CheckPlan(
        checkpoint=options.checkpoint,
        runtimes=tuple(options.runtimes),
        lengths=tuple(options.lengths or (LENGTHS if there_is_one else LENGTHS_WITHOUT_GPU)),
        batches=tuple(options.batches),
        token_budget=options.token_budget,
        rounds=options.rounds,
        cache=options.cache / slug(options.checkpoint),
    )
    report = gpu_check.run_gpu_check(plan, command, progress)
    stem = f"gpu-check-{slug(report.device['name'] if report.device else 'no-gpu')}-{slug(options.checkpoint)}"
    finish(report, gpu_report.report_markdown(report), options.out, stem)
    if report.speed and importlib.util.find_spec("matplotlib"):
        gpu_report.plot_speed(report.speed, options.out / f"{stem}.svg")
    if not report.passed:
        return EXIT_FAILED
    return 0 if there_is_one else EXIT_NO_GPU
