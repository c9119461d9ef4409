"""The wire contract: requests in, results out (DESIGN section 4).

Requests are strict: an unknown field, a wrong type or a number out of range is a
``LanternError`` that names the field, and nothing is coerced. The response models are shared
with the Python client, so both ends read one definition.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
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

from handlers.core.errors import INVALID_JSON, INVALID_REQUEST, INVALID_TEXT, ErrorKind, LanternError
from handlers.core.policy_model import Action, Done, Tier

MAX_ENTRIES: Final = 64
"""Requests in one ``entries`` call."""

MAX_CONTEXT: Final = 1000
"""Entries of any list in ``context``."""

_ENTRIES_NEEDED: Final = f"entries must be a list of 1 to {MAX_ENTRIES} requests"
_YEARS: Final = range(2000, 3000)
_LOCALE = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?")
_COUNTRY = re.compile(r"[A-Z]{2}")
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_FIELD_KINDS: Final[dict[str, ErrorKind]] = {"text": INVALID_TEXT}


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


def _check_country(value: object) -> object:
    if isinstance(value, str) and not _COUNTRY.fullmatch(value):
        raise ValueError("not a country such as GB (ISO 3166-1 alpha-2, in capitals)")
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
Country = Annotated[str, BeforeValidator(_check_country), Field(json_schema_extra={"pattern": f"^{_COUNTRY.pattern}$"})]
Time = Annotated[AwareDatetime, BeforeValidator(_parse_time)]
Now = Annotated[Time, AfterValidator(_check_year)]
Identifier = Annotated[str, Field(min_length=1, max_length=256)]
Processing = Literal["full", "lines_only"]
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
    """The scores of an earlier entry by the same writer.

    ``subject``: whom it was about. Entries that are not said to be about the writer (``self``) are no ground to tell
    anybody anything.
    """

    entry_id: Identifier
    at: Time
    scores: dict[str, Score]
    subject: Literal["self", "other"] | None = None


class LastAction(_Strict):
    """An action that was carried out.

    Attributes:
        tier: of the decision that it came from, where the caller kept it.
        items: of an offer: ids of what was offered, so that the next one offers something else.
    """

    action: Done
    at: Time
    tier: Tier | None = None
    items: Annotated[tuple[Identifier, ...], Field(strict=False, max_length=16)] = ()


class Confirmation(_Strict):
    """Who confirmed which action of which entry, and when: for one use, within a day.

    Whoever is neither ``human`` (a reviewer) nor ``user`` (the person) confirms nothing.
    """

    entry_id: Identifier
    action: Action
    by: Identifier
    at: Time


class Context(_Strict):
    """What the application knows about the writer; whatever is left out is not known.

    Attributes:
        now: time of the decision, with the person's own offset from UTC: quiet hours are read from it. Nothing is
            put in its place: a rule that needs a time and has none counts as uncertain.
        age_band, subject: of the person; whom the text is about.
        contact_unsafe: whether the contact is a danger to the person; ``None`` where nobody has asked.
        active: the labels that the last decision returned as active.
        history: scores of earlier entries; read only with consent to ``use_history``.
        last_actions: what was carried out before.
        confirmation: of a proposed action.
        care_until: as the last decision returned it; until then crisis lines are shown.
        processing: ``lines_only`` turns scoring off, for a writer who objects to it: explicit statements are still
            looked for, and crisis lines are shown.
    """

    now: Now | None = None
    care_until: Time | None = None
    age_band: Literal["adult", "minor"] | None = None
    subject: Literal["self", "other"] | None = None
    contact_unsafe: bool | None = None
    active: tuple[Identifier, ...] = Field(default=(), strict=False, max_length=MAX_CONTEXT)
    history: tuple[HistoryEntry, ...] = Field(default=(), strict=False, max_length=MAX_CONTEXT)
    last_actions: tuple[LastAction, ...] = Field(default=(), strict=False, max_length=MAX_CONTEXT)
    confirmation: Confirmation | None = None
    processing: Processing = "full"


class Options(_Strict):
    """How to process one text."""

    return_logits: bool = False
    over_length: OverLength = Field(default=OverLength.WINDOW, strict=False)


class ClassifyRequest(_Strict):
    """One text to classify."""

    text: Text
    locale: Locale | None = None
    country: Country | None = None
    entry_id: Identifier | None = None
    subject_id: Identifier | None = None
    consent: Consent = Consent()
    context: Context = Context()
    options: Options = Options()


class UnreadField(BaseModel):
    """A field that came with the text and could not be read: it counts as not known."""

    model_config = ConfigDict(frozen=True)

    field: str
    message: str


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

    ``escalation`` is ``None`` only where the pipeline runs without a policy, as in an evaluation. ``unread`` names
    what could not be read beside the text. Where ``context.processing`` is ``lines_only`` nothing is scored, and
    ``labels`` is empty.
    """

    labels: tuple[LabelScore, ...]
    escalation: dict[str, Any] | None = None
    input: InputReport
    model: ModelReport
    timing_ms: Timing
    unread: tuple[UnreadField, ...] = ()


