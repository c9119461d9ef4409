"""``python -m export torch``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Final

from export.options import add_checkpoint_options, claims
from export.progress import Progress

DESCRIPTION: Final = (
    "Write a bundle for RUNTIME=torch: the weights under their stock names in model.safetensors, in fp32 or fp16. "
    "The folder holds no code, and transformers loads it as a checkpoint. Then run python -m export parity."
)
DEFAULT_BLOCK: Final = 256
"""That of ``handlers.runtime.torch_longformer``, whose import takes a second that --help does not wait for."""


def add_command(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("torch", help="checkpoint to a bundle for the torch runtime", description=DESCRIPTION)
    add_checkpoint_options(parser, required=True)
    parser.add_argument("--out", type=Path, required=True, help="bundle folder to write")
    parser.add_argument("--precision", choices=["fp32", "fp16"], default="fp32", help="of the weights (default: fp32)")
    parser.add_argument(
        "--attention",
        choices=["blocks", "windowed"],
        default="blocks",
        help="blocks runs anywhere; windowed is flash attention's own window, fp16 on CUDA alone (default: blocks)",
    )
    parser.add_argument(
        "--block-size", type=int, default=DEFAULT_BLOCK, help=f"most queries in a block (default: {DEFAULT_BLOCK})"
    )
    parser.add_argument("--force", action="store_true", help="export even if the bundle is up to date")
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace, progress: Progress) -> int:
    from export.checkpoint import open_checkpoint
    from export.torch_bundle import TorchOptions, export_torch

    checkpoint = open_checkpoint(options.checkpoint, claims(options))
    wanted = TorchOptions(options.precision, options.attention, options.block_size)
    bundle = export_torch(checkpoint, options.out, wanted, progress, options.force)
    summary = bundle.manifest.model_dump(mode="json", include={"checkpoint", "revision", "labels", "precision"})
    print(json.dumps({"bundle": str(options.out), **summary}))
    return 0
