"""Ports for servers that a test starts."""

from __future__ import annotations

from benchmarks import ports
from server.endpoints import PortOverrides


def free_ports() -> PortOverrides:
    """Six ports that nothing listens on."""
    return PortOverrides(*ports.free_ports(len(ports.LISTENERS)))
