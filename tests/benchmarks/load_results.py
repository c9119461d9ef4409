"""Windows and results for tests: made from requests with the same code as measured ones."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.load.results import (
    Batching,
    Configuration,
    ConfigurationResult,
    Outcome,
    Purpose,
    RunResult,
    Slo,
    Usage,
    Window,
)
from benchmarks.load.windows import Frame, Observed, Record, Timings, build_window
from benchmarks.load.workload import Workload, load_workload

SLO = Slo(quantile=0.99, limit_ms=100, error_share=0.01)


def window(
    rate: float,
    latencies_ms: Sequence[float],
    *,
    seconds: float = 10.0,
    number: int = 1,
    purpose: Purpose = "search",
    codes: Sequence[str] = (),
    late_ms: float = 0.0,
    slo: Slo = SLO,
) -> Window:
    """One open-loop window with these latencies, evenly spread."""
    step = seconds / max(1, len(latencies_ms))
    records = [
        Record(
            intended=place * step,
            started=place * step + late_ms / 1e3,
            finished=place * step + latency / 1e3,
            protocol=("rest", "grpc")[place % 2],
            tokens=100 * (1 + place % 12),
            code=codes[place % len(codes)] if codes else "ok",
            wire_s=(latency - late_ms) / 1e3,
            timings=Timings(tokenize=0.1 * latency, queue=0.2 * latency, run=0.5 * latency, decide=0.05 * latency),
        )
        for place, latency in enumerate(latencies_ms)
    ]
    mean = rate * sum(latencies_ms) / max(1, len(latencies_ms)) / 1e3
    observed = Observed(
        in_flight=[(place * seconds / 100, round(mean)) for place in range(100)],
        batching=Batching(texts=10, tokens=900, padded_tokens=1000),
        server=Usage(cores=1.5, rss_mb=700),
        client=Usage(cores=0.1, rss_mb=150),
        cap=512,
    )
    frame = Frame(number, purpose, "open", 10.0 * number, 1.0, 0.0, seconds, rate=rate)
    return build_window(frame, records, observed, slo)


def result(windows: Sequence[Window], label: str = "onnx fp32", **outcome: object) -> ConfigurationResult:
    """A configuration with a capacity of 40/s unless ``outcome`` says else."""
    known: dict[str, object] = {
        "verdict": "capacity_found",
        "reason": "as tested",
        "capacity": 40.0,
        "capacity_low": 38.0,
        "capacity_high": 42.0,
        "saturation": 50.0,
        "service_ms": 20.0,
        "service_cv": 0.5,
    }
    return ConfigurationResult(
        configuration=Configuration(label=label, precision="fp32", runtime="onnx", checkpoint="small"),
        outcome=Outcome.model_validate(known | outcome),
        windows=tuple(windows),
    )


def run(*results: ConfigurationResult, workload: Workload | None = None, slo: Slo = SLO) -> RunResult:
    """A whole run around these configurations."""
    return RunResult(
        generated_at="2026-01-01T00:00:00+00:00",
        command="python -m benchmarks run",
        commit="abc",
        partial=False,
        machine={"cpu": "test", "cores": 2, "memory_gb": 8.0},
        versions={"python": "3.11"},
        target={"server": "a test"},
        workload=workload or load_workload("journal"),
        slo=slo,
        settings={"seed": 7},
        results=tuple(results),
    )
