from __future__ import annotations

import json
from dataclasses import fields

import pytest

from handlers.core.caller import NOBODY
from handlers.core.events import (
    EngineRun,
    Event,
    Fault,
    Loaded,
    RequestDone,
    SpansLost,
    SubBatchDone,
    TextDone,
    event_line,
)

REQUEST = RequestDone(NOBODY, "internal", 1.0, 2.0, refused=("internal",))
RUN = SubBatchDone(inputs=1, tokens=3, padded_tokens=4, run_s=0.2)


@pytest.mark.parametrize("event", [REQUEST, RUN, SpansLost(3), Fault("id", "ValueError", "a.py:1 f")])
def test_an_event_is_one_line_of_json_that_names_it(event: Event) -> None:
    line = event_line(event)

    assert "\n" not in line
    assert json.loads(line)["event"] == type(event).__name__


@pytest.mark.parametrize("kind", [Loaded, SubBatchDone, EngineRun, TextDone, RequestDone, Fault, SpansLost])
def test_no_event_has_a_field_for_a_text_or_a_message(kind: type) -> None:
    assert {field.name for field in fields(kind)}.isdisjoint({"text", "tokens_ids", "message", "request", "body"})
