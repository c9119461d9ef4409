"""What stops an export."""

from __future__ import annotations


class ExportRefused(Exception):
    """The checkpoint, bundle or request is not fit; the message says what, where and what to do."""
