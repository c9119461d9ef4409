"""The OpenAPI document: what people write in ``base.yaml``, the schemas of the models, and the table of errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

from deploy.api.models import KINDS, schemas
from deploy.errors import DeployError
from handlers.core.errors import ErrorKind

FOLDER: Final = Path(__file__).parent
BASE: Final = FOLDER / "base.yaml"
DOCUMENT: Final = FOLDER / "openapi.yaml"

_HEAD: Final = "# Made by `python -m deploy openapi --write` of base.yaml, the models and the table of errors.\n"
_MARK: Final = "{errors}"
_MESSAGES: Final = {
    "invalid_json": "the body is not JSON (line 1, column 9); send a JSON object",
    "invalid_request": "this field is not known",
    "invalid_text": "the text is empty",
    "unknown_label": "a label that this model does not have; it has anxious, depressed, neutral, stressed",
    "unknown_model": "no such path or model at this gateway",
    "too_long": "the text has 5120 tokens, more than 4094",
    "unsupported_media_type": "send application/json, or text/plain for the text alone, in UTF-8 (Content-Type)",
    "internal": "a fault of the service; its operator finds it by the id 5f2b9c0d",
    "non_finite_scores": "the model gave no finite scores for this text",
    "overloaded": "more is waiting than this replica can read in time; try again",
    "draining": "this replica is stopping; send the request to another one",
    "unavailable": "no replica can be reached; try again",
    "deadline_exceeded": "the deadline passed before this text was read; send less at once",
    "unauthenticated": "no client is known by these credentials",
    "rate_limited": "more requests than this client may send; send them later",
}
_FIELDS: Final = {
    "invalid_request": "options.overlength",
    "invalid_text": "text",
    "unknown_label": "context.history[0].scores",
    "too_long": "options.over_length",
}


def build() -> dict[str, Any]:
    """Return the whole document.

    Raises:
        DeployError: an error of the table has no example, or no response.
    """
    document: dict[str, Any] = yaml.safe_load(BASE.read_text(encoding="utf-8"))
    components = document["components"]
    document["info"]["description"] = document["info"]["description"].replace(_MARK, _table())
    components["responses"] = {
        status: _response(int(status), written) for status, written in components["responses"].items()
    }
    without = sorted(code for code, kind in KINDS.items() if str(kind.http) not in components["responses"])
    if without or KINDS.keys() != _MESSAGES.keys():
        raise DeployError(
            f"{BASE} has no response for {', '.join(without) or 'none'}, and examples and codes differ in "
            f"{', '.join(sorted(KINDS.keys() ^ _MESSAGES.keys())) or 'none'}"
        )
    components["schemas"] = schemas()
    return document


def render() -> str:
    """Return the document as YAML; the same text for the same sources."""
    return _HEAD + yaml.dump(build(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def is_current() -> bool:
    """Return whether the committed file is what would be written."""
    return DOCUMENT.is_file() and DOCUMENT.read_text(encoding="utf-8") == render()


class _Dumper(yaml.SafeDumper):
    """Writes what is there twice, twice; and text of several lines as a block."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def _table() -> str:
    rows = [f"| `{kind.code}` | {kind.http} | `{kind.grpc}` | {_again(kind)} |" for kind in _by_status()]
    return "\n".join(["| code | HTTP | gRPC | try again |", "|---|---|---|---|", *rows])


def _again(kind: ErrorKind) -> str:
    return "after `Retry-After`" if kind.retryable else "no"


def _by_status() -> list[ErrorKind]:
    return sorted(KINDS.values(), key=lambda kind: (kind.http, kind.code))


def _response(status: int, written: dict[str, Any]) -> dict[str, Any]:
    kinds = [kind for kind in _by_status() if kind.http == status]
    response: dict[str, Any] = {"description": written["description"]}
    if any(kind.retryable for kind in kinds):
        response["headers"] = {"Retry-After": {"$ref": "#/components/headers/Retry-After"}}
    if written.get("only_empty"):
        return response
    names = ["Refusal"] if written.get("only_refusal") else ["Error", *(["Refusal"] if written.get("refusal") else [])]
    references = [{"$ref": f"#/components/schemas/{name}"} for name in names]
    content: dict[str, Any] = {"schema": references[0] if len(references) == 1 else {"oneOf": references}}
    if kinds:
        content["examples"] = {kind.code: {"value": _example(kind)} for kind in kinds}
    return response | {"content": {"application/json": content}}


def _example(kind: ErrorKind) -> dict[str, Any]:
    return {"error": {"code": kind.code, "message": _MESSAGES[kind.code], "field": _FIELDS.get(kind.code)}}
