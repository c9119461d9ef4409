"""What stops a benchmark."""

from __future__ import annotations


class BenchmarkError(Exception):
    """Nothing can be measured; the message says what is in the way and what to do."""
