"""Requests that schemathesis makes of the OpenAPI document: good ones, and ones that break a rule of it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from typing import Any, Final

import yaml
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings

from deploy.api.document import DOCUMENT
from deploy.fuzz.http_cases import HttpCase, request

_EXAMPLES: Final = 40
"""Requests of one seed; the next ones have the next seed, so that a round is short and can be made again alone."""


class SchemaCases:
    """Makes requests from the document.

    Args:
        model: put into the path in the place of the generated name.
        canary: put into every text.
    """

    def __init__(self, model: str, canary: str) -> None:
        import schemathesis
        from schemathesis import GenerationMode

        document = schemathesis.openapi.from_dict(yaml.safe_load(DOCUMENT.read_text(encoding="utf-8")))
        operation = document["/predictions/{model}"]["POST"]
        self._strategies = [operation.as_strategy(mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)]
        self._path = f"/predictions/{model}".encode()
        self._canary = canary

    def round(self, number: int, send: Callable[[HttpCase], None], stopped: Callable[[], bool]) -> None:
        """Send the requests of one seed; none once ``stopped``."""
        strategy = self._strategies[number % 2]
        name = ("schema: kept", "schema: broken")[number % 2]

        @seed(number)
        @settings(
            max_examples=_EXAMPLES,
            database=None,
            deadline=None,
            phases=(Phase.generate,),
            verbosity=Verbosity.quiet,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=strategy)
        def send_each(case: Any) -> None:
            if not stopped():
                send(HttpCase(name, self._bytes(case), reaches=True))

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of schemathesis and hypothesis about how long generation takes
            send_each()

    def _bytes(self, case: Any) -> bytes:
        body = case.body
        if isinstance(body, dict) and isinstance(body.get("text"), str):
            body = body | {"text": f"{body['text']} {self._canary}"}
        content_type = str(case.media_type or "application/json")
        if isinstance(body, (bytes, bytearray)):
            content = bytes(body)
        elif content_type.startswith("text/plain") and isinstance(body, str):
            content = body.encode("utf-8", "surrogatepass")
        else:
            content = encode(body)
        return request(self._path, content, content_type.encode("latin-1", "replace"), more=_headers(case.headers))


def encode(body: Any) -> bytes:
    """Return JSON of anything that a generator makes; what is no JSON value as its name."""
    return json.dumps(body, default=lambda value: type(value).__name__).encode("utf-8", "surrogatepass")


def _headers(given_headers: Any) -> bytes:
    """Return header lines of what can stand in one; content type and length are the body's own."""
    lines = b""
    for name, value in dict(given_headers or {}).items():
        line = f"{name}: {value}".encode("latin-1", "replace")
        if name.lower() in ("traceparent", "x-request-id") and not set(line) & set(b"\0\r\n"):
            lines += line + b"\r\n"
    return lines
