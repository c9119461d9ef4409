"""Whether there are traces: off unless OpenTelemetry's standard variables name a collector.

A variable that asks for what is not there is an error at the start: OpenTelemetry's own answer would be a warning and
another setting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from handlers.core.errors import StartupError
from handlers.core.events import EventSink, RequestDone

Environment = Mapping[str, str]


class Tracing(Protocol):
    """What makes traces of requests that are done."""

    def trace(self, request: RequestDone) -> None:
        """Make the spans of one request, and leave them to be sent; for one thread."""

    def close(self) -> None:
        """Send what waits, and end."""


ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_QUEUE_SIZE: Final = "OTEL_BSP_MAX_QUEUE_SIZE"
_DEFAULT_QUEUE_SIZE: Final = 2048
_SAMPLERS: Final = (
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
)


def is_on(environment: Environment) -> bool:
    """Return whether the variables ask for traces."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if environment.get("OTEL_TRACES_EXPORTER", "").strip() == "none":
        return False
    return any(environment.get(name, "").strip() for name in ENDPOINTS)


def open_tracing(environment: Environment, report: EventSink) -> Tracing | None:
    """Return the tracing that the variables ask for; ``None`` where they ask for none.

    Args:
        environment: the process's own; the SDK reads it too.
        report: is told of spans that are lost, from any thread.

    Raises:
        StartupError: OpenTelemetry is not installed, or a variable asks for what is not there.
    """
    if not is_on(environment):
        return None
    _check(environment)
    try:
        from handlers.spans import Spans
    except ModuleNotFoundError as error:
        raise StartupError(
            f"{_named(environment, ENDPOINTS)} asks for traces, but {error.name} is not installed; "
            "pip install -r requirements/otel.txt, or take the variable away"
        ) from error
    return Spans(_queue_size(environment), report)


def _check(environment: Environment) -> None:
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    if exporter != "otlp":
        raise StartupError(f"OTEL_TRACES_EXPORTER={exporter}: traces leave over OTLP alone; use otlp or none")
    endpoint = _named(environment, ENDPOINTS)
    if not environment[endpoint].strip().startswith(("http://", "https://")):
        raise StartupError(f"{endpoint} is no http:// or https:// address")
    name = _named(environment, _PROTOCOLS)
    if name and environment[name].strip() != "http/protobuf":
        raise StartupError(f"{name}={environment[name]}: use http/protobuf, to port 4318 of most collectors")
    sampler = environment.get("OTEL_TRACES_SAMPLER", "").strip().lower() or _SAMPLERS[3]
    if sampler not in _SAMPLERS:
        raise StartupError(f"OTEL_TRACES_SAMPLER={sampler} is none of {', '.join(_SAMPLERS)}")
    share = environment.get("OTEL_TRACES_SAMPLER_ARG", "").strip()
    if sampler.endswith("ratio") and share and not _is_share(share):
        raise StartupError(f"OTEL_TRACES_SAMPLER_ARG={share} is no number from 0 to 1")


def _named(environment: Environment, names: Sequence[str]) -> str:
    """Return the first of the variables that is set; empty where none is."""
    return next((name for name in names if environment.get(name, "").strip()), "")


def _is_share(value: str) -> bool:
    try:
        return 0.0 <= float(value) <= 1.0
    except ValueError:
        return False


def _queue_size(environment: Environment) -> int:
    value = environment.get(_QUEUE_SIZE, "").strip() or str(_DEFAULT_QUEUE_SIZE)
    if not value.isdecimal() or int(value) == 0:
        raise StartupError(f"{_QUEUE_SIZE}={value} is no number of spans")
    return int(value)
