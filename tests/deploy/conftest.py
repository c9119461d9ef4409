"""Scripted replicas, and real gateways before them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from benchmarks.ports import free_ports
from deploy.gateway.certificates import write_certificate
from deploy.gateway.limits import ServerLimits, read_limits
from deploy.gateway.nginx_process import NginxProcess
from deploy.gateway.render import write_configuration
from deploy.gateway.settings import GatewaySettings, Replica
from deploy.gateway.watch import Watch
from tests.client.conftest import RESPONSE, Reply, Script, Seen, _reply, start_grpc, start_http
from tests.deploy.calls import OTHER_TOKEN, TOKEN


class ScriptedReplica:
    """A replica that answers as it is told, on both protocols, and says whether it is ready."""

    def __init__(self) -> None:
        self.script, self._health = Script(), Script()
        self._http, self._health_http = start_http(self.script), start_http(self._health)
        self._grpc, grpc_port = start_grpc(self.script)
        ports = (self._http.server_port, grpc_port, self._health_http.server_port)
        self.addresses = Replica(*(f"127.0.0.1:{port}" for port in ports))
        self.reset()

    @property
    def seen(self) -> list[Seen]:
        """The calls that came."""
        return self.script.seen

    def say(self, *replies: dict[str, Any]) -> None:
        """Answer the next calls with these, the last one for ever; as in ``tests.client.conftest``."""
        self.script.replies = [_reply(**reply) for reply in replies]

    def be(self, *, ready: bool) -> None:
        """Say so when asked."""
        self._health.replies = [Reply(http=200 if ready else 503)]

    def reset(self) -> None:
        """Be ready, and answer every text."""
        self.script.seen.clear()
        self.say({"json": RESPONSE})
        self.be(ready=True)

    def close(self) -> None:
        """Stop listening."""
        for server in (self._http, self._health_http):
            server.shutdown()
            server.server_close()
        self._grpc.stop(None).wait()


@dataclass
class Gateway:
    """A running nginx before scripted replicas."""

    settings: GatewaySettings
    folder: Path
    nginx: NginxProcess
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        replicas = self.settings.replicas
        self.watch = Watch(self.folder, replicas, self.lines.append, frozenset(replicas))

    @property
    def authority(self) -> str:
        return self.settings.listen

    @property
    def certificate(self) -> Path:
        return self.settings.certificate

    def files(self) -> bytes:
        """Everything that it has written, but the list of tokens."""
        files = (path for path in self.folder.rglob("*") if path.is_file() and path.name != "clients.conf")
        return b"".join(path.read_bytes() for path in files)


@pytest.fixture(scope="session")
def nginx_program() -> None:
    """Skip where there is no nginx."""
    if shutil.which("nginx") is None and not Path("/usr/sbin/nginx").exists():
        pytest.skip("nginx is not installed: apt-get install nginx")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: no certificate to serve TLS with")
    folder = tmp_path_factory.mktemp("tls")
    write_certificate(folder / "certificate.pem", folder / "key.pem")
    return folder / "certificate.pem", folder / "key.pem"


@pytest.fixture(scope="session")
def both() -> Iterator[tuple[ScriptedReplica, ScriptedReplica]]:
    """Two replicas for the whole session; ``replicas`` sets them back."""
    pair = ScriptedReplica(), ScriptedReplica()
    yield pair
    for replica in pair:
        replica.close()


@pytest.fixture
def replicas(both: tuple[ScriptedReplica, ScriptedReplica]) -> Iterator[tuple[ScriptedReplica, ScriptedReplica]]:
    """The replicas as new, and as new afterwards for gateways that are started between tests."""
    _reset(both)
    yield both
    _reset(both)


def _reset(both: tuple[ScriptedReplica, ScriptedReplica]) -> None:
    for replica in both:
        replica.reset()


@pytest.fixture(params=["rest", "grpc"])
def protocol(request: pytest.FixtureRequest) -> str:
    """The same test over both protocols."""
    return str(request.param)


StartGateway = Callable[..., Gateway]


@pytest.fixture(scope="session")
def start_gateway(
    nginx_program: None,
    both: tuple[ScriptedReplica, ScriptedReplica],
    certificate: tuple[Path, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[StartGateway]:
    """Start gateways before the two replicas, with other settings where some are given."""
    started: list[Gateway] = []

    def start(limits: ServerLimits | None = None, **options: Any) -> Gateway:
        chosen: dict[str, Any] = {"tokens": (TOKEN, OTHER_TOKEN), "rate_per_s": 10_000, "burst": 10_000}
        settings = GatewaySettings(
            replicas=options.pop("replicas", tuple(replica.addresses for replica in both)),
            limits=limits or read_limits(),
            certificate=certificate[0],
            key=certificate[1],
            listen=f"127.0.0.1:{free_ports(1)[0]}",
            worker_processes="1",
            **chosen | options,
        )
        folder = tmp_path_factory.mktemp("gateway")
        write_configuration(settings, folder)
        started.append(Gateway(settings, folder, NginxProcess.start(folder)))
        return started[-1]

    yield start
    for gateway in started:
        gateway.nginx.stop(5)


@pytest.fixture(scope="session")
def shared_gateway(start_gateway: StartGateway) -> Gateway:
    """One gateway for every test that changes nothing of it."""
    return start_gateway()


def client_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate of a client called ``name``, which is its own authority."""
    chain, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", f"/CN={name}", "-days", "2", "-keyout", str(key), "-out", str(chain)]
    subprocess.run(command, check=True, capture_output=True)
    return chain, key