@dataclass(frozen=True)
class Received:
    """A request as far as it could be read. A text that can be read is never left without help.

    Attributes:
        request: what could be read; what could not counts as not known.
        unread: the side fields that could not be read although the request is answered.
        history_cut: whether older entries of its history were left out, as there are more than ``MAX_CONTEXT``.
        error: why it is not answered with scores; ``None`` where it is.
        history_places: where the entries of its history were in the request, if some were left out.
    """

    request: ClassifyRequest
    unread: tuple[UnreadField, ...] = ()
    history_cut: bool = False
    error: LanternError | None = None
    history_places: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Call:
    """A decoded call.

    Attributes:
        items: its one request, or those of ``entries``; each as far as it could be read, or why it holds no text.
        is_list: whether they came as ``entries``.
        error: why the call as a whole is not answered; what to offer the writers of its texts goes beside it.
    """

    items: tuple[Received | LanternError, ...]
    is_list: bool = False
    error: LanternError | None = None


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
    """Read a decoded body.

    Raises:
        LanternError: ``invalid_request`` or ``invalid_text``, with the field, where there is no text at all.
    """
    if not isinstance(body, dict):
        raise LanternError(INVALID_REQUEST, "the body must be a JSON object with a text or a list of entries")
    if "entries" not in body:
        return Call((parse_request(body),))
    entries = body["entries"]
    if not isinstance(entries, list) or not entries:
        raise LanternError(INVALID_REQUEST, _ENTRIES_NEEDED, "entries")
    items = tuple(_parse_entry(entry, f"entries[{index}]") for index, entry in enumerate(entries[:MAX_ENTRIES]))
    return Call(items, is_list=True, error=_call_error(body, len(entries)))


def _call_error(body: dict[str, object], count: int) -> LanternError | None:
    others = sorted(key for key in body if key != "entries")
    if others:
        return LanternError(INVALID_REQUEST, "entries stands alone: put this into each entry", field_name(others[0]))
    return LanternError(INVALID_REQUEST, _ENTRIES_NEEDED, "entries") if count > MAX_ENTRIES else None


def parse_request(body: object) -> Received:
    """Read one request: its text, and as much of the rest as can be read.

    A locale, country, time, age band, consent, confirmation or history entry that cannot be read never costs the
    answer. Anything else that is wrong does, as does a field that is not known; the rest is still read, so that the
    error can say what to offer.

    Raises:
        LanternError: ``invalid_request`` or ``invalid_text``, with the field, where there is no text.
    """
    fields, kept = _cut_history(body)
    history_cut = kept is not None
    unread: dict[str, UnreadField] = {}
    error: LanternError | None = None
    while True:
        request, details = _validate(fields)
        if request is not None:
            return Received(request, tuple(unread.values()), history_cut, error, None if kept is None else tuple(kept))
        places = {_place(detail) for detail in details}
        for detail in (_as_sent(detail, kept) for detail in details):
            if _place(detail)[:1] in ((), ("text",)):
                repaired = _repaired(fields)
                if repaired is None:
                    raise _error_of(detail)
                error, fields = error or _error_of(detail), repaired
            elif detail["type"] != "extra_forbidden" and _is_side_field(_place(detail)):
                path = _path_of(_place(detail))
                unread.setdefault(path, UnreadField(field=path, message=_message_within(path, detail)))
            else:
                error = error or _error_of(detail)
        fields, kept = _without(fields, places), _kept_after(fields, places, kept)


