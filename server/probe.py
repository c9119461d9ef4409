"""What the server itself says: the model as management describes it, and one canary prediction."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any, Final

CANARY_TEXT: Final = "The bus was late, so I walked home and made some tea."
_DESCRIBE_SECONDS: Final = 3.0
_TRY_LATER: Final = (429, 503, 507)


class ModelMissingError(Exception):
    """Management runs but knows no such model: TorchServe could not register the archive."""


@dataclass(frozen=True)
class ModelDescription:
    """The workers, the processes that they run in, and the queue of a model; ``max_batch_delay`` in seconds."""

    workers: tuple[str, ...]
    pids: tuple[int, ...]
    min_workers: int
    pending: int
    max_batch_delay: float

    @property
    def ready_workers(self) -> int:
        """How many workers have loaded the model."""
        return self.workers.count("READY")

    @property
    def is_ready(self) -> bool:
        """Whether every worker that was asked for has loaded the model."""
        return bool(self.workers) and self.ready_workers == len(self.workers) >= self.min_workers


@dataclass(frozen=True)
class CanaryAnswer:
    """The answer to the canary: ``fault`` is empty for a good one; ``final`` says that asking again is no use."""

    fault: str
    final: bool = False


def describe(authority: str, model: str, timeout: float = _DESCRIBE_SECONDS) -> ModelDescription | None:
    """Return the description of ``model``, or ``None`` while management at ``authority`` does not answer.

    Raises:
        ModelMissingError: management answers and has no such model.
    """
    try:
        status, body = _request(authority, "GET", f"/models/{model}", None, timeout)
    except (OSError, http.client.HTTPException):
        return None
    if status == 404:
        raise ModelMissingError(model)
    if status != 200:
        return None
    return _parse_description(json.loads(body)[0])


def why_unready(authority: str, timeout: float) -> str:
    """Return why ``/readyz`` says that the server is not ready, or an empty text when it is."""
    try:
        status, body = _request(authority, "GET", "/readyz", None, timeout)
    except (OSError, http.client.HTTPException):
        return "its health endpoint does not answer"
    return "" if status == 200 else str(json.loads(body)["reason"])


def ask_worker(authority: str, model: str, timeout: float) -> tuple[str, ...] | None:
    """Let a worker describe itself, and return what it says of the policy in force; ``None`` where nothing came back.

    This goes through TorchServe's queue and the worker's own loop like a request, but it is no prediction: nothing is
    run, decided or recorded.
    """
    try:
        status, body = _request(authority, "GET", f"/models/{model}?customized=true", None, timeout)
    except (OSError, http.client.HTTPException):
        return None
    return _parse_notes(body) if status == 200 else ()


def _parse_notes(body: bytes) -> tuple[str, ...]:
    """Return ``policy_notes`` of the worker's own description."""
    try:
        return tuple(str(note) for note in json.loads(body)[0]["customizedMetadata"]["policy_notes"])
    except (ValueError, LookupError, TypeError):
        return ()


def ask_canary(authority: str, model: str, timeout: float) -> CanaryAnswer:
    """Ask for one prediction of a fixed everyday sentence and judge the answer."""
    body = json.dumps({"text": CANARY_TEXT}).encode()
    try:
        status, answer = _request(authority, "POST", f"/predictions/{model}", body, timeout)
    except TimeoutError:
        return CanaryAnswer(f"no answer to a test prediction within {timeout:.0f} s")
    except (OSError, http.client.HTTPException) as error:
        return CanaryAnswer(f"a test prediction failed: {error}")
    if status != 200:
        return CanaryAnswer(f"a test prediction was answered with HTTP {status}", final=status not in _TRY_LATER)
    return CanaryAnswer("" if _has_labels(answer) else "a test prediction came back without `labels`", final=True)


def _request(authority: str, method: str, path: str, body: bytes | None, timeout: float) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(authority, timeout=timeout)
    headers = {"Content-Type": "application/json"} if body is not None else {}
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _parse_description(described: dict[str, Any]) -> ModelDescription:
    return ModelDescription(
        workers=tuple(str(worker["status"]) for worker in described.get("workers", ())),
        pids=tuple(int(worker["pid"]) for worker in described.get("workers", ()) if int(worker.get("pid", 0)) > 0),
        min_workers=int(described.get("minWorkers", 1)),
        pending=int(described["jobQueueStatus"]["pendingRequests"]),
        max_batch_delay=float(described.get("maxBatchDelay", 0)) / 1000,
    )


def _has_labels(answer: bytes) -> bool:
    try:
        parsed = json.loads(answer)
    except ValueError:
        return False
    return isinstance(parsed, dict) and isinstance(parsed.get("labels"), list)
