"""The outcomes as a table, for a terminal and for a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from deploy.chaos.run import Outcome

_HEAD: Final = (
    *("scenario", "sent (REST + gRPC)", "answered", "retried", "errors", "lost", "wrong", "twice"),
    *("slowest", "recovery", "verdict"),
)


@dataclass(frozen=True)
class ChaosReport:
    """Every outcome, and what they were seen on.

    Attributes:
        rate: calls a second that were offered, on both protocols together.
    """

    command: str
    machine: dict[str, Any]
    rate: float
    outcomes: tuple[Outcome, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing went otherwise than it should."""
        return not any(outcome.failures for outcome in self.outcomes)


def report_markdown(report: ChaosReport) -> str:
    """Return the report as Markdown."""
    return "\n".join(
        [
            "# Chaos: faults behind the gateway",
            "",
            f"`{report.command}`",
            "",
            f"{report.machine['cpu']}, {report.machine['cores']} cores: two replicas, nginx and the callers on the "
            f"same machine, {report.rate:.0f} calls a second, half REST, half gRPC, by the Python client with its two "
            "retries. Every answer is compared with the one that was known for its text (scores to 1e-4). *Lost* is "
            "neither answer nor error within 20 s; *twice* is one decision in two answers; *recovery* is from the "
            "fault until every replica was used again.",
            "",
            _row(_HEAD),
            _row(["---", *["---:"] * (len(_HEAD) - 2), "---"]),
            *(_row(_cells(outcome)) for outcome in report.outcomes),
            "",
            *_remarks(report.outcomes),
        ]
    )


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes as a table for a terminal."""
    rows = [list(_HEAD), *(_cells(outcome) for outcome in outcomes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join([*lines, "", *_remarks(outcomes)])


def _cells(outcome: Outcome) -> list[str]:
    counts = outcome.tally
    if counts is None:
        return [outcome.name, *[""] * (len(_HEAD) - 2), "skipped"]
    errors = ", ".join(f"{count} {code}" for code, count in counts.errors.items()) or "0"
    sent = f"{counts.sent.get('rest', 0)} + {counts.sent.get('grpc', 0)}"
    return [
        *(outcome.name, sent, str(counts.answered), str(counts.retried), errors),
        *(str(counts.lost), str(counts.wrong), str(counts.duplicated), f"{counts.longest_s:.2f} s"),
        "" if outcome.recovery_s is None else f"{outcome.recovery_s:.1f} s",
        "FAILED" if outcome.failures else "ok",
    ]


def _remarks(outcomes: Sequence[Outcome]) -> list[str]:
    lines = []
    for outcome in outcomes:
        said = [*(f"FAILED: {failure}" for failure in outcome.failures), *outcome.notes]
        said += [f"skipped: {outcome.skipped}"] if outcome.skipped else []
        lines += [f"- {outcome.name} ({outcome.title}): {text}" for text in said]
    return [*lines, ""] if lines else []


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
