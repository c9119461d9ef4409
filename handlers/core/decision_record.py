"""One decision as one line: what a record says, and how it is written.

A line is canonical JSON (sorted keys, no spaces, UTF-8, floats as ``repr`` writes them) and carries in ``prev_hash``
the SHA-256 of the line before it, newline excluded. ``handlers.core.records`` says how lines make a chain.

No line holds a text. People are named by keyed HMAC alone (``handlers.core.keyring``); without a key they are not
named at all.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from handlers.core.policy_case import Case
from handlers.core.policy_model import ConsentState, Tier
from handlers.core.schema import field_name

GENESIS: Final = "0" * 64
"""``prev_hash`` of the header of a chain's first file: nothing was before it."""

_ADDED_LATER: Final = frozenset(
    {"flags", "statement", "care_until", "case", "decision_sha256", "guidance", "thresholds"}
)
"""Fields that a record may lack: those of before there was a floor, or a replay, do."""

MAX_LINE_BYTES: Final = 1 << 20
"""More than the longest line of a record file, as the lists of a record are bounded; what is longer is none of ours."""

_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)


def _check_time(value: object) -> object:
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise ValueError("a time needs its offset from UTC")
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, str):
        if not _TIME.fullmatch(value):
            raise ValueError("not an RFC 3339 time such as 2026-03-01T14:00:00Z")
        datetime.fromisoformat(value)
    return value


