"""Tiny archives, free ports and run folders."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from server.endpoints import PortOverrides
from server.rundir import RunDir
from server.settings import StartSettings
from tests import ports

ROOT = Path(__file__).resolve().parents[2]
MakeArchive = Callable[..., Path]


@pytest.fixture
def make_archive(tmp_path: Path) -> MakeArchive:
    """Build an archive around one entry file, with the real gate and the files given by name."""

    def make(entry: str, **files: str) -> Path:
        path = tmp_path / "tiny.mar"
        model = {"modelName": "tiny", "modelVersion": "1.0", "handler": "tiny_entry.py"}
        if "model_config" in files:
            model["configFile"] = "model-config.yaml"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("MAR-INF/MANIFEST.json", json.dumps({"runtime": "python", "model": model}))
            archive.writestr("tiny_entry.py", entry)
            archive.writestr("handlers/__init__.py", "")
            archive.write(ROOT / "handlers" / "gate.py", "handlers/gate.py")
            if "model_config" in files:
                archive.writestr("model-config.yaml", files["model_config"])
            if "metrics" in files:
                archive.writestr("handlers/config/metrics.yaml", files["metrics"])
        return path

    return make


@pytest.fixture
def free_ports() -> PortOverrides:
    """See ``tests.ports.free_ports``."""
    return ports.free_ports()


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    """A run folder that does not exist yet."""
    return RunDir(tmp_path / "run")


@pytest.fixture
def settings(make_archive: MakeArchive, free_ports: PortOverrides, run_dir: RunDir) -> StartSettings:
    """Settings that could start an empty handler with the repository's own configuration."""
    return StartSettings(
        archive=make_archive("class Empty: ..."),
        model="tiny",
        config=ROOT / "config.properties",
        run_dir=run_dir,
        ports=free_ports,
        startup_timeout=30.0,
        drain_timeout=10.0,
    )
