"""Ports for servers that a test starts."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from server.endpoints import PortOverrides


def free_ports() -> PortOverrides:
    """Six ports that nothing listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(6)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return PortOverrides(*(listener.getsockname()[1] for listener in sockets))
