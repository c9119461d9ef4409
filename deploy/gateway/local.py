"""A gateway with its replicas on loopback: started together, tended, and stopped without leaving anything."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from benchmarks.ports import free_ports, listener_ports
from client import LanternClient, LanternClientError, Tls
from deploy.errors import DeployError
from deploy.gateway.certificates import write_certificate
from deploy.gateway.limits import read_limits
from deploy.gateway.nginx_process import NginxProcess, find_nginx
from deploy.gateway.render import MAIN, render_main, write_configuration
from deploy.gateway.replica_process import STOP_S, ReplicaProcess, wait_ready
from deploy.gateway.settings import GatewaySettings
from deploy.gateway.tokens import read_tokens, write_tokens
from deploy.gateway.watch import Watch, reload_nginx
from server.rundir import RunDir

CLIENT: Final = "local"
NGINX: Final = "nginx"
"""Folder of the gateway's configuration and logs, below that of the run."""
DRAIN_GRACE_S: Final = 1.0
"""Longer than a look at the readiness and the reload that follows it."""
_NGINX_STOP_S: Final = 10.0
_FIRST_ANSWER_S: Final = 30.0
_TRY_S: Final = 0.2
_TEXT: Final = "The bus was late, so I walked home and made some tea."


@dataclass(frozen=True)
class LocalOptions:
    """What a local run is made of.

    Attributes:
        options: further settings of the gateway, by name.
        replica_options: further options of ``server start``.
        clients: who gets a token; the first is whom ``LocalGateway`` makes clients for.
    """

    archive: Path
    folder: Path
    replicas: int = 2
    port: int | None = None
    model: str = "sentiment"
    drain_grace_s: float = DRAIN_GRACE_S
    replica_options: tuple[str, ...] = ()
    clients: tuple[str, ...] = (CLIENT,)
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class LocalGateway:
    """A running gateway, its replicas, and how to call it."""

    settings: GatewaySettings
    folder: Path
    replicas: list[ReplicaProcess]
    nginx: NginxProcess
    watch: Watch
    failure: list[DeployError]

    @property
    def authority(self) -> str:
        """``host:port`` of both protocols."""
        return self.settings.listen

    @property
    def url(self) -> str:
        """The REST address."""
        return f"https://{self.authority}"

    @property
    def certificate(self) -> Path:
        """What clients have to trust."""
        return self.settings.certificate

    @property
    def token(self) -> str:
        """The local client's token."""
        return self.settings.tokens[0].secret

    def rest(self, **options: Any) -> LanternClient:
        """Return a REST client that trusts the gateway and has the token."""
        return LanternClient.rest(self.url, **self._credentials() | options)

    def grpc(self, **options: Any) -> LanternClient:
        """Return a gRPC client that trusts the gateway and has the token."""
        return LanternClient.grpc(self.authority, **self._credentials() | options)

    def reconfigure(self, **changed: Any) -> None:
        """Change settings of the running gateway, by name."""
        self.settings = replace(self.settings, **changed)
        (self.folder / NGINX / MAIN).write_text(render_main(self.settings), encoding="utf-8")
        reload_nginx(self.folder / NGINX)

    def replica_is_used(self, replica: ReplicaProcess) -> bool:
        """Whether ``replica`` is sent requests."""
        return replica.replica in self.watch.ready

    def _credentials(self) -> dict[str, Any]:
        return {"model": self.settings.model, "tls": Tls(ca=self.certificate), "token": self.token}


@contextmanager
def local_gateway(
    options: LocalOptions, say: Callable[[str], None], given_up: Callable[[], bool] = lambda: False
) -> Iterator[LocalGateway]:
    """Run a gateway and its replicas for the length of a ``with`` block; ``given_up`` ends the wait for their start.

    Raises:
        DeployError: something is missing or did not start; with what to do.
    """
    find_nginx()
    replicas = _replicas(options)
    try:
        for replica in replicas:
            replica.start()
        say(f"starting {len(replicas)} replicas")
        settings = _settings(options, replicas)
        wait_ready(replicas, given_up=given_up)
        with _gateway(settings, options.folder, replicas, say) as gateway:
            _wait_for_answers(gateway)
            yield gateway
    finally:
        _stop(replicas)


@contextmanager
def _gateway(
    settings: GatewaySettings, folder: Path, replicas: list[ReplicaProcess], say: Callable[[str], None]
) -> Iterator[LocalGateway]:
    nginx_folder = folder / NGINX
    _set_aside(nginx_folder)
    write_configuration(settings, nginx_folder)
    nginx = NginxProcess.start(nginx_folder)
    stop = threading.Event()
    watch = Watch(nginx_folder, settings.replicas, say, frozenset(settings.replicas))
    failure: list[DeployError] = []
    thread = threading.Thread(target=_run_watch, args=(watch, stop, failure))
    thread.start()
    try:
        yield LocalGateway(settings, folder, replicas, nginx, watch, failure)
    finally:
        stop.set()
        thread.join()
        nginx.stop(_NGINX_STOP_S)


def _set_aside(folder: Path) -> None:
    """Keep the logs of the last run, and no older ones."""
    previous = folder.with_name(f"{folder.name}.previous")
    if folder.exists():
        shutil.rmtree(previous, ignore_errors=True)
        folder.replace(previous)


def _run_watch(watch: Watch, stop: threading.Event, failure: list[DeployError]) -> None:
    try:
        watch.run(stop)
    except DeployError as error:
        failure.append(error)


def _replicas(options: LocalOptions) -> list[ReplicaProcess]:
    options.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return [
        ReplicaProcess(
            archive=options.archive.absolute(),
            run_dir=RunDir((options.folder / f"replica-{place}").absolute()),
            ports=ports,
            model=options.model,
            drain_grace_s=options.drain_grace_s,
            options=options.replica_options,
        )
        for place, ports in enumerate(listener_ports(options.replicas))
    ]


def _settings(options: LocalOptions, replicas: list[ReplicaProcess]) -> GatewaySettings:
    folder = options.folder.absolute()
    certificate, key, tokens = folder / "certificate.pem", folder / "key.pem", folder / "tokens"
    write_certificate(certificate, key)
    write_tokens(tokens, options.clients)
    port = options.port or free_ports(1)[0]
    given: dict[str, Any] = {"tokens": read_tokens(tokens)} | options.options
    return GatewaySettings(
        replicas=tuple(replica.replica for replica in replicas),
        limits=read_limits(),
        certificate=certificate,
        key=key,
        listen=f"127.0.0.1:{port}",
        model=options.model,
        **given,
    )


def _wait_for_answers(gateway: LocalGateway) -> None:
    """Return when a text has been answered through TLS on both protocols."""
    deadline = time.monotonic() + _FIRST_ANSWER_S
    for make in (gateway.rest, gateway.grpc):
        with make(retries=0) as client:
            while (fault := _fault(client)) is not None:
                if time.monotonic() > deadline:
                    raise DeployError(
                        f"no answer through the gateway: {fault}; see {gateway.folder / 'nginx' / 'logs'}"
                    )
                time.sleep(_TRY_S)


def _fault(client: LanternClient) -> LanternClientError | None:
    try:
        client.classify(_TEXT)
    except LanternClientError as error:
        return error
    return None


def _stop(replicas: list[ReplicaProcess]) -> None:
    """Ask all of them first, so that they drain beside each other; nobody is sent there any more."""
    for replica in replicas:
        replica.ask_to_end()
    deadline = time.monotonic() + STOP_S
    for replica in replicas:
        replica.stop(max(1.0, deadline - time.monotonic()))
