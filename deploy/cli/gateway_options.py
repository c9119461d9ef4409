"""Options that name replicas which run elsewhere."""

from __future__ import annotations

import argparse

from deploy.errors import DeployError
from deploy.gateway.settings import Replica


def add_replica(parser: argparse.ArgumentParser) -> None:
    """Add the option, which is given once for each replica."""
    parser.add_argument(
        "--replica",
        action="append",
        type=_replica,
        required=True,
        metavar="HOST[:REST:GRPC:HEALTH]",
        help="once for each replica (ports: 8080, 7070 and 8083)",
    )


def _replica(text: str) -> Replica:
    host, *ports = text.rsplit(":", 3) if text.count(":") >= 3 else [text]
    rest, grpc, health = ports or ("8080", "7070", "8083")
    try:
        return Replica(f"{host}:{rest}", f"{host}:{grpc}", f"{host}:{health}")
    except DeployError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
