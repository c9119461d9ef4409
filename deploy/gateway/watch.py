"""The sidecar: keep nginx's list of replicas true. In Kubernetes the endpoints of the Service do this."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from deploy.errors import DeployError
from deploy.gateway.readiness import Readiness, ask
from deploy.gateway.render import write_upstreams
from deploy.gateway.settings import Replica

INTERVAL_S: Final = 0.25
TIMEOUT_S: Final = 1.0


class Watch:
    """Rewrites the upstreams in ``folder`` and reloads nginx whenever a replica has become ready, or has stopped being.

    Args:
        folder: where the configuration was rendered to.
        replicas: those in the configuration.
        say: is told of every change.
        ready: who counts as ready in the file as it is.
        interval: seconds between looks.
    """

    def __init__(
        self,
        folder: Path,
        replicas: Sequence[Replica],
        say: Callable[[str], None],
        ready: frozenset[Replica],
        interval: float = INTERVAL_S,
    ) -> None:
        self._folder = folder
        self._replicas = tuple(replicas)
        self._say = say
        self._interval = interval
        self._readiness = Readiness(replicas, partial(ask, timeout=TIMEOUT_S), ready)

    @property
    def ready(self) -> frozenset[Replica]:
        """Who may be sent requests."""
        return self._readiness.ready

    def run(self, stop: threading.Event) -> None:
        """Look until ``stop`` is set."""
        while not stop.wait(self._interval):
            self.look()

    def look(self) -> None:
        """Look once, and reload nginx where that changes anything."""
        if not self._readiness.look():
            return
        write_upstreams(self._folder, self._replicas, self.ready)
        reload_nginx(self._folder)
        names = ", ".join(replica.rest for replica in self._replicas if replica in self.ready) or "none"
        self._say(f"replicas that are sent requests: {names}")


def reload_nginx(folder: Path) -> None:
    """Tell the nginx of ``folder`` to read its configuration anew.

    Raises:
        DeployError: none runs there.
    """
    try:
        os.kill(int((folder / "nginx.pid").read_text(encoding="ascii")), signal.SIGHUP)
    except (OSError, ValueError) as error:
        raise DeployError(f"no nginx runs from {folder}: {error}") from error
