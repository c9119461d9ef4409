"""The policy in force: read from a file that the platform may replace while the service runs.

The file is looked at from the calling thread, at most every few seconds, so there is no thread and no signal to
manage. Its content is what counts: a symlink that is swung over (as Kubernetes does with ``..data``), a file renamed
into place and a file written in place are one and the same here, and so is a file rewritten as it was. (Kubernetes
never updates a file that is mounted by ``subPath``.)
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, Literal, TypeVar

from handlers.core.errors import StartupError

Policy = TypeVar("Policy")

DEFAULT_INTERVAL_S: Final = 5.0
MAX_POLICY_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class PolicyChange:
    """What became of a changed policy file.

    Attributes:
        outcome: ``reloaded`` where the file is now in force; ``refused`` where the policy before it stays.
        sha256: of the file; ``None`` where it could not be read.
        message: why it was refused, on one line; empty where it was not.
    """

    outcome: Literal["reloaded", "refused"]
    sha256: str | None
    message: str = ""


Parse = Callable[[bytes, str], Policy]
"""Turns the file's content, and the name to call it by, into a policy; raises ``StartupError`` where it is not one."""


class PolicySource(Generic[Policy]):
    """Keeps the last good policy of a file. For one thread.

    Args:
        path: of the policy file.
        parse: as ``Parse``.
        report: called for every change, and once for each different refusal.
        interval_s: seconds between looks at the file.
        clock: seconds from any origin, monotone.

    Raises:
        StartupError: there is no good policy to begin with.
    """

    def __init__(
        self,
        path: Path,
        parse: Parse[Policy],
        report: Callable[[PolicyChange], None],
        interval_s: float = DEFAULT_INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._parse = parse
        self._report = report
        self._interval_s = interval_s
        self._clock = clock
        self._refused: PolicyChange | None = None
        payload = self._read()
        self._policy = parse(payload, str(path))
        self._sha256 = _sha256(payload)
        self._looked_at = clock()

    @property
    def sha256(self) -> str:
        """SHA-256 of the content that is in force."""
        return self._sha256

    @property
    def refused(self) -> PolicyChange | None:
        """The refusal that stands: the file is not what is in force. ``None`` where it is."""
        return self._refused

    def current(self) -> Policy:
        """Return the policy in force, after a look at the file where one is due. Never raises."""
        now = self._clock()
        if now - self._looked_at >= self._interval_s:
            self._looked_at = now
            self._look()
        return self._policy

    def _look(self) -> None:
        digest: str | None = None
        try:
            payload = self._read()
            digest = _sha256(payload)
            if digest != self._sha256:
                self._policy = self._parse(payload, str(self._path))
        except StartupError as error:
            self._refuse(PolicyChange("refused", digest, " ".join(str(error).split())))
        except Exception as error:  # noqa: BLE001 - whatever a mounted file holds, the service goes on with what it has
            message = f"{self._path}: {type(error).__name__} while it was read; correct the policy"
            self._refuse(PolicyChange("refused", digest, message))
        else:
            self._accept(digest)

    def _accept(self, digest: str) -> None:
        # Back to what is in force is a change too where a refusal stood.
        if digest != self._sha256 or self._refused is not None:
            self._sha256 = digest
            self._refused = None
            self._report(PolicyChange("reloaded", digest))

    def _refuse(self, change: PolicyChange) -> None:
        # The same file is tried again each time, as a policy may come into force by date, but is reported once.
        if change != self._refused:
            self._refused = change
            self._report(change)

    def _read(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                payload = file.read(MAX_POLICY_BYTES + 1)
        except OSError as error:
            raise StartupError(f"{self._path}: cannot be read ({error.strerror}); put the policy there") from None
        if len(payload) > MAX_POLICY_BYTES:
            raise StartupError(f"{self._path}: larger than {MAX_POLICY_BYTES} bytes; this is no policy")
        return payload


def _sha256(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()
