"""The OpenAPI document is valid, is what its sources make, and has an example of every error."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from deploy.__main__ import main
from deploy.api import document
from deploy.api.models import KINDS
from handlers.core.errors import ERROR_TABLE
from handlers.core.schema import ClassifyRequest, ClassifyResponse, Received, parse_call


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    return dict(yaml.safe_load(document.DOCUMENT.read_text(encoding="utf-8")))


def _validator(written: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": written["components"]})


def test_the_document_is_openapi_3_1(written: dict[str, Any]) -> None:
    validator = pytest.importorskip("openapi_spec_validator", reason="openapi-spec-validator is not installed")
    validator.OpenAPIV31SpecValidator(written).validate()


def test_the_file_is_what_the_command_writes() -> None:
    assert main(["openapi", "--check"]) == 0, "run python -m deploy openapi --write"


def test_a_file_that_is_not_current_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "openapi.yaml"
    other.write_text(document.render().replace("Lantern", "Lanterns", 1), encoding="utf-8")
    monkeypatch.setattr(document, "DOCUMENT", other)
    assert main(["openapi", "--check"]) == 1
    assert "python -m deploy openapi --write" in capsys.readouterr().err
    assert main(["openapi", "--write"]) == 0
    assert main(["openapi", "--check"]) == 0


@pytest.mark.parametrize(
    ("name", "model"),
    [("ClassifyRequest", ClassifyRequest), ("Answer", ClassifyResponse)],
    ids=lambda value: str(value),
)
def test_every_field_is_documented(written: dict[str, Any], name: str, model: Any) -> None:
    assert set(written["components"]["schemas"][name]["properties"]) == set(model.model_fields)


def test_every_error_has_an_example_at_its_status_and_a_row(written: dict[str, Any]) -> None:
    assert KINDS.keys() >= ERROR_TABLE.keys()
    for code, kind in KINDS.items():
        content = written["components"]["responses"][str(kind.http)]["content"]["application/json"]
        example = content["examples"][code]["value"]
        assert example["error"]["code"] == code
        assert list(_validator(written, content["schema"]).iter_errors(example)) == []
        assert f"| `{code}` | {kind.http} | `{kind.grpc}` |" in written["info"]["description"]


def test_retryable_statuses_have_retry_after(written: dict[str, Any]) -> None:
    responses = written["components"]["responses"]
    told = {int(status) for status, response in responses.items() if "Retry-After" in response.get("headers", {})}
    assert told == {kind.http for kind in KINDS.values() if kind.retryable}


def test_the_examples_of_requests_and_answers_keep_to_their_schemas(written: dict[str, Any]) -> None:
    predict = written["paths"]["/predictions/{model}"]["post"]
    contents = [*predict["requestBody"]["content"].values(), *predict["responses"]["200"]["content"].values()]
    for content in contents:
        for example in content["examples"].values():
            assert list(_validator(written, content["schema"]).iter_errors(example["value"])) == []


def test_the_server_takes_every_example_of_a_request(written: dict[str, Any]) -> None:
    examples = written["paths"]["/predictions/{model}"]["post"]["requestBody"]["content"]["application/json"][
        "examples"
    ]
    assert {"text", "everything", "entries"} <= examples.keys()
    for example in examples.values():
        call = parse_call(example["value"])
        assert call.error is None
        for item in call.items:
            assert isinstance(item, Received)
            assert (item.error, item.unread) == (None, ())


@pytest.mark.parametrize(
    "body",
    [{}, {"text": " "}, {"text": "a", "more": 1}, {"entries": []}, {"text": 1}],
    ids=["empty", "blank", "unknown field", "no entries", "type"],
)
def test_what_the_server_refuses_breaks_the_schema(written: dict[str, Any], body: Any) -> None:
    schema = written["paths"]["/predictions/{model}"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert not _validator(written, schema).is_valid(body)


@pytest.mark.parametrize(
    ("fields", "unread"),
    [
        ({"locale": "english"}, "locale"),
        ({"country": "gb"}, "country"),
        ({"consent": {"self_help": "yes"}}, "consent.self_help"),
        ({"context": {"age_band": "child"}}, "context.age_band"),
        ({"context": {"history": [{"entry_id": "e"}]}}, "context.history[0]"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_the_server_answers_without_reading_it_breaks_the_schema_too(
    written: dict[str, Any], fields: dict[str, Any], unread: str
) -> None:
    schema = written["paths"]["/predictions/{model}"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    body = {"text": "a", **fields}
    (received,) = parse_call(body).items

    assert not _validator(written, schema).is_valid(body)
    assert isinstance(received, Received)
    assert (received.error, [one.field for one in received.unread]) == (None, [unread])


def test_an_error_may_say_what_to_offer_and_so_may_each_of_its_results(written: dict[str, Any]) -> None:
    predict = written["paths"]["/predictions/{model}"]["post"]["responses"]["200"]["content"]["application/json"]
    offer = predict["examples"]["one"]["value"]["escalation"]
    error = {"code": "invalid_request", "message": "m", "field": None}
    results = [{"status": 400, "error": error, "escalation": offer}, {"status": 400, "error": error}]
    validator = _validator(written, {"$ref": "#/components/schemas/Error"})

    for body in ({"error": error}, {"error": error, "escalation": offer}, {"error": error, "results": results}):
        assert list(validator.iter_errors(body)) == []
    assert not validator.is_valid({"error": error, "escalation": {"tier": "none"}})
    assert not validator.is_valid({"error": error, "results": [{"error": error}]})
