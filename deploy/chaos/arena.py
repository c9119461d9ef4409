"""What scenarios work with: the running gateway, its callers, and waits that end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from client import LanternClient
from deploy.chaos.answers import Known
from deploy.chaos.load import Load, LoadSettings
from deploy.errors import DeployError
from deploy.gateway.local import LocalGateway
from deploy.gateway.replica_process import START_S, ReplicaProcess, wait_ready

WARM_CALLS: Final = 60
"""Calls before anything is broken, and again after it is whole."""
_POLL_S: Final = 0.02
_UNPACED: Final = 1e6
_CAPACITY_CALLERS: Final = 16
_CAPACITY_S: Final = 3.0
_PATIENCE_S: Final = 60.0


class Skipped(Exception):
    """A scenario that cannot be run here; the message says why and what to install."""


@dataclass
class Arena:
    """A gateway with replicas, and texts whose answers are known.

    Attributes:
        archive: what the replicas serve.
        folder: for files of scenarios.
        say: is told what happens.
    """

    gateway: LocalGateway
    known: tuple[Known, ...]
    archive: Path
    folder: Path
    settings: LoadSettings
    say: Callable[[str], None]
    notes: list[str] = field(default_factory=list)

    @property
    def replicas(self) -> list[ReplicaProcess]:
        """The replicas, in the order of the gateway's list."""
        return self.gateway.replicas

    def load(self, known: Sequence[Known] | None = None, settings: LoadSettings | None = None) -> Load:
        """Return callers on both protocols."""
        connect: dict[str, Callable[..., LanternClient]] = {
            "rest": lambda policy: self.gateway.rest(retries=policy),
            "grpc": lambda policy: self.gateway.grpc(retries=policy),
        }
        return Load(connect, known or self.known, settings or self.settings)

    def capacity(self) -> float:
        """Return the calls a second that callers get answered when they do not pause, here and now."""
        unpaced = replace(self.settings, rate=_UNPACED, callers=_CAPACITY_CALLERS)
        with self.load(settings=unpaced) as load:
            load.wait_for(WARM_CALLS, _PATIENCE_S)
            before, began = len(load.samples), time.monotonic()
            time.sleep(_CAPACITY_S)
            return (len(load.samples) - before) / (time.monotonic() - began)

    def note(self, text: str) -> None:
        """Keep ``text`` for the report."""
        self.notes.append(text)

    def until(self, condition: Callable[[], bool], what: str, timeout: float = _PATIENCE_S) -> float:
        """Wait until ``condition`` holds and return the seconds that took.

        Raises:
            DeployError: it does not hold in time.
        """
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > timeout:
                raise DeployError(f"waited {timeout:.0f} s for {what}")
            time.sleep(_POLL_S)
        return time.monotonic() - began

    def until_gone(self, replica: ReplicaProcess) -> float:
        """Wait until ``replica`` is sent no more requests."""
        return self.until(lambda: not self.gateway.replica_is_used(replica), "a replica to be taken out")

    def until_whole(self) -> float:
        """Wait until every replica is ready and is sent requests."""
        return self.until(
            lambda: all(map(self.gateway.replica_is_used, self.replicas)), "all replicas to be sent requests"
        )

    def restart(self, replica: ReplicaProcess) -> None:
        """Do what an orchestrator does with a replica that has ended."""
        replica.start()
        wait_ready([replica], START_S)
        self.until(lambda: self.gateway.replica_is_used(replica), "a replica to be sent requests")

    def make_whole(self) -> None:
        """Start again whatever has ended, with the good archive, and wait until all is well."""
        for replica in self.replicas:
            replica.archive = self.archive
            if replica.ended() is not None:
                replica.start()
        wait_ready(self.replicas, START_S)
        self.until_whole()
