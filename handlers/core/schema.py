"""The wire contract: requests in, results out (DESIGN section 4).

Requests are strict: an unknown field, a wrong type or a number out of range is a
``LanternError`` that names the field, and nothing is coerced. The response models are shared
with the Python client, so both ends read one definition.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
)
from pydantic_core import ErrorDetails

from handlers.core.errors import INVALID_JSON, INVALID_REQUEST, INVALID_TEXT, UNKNOWN_LOCALE, ErrorKind, LanternError
from handlers.core.policy_model import Done, Tier

MAX_ENTRIES: Final = 64
"""Requests in one ``entries`` call."""

MAX_CONTEXT: Final = 1000
"""Entries of any list in ``context``."""

_YEARS: Final = range(2000, 3000)
_LOCALE = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?")
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_FIELD_KINDS: Final[dict[str, ErrorKind]] = {"text": INVALID_TEXT, "locale": UNKNOWN_LOCALE}


# Where pydantic's words are about Python rather than JSON.
_MESSAGES: Final[dict[str, str]] = {
    "extra_forbidden": "this field is not known",
    "tuple_type": "this must be a list",
    "model_type": "this must be an object",
    "dict_type": "this must be an object",
    "missing": "this field is needed",
}


class OverLength(StrEnum):
    """What to do with a text of more tokens than the model takes."""

    WINDOW = "window"
    HEAD = "head"
    HEAD_TAIL = "head_tail"
    REJECT = "reject"


def _check_text(value: object) -> object:
    if isinstance(value, str):
        if not value.strip():
            raise ValueError("the text is empty")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError("the text holds an unpaired surrogate, which is not valid Unicode") from None
    return value


def _check_locale(value: object) -> object:
    if isinstance(value, str) and not _LOCALE.fullmatch(value):
        raise ValueError("not a locale such as en or en-GB (language, optional script, optional region)")
    return value


def _parse_time(value: object) -> object:
    """Take RFC 3339 text, as JSON has no times; everything else is left for the type to refuse."""
    if isinstance(value, str) and "T" in value:
        try:
            return datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            raise ValueError("not an RFC 3339 time such as 2026-03-01T14:00:00Z") from None
    return value


def _check_year(value: datetime) -> datetime:
    if value.year not in _YEARS:
        raise ValueError(f"not a time of the years {_YEARS.start} to {_YEARS.stop - 1}")
    return value


Text = Annotated[str, BeforeValidator(_check_text), Field(json_schema_extra={"pattern": r"\S"})]
Locale = Annotated[str, BeforeValidator(_check_locale), Field(json_schema_extra={"pattern": f"^{_LOCALE.pattern}$"})]
Time = Annotated[AwareDatetime, BeforeValidator(_parse_time)]
Now = Annotated[Time, AfterValidator(_check_year)]
Identifier = Annotated[str, Field(min_length=1, max_length=256)]
Score = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class TimedConsent(_Strict):
    """Consent to one scope, up to a time."""

    granted: bool
    expires_at: Time | None = None


def _scope_kind(value: object) -> str:
    return "timed" if isinstance(value, (dict, TimedConsent)) else "plain"


Scope = Annotated[Annotated[bool, Tag("plain")] | Annotated[TimedConsent, Tag("timed")], Discriminator(_scope_kind)]


class Consent(_Strict):
    """What the writer has agreed to; a scope that is not there is not granted."""

    self_help: Scope = False
    use_history: Scope = False
    human_review: Scope = False
    notify_therapist: Scope = False
    alert_contact: Scope = False


class HistoryEntry(_Strict):
    """The scores of an earlier entry by the same writer."""

    entry_id: Identifier
    at: Time
    scores: dict[str, Score]


class LastAction(_Strict):
    """An action that was carried out. ``tier``: of the decision that it came from, where the caller kept it."""

    action: Done
    at: Time
    tier: Tier | None = None


class Confirmation(_Strict):
    """Who confirmed which entry. Whoever is neither ``human`` nor ``user`` confirms nothing."""

    entry_id: Identifier
    by: Identifier


class Context(_Strict):
    """What the application knows about the writer; whatever is left out is not known.

    Attributes:
        now: time of the decision, with the person's own offset from UTC: quiet hours are read from it. Nothing is
            put in its place: a rule that needs a time and has none counts as uncertain.
        age_band, subject, contact_unsafe: of the person; whom the text is about; whether the contact is a danger.
        active: the labels that the last decision returned as active.
        history: scores of earlier entries; read only with consent to ``use_history``.
        last_actions: what was carried out before.
        confirmation: of a proposed action.
    """

    now: Now | None = None
    age_band: Literal["adult", "minor"] | None = None
    subject: Literal["self", "other"] | None = None
    contact_unsafe: bool = False
    active: tuple[Identifier, ...] = Field(default=(), strict=False, max_length=MAX_CONTEXT)
    history: tuple[HistoryEntry, ...] = Field(default=(), strict=False, max_length=MAX_CONTEXT)
    last_actions: tuple[LastAction, ...] = Field(default=(), strict=False, max_length=MAX_CONTEXT)
    confirmation: Confirmation | None = None


class Options(_Strict):
    """How to process one text."""

    return_logits: bool = False
    over_length: OverLength = Field(default=OverLength.WINDOW, strict=False)


class ClassifyRequest(_Strict):
    """One text to classify."""

    text: Text
    locale: Locale | None = None
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None = None
    entry_id: Identifier | None = None
    subject_id: Identifier | None = None
    consent: Consent = Consent()
    context: Context = Context()
    options: Options = Options()


class _Out(BaseModel):
    model_config = ConfigDict(frozen=True)


class LabelScore(_Out):
    """One label's answer. ``score`` is calibrated; ``logit`` is there when it was asked for."""

    name: str
    score: float
    threshold: float
    positive: bool
    logit: float | None = None


