"""Why a worker could not load, or why Java ended, in one line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from handlers.gate import STATE_FAILED
from server.logs import text_lines
from server.rundir import RunDir

# What TorchServe's worker prints before the traceback of an exception that ends it.
_DEATH_MARKERS: Final = ("Backend worker process died.", "Failed to load model")
_LOAD_FAILED = re.compile(r"Load model failed: .*, error: (?P<reason>.+)")
_TRACEBACK: Final = "Traceback (most recent call last):"
_USUAL_JAVA_LINES: Final = ("WARNING: sun.reflect", "nvidia-smi not available", "Model server started.")
_MODEL_LINE = re.compile(r"\S+ (?P<worker>\S+)-(?P<stream>stdout|stderr) - (?P<message>.*)")
_SERVER_LINE = re.compile(r"\S+ (?:ERROR|FATAL|WARN)\s+\S+ - (?P<message>.+)")


def worker_failure(run_dir: RunDir) -> str | None:
    """Return why a worker could not load: its own report if it wrote one, else the exception in the model log."""
    return _reported_failure(run_dir.reports) or _logged_failure(run_dir.model_log) or _crash(run_dir.model_log)


def unexplained_failure(run_dir: RunDir) -> str | None:
    """Return TorchServe's own word on a worker that went without a message, as when the kernel kills it."""
    matches = (_LOAD_FAILED.search(line) for line in _lines(run_dir.server_log))
    return next((match["reason"] for match in matches if match), None)


def java_failure(run_dir: RunDir) -> str | None:
    """Return the first thing that Java complained of, else TorchServe's last warning."""
    return _first_complaint(run_dir.java_log) or last_server_warning(run_dir)


def last_server_warning(run_dir: RunDir) -> str | None:
    """Return TorchServe's last warning or error, with the exception on the line below it if there is one."""
    lines = _lines(run_dir.server_log)
    for index in reversed(range(len(lines))):
        match = _SERVER_LINE.match(lines[index])
        if match is not None:
            exception = next((line for line in lines[index + 1 : index + 2] if not line.startswith("\t")), "")
            return f"{match['message']} ({exception})" if exception else match["message"]
    return None


def _reported_failure(reports: Path) -> str | None:
    for path in sorted(reports.glob("*.json")):
        report = json.loads(path.read_text(encoding="utf-8"))
        if report["state"] == STATE_FAILED:
            return str(report["message"])
    return None


def _logged_failure(model_log: Path) -> str | None:
    """Return the first exception of the first dead worker's traceback.

    The first, because TorchServe answers a failed import with a second one of its own default handlers: the last line
    would say ``No module named 'ts.torch_handler.…'``, whatever was missing.
    """
    dead = ""
    in_traceback = False
    for worker, message in _model_lines(model_log):
        if not dead:
            dead = worker if message.startswith(_DEATH_MARKERS) else ""
        elif worker == dead and message == _TRACEBACK:
            in_traceback = True
        elif worker == dead and in_traceback and message and not message[0].isspace():
            return message
    return None


def _crash(model_log: Path) -> str | None:
    """Return the exception that ended a worker's interpreter before TorchServe's own code could report it."""
    in_traceback = False
    for _, message in _model_lines(model_log, "stderr"):
        if message == _TRACEBACK:
            in_traceback = True
        elif in_traceback and message and not message[0].isspace():
            return message
    return None


def _model_lines(model_log: Path, *streams: str) -> Iterator[tuple[str, str]]:
    for line in _lines(model_log):
        match = _MODEL_LINE.match(line)
        if match is not None and (not streams or match["stream"] in streams):
            yield match["worker"], match["message"]


def _first_complaint(path: Path) -> str | None:
    complaints = (line.strip() for line in _lines(path) if line.strip() and not line.startswith(_USUAL_JAVA_LINES))
    return next(complaints, None)


def _lines(path: Path) -> list[str]:
    try:
        content = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return [text for line in content.splitlines() for text in text_lines(line)]
