"""A response as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from handlers.core.schema import ClassifyResponse


def render(response: ClassifyResponse) -> str:
    """Return ``response`` as a readable table."""
    scores = _labels(response) if response.labels else ["nothing was scored"]
    return "\n".join([*scores, "", *_facts(response), "", "Scores of a screening aid, not a diagnosis."])


def _labels(response: ClassifyResponse) -> Iterator[str]:
    width = max((len(label.name) for label in response.labels), default=0)
    width = max(width, len("label"))
    yield f"{'label':<{width}}  score  threshold"
    for label in sorted(response.labels, key=lambda label: -label.score):
        mark = "  positive" if label.positive else ""
        yield f"{label.name:<{width}}  {label.score:.3f}  {label.threshold:9.3f}{mark}"


def _facts(response: ClassifyResponse) -> Iterator[str]:
    if response.escalation is not None:
        yield from _escalation(response.escalation)
    for field in response.unread:
        yield f"unread  {field.field}: {field.message}"
    read, model, timing = response.input, response.model, response.timing_ms
    cut = ", truncated" if read.truncated else ""
    yield f"input   {read.tokens_scored} of {read.tokens} tokens in {len(read.windows)} window(s){cut}"
    yield f"model   {model.name} {model.version}, {model.runtime} {model.precision}"
    yield f"weights {model.checkpoint}@{model.revision}"
    before = f"tokenize {timing.tokenize:.1f} ms, queue {timing.queue:.1f} ms"
    yield f"time    {before}, run {timing.run:.1f} ms, decide {timing.decide:.1f} ms"


def render_escalation(escalation: Mapping[str, Any]) -> str:
    """Return what to offer the writer, as readable lines."""
    return "\n".join(_escalation(escalation))


def _escalation(escalation: Mapping[str, Any]) -> Iterator[str]:
    yield f"tier    {escalation.get('tier', 'not given')}"
    for statement in escalation.get("statements", []):
        yield f"stated  {_named(statement, 'kind', 'language')}  from character {_named(statement, 'start_char')}"
    for flag in escalation.get("flags", []):
        yield f"flag    {flag}"
    for action in escalation.get("actions", []):
        yield f"action  {_named(action, 'action', 'status', 'reason', 'not_before', 'not_after')}"
    for sentence in escalation.get("because", []):
        yield f"why     {_named(sentence, 'text')}"
    for line in escalation.get("lines", []):
        yield f"line    {_line(line)}"
    if escalation.get("care_until") is not None:
        yield f"care    until {escalation['care_until']}"
    for reason in escalation.get("uncertainty", []):
        yield f"unsure  {reason}"


def _line(line: object) -> str:
    """Return a crisis line with every way to reach it, the emergency number last."""
    if not isinstance(line, dict):
        return str(line)
    word = f"{line['sms_body']} to " if line.get("sms_body") else ""
    text = f"text {word}{line['sms_to']}" if line.get("sms_to") else ""
    emergency = f"emergency {line['emergency']}" if line.get("emergency") else ""
    parts = (_named(line, "name", "region", "dial"), text, _named(line, "hours", "url"), emergency)
    return "  ".join(part for part in parts if part)


def _named(item: object, *names: str) -> str:
    """Join the named values that ``item`` has; the policy decides which there are."""
    if not isinstance(item, dict):
        return str(item)
    return "  ".join(str(item[name]) for name in names if item.get(name) is not None)
