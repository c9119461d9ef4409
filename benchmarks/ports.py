"""Ports of loopback for servers that are started here."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import Final

LISTENERS: Final = ("http", "management", "metrics", "grpc", "grpc-management", "health")
"""Of a server of ours; ``python -m server start`` has an option ``--NAME-port`` for each."""


def free_ports(count: int) -> list[int]:
    """Return ``count`` different ports of loopback that nothing listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in sockets]


def listener_ports(servers: int) -> list[dict[str, int]]:
    """Return free ports for the listeners of ``servers`` servers that run at the same time, by name."""
    ports = iter(free_ports(servers * len(LISTENERS)))
    return [{name: next(ports) for name in LISTENERS} for _ in range(servers)]


def port_options(ports: dict[str, int]) -> list[str]:
    """Return the options of ``python -m server start`` for a server's ports."""
    return [f"--{name}-port={port}" for name, port in ports.items()]
