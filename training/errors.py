"""What can go wrong while training, in words that say what to change."""

from __future__ import annotations


class TrainingError(Exception):
    """Base of the errors that this package raises on purpose."""


class DataError(TrainingError):
    """A data file or folder is missing or has the wrong shape."""


class CheckpointError(TrainingError):
    """A folder holds no checkpoint."""


class QualityError(TrainingError):
    """A trained checkpoint fails what it must get right."""


class DeviceError(TrainingError):
    """The device or precision that was asked for is not there."""
