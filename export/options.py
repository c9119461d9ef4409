"""Options that commands of ``python -m export`` have in common."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from export.checkpoint import Claims


def add_checkpoint_options(parser: argparse.ArgumentParser, required: bool) -> None:
    """Add the checkpoint and what the operator says about it."""
    parser.add_argument("--checkpoint", required=required, help="hub id, folder, or random:longformer-base")
    parser.add_argument("--revision", help="commit or tag of the hub (default: its main branch)")
    parser.add_argument("--labels", help="names of the logits in order, a,b,c; needed where id2label is generic")
    parser.add_argument("--problem-type", help="state multi_label_classification where config.json does not")
    parser.add_argument("--smoke", type=Path, help="JSON lines of text and expected label, checked now and at start")


def claims(options: argparse.Namespace) -> Claims:
    """Return what the options of ``add_checkpoint_options`` say besides the checkpoint."""
    from export.checkpoint import Claims

    labels = tuple(label.strip() for label in options.labels.split(",")) if options.labels else None
    return Claims(labels, options.problem_type, options.smoke, options.revision)