def _as_sent(detail: ErrorDetails, kept: Sequence[int] | None) -> ErrorDetails:
    """Return ``detail`` with the place that its entry of the history had in the request."""
    loc = detail["loc"]
    if kept is None or loc[:2] != ("context", "history") or len(loc) < 3 or not isinstance(loc[2], int):
        return detail
    moved: ErrorDetails = {**detail, "loc": (*loc[:2], kept[loc[2]], *loc[3:])}
    return moved


def _kept_after(fields: object, places: set[Place], kept: Sequence[int] | None) -> Sequence[int] | None:
    """Return the places in the request of the history's entries that are left without those at ``places``."""
    dropped = {place[2] for place in places if len(place) == 3 and place[:2] == ("context", "history")}
    if not dropped:
        return kept
    context = fields["context"] if isinstance(fields, dict) else {}
    before = kept if kept is not None else range(len(context["history"]))
    return [place for index, place in enumerate(before) if index not in dropped]


def parse_text(payload: bytes) -> Call:
    """Read a ``text/plain`` body: the text alone, UTF-8.

    Raises:
        LanternError: ``invalid_text``.
    """
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LanternError(INVALID_TEXT, f"the body is not UTF-8 (byte {error.start})") from None
    return Call((parse_request({"text": text}),))


Place = tuple[str | int, ...]
"""Where in a request something stands: a field, a field of ``consent``, ``context`` or ``options``, or a list item."""

_GROUPS: Final = ("consent", "context", "options")


def _validate(fields: object) -> tuple[ClassifyRequest | None, list[ErrorDetails]]:
    """Return the request, or what is wrong with it.

    Pydantic's exception is gone when this returns: it holds those of our validators and, through their frames, the
    body: a ring that would never be collected, as pydantic does not show what it holds.
    """
    try:
        return ClassifyRequest.model_validate(fields), []
    except ValidationError as error:
        return None, error.errors(include_url=False, include_input=False, include_context=False)


def _place(detail: ErrorDetails) -> Place:
    """Return what to leave out so that the rest can be read."""
    loc = detail["loc"]
    if loc[:1] and loc[0] not in _GROUPS:
        return loc[:1]
    return loc[:3] if len(loc) > 2 and isinstance(loc[2], int) else loc[:2]


def _is_side_field(place: Place) -> bool:
    match place:
        case ("locale",) | ("country",) | ("context", "now" | "age_band" | "care_until" | "confirmation"):
            return True
        case ("context", "history", int()):
            return True
        case ("consent", scope):
            return scope in Consent.model_fields
    return False


def _path_of(place: Place) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")


def _without(fields: object, places: set[Place]) -> object:
    """Return ``fields`` without what stands at ``places``, and without keys that are no strings.

    Nothing of ``fields`` is changed. Only a dictionary that never was JSON has other keys, and pydantic says of them
    where they stand in its own words.
    """
    if not isinstance(fields, dict):
        return fields
    own = {place[0] for place in places if len(place) == 1} - {"text"}
    kept = {name: value for name, value in fields.items() if isinstance(name, str) and name not in own}
    for group in _GROUPS:
        inner = {place[1:] for place in places if len(place) > 1 and place[0] == group}
        if inner and isinstance(kept.get(group), dict):
            kept[group] = _without_inner(kept[group], inner)
    return kept


def _without_inner(fields: dict[str, Any], places: set[Place]) -> dict[str, Any]:
    own = {place[0] for place in places if len(place) == 1}
    kept = {name: value for name, value in fields.items() if isinstance(name, str) and name not in own}
    for name in {place[0] for place in places if len(place) == 2} - own:
        items = {place[1] for place in places if len(place) == 2 and place[0] == name}
        kept[str(name)] = [item for index, item in enumerate(kept[str(name)]) if index not in items]
    return kept


