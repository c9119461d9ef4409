"""``python -m export tensorrt``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final

from export.progress import Progress

DESCRIPTION: Final = (
    "Build a TensorRT engine of an ONNX bundle, best one of PRECISION=fp16, and write a bundle for "
    "RUNTIME=tensorrt. An engine of tensorrt is for one GPU architecture and one TensorRT version: build it on the "
    "machine that serves it. tensorrt_rtx builds anywhere and compiles its kernels when it is loaded. Then run "
    "python -m export parity on a GPU: no bundle is served before the gate has passed it."
)


def add_command(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("tensorrt", help="ONNX bundle to TensorRT bundle", description=DESCRIPTION)
    parser.add_argument("--bundle", type=Path, required=True, help="ONNX bundle that has passed its gate")
    parser.add_argument("--out", type=Path, required=True, help="folder for the TensorRT bundle")
    parser.add_argument(
        "--package",
        choices=["auto", "tensorrt", "tensorrt_rtx"],
        default="auto",
        help="default: tensorrt where it is installed beside a GPU, else tensorrt_rtx",
    )
    parser.add_argument(
        "--token-budget",
        type=_at_least(1),
        help="padded tokens in one sub-batch, at least those of the lantern.token_budget that will serve it "
        "(default: what a GPU is served with)",
    )
    parser.add_argument(
        "--max-batch", type=_at_least(1), help="rows in one run; more short texts are run in turns (default: 256)"
    )
    parser.add_argument("--timing-cache", type=Path, help="file of kernel timings, read and written (tensorrt alone)")
    parser.add_argument("--optimization-level", type=int, choices=range(6), help="0 builds fastest, 5 searches longest")
    parser.add_argument("--workspace-mib", type=_at_least(1), help="memory of one kernel (default: all of the GPU's)")
    parser.add_argument("--force", action="store_true", help="build even if the folder is up to date")
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace, progress: Progress) -> int:
    from export.tensorrt import BuildOptions, export_tensorrt
    from handlers.runtime.bundle import read_bundle

    names = ("package", "token_budget", "max_batch", "timing_cache", "optimization_level", "workspace_mib")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    bundle = export_tensorrt(read_bundle(options.bundle), options.out, BuildOptions(**given), progress, options.force)
    summary = bundle.manifest.model_dump(mode="json", include={"checkpoint", "precision", "engine"})
    print(json.dumps({"bundle": str(options.out), "bytes": bundle.graph.stat().st_size, **summary}))
    return 0


def _at_least(least: int) -> Any:
    """Return a reader of whole numbers from ``least`` on."""

    def read(text: str) -> int:
        value = int(text)
        if value < least:
            raise ValueError
        return value

    read.__name__ = f"number of at least {least}"
    return read
