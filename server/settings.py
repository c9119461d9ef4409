"""The validated settings of one ``start``, and the properties that TorchServe gets for them."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from server import properties
from server.endpoints import HEALTH_ADDRESS, PortOverrides
from server.errors import ExitCode, ServerError
from server.logs import LogSettings
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
    drain_grace: float = 0.0
    hang_timeout: float = 20.0
    recovery_timeout: float = 120.0
    archive_sha256: str | None = None
    logs: LogSettings = LogSettings()  # noqa: RUF009 - frozen

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


_CLOSED: Final = {
    "enable_model_api": "false",
    "install_py_dep_per_model": "false",
    "enable_envvars_config": "false",
}
"""What would let a request, an archive or the environment bring other code or other settings."""


def _refuse_open_doors(base: Mapping[str, str]) -> None:
    for key, value in _CLOSED.items():
        if base.get(key, value).lower() != value:
            raise ServerError(
                ExitCode.CONFIG_INVALID,
                f"{key}={base[key]} would let more than the checked archive be loaded; "
                f"this server runs with {key}={value} only",
            )


def effective_properties(base: Mapping[str, str], settings: StartSettings) -> dict[str, str]:
    """Return the configuration: the file, the options over it, and what this server relies on over both."""
    _refuse_open_doors(base)
    chosen = settings.ports.apply(base) | _CLOSED
    chosen.setdefault("allowed_urls", "file:///nothing-is-allowed")
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
    settings.run_dir.log_config.write_text(settings.logs.configuration(settings.run_dir.logs), encoding="utf-8")
    for_torchserve = {key: value for key, value in chosen.items() if key != HEALTH_ADDRESS}
    settings.run_dir.config_file.write_text(properties.render(for_torchserve), encoding="ascii")


def _metrics_config(base: Mapping[str, str], settings: StartSettings) -> Path | None:
    named = base.get("metrics_config")
    if named:
        path = settings.config.parent / named
        if not path.is_file():
            raise ServerError(ExitCode.CONFIG_INVALID, f"metrics_config={named} in {settings.config} is no file")
        return path
    with zipfile.ZipFile(settings.archive) as archive:
        return settings.run_dir.metrics_file if ARCHIVE_METRICS in archive.namelist() else None
