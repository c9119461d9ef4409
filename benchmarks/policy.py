"""``python -m benchmarks.policy``: how long one decision takes, with a history to read."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from benchmarks.reports import write_report
from handlers.core.directory import load_directory
from handlers.core.policy import Guidance, decide
from handlers.core.policy_case import Case, parse_case
from handlers.core.policy_model import Policy, Signature, load_policy
from handlers.core.selfhelp import load_catalogue
from handlers.core.sentences import load_sentences

CONFIG: Final = Path(__file__).parents[1] / "handlers" / "config"
RESULTS: Final = Path("benchmarks/results")
NOW: Final = datetime(2026, 3, 1, 14, tzinfo=UTC)
LIMIT_MS: Final = 0.2
"""What the median decision may take with 30 entries of history."""


@dataclass(frozen=True)
class Times:
    """Milliseconds of one kind of case; ``read`` is parsing and validating its line of JSON."""

    case: str
    tier: str
    median: float
    p99: float
    read_median: float


@dataclass(frozen=True)
class PolicyReport:
    """How it was measured, and what came out."""

    command: str
    machine: str
    python: str
    entries: int
    decisions: int
    limit_ms: float
    times: tuple[Times, ...]


def case_fields(signals: dict[str, float], entries: int) -> dict[str, Any]:
    """Return a case with every scope granted and ``entries`` earlier entries, all within the days that are counted."""
    scopes = ("self_help", "use_history", "human_review", "notify_therapist", "alert_contact")
    labels = ("neutral", "depressed", "anxious", "stressed")
    history = [
        {
            "entry_id": f"e{number}",
            "at": (NOW - timedelta(hours=6 * number + 1)).isoformat(),
            "scores": dict.fromkeys(labels, 0.58 if number % 2 else 0.1),
            "subject": "self",
        }
        for number in range(entries)
    ]
    return {
        "id": "c1",
        "entry_id": "now",
        "signals": signals,
        "expected_signals": list(labels),
        "consent": {scope: {"granted": True, "expires_at": "2027-01-01T00:00:00Z"} for scope in scopes},
        "context": {
            "now": NOW.isoformat(),
            "country": "GB",
            "language": "en",
            "age_band": "minor",
            "active": ["depressed"],
            "history": history,
            "last_actions": [{"action": "notify_therapist", "at": (NOW - timedelta(days=2)).isoformat()}],
            "confirmation": {"entry_id": "now", "action": "alert_contact", "by": "human", "at": NOW.isoformat()},
            "subject": "self",
            "contact_unsafe": False,
            "host_now": (NOW + timedelta(seconds=1)).isoformat(),
            "tokens": 4096,
            "tokens_scored": 4096,
        },
    }


def kinds_of_case() -> dict[str, dict[str, float]]:
    """Return signals that lead to little, to more and to everything that there is to decide."""
    calm = {"neutral": 0.95, "depressed": 0.05, "anxious": 0.03, "stressed": 0.02}
    low = {"neutral": 0.10, "depressed": 0.72, "anxious": 0.40, "stressed": 0.40}
    return {"calm": calm, "low": low, "emergency": low | {"suicidal_ideation": 0.95}}


def run_policy_benchmark(entries: int, decisions: int, command: str) -> PolicyReport:
    """Time ``decisions`` decisions of each kind, one by one, with the packaged policy."""
    policy = _signed(load_policy(CONFIG / "policy.yaml", None, date(2026, 3, 1)).policy)
    guidance = Guidance(
        load_directory(CONFIG / "crisis_lines.yaml"),
        load_catalogue(CONFIG / "self_help.yaml"),
        load_sentences(CONFIG / "sentences.yaml"),
    )

    def times_of(kind: str, signals: dict[str, float]) -> Times:
        line = json.dumps(case_fields(signals, entries))
        case: Case = parse_case(line)
        taken = _milliseconds(lambda: decide(case, policy, guidance), decisions)
        read = _milliseconds(lambda: parse_case(line), max(1, decisions // 10))
        tier = decide(case, policy, guidance).tier
        return Times(kind, tier, statistics.median(taken), _p99(taken), statistics.median(read))

    return PolicyReport(
        command=command,
        machine=f"{platform.machine()}, {platform.system()}",
        python=platform.python_version(),
        entries=entries,
        decisions=decisions,
        limit_ms=LIMIT_MS,
        times=tuple(times_of(kind, signals) for kind, signals in kinds_of_case().items()),
    )


def _signed(policy: Policy) -> Policy:
    """Return the policy as if somebody had signed for its reader of suicidal ideation, so that all of it is decided."""
    signature = Signature(by="nobody", role="benchmark", on=NOW.date(), calibration_sha256="0" * 64)
    readers = {
        name: reader.model_copy(update={"max_tier": "emergency_contact", "signed": signature})
        if policy.is_crisis_reader(name)
        else reader
        for name, reader in policy.readers.items()
    }
    return policy.model_copy(update={"readers": readers})


def report_markdown(report: PolicyReport) -> str:
    """Return the table for people."""
    rows = "\n".join(
        f"| {one.case} | `{one.tier}` | {one.median:.3f} | {one.p99:.3f} | {one.read_median:.3f} |"
        for one in report.times
    )
    return (
        f"# Decisions with {report.entries} entries of history\n\n"
        f"`{report.command}`: {report.decisions:,} decisions of each kind, one thread, Python {report.python} "
        f"({report.machine}). The median may be {report.limit_ms} ms at most.\n\n"
        "| case | tier | decide, median ms | p99 ms | read its JSON, median ms |\n|---|---|---:|---:|---:|\n"
        f"{rows}\n"
    )


def _milliseconds(work: Callable[[], object], times: int) -> list[float]:
    taken = []
    for _ in range(max(1, times // 10)):  # warm
        work()
    for _ in range(times):
        started = time.perf_counter_ns()
        work()
        taken.append((time.perf_counter_ns() - started) / 1e6)
    return taken


def _p99(taken: Sequence[float]) -> float:
    return sorted(taken)[int(len(taken) * 0.99)]


def _positive(value: str) -> int:
    number = int(value)
    if number < 1:
        raise argparse.ArgumentTypeError("a number from 1")
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table and write the report; 1 where a median is above the limit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policy", description=__doc__)
    parser.add_argument("--entries", type=_positive, default=30, help="earlier entries in the case (default: 30)")
    parser.add_argument("--decisions", type=_positive, default=5000, help="of each kind (default: 5000)")
    parser.add_argument("--out", type=Path, help=f"folder for the report, such as {RESULTS}")
    options = parser.parse_args(arguments)
    command = f"python -m benchmarks.policy --entries {options.entries} --decisions {options.decisions}"
    report = run_policy_benchmark(options.entries, options.decisions, command)
    print(report_markdown(report), end="")
    if options.out is not None:
        write_report(report, report_markdown(report), options.out, "policy")
    return 1 if any(one.median > report.limit_ms for one in report.times) else 0


if __name__ == "__main__":
    sys.exit(main())
