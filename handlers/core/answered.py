"""What a decision is made on: a request, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from handlers.core.policy_case import Fault
from handlers.core.schema import InputReport, LabelScore, ModelReport, Received
from handlers.core.statements import Statement


@dataclass(frozen=True)
class Answered:
    """A request and its scores.

    Attributes:
        received: as it came.
        statements: what the floor found in its text.
        model: that scored it, or should have.
        labels: the scores; none where a fault took them, and every signal is then missing.
        input: what of the text was scored; ``None`` where nothing was.
        faults: what the host knows to be wrong.
    """

    received: Received
    model: ModelReport
    statements: tuple[Statement, ...] = ()
    labels: tuple[LabelScore, ...] = ()
    input: InputReport | None = None
    faults: tuple[Fault, ...] = ()