def _finite_or_none(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/@+-]*$")]
Printable = Annotated[str, Field(max_length=256, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
Count = Annotated[int, Field(ge=0)]
Url = Annotated[str, Field(max_length=2048, pattern=r"^https://[!-~]+$")]
Instant = Annotated[str, BeforeValidator(_check_time)]
Thresholds = Annotated[tuple[float, float], Field(strict=False)]
RecordedScore = Annotated[float | None, BeforeValidator(_finite_or_none)]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class PolicyUsed(_Frozen):
    """The policy that decided."""

    id: Name
    version: Name
    sha256: Hash


class ModelUsed(_Frozen):
    """A model that scored."""

    name: Printable
    revision: Printable
    calibration: Printable


class Truncation(_Frozen):
    """Tokens that the text had and that were scored; ``None`` where the caller does not say."""

    tokens: Count | None
    tokens_scored: Count | None


class HistoryUsed(_Frozen):
    """``n``: earlier entries that the decision read."""

    n: Count


class ActionTaken(_Frozen):
    """One action of the decision, as ``handlers.core.policy`` gives it; ``items`` are ids of the catalogue."""

    action: Name
    status: Literal["planned", "proposed", "deferred", "suppressed"]
    reason: Name | None = None
    not_before: Instant | None = None
    not_after: Instant | None = None
    items: Annotated[tuple[Name, ...], Field(strict=False, max_length=64)] = ()
    url: Url | None = None


class StatementUsed(_Frozen):
    """What the floor found: kinds and languages, never where and never in which words."""

    kinds: Annotated[tuple[Name, ...], Field(strict=False, max_length=16)]
    languages: Annotated[tuple[Name, ...], Field(strict=False, max_length=64)]


class GuidanceUsed(_Frozen):
    """Digests of the crisis-line directory, the self-help catalogue and the sentences that the decision had."""

    directory: Hash
    catalogue: Hash
    sentences: Hash


def _check_case(value: dict[str, JsonValue] | None) -> dict[str, JsonValue] | None:
    if value is not None:
        Case.model_validate_json(json.dumps(value))
    return value


class DecisionFacts(_Frozen):
    """What a record says of a decision; its place in the chain is the writer's to give.

    There is no field for a text: strings are hashes, times, or names from the policy, the directory and the model.

    Attributes:
        decision_id: unique.
        time: RFC 3339, or an aware ``datetime``, which becomes UTC.
        subject_hmac, key_id, entry_hmac: ``Pseudonyms``.
        scores: as the policy got them, by label; ``None`` where there was none or it was not a finite number.
        consent: state of each scope at ``time``.
        tier_before: what the rules found before models were capped; ``None`` where the caller does not tell.
        lines_shown: ids in the crisis-line directory.
        flags, statement, care_until: not in records of before there was a floor.
        case: what a replay needs, as a line of a replay file (``handlers.core.policy_replay``).
        decision_sha256: of the decision's bytes, which a replay has to give again.
        guidance: what could be shown.
        thresholds: ``(on, off)`` by label, where they came from the bundle's calibration.
    """

    decision_id: Name
    time: Instant
    policy: PolicyUsed
    models: Annotated[tuple[ModelUsed, ...], Field(strict=False, max_length=16)]
    subject_hmac: Hash | None
    key_id: Name | None
    entry_hmac: Hash | None
    scores: Annotated[dict[Name, RecordedScore], Field(max_length=256)]
    truncation: Truncation | None
    language: Name | None
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None
    age_band: Literal["adult", "minor"] | None
    history: HistoryUsed
    consent: Annotated[dict[Name, ConsentState], Field(max_length=64)]
    rules_fired: Annotated[tuple[Name, ...], Field(strict=False, max_length=128)]
    tier_before: Tier | None
    tier: Tier
    uncertainty: Annotated[tuple[Name, ...], Field(strict=False, max_length=128)]
    actions: Annotated[tuple[ActionTaken, ...], Field(strict=False, max_length=32)]
    lines_shown: Annotated[tuple[Name, ...], Field(strict=False, max_length=128)]
    flags: Annotated[tuple[Name, ...], Field(strict=False, max_length=128)] = ()
    statement: StatementUsed | None = None
    care_until: Instant | None = None
    case: Annotated[dict[str, JsonValue] | None, AfterValidator(_check_case)] = None
    decision_sha256: Hash | None = None
    guidance: GuidanceUsed | None = None
    thresholds: Annotated[dict[Name, Thresholds], Field(max_length=256)] = {}

    @model_validator(mode="after")
    def _key_named(self) -> Self:
        if (self.key_id is None) != (self.subject_hmac is None and self.entry_hmac is None):
            raise ValueError("key_id: it must be there exactly where an identifier is")
        return self


class DecisionRecord(DecisionFacts):
    """A line of the file: the facts, ``idempotency_key`` and the hash of the line before."""

    idempotency_key: Hash
    prev_hash: Hash

    @model_validator(mode="after")
    def _key_fits(self) -> Self:
        if self.idempotency_key != idempotency_key(self):
            raise ValueError("idempotency_key: it is not that of this decision")
        return self


class HeaderLine(_Frozen):
    """First line of a file."""

    chain: Literal["header"] = "header"
    format: Literal[1] = 1
    chain_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    file: Count
    prev_hash: Hash


class TornLine(_Frozen):
    """Stands where the beginning of a line was found at the end of a file and moved out of it."""

    chain: Literal["torn"] = "torn"
    torn_bytes: Annotated[int, Field(ge=1)]
    torn_sha256: Hash
    prev_hash: Hash


ChainLine = HeaderLine | TornLine | DecisionRecord


def canonical_json(fields: object) -> bytes:
    """Return the one way to write ``fields`` as JSON; a non-finite number raises ``ValueError``."""
    return _CANONICAL.encode(fields).encode("utf-8")


def encode_line(line: ChainLine) -> bytes:
    """Return the bytes of a line, without its newline."""
    return canonical_json(line.model_dump())


def line_hash(line: bytes) -> str:
    """Return the hash by which the next line names ``line`` (bytes without the newline)."""
    return hashlib.sha256(line).hexdigest()


def parse_line(line: bytes) -> ChainLine:
    """Read a line, without its newline, that must be exactly as ``encode_line`` writes it.

    Raises:
        ValueError: naming the field that is wrong; the content is not repeated.
    """
    try:
        fields = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        raise ValueError("this is not JSON") from None
    try:
        parsed = _model_of(fields).model_validate(fields)
    except ValidationError as error:
        raise ValueError(_first_complaint(error)) from None
    if canonical_json(parsed.model_dump(exclude=_not_yet_written(fields))) != line:
        raise ValueError("this is a valid record, but not written as records are (canonical JSON)")
    return parsed


def _not_yet_written(fields: dict[str, object]) -> dict[str, Any]:
    """Return what to leave out of a record of an earlier version, so that it reads as it was written."""
    missing: dict[str, Any] = dict.fromkeys(_ADDED_LATER.difference(fields), True)
    return missing | {"actions": {"__all__": {"not_after"}}} if "case" in missing else missing


def _model_of(fields: object) -> type[HeaderLine] | type[TornLine] | type[DecisionRecord]:
    if isinstance(fields, dict) and "chain" in fields:
        return TornLine if fields["chain"] == "torn" else HeaderLine
    return DecisionRecord


def _first_complaint(error: ValidationError) -> str:
    detail = error.errors(include_url=False, include_input=False)[0]
    message = detail["msg"].removeprefix("Value error, ")
    return f"{field_name(str(detail['loc'][0]))}: {message}" if detail["loc"] else message


def idempotency_key(facts: DecisionFacts) -> str:
    """Return the key under which whoever carries out the actions can tell that they did so already.

    It is a SHA-256 over the entry (``entry_hmac``), the policy, the consent states, the tier and the actions with
    their status. So an entry that is sent again yields the same key at another time, in another batch (scores are
    not part of it, as their last digits depend on what else is in the batch), while an edited entry that reaches
    another tier, or an alert that was ``proposed`` and is now confirmed, yields a new one.

    Entries that have no identifier, or no key to name them by, are never taken for one another: ``decision_id`` then
    stands in. A notice may so be given twice, but none is lost. The same happens once to an entry that is sent again
    after the newest key was replaced.
    """
    parts = {
        "purpose": "lantern/idempotency/1",
        "entry": facts.entry_hmac,
        "decision": facts.decision_id if facts.entry_hmac is None else None,
        "policy": facts.policy.sha256,
        "consent": facts.consent,
        "tier": facts.tier,
        "actions": [[action.action, action.status] for action in facts.actions],
    }
    return hashlib.sha256(canonical_json(parts)).hexdigest()


def chain_decision(facts: DecisionFacts, prev_hash: str) -> bytes:
    """Return the line, without its newline, that records ``facts`` after the line of hash ``prev_hash``."""
    return canonical_json({**facts.model_dump(), "idempotency_key": idempotency_key(facts), "prev_hash": prev_hash})
