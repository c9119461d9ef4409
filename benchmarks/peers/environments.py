"""An environment for each peer whose packages are not the project's: made once, resumed where it was cut off."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Final

from benchmarks.errors import BenchmarkError
from benchmarks.machine import installed_version
from export.manifests import replace_text
from export.progress import Progress

REQUIREMENTS: Final = Path("requirements")
SHARED_PATH_FILE: Final = "project.pth"
COMPLETE: Final = "complete.sha256"


def requirements_of(name: str) -> Path:
    """Return the pinned requirements of a peer."""
    return REQUIREMENTS / f"peers-{name}.txt"


def ensure_environment(name: str, folder: Path, progress: Progress) -> Path:
    """Make the environment of a peer in ``folder``, unless it is there, and return its Python.

    It lies over the project's own environment through a path file: torch, transformers and the tokenizer are the same
    files for all, and what a peer pins otherwise comes first.

    Raises:
        BenchmarkError: pip fails; run again, what was installed is kept.
    """
    python = folder / "bin" / "python"
    wanted = fingerprint(requirements_of(name))
    marker = folder / COMPLETE
    if marker.is_file() and marker.read_text(encoding="utf-8") == wanted:
        return python
    progress.note(f"installing {name} into {folder}: once, minutes")
    with progress.step(f"installing {name}"):
        if not python.is_file():
            venv.create(folder, with_pip=True)
        _site_packages(folder).joinpath(SHARED_PATH_FILE).write_text(_project_packages() + "\n", encoding="utf-8")
        _install(python, requirements_of(name))
    replace_text(marker, wanted)
    return python


def version_of(package: str) -> str:
    """Return the version of a package: of a peer as its requirements pin it, else as the project has it.

    Raises:
        BenchmarkError: neither names it.
    """
    for requirements in sorted(REQUIREMENTS.glob("peers-*.txt")):
        for line in requirements.read_text(encoding="utf-8").splitlines():
            name, _, pinned = line.partition("==")
            if name == package:
                return pinned
    installed = installed_version(package)
    if installed is None:
        raise BenchmarkError(f"no version of {package} is known: {REQUIREMENTS}/peers-*.txt do not pin it")
    return installed


def _install(python: Path, requirements: Path) -> None:
    # Without --no-deps pip would weigh the project's own packages too; the file pins everything that lies over them.
    command = [str(python), "-m", "pip", "install", "--no-deps", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*command, "-r", str(requirements)], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BenchmarkError(f"{requirements} cannot be installed: {reason}; run the same command to go on")


def fingerprint(requirements: Path) -> str:
    """Return what an environment was made of: Python, the project's packages below it, and its requirements."""
    digest = hashlib.sha256(f"{sys.version}\n{_project_packages()}\n".encode())
    digest.update(requirements.read_bytes())
    return digest.hexdigest()


def _project_packages() -> str:
    return sysconfig.get_path("purelib")


def _site_packages(folder: Path) -> Path:
    return Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
