"""What stops a command of ``python -m deploy``."""

from __future__ import annotations


class DeployError(Exception):
    """It cannot go on; the message says what is in the way and what to do."""
