"""The report of a run for people."""

from __future__ import annotations

from deploy.fuzz.run import GROWTH, Report
from deploy.fuzz.verdicts import KNOWN_5XX


def markdown(report: Report) -> str:
    """Return the report as Markdown."""
    lines = [
        f"# Fuzz: {'failed' if report.failures else 'passed'}",
        "",
        f"`{report.command}`; seed {report.seed}, {report.seconds:.0f} s, {report.requests} requests.",
        "",
        *(f"- **{failure}**" for failure in report.failures),
        *_findings(report),
        "",
        "| answer | count |",
        "|---|---:|",
        *(f"| {answer} | {count} |" for answer, count in report.answers.items()),
        "",
        *_memory(report),
        f"Known server errors of TorchServe's own: {report.known_5xx}.",
        *(f"- {status} {kind}: {why}." for (status, kind), why in KNOWN_5XX.items()),
    ]
    return "\n".join(lines) + "\n"


def _findings(report: Report) -> list[str]:
    return [
        f"  - {found.source} {found.case} (seed {found.seed}, place {found.place}): {found.what}"
        for found in report.findings
    ]


def _memory(report: Report) -> list[str]:
    if report.after_warm_up is None or report.at_end is None:
        return ["Memory, restarts and logs were not looked at: the server is not this command's.", ""]
    rows = (
        ("worker", report.after_warm_up.worker_mb, report.at_end.worker_mb, report.worker_growth),
        ("JVM", report.after_warm_up.jvm_mb, report.at_end.jvm_mb, report.jvm_growth),
    )
    return [
        "| memory | after warm-up | at the end | growth |",
        "|---|---:|---:|---:|",
        *(
            f"| {name} | {before:.1f} MB | {after:.1f} MB | {growth or 0.0:+.1%} |"
            for name, before, after, growth in rows
        ),
        "",
        f"At most {GROWTH:.0%} is let pass. Worker or JVM restarted: {'yes' if report.restarted else 'no'}. "
        f"Files that hold what was sent: {', '.join(report.files_with_canary or []) or 'none'}.",
        "",
    ]
