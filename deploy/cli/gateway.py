"""``python -m deploy gateway``: nginx before replicas on loopback, in the foreground."""

from __future__ import annotations

import argparse
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from deploy.cli import Commands, add_archive, add_run_dir, positive
from deploy.errors import DeployError
from export.progress import Progress
from server.signals import StopSignals

if TYPE_CHECKING:
    from deploy.gateway.local import LocalGateway

_TEND_S: Final = 0.5
_TRY_BODY: Final = '{"text": "I feel on edge before the exam."}'


def add_command(commands: Commands[Any]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "gateway",
        help="nginx with TLS and a token before replicas on loopback, until Ctrl-C",
        description="Start replicas and nginx before them, with a certificate and a token made for the run. A replica "
        "that ends is started again. Ctrl-C or SIGTERM drains and stops everything.",
    )
    parser.add_argument("--replicas", type=positive, default=2, metavar="N", help="default: %(default)s")
    parser.add_argument("--port", type=positive, default=8443, help="of both protocols (default: %(default)s)")
    parser.add_argument("--rate", type=positive, default=100, help="requests a second of one client (default: 100)")
    parser.add_argument("--burst", type=positive, default=200, help="requests above the rate (default: 200)")
    add_archive(parser)
    add_run_dir(parser, ".lantern/gateway")
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace, command: str, progress: Progress) -> int:
    from deploy.gateway.local import LocalOptions, local_gateway

    _check_archive(options.archive)
    chosen = LocalOptions(
        archive=options.archive,
        folder=options.run_dir.absolute(),
        replicas=options.replicas,
        port=options.port,
        model=options.model,
        options={"rate_per_s": options.rate, "burst": options.burst},
    )
    with (
        _sole_owner(chosen.folder),
        StopSignals() as signals,
        local_gateway(chosen, progress.note, lambda: signals.requested) as gateway,
    ):
        progress.note(_ready_message(gateway))
        while not signals.requested:
            _tend(gateway, progress)
            signals.wait(_TEND_S)
        progress.note("stopping: requests in flight finish, then nginx and the replicas end")
    progress.note("stopped")
    return 0


def _tend(gateway: LocalGateway, progress: Progress) -> None:
    """Do what an orchestrator would: start a replica again that has ended."""
    if gateway.failure:
        raise gateway.failure[0]
    if gateway.nginx.process.poll() is not None:
        raise DeployError(f"nginx has ended; see {gateway.folder / 'nginx' / 'logs'}")
    for replica in gateway.replicas:
        if replica.ended() is not None:
            progress.note(f"a replica has ended and is started again: {replica.last_line()}")
            replica.start()


def _ready_message(gateway: LocalGateway) -> str:
    path, tokens = f"{gateway.url}{gateway.settings.rest_path}", gateway.folder / "tokens"
    token = f"$(cut -d' ' -f2 {tokens})"
    return "\n".join(
        [
            f"Ready: {len(gateway.replicas)} replicas behind {gateway.url}, REST and gRPC.",
            f"  certificate  {gateway.certificate}",
            f"  token        {tokens}",
            f"  logs         {gateway.folder / 'nginx' / 'logs'}",
            "Try it:",
            f'  curl -s --cacert {gateway.certificate} {path} -H "Authorization: Bearer {token}" '
            f"-H 'Content-Type: application/json' -d '{_TRY_BODY}'",
            f'  echo "I feel on edge before the exam." | LANTERN_TOKEN="{token}" .venv/bin/python -m client classify '
            f"--grpc {gateway.authority} --ca {gateway.certificate}",
        ]
    )


def _check_archive(archive: Path) -> None:
    if not archive.is_file():
        raise DeployError(f"no archive at {archive}: `make archive` makes one, `make gateway` does both")


@contextmanager
def _sole_owner(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "lock").open("w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DeployError(f"a gateway already runs from {folder}; stop it, or use --run-dir") from None
        yield
