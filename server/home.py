"""The folder that TorchServe takes for its own: what it reads of that, and another script for its workers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from server import worker

_SCRIPT: Final = "model_service_worker.py"
# What Java reads there. No package `ts` may come to be, which workers would import instead of the installed one.
_READ: Final = ("version.txt", "configs", "metrics")


def write_home(site: Path, folder: Path) -> None:
    """Make ``folder`` such a home of the TorchServe whose package ``ts`` is in ``site``."""
    package = folder / "ts"
    package.mkdir(parents=True, exist_ok=True)
    for name in _READ:
        (package / name).symlink_to(site / "ts" / name)
    shutil.copyfile(worker.__file__, package / _SCRIPT)
