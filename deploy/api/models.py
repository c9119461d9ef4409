"""What a call and an answer may be, as models: all JSON Schema comes from those that the server parses with, and these.

Those here describe and parse nothing; ``tests/server/test_server_openapi.py`` holds them against a running server.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from deploy.gateway.faults import GATEWAY_ERRORS
from handlers.core.directory import ShownLine
from handlers.core.errors import ERROR_TABLE, ErrorKind
from handlers.core.policy_model import Done, Reason, Tier
from handlers.core.policy_model import Status as ActionStatus
from handlers.core.schema import MAX_ENTRIES, ClassifyRequest, ClassifyResponse
from handlers.core.sentences import Sentence
from handlers.core.statements import StatementKind, StatementLanguage
from server.health import Status as HealthStatus

KINDS: Final[dict[str, ErrorKind]] = {error.kind.code: error.kind for error in GATEWAY_ERRORS} | ERROR_TABLE
"""Every error that a caller may meet: the server's, and those that are the gateway's alone."""


class Entries(BaseModel):
    """Several texts at once, each a request of its own. A fault of one is the answer to that one."""

    model_config = ConfigDict(extra="forbid")

    entries: Annotated[list[ClassifyRequest], Field(min_length=1, max_length=MAX_ENTRIES)]


class PolicyReport(BaseModel):
    """The policy that decided."""

    id: str
    version: str
    sha256: str


class Action(BaseModel):
    """What is to become of one action of the tier.

    ``reason`` where it is suppressed or deferred; ``not_before`` and ``not_after`` (the end of its consent, if it has
    one), RFC 3339 times, where it is deferred; ``items``, of the self-help catalogue, and ``url`` only where they
    apply.
    """

    action: Done
    status: ActionStatus
    reason: Reason | None
    not_before: str | None
    not_after: str | None
    items: list[str] = []
    url: str = ""


class StatementPlace(BaseModel):
    """An explicit statement about ending one's life: its kind, the language of the phrase, and where it stands.

    ``start_char`` and ``end_char`` count Unicode code points of the text, end exclusive.
    """

    start_char: int
    end_char: int
    kind: StatementKind
    language: StatementLanguage


class Escalation(BaseModel):
    """The response that the policy calls for; never a statement about the person.

    ``active`` and ``care_until``, an RFC 3339 time, are to be handed back as ``context.active`` and
    ``context.care_until`` with the writer's next text. ``because`` tells the person why something is shown, without
    score, label or tier. ``statements`` holds the first 64 explicit statements.
    """

    tier: Tier
    actions: list[Action]
    lines: list[ShownLine]
    rules_fired: list[str]
    uncertainty: list[str]
    flags: list[str]
    active: list[str]
    care_until: str | None
    because: list[Sentence]
    statements: list[StatementPlace]
    decision_id: str
    policy: PolicyReport


class Answer(ClassifyResponse):
    """The answer for one text."""

    escalation: Escalation | None = None  # type: ignore[assignment]  # a dict where it is made


class ErrorBody(BaseModel):
    """What happened and what to do; never a quote of the request. ``field`` is the path of what is wrong."""

    code: Annotated[str, Field(json_schema_extra={"enum": list[Any](sorted(KINDS))})]
    message: str
    field: str | None


class EntryError(BaseModel):
    """What went wrong with one of several texts; ``status`` is what it would have been alone."""

    error: ErrorBody
    escalation: Escalation | None = None
    status: Annotated[int, Field(json_schema_extra={"enum": list[Any](sorted({k.http for k in KINDS.values()}))})]


class Error(BaseModel):
    """Every error of Lantern and of its gateway.

    ``escalation`` is there wherever the text could be read: what to offer the writer all the same. ``results`` is
    there where a call with ``entries`` fails as a whole: the same for each of its texts.
    """

    error: ErrorBody
    escalation: Escalation | None = None
    results: list[EntryError] = []


class EntryAnswer(Answer):
    """The answer for one of several texts."""

    status: Literal[200]


class Results(BaseModel):
    """One result for each of ``entries``, in order."""

    results: Annotated[list[EntryAnswer | EntryError], Field(min_length=1, max_length=MAX_ENTRIES)]


class Refusal(BaseModel):
    """TorchServe's own refusal, before a request reaches Lantern; the gateway puts an ``Error`` in its place."""

    code: int
    type: str
    message: str


class Health(BaseModel):
    """``reason`` is empty where all is well; ``details`` is what an operator should know of the policy all the same."""

    status: HealthStatus
    reason: str
    details: list[str] = []


_LEFT_OUT: Final[dict[str, tuple[str, ...]]] = {
    "Action": ("items", "url"),
    "Answer": ("unread",),
    "EntryAnswer": ("unread",),
    "EntryError": ("escalation",),
    "Error": ("escalation", "results"),
    "LabelScore": ("logit",),
    "Timing": (),
}
"""Fields that an answer may lack, of the models that have defaults: an answer has all others."""


def schemas() -> dict[str, Any]:
    """Return the JSON Schema of every model, by name, for ``components``."""
    asked: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        (model, "validation") for model in (ClassifyRequest, Entries)
    ]
    told: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        (model, "serialization") for model in (Answer, Results, Error, Refusal, Health)
    ]
    _, definitions = models_json_schema([*asked, *told], ref_template="#/components/schemas/{model}")
    found = {name: _without_titles(schema) for name, schema in definitions["$defs"].items()}
    for name, left_out in _LEFT_OUT.items():
        found[name]["required"] = [field for field in found[name]["properties"] if field not in left_out]
    return dict(sorted(found.items()))


def _without_titles(schema: Any, *, are_names: bool = False) -> Any:
    """Drop titles, which only repeat names; ``are_names`` tells that the keys are names of fields, not keywords."""
    if isinstance(schema, list):
        return [_without_titles(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: part for key, part in schema.items() if are_names or key != "title"}
    return {
        key: _prose(part) if key == "description" and isinstance(part, str) else _nested(key, part, are_names)
        for key, part in kept.items()
    }


def _nested(key: str, part: Any, are_names: bool) -> Any:
    return _without_titles(part, are_names=key == "properties" and not are_names)


def _prose(docstring: str) -> str:
    """Turn a docstring into Markdown."""
    return (
        docstring.replace("\n\nAttributes:\n", "\n\n")
        .replace("\n        ", " ")
        .replace("\n    ", "\n- ")
        .replace("``", "`")
    )