class Span(_Out):
    """A scored part of the text, in characters (Unicode code points), end exclusive."""

    start_char: int
    end_char: int


class InputReport(_Out):
    """What of the text was scored. Tokens are those of the text, without ``<s>`` and ``</s>``."""

    tokens: int
    tokens_scored: int
    windows: tuple[Span, ...]
    truncated: bool


class ModelReport(_Out):
    """What answered."""

    name: str
    version: str
    checkpoint: str
    revision: str
    runtime: str
    precision: str
    calibration: str


class Timing(_Out):
    """Milliseconds spent on this text.

    ``run`` covers the sub-batches that held its windows, ``queue`` what it waited for them.
    """

    tokenize: float
    queue: float = 0.0
    run: float
    decide: float


class ClassifyResponse(_Out):
    """The answer for one text.

    ``escalation`` is ``None`` only where the pipeline runs without a policy, as in an evaluation.
    """

    labels: tuple[LabelScore, ...]
    escalation: dict[str, Any] | None = None
    input: InputReport
    model: ModelReport
    timing_ms: Timing


Call = ClassifyRequest | list[ClassifyRequest | LanternError]
"""A decoded call: one request, or the requests of ``entries``, each valid or in error."""


def decode_json(payload: bytes) -> object:
    """Parse ``payload`` as strict JSON.

    Raises:
        LanternError: ``invalid_json``, with the position but none of the content.
    """
    try:
        return json.loads(payload.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_unique_keys)
    except UnicodeDecodeError as error:
        raise LanternError(INVALID_JSON, f"the body is not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise LanternError(
            INVALID_JSON, f"the body is not JSON (line {error.lineno}, column {error.colno}); send a JSON object"
        ) from None
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else "a number is too long"
        raise LanternError(INVALID_JSON, f"the body is not acceptable JSON: {reason}") from None


def _refuse_constant(_: str) -> float:
    raise LanternError(INVALID_JSON, "the body is not JSON: NaN and Infinity are not JSON numbers")


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise LanternError(INVALID_JSON, "a field is given twice in one object")
    return fields


