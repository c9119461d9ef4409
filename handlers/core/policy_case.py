"""What one decision is about: signals, consent and context, without the text.

A line of a replay file is one case. It is validated strictly, and an error names the field and
quotes nothing: a value may be a writer's words.
"""

from __future__ import annotations

import json
import math
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from handlers.core.schema import (
    Confirmation,
    Consent,
    HistoryEntry,
    Identifier,
    LastAction,
    Now,
    Processing,
    Time,
    field_name,
    field_path,
    message_of,
)
from handlers.core.statements import StatementKind, StatementLanguage

Fault = Literal["unsupported_language", "model_timeout", "stale_model"]


class CaseError(Exception):
    """A case that is not valid: the field, and what is wrong with it; nothing of its values."""


def _check_signal(value: float | None) -> float | None:
    if value is not None and math.isfinite(value) and not 0.0 <= value <= 1.0:
        raise ValueError("a score is a number from 0 to 1, or null where there is none")
    return value


Signal = Annotated[float | None, AfterValidator(_check_signal)]
Names = Annotated[tuple[Identifier, ...], Field(strict=False)]
Count = Annotated[int, Field(ge=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class StatementFound(_Strict):
    """What the floor found in the text: kinds and languages, never words and never a score."""

    kinds: Annotated[tuple[StatementKind, ...], Field(strict=False, min_length=1)]
    languages: Annotated[tuple[StatementLanguage, ...], Field(strict=False)] = ()


class CaseContext(_Strict):
    """What the application knows; whatever is left out is not known.

    Attributes:
        now: time of the decision, with the person's own offset from UTC: quiet hours are read from it.
        host_now: what the host's clock said. Where the two differ, what ends (a consent, a confirmation, the policy) is
            tested against the later one, and what has to be over (a cool-down) against the earlier one.
        care_until: as the last decision returned it; until then crisis lines are shown.
        country: ISO 3166-1 alpha-2.
        language: of the text, ISO 639 or a locale.
        locale: of the person, for what is shown to them; ``language`` where it is left out.
        age_band, subject: of the person; whom the text is about.
        contact_unsafe: whether the contact is a danger; ``None`` where nobody has asked.
        active: the labels that the last decision returned as active.
        history: scores of earlier entries; read only with consent to ``use_history``.
        last_actions: what was carried out before.
        confirmation: of a proposed action.
        history_cut: whether there were more earlier entries than are read.
        unread: fields of the request that could not be read and so count as not known.
        tokens, tokens_scored: of the text.
        faults: what the host knows to be wrong with the scores.
        unsigned: readers of the policy that are signed for another bundle than the one that is served.
        processing: ``lines_only`` where nothing is scored, as the writer objects to it.
    """

    now: Now | None = None
    host_now: Now | None = None
    care_until: Time | None = None
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None = None
    language: Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{1,8})*$")] | None = None
    locale: Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{1,8})*$")] | None = None
    age_band: Literal["adult", "minor"] | None = None
    subject: Literal["self", "other"] | None = None
    contact_unsafe: bool | None = None
    active: Names = ()
    history: tuple[HistoryEntry, ...] = Field(default=(), strict=False)
    last_actions: tuple[LastAction, ...] = Field(default=(), strict=False)
    confirmation: Confirmation | None = None
    history_cut: bool = False
    unread: Names = ()
    tokens: Count | None = None
    tokens_scored: Count | None = None
    faults: Annotated[tuple[Fault, ...], Field(strict=False)] = ()
    unsigned: Names = ()
    processing: Processing = "full"


class Case(_Strict):
    """One case.

    Attributes:
        id: of the case, repeated in the decision.
        entry_id: of the entry, as in ``history`` and ``confirmation``.
        signals: calibrated scores by label, 0 to 1; ``None``, NaN and infinity are non-finite.
        expected_signals: labels that there must be a score for.
        statement: what the floor found in the text; ``None`` where it found nothing.
        consent: by scope; what is left out is not granted.
        context: what the application knows.
    """

    id: Identifier | None = None
    entry_id: Identifier | None = None
    signals: dict[Identifier, Signal]
    expected_signals: Names = ()
    statement: StatementFound | None = None
    consent: Consent = Consent()
    context: CaseContext = CaseContext()


def parse_case(line: str) -> Case:
    """Validate one line of a replay file.

    A ``text`` beside the signals is dropped unread, so that a recorded request can be replayed as it is.

    Raises:
        CaseError: naming the field.
    """
    fields = _decode(line)
    if not isinstance(fields, dict):
        raise CaseError("a case must be a JSON object with signals")
    try:
        return Case.model_validate({name: value for name, value in fields.items() if name != "text"})
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        raise CaseError(f"{field_path(detail)}: {message_of(detail)}") from None


def _decode(line: str) -> object:
    try:
        return json.loads(line, object_pairs_hook=_unique_keys)
    except json.JSONDecodeError as error:
        raise CaseError(f"not JSON (column {error.colno})") from None
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else "a number is too long"
        raise CaseError(f"not acceptable JSON: {reason}") from None


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields: dict[str, object] = {}
    for name, value in pairs:
        if name in fields:
            raise CaseError(f"{field_name(name)}: this field is given twice in one object")
        fields[name] = value
    return fields
