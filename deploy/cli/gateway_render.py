"""``python -m deploy gateway-render``: the nginx configuration for replicas that run elsewhere."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from deploy.cli import Commands, positive
from deploy.cli.gateway_options import add_replica
from export.progress import Progress


def add_command(commands: Commands[Any]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "gateway-render",
        help="write the nginx configuration into a folder",
        description="Write nginx.conf, upstreams.conf and clients.conf (the tokens, mode 0600) into a folder. "
        "Run them with: nginx -p FOLDER -c FOLDER/nginx.conf",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    add_replica(parser)
    parser.add_argument("--certificate", type=Path, required=True, help="PEM chain of the gateway")
    parser.add_argument("--key", type=Path, required=True, help="PEM key of the gateway")
    parser.add_argument("--tokens", type=Path, help="file of NAME TOKEN lines, mode 0600")
    parser.add_argument("--client-ca", type=Path, help="authority of client certificates; beside --tokens both count")
    parser.add_argument("--listen", default="0.0.0.0:8443", help="default: %(default)s")
    parser.add_argument("--model", default="sentiment", help="name of the model (default: %(default)s)")
    parser.add_argument("--rate", type=positive, default=100, help="requests a second of one client (default: 100)")
    parser.add_argument("--burst", type=positive, default=200, help="requests above the rate (default: 200)")
    parser.add_argument("--in-flight", type=positive, default=256, help="requests of one client at once (default: 256)")
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace, command: str, progress: Progress) -> int:
    from deploy.gateway.limits import read_limits
    from deploy.gateway.render import write_configuration
    from deploy.gateway.settings import GatewaySettings
    from deploy.gateway.tokens import read_tokens

    settings = GatewaySettings(
        replicas=tuple(options.replica),
        limits=read_limits(),
        certificate=options.certificate.absolute(),
        key=options.key.absolute(),
        tokens=read_tokens(options.tokens) if options.tokens else (),
        client_ca=options.client_ca.absolute() if options.client_ca else None,
        listen=options.listen,
        model=options.model,
        rate_per_s=options.rate,
        burst=options.burst,
        in_flight=options.in_flight,
    )
    write_configuration(settings, options.out)
    print(options.out / "nginx.conf")
    return 0