def parse_call(body: object) -> Call:
    """Validate a decoded body.

    A fault of the call as a whole raises; a fault of one of several ``entries`` stands in that
    entry's place, so that the others are answered.

    Raises:
        LanternError: ``invalid_request``, ``invalid_text`` or ``unknown_locale``, with the field.
    """
    if not isinstance(body, dict):
        raise LanternError(INVALID_REQUEST, "the body must be a JSON object with a text or a list of entries")
    if "entries" not in body:
        return parse_request(body)
    others = sorted(key for key in body if key != "entries")
    if others:
        raise LanternError(INVALID_REQUEST, "entries stands alone: put this into each entry", field_name(others[0]))
    entries = body["entries"]
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_ENTRIES:
        raise LanternError(INVALID_REQUEST, f"entries must be a list of 1 to {MAX_ENTRIES} requests", "entries")
    return [_parse_entry(entry, f"entries[{index}]") for index, entry in enumerate(entries)]


def parse_request(body: object) -> ClassifyRequest:
    """Validate one request.

    Raises:
        LanternError: as ``parse_call``.
    """
    try:
        return ClassifyRequest.model_validate(body)
    except ValidationError as error:
        refusal = _first_error(error)
    # Raised out here: within, it would hold pydantic's exception, which holds those of our validators and, through
    # their frames, this one and the body: a ring that is never collected, as pydantic's does not show what it holds.
    raise refusal


def parse_text(payload: bytes) -> ClassifyRequest:
    """Validate a ``text/plain`` body: the text alone, UTF-8.

    Raises:
        LanternError: ``invalid_text``.
    """
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LanternError(INVALID_TEXT, f"the body is not UTF-8 (byte {error.start})") from None
    return parse_request({"text": text})


def field_name(name: str) -> str:
    """Return ``name`` where it looks like a field name.

    A key is the caller's to choose and may hold a writer's words, so anything else is not
    repeated.
    """
    return name if _FIELD_NAME.fullmatch(name) else "(not a field name)"


def encode_json(body: BaseModel | dict[str, Any]) -> bytes:
    """Serialise a response body; a non-finite number is a fault of ours and raises ``ValueError``."""
    fields = body.model_dump(mode="json") if isinstance(body, BaseModel) else body
    return json.dumps(fields, ensure_ascii=False, allow_nan=False).encode("utf-8")


def response_fields(response: ClassifyResponse) -> dict[str, Any]:
    """Return the response as JSON fields; ``logit`` only where it was asked for."""
    fields = response.model_dump(mode="json")
    for label in fields["labels"]:
        if label["logit"] is None:
            del label["logit"]
    return fields


def error_fields(error: LanternError) -> dict[str, Any]:
    """Return the error envelope as JSON fields, with ``escalation`` beside it where there is one."""
    fields: dict[str, Any] = {"error": {"code": error.kind.code, "message": error.message, "field": error.field}}
    if error.escalation is not None:
        fields["escalation"] = error.escalation
    return fields


def _parse_entry(entry: object, path: str) -> ClassifyRequest | LanternError:
    if not isinstance(entry, dict):
        return LanternError(INVALID_REQUEST, "each entry must be a JSON object", path)
    try:
        return parse_request(entry)
    except LanternError as error:
        return error.under(path)


def _first_error(error: ValidationError) -> LanternError:
    """Turn pydantic's first complaint into ours, which quotes no input."""
    detail = error.errors(include_url=False, include_input=False)[0]
    path = field_path(detail)
    kind = _FIELD_KINDS.get(path, INVALID_REQUEST)
    return LanternError(kind, message_of(detail), path or None)


def message_of(detail: ErrorDetails) -> str:
    """Return what pydantic complains of, in words about JSON."""
    return _MESSAGES.get(detail["type"], detail["msg"].removeprefix("Value error, "))


def field_path(detail: ErrorDetails) -> str:
    """Return the path of the field, such as ``context.history[0].at``; a name that may hold text is left out."""
    path = ""
    for depth, part in enumerate(detail["loc"]):
        if isinstance(part, int):
            path += f"[{part}]"
        elif part != "[key]" and (depth != 2 or detail["loc"][0] != "consent"):  # consent.SCOPE.KIND: no field
            path += f".{field_name(part)}"
    return path.removeprefix(".")
