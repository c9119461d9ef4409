"""What stops an evaluation."""

from __future__ import annotations


class EvaluationError(Exception):
    """Nothing can be said; the message says what is in the way and what to do."""
