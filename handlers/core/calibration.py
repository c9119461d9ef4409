"""A bundle's calibration, ``calibration.json``: how logits become probabilities and decisions."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from handlers.core.errors import StartupError
from handlers.core.manifest import Precision, Sha256
from handlers.core.scores import LabelRule

CALIBRATION_NAME: Final = "calibration.json"
NO_CALIBRATION: Final = "none"
"""Name of the calibration of a bundle that has none."""

NO_OBJECTIVE: Final = "none"
"""Objective of a label that was left as it was."""

Method = Literal["platt", "temperature"]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Intervals(_Frozen):
    """Bootstrap percentile intervals, lower and upper end.

    ``on`` is chosen anew in each resample, and counts as 1 where no threshold meets the objective
    there; the others are figures of the calibration's own ``on``.
    """

    on: tuple[Share, Share]
    precision: tuple[Share, Share]
    recall: tuple[Share, Share]
    f1: tuple[Share, Share]


class CalibratedLabel(_Frozen):
    """One label's calibration; its score is ``sigmoid(scale * logit + offset)``.

    Attributes:
        scale, offset: fitted on the scaling split; a positive scale keeps the ranking.
        on: threshold of the calibrated score, inclusive.
        off: score below which a label that is on goes off again, for those who keep a state.
        objective: what ``on`` was chosen by; ``none`` for a label that was left alone.
        positives, negatives: texts of the threshold split.
        precision, recall, f1: of ``on`` on the threshold split.
        intervals: of ``on`` and of these figures.
    """

    scale: Positive = 1.0
    offset: Finite = 0.0
    on: Share
    off: Share
    objective: str
    positives: Count
    negatives: Count
    precision: Share | None = None
    recall: Share | None = None
    f1: Share | None = None
    intervals: Intervals | None = None

    @model_validator(mode="after")
    def _off_below_on(self) -> Self:
        if self.off > self.on:
            raise ValueError("off must not be above on")
        return self


class CalibrationData(_Frozen):
    """The labelled texts: names and digests of the files, and rows by what they were used for.

    ``threshold_file`` is there where the threshold split came as a file of its own.
    """

    file: str
    sha256: Sha256
    rows: Count
    scaling_rows: Count
    threshold_rows: Count
    threshold_file: str | None = None
    threshold_sha256: Sha256 | None = None


class CalibrationOptions(_Frozen):
    """What else the outcome depends on, so that the same command can tell that its work is done.

    Attributes:
        bootstrap: resamples behind each interval.
        hysteresis: recall by which ``off`` may be above ``on``.
        minimum: positives and negatives that each split had to have.
    """

    bootstrap: Count
    hysteresis: Share
    minimum: Count


class Calibration(_Frozen):
    """``calibration.json`` as data.

    Attributes:
        name: method, kind of objective and the first digits of the data's digest.
        method: how scores were scaled.
        precision, graph_sha256: the graph whose logits it is about (``Bundle.graph_sha256``).
        seed: of the split and the resamples.
        data: what it was made of.
        options: how it was made.
        labels: every label of the model.
        tools: versions of what made it.
    """

    schema_version: Literal[1] = 1
    name: Annotated[str, Field(min_length=1)]
    method: Method
    precision: Precision
    graph_sha256: Sha256
    seed: int
    data: CalibrationData
    options: CalibrationOptions
    labels: dict[str, CalibratedLabel]
    tools: dict[str, str]

    def rule(self, label: str) -> LabelRule:
        """Return how ``label`` is scored and decided."""
        found = self.labels[label]
        off = None if found.objective == NO_OBJECTIVE else found.off
        return LabelRule(label, found.on, found.scale, found.offset, off)


def parse_calibration(payload: str | bytes, where: str) -> Calibration:
    """Validate the content of ``calibration.json``.

    Raises:
        StartupError: naming ``where`` and the key that is wrong.
    """
    try:
        return Calibration.model_validate_json(payload)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in detail["loc"]) or "(the whole file)"
        raise StartupError(f"{where}: {key}: {detail['msg']}; calibrate the bundle again") from None