def _repaired(fields: object) -> dict[str, Any] | None:
    """Return a request to decide on: its text without unpaired surrogates, and no keys but those that are known.

    Pydantic reads nothing beside a key that is no Unicode. ``None`` where there is nothing to repair.
    """
    text = fields.get("text") if isinstance(fields, dict) else None
    if not isinstance(fields, dict) or not isinstance(text, str) or not text.strip():
        return None
    known = {name: fields[name] for name in ClassifyRequest.model_fields if name in fields}
    known["text"] = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return None if known == fields else known


def _cut_history(body: object) -> tuple[object, Sequence[int] | None]:
    """Leave the newest ``MAX_CONTEXT`` entries of a longer history; those whose time cannot be read are the oldest.

    Return with it where they were in the request, ``None`` where all are left.
    """
    context = body.get("context") if isinstance(body, dict) else None
    history = context.get("history") if isinstance(context, dict) else None
    if not isinstance(body, dict) or not isinstance(context, dict) or not isinstance(history, list):
        return body, None
    if len(history) <= MAX_CONTEXT:
        return body, None
    newest = sorted(sorted(range(len(history)), key=lambda index: _seconds_of(history[index]))[-MAX_CONTEXT:])
    return {**body, "context": {**context, "history": [history[index] for index in newest]}}, newest


def _seconds_of(entry: object) -> float:
    at = entry.get("at") if isinstance(entry, dict) else None
    try:
        time = _parse_time(at)
        return time.timestamp() if isinstance(time, datetime) and time.tzinfo is not None else float("-inf")
    except (ValueError, OverflowError):
        return float("-inf")


def field_name(name: str) -> str:
    """Return ``name`` where it looks like a field name.

    A key is the caller's to choose and may hold a writer's words, so anything else is not
    repeated.
    """
    return name if _FIELD_NAME.fullmatch(name) else "(not a field name)"


def encode_json(body: BaseModel | dict[str, Any]) -> bytes:
    """Serialise a body; a non-finite number is a fault of ours and raises ``ValueError``."""
    fields = body.model_dump(mode="json") if isinstance(body, BaseModel) else body
    try:
        return json.dumps(fields, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except UnicodeEncodeError:  # an unpaired surrogate in a caller's text: JSON can hold it in ASCII alone
        return json.dumps(fields, allow_nan=False).encode("ascii")


def response_fields(response: ClassifyResponse) -> dict[str, Any]:
    """Return the response as JSON fields; ``logit`` and ``unread`` only where there are any."""
    fields = response.model_dump(mode="json")
    if not response.unread:
        del fields["unread"]
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


def _parse_entry(entry: object, path: str) -> Received | LanternError:
    if not isinstance(entry, dict):
        return LanternError(INVALID_REQUEST, "each entry must be a JSON object", path)
    try:
        return parse_request(entry)
    except LanternError as error:
        return error.under(path)


def _error_of(detail: ErrorDetails) -> LanternError:
    """Turn one of pydantic's complaints into ours, which quotes no input."""
    path = field_path(detail)
    return LanternError(_FIELD_KINDS.get(path, INVALID_REQUEST), message_of(detail), path or None)


def message_of(detail: ErrorDetails) -> str:
    """Return what pydantic complains of, in words about JSON."""
    return _MESSAGES.get(detail["type"], detail["msg"].removeprefix("Value error, "))


def _message_within(path: str, detail: ErrorDetails) -> str:
    """Return the message, with the field inside of ``path`` that it is about, if it is about one."""
    inner = field_path(detail).removeprefix(path).removeprefix(".")
    return f"{inner}: {message_of(detail)}" if inner else message_of(detail)


def field_path(detail: ErrorDetails) -> str:
    """Return the path of the field, such as ``context.history[0].at``; a name that may hold text is left out."""
    path = ""
    for depth, part in enumerate(detail["loc"]):
        if isinstance(part, int):
            path += f"[{part}]"
        elif part != "[key]" and (depth != 2 or detail["loc"][0] != "consent"):  # consent.SCOPE.KIND: no field
            path += f".{field_name(part)}"
    return path.removeprefix(".")
