"""The addresses that are listened on, TorchServe's five and health: where they come from and what changes them."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from server.errors import ExitCode, ServerError


@dataclass(frozen=True)
class Endpoint:
    """One listener: ``option`` and ``property_name`` are what the user changes to move it."""

    host: str
    port: int
    option: str
    property_name: str

    @property
    def reachable_host(self) -> str:
        """A host that a client on this machine can connect to."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)

    @property
    def authority(self) -> str:
        """``host:port`` as in a URL, for a client on this machine."""
        host = f"[{self.reachable_host}]" if ":" in self.reachable_host else self.reachable_host
        return f"{host}:{self.port}"


@dataclass(frozen=True)
class Endpoints:
    """All listeners of one server."""

    http: Endpoint
    management: Endpoint
    metrics: Endpoint
    grpc: Endpoint
    grpc_management: Endpoint
    health: Endpoint

    def all(self) -> tuple[Endpoint, ...]:
        """Return the listeners in a stable order."""
        return (self.http, self.management, self.metrics, self.grpc, self.grpc_management, self.health)


@dataclass(frozen=True)
class PortOverrides:
    """Ports from the command line; ``None`` keeps that of the configuration file.

    ``bind`` is the host of every listener but management, which stays where it is.
    """

    http: int | None = None
    management: int | None = None
    metrics: int | None = None
    grpc: int | None = None
    grpc_management: int | None = None
    health: int | None = None
    bind: str | None = None

    def apply(self, properties: Mapping[str, str]) -> dict[str, str]:
        """Return a copy of ``properties`` that listens on these ports, and on ``bind`` where that is given."""
        changed = dict(properties)
        for name, (key, default) in _HTTP_ADDRESSES.items():
            host, port = _split_http(key, properties.get(key, default))
            chosen: int | None = getattr(self, name)
            changed[key] = _http_address(self._host(name, host), port if chosen is None else chosen)
        for name, (host_key, port_key, _) in _GRPC_ADDRESSES.items():
            changed[host_key] = self._host(name, properties.get(host_key, _LOOPBACK))
            chosen = getattr(self, name)
            if chosen is not None:
                changed[port_key] = str(chosen)
        return changed

    def _host(self, name: str, configured: str) -> str:
        return configured if self.bind is None or name in _MANAGEMENT else self.bind


HEALTH_ADDRESS: Final = "health_address"
_LOOPBACK: Final = "127.0.0.1"
_MANAGEMENT: Final = ("management", "grpc_management")
_HTTP_ADDRESSES: Final = {
    "http": ("inference_address", "http://127.0.0.1:8080"),
    "management": ("management_address", "http://127.0.0.1:8081"),
    "metrics": ("metrics_address", "http://127.0.0.1:8082"),
    "health": (HEALTH_ADDRESS, "http://127.0.0.1:8083"),
}
_GRPC_ADDRESSES: Final = {
    "grpc": ("grpc_inference_address", "grpc_inference_port", "7070"),
    "grpc_management": ("grpc_management_address", "grpc_management_port", "7071"),
}


def from_properties(properties: Mapping[str, str]) -> Endpoints:
    """Read the listeners of a configuration and refuse those that cannot or must not be served.

    Raises:
        ServerError: an address that is not plain HTTP with a port, a port used twice, or management that other
            machines could reach: it is not authenticated and can scale or unload the model.
    """
    endpoints = Endpoints(
        http=_http_endpoint("http", properties),
        management=_http_endpoint("management", properties),
        metrics=_http_endpoint("metrics", properties),
        grpc=_grpc_endpoint("grpc", properties),
        grpc_management=_grpc_endpoint("grpc_management", properties),
        health=_http_endpoint("health", properties),
    )
    _require_distinct(endpoints)
    _require_loopback(endpoints.management)
    _require_loopback(endpoints.grpc_management)
    return endpoints


def _http_endpoint(name: str, properties: Mapping[str, str]) -> Endpoint:
    key, default = _HTTP_ADDRESSES[name]
    host, port = _split_http(key, properties.get(key, default))
    return Endpoint(host, port, f"--{name}-port", key)


def _grpc_endpoint(name: str, properties: Mapping[str, str]) -> Endpoint:
    host_key, port_key, default = _GRPC_ADDRESSES[name]
    port = _port_number(port_key, properties.get(port_key, default))
    host = properties.get(host_key, _LOOPBACK)
    return Endpoint(host, port, f"--{name.replace('_', '-')}-port", port_key)


def _split_http(key: str, address: str) -> tuple[str, int]:
    parts = urlsplit(address)
    if parts.scheme != "http" or not parts.hostname:
        raise ServerError(
            ExitCode.CONFIG_INVALID,
            f"{key}={address} is not an address like http://127.0.0.1:8080 (TLS ends at the gateway)",
        )
    return parts.hostname, _port_number(key, parts.netloc.rpartition(":")[2])


def _http_address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _port_number(key: str, text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ServerError(ExitCode.CONFIG_INVALID, f"{key} needs a port from 1 to 65535, not {text!r}")
    return int(text)


def _require_distinct(endpoints: Endpoints) -> None:
    seen: dict[int, Endpoint] = {}
    for endpoint in endpoints.all():
        other = seen.setdefault(endpoint.port, endpoint)
        if other is not endpoint:
            raise ServerError(
                ExitCode.CONFIG_INVALID,
                f"port {endpoint.port} is given to both {other.property_name} and {endpoint.property_name}; "
                f"change one with {other.option} or {endpoint.option}",
            )


def _require_loopback(endpoint: Endpoint) -> None:
    if not _is_loopback(endpoint.host):
        raise ServerError(
            ExitCode.CONFIG_INVALID,
            f"management must stay on loopback, not {endpoint.host} (near {endpoint.property_name}): "
            "it is not authenticated",
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
