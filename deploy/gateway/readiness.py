"""Active readiness checks, which nginx itself does not have: ask every replica, and tell who may be sent requests."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import Final

from deploy.gateway.settings import Replica

READY_PATH: Final = "/readyz"
_SILENCES: Final = 3
"""How often in a row a replica may leave a question unanswered: a busy machine is no reason to send nobody there."""


class Answer(Enum):
    """What a replica says of itself."""

    READY = "ready"
    NOT_READY = "not ready"
    SILENT = "silent"


Probe = Callable[[Replica], Answer]


def ask(replica: Replica, timeout: float) -> Answer:
    """Ask one replica; where nothing listens, it is not ready."""
    connection = http.client.HTTPConnection(replica.health, timeout=timeout)
    try:
        connection.request("GET", READY_PATH)
        return Answer.READY if connection.getresponse().status == 200 else Answer.NOT_READY
    except TimeoutError:
        return Answer.SILENT
    except (OSError, http.client.HTTPException):
        return Answer.NOT_READY
    finally:
        connection.close()


class Readiness:
    """Who is ready, as of the last look.

    Args:
        replicas: everybody that is asked.
        probe: asks one of them.
        ready: who counts as ready before the first look.
    """

    def __init__(self, replicas: Sequence[Replica], probe: Probe, ready: frozenset[Replica]) -> None:
        self._replicas = tuple(replicas)
        self._probe = probe
        self._silences = dict.fromkeys(self._replicas, 0)
        self.ready = ready

    def look(self) -> bool:
        """Ask everybody at once; return whether anything has changed."""
        with ThreadPoolExecutor(len(self._replicas)) as askers:
            answers = dict(zip(self._replicas, askers.map(self._probe, self._replicas), strict=True))
        now = frozenset(replica for replica, answer in answers.items() if self._counts(replica, answer))
        changed = now != self.ready
        self.ready = now
        return changed

    def _counts(self, replica: Replica, answer: Answer) -> bool:
        self._silences[replica] = self._silences[replica] + 1 if answer is Answer.SILENT else 0
        if answer is Answer.SILENT and self._silences[replica] < _SILENCES:
            return replica in self.ready
        return answer is Answer.READY
