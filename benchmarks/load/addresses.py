"""Where load may go: this machine, unless the caller insists."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from benchmarks.errors import BenchmarkError


def host_and_port(address: str) -> tuple[str, int]:
    """Split ``http://host:port/…`` or ``host:port``; the port is that of the scheme where none is named.

    Raises:
        BenchmarkError: it is neither.
    """
    parts = urlsplit(address if "//" in address else f"//{address}")
    try:
        port = parts.port
    except ValueError:
        port = None
    default = {"http": 80, "https": 443}.get(parts.scheme)
    if not parts.hostname or (port or default) is None:
        raise BenchmarkError(f"{address!r} is no address: REST is like http://127.0.0.1:8080, gRPC like 127.0.0.1:7070")
    return parts.hostname, int(port or default or 0)


def require_loopback(addresses: list[str], allow_remote: bool) -> None:
    """Refuse an address of another machine: a load test of somebody else's server is an attack.

    Raises:
        BenchmarkError: naming the address, unless ``allow_remote``.
    """
    for address in addresses:
        host, _ = host_and_port(address)
        if not allow_remote and not is_loopback(host):
            raise BenchmarkError(
                f"{host} is not this machine; --allow-remote puts load on it, which its owner has to want"
            )


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine's loopback; names are not resolved, except ``localhost``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def accepts(address: str, timeout_s: float = 1.0) -> bool:
    """Return whether somebody accepts connections at an address."""
    try:
        with socket.create_connection(host_and_port(address), timeout=timeout_s):
            return True
    except OSError:
        return False
