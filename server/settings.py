"""The validated settings of one ``start``, and the properties that TorchServe gets for them."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from server import properties
from server.endpoints import PortOverrides
from server.errors import ExitCode, ServerError
from server.rundir import RunDir

ARCHIVE_METRICS: Final = "handlers/config/metrics.yaml"
_MODEL_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class StartSettings:
    """What ``python -m server start`` was asked; paths are absolute, timeouts in seconds."""

    archive: Path
    model: str
    config: Path
    run_dir: RunDir
    ports: PortOverrides
    startup_timeout: float
    drain_timeout: float

    def __post_init__(self) -> None:
        if not _MODEL_NAME.fullmatch(self.model):
            raise ServerError(
                ExitCode.CONFIG_INVALID, f"--model {self.model!r} is not a name of letters, digits, '_', '-' and '.'"
            )
        # TorchServe takes NAME=FILE,NAME=FILE.
        if set(",=") & set(self.archive.name):
            raise ServerError(ExitCode.CONFIG_INVALID, f"TorchServe cannot load a file named {self.archive.name!r}")


def read_config(path: Path) -> dict[str, str]:
    """Return the entries of a configuration file.

    Raises:
        ServerError: it cannot be read.
    """
    try:
        return properties.parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ServerError(ExitCode.CONFIG_INVALID, f"cannot read the configuration {path}: {error}") from error


def effective_properties(base: Mapping[str, str], settings: StartSettings) -> dict[str, str]:
    """Return what TorchServe is given: the file, the options over it, and what this server relies on over both."""
    chosen = settings.ports.apply(base)
    chosen.pop("load_models", None)
    chosen["model_store"] = str(settings.archive.parent)
    # The handler decodes bytes itself; the environment variable of that name is overwritten by TorchServe.
    chosen["decode_input_request"] = "false"
    metrics = _metrics_config(base, settings)
    if metrics is not None:
        chosen["metrics_config"] = str(metrics)
    return chosen


def write_config(settings: StartSettings, chosen: Mapping[str, str]) -> None:
    """Write the effective configuration, and the archive's metric declarations if it names them, to the run folder."""
    if chosen.get("metrics_config") == str(settings.run_dir.metrics_file):
        with zipfile.ZipFile(settings.archive) as archive:
            settings.run_dir.metrics_file.write_bytes(archive.read(ARCHIVE_METRICS))
    settings.run_dir.config_file.write_text(properties.render(chosen), encoding="ascii")


def _metrics_config(base: Mapping[str, str], settings: StartSettings) -> Path | None:
    named = base.get("metrics_config")
    if named:
        path = settings.config.parent / named
        if not path.is_file():
            raise ServerError(ExitCode.CONFIG_INVALID, f"metrics_config={named} in {settings.config} is no file")
        return path
    with zipfile.ZipFile(settings.archive) as archive:
        return settings.run_dir.metrics_file if ARCHIVE_METRICS in archive.namelist() else None
