"""What a decision is made on: a request, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from handlers.core.policy_case import Fault
from handlers.core.schema import ClassifyRequest, InputReport, LabelScore, ModelReport


@dataclass(frozen=True)
class Answered:
    """A request and its scores.

    Attributes:
        request: as it came.
        model: that scored it, or should have.
        labels: the scores; none where a fault took them, and every signal is then missing.
        input: what of the text was scored; ``None`` where nothing was.
        faults: what the host knows to be wrong.
    """

    request: ClassifyRequest
    model: ModelReport
    labels: tuple[LabelScore, ...] = ()
    input: InputReport | None = None
    faults: tuple[Fault, ...] = ()
