"""The settings of one gateway, validated once."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.errors import DeployError
from deploy.gateway.limits import ServerLimits
from deploy.gateway.tokens import Token

GRPC_SERVICE: Final = "/org.pytorch.serve.grpc.inference.InferenceAPIsService"
_GRPC_FRAME_BYTES: Final = 5
"""What goes before each gRPC message, and is no part of it."""
_READ_AHEAD_BYTES: Final = 1024 * 1024
_ADDRESS: Final = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\]):[0-9]{1,5}")
_MODEL: Final = re.compile(r"[A-Za-z0-9][\w.-]*")
_UNQUOTABLE: Final = re.compile(r"[\"\\\n$;{}]")


@dataclass(frozen=True)
class Replica:
    """Where one replica listens: REST, gRPC and health, each as ``host:port``."""

    rest: str
    grpc: str
    health: str

    def __post_init__(self) -> None:
        for address in (self.rest, self.grpc, self.health):
            if not _ADDRESS.fullmatch(address):
                raise DeployError(f"{address!r} is not the address of a replica, such as 10.0.0.7:8080")


@dataclass(frozen=True)
class GatewaySettings:
    """What the configuration is made of; times in seconds.

    Attributes:
        replicas: at least one.
        limits: the server's own.
        certificate, key: PEM files of the gateway.
        tokens: clients that show a bearer token; empty where certificates alone decide.
        client_ca: authority whose client certificates are asked for, beside the token where there are tokens.
        listen: ``address:port``.
        model: the only model that is served.
        rate_per_s, burst: requests of one client, on both protocols together.
        in_flight: requests of one client at once; a body of the largest size may be held for each.
        worker_processes: as in nginx, ``auto`` or a number.
    """

    replicas: tuple[Replica, ...]
    limits: ServerLimits
    certificate: Path
    key: Path
    tokens: tuple[Token, ...] = ()
    client_ca: Path | None = None
    listen: str = "127.0.0.1:8443"
    model: str = "sentiment"
    rate_per_s: int = 100
    burst: int = 200
    in_flight: int = 256
    worker_processes: str = "auto"
    connect_timeout_s: int = 1
    client_timeout_s: int = 10

    def __post_init__(self) -> None:
        if not self.replicas:
            raise DeployError("a gateway needs at least one replica")
        if not self.tokens and self.client_ca is None:
            raise DeployError("a gateway needs tokens or an authority of client certificates: it lets nobody else in")
        if not _MODEL.fullmatch(self.model):
            raise DeployError(f"{self.model!r} is not a model's name of letters, digits, '_', '-' and '.'")
        for path in (self.certificate, self.key, *([self.client_ca] if self.client_ca else [])):
            if not path.is_file():
                raise DeployError(f"no such file: {path}")
            if _UNQUOTABLE.search(str(path)):
                raise DeployError(f"nginx cannot be given a path like {path}")

    @property
    def rest_path(self) -> str:
        """The only path of REST."""
        return f"/predictions/{self.model}"

    @property
    def grpc_service(self) -> str:
        """The path of the gRPC service."""
        return GRPC_SERVICE

    @property
    def grpc_body_bytes(self) -> int:
        """The largest gRPC body: TorchServe limits the message, the gateway sees its frame as well."""
        return self.limits.max_body_bytes + _GRPC_FRAME_BYTES

    @property
    def body_buffer_bytes(self) -> int:
        """More than any body that is taken: nginx would write to disk what fills it, before it looks at the limit."""
        return self.grpc_body_bytes + _READ_AHEAD_BYTES

    @property
    def read_timeout_s(self) -> int:
        """Longer than the handler's deadline and than TorchServe's patience with a worker: their answers say more."""
        return math.ceil(max(self.limits.deadline_s, self.limits.response_timeout_s)) + 5

    @property
    def tries(self) -> int:
        """How many replicas are asked for one request, at most."""
        return min(len(self.replicas), 3)
