from __future__ import annotations

from benchmarks.policy import report_markdown, run_policy_benchmark


def test_every_kind_of_case_is_timed_and_reads_its_history() -> None:
    report = run_policy_benchmark(entries=30, decisions=3, command="python -m benchmarks.policy")

    assert [(one.case, one.tier) for one in report.times] == [
        ("calm", "professional"),  # by its history alone
        ("low", "professional"),
        ("emergency", "emergency_contact"),
    ]
    assert all(0.0 < one.median <= one.p99 for one in report.times)
    assert report_markdown(report).count("\n| ") == 4


def test_without_a_history_the_calm_case_is_calm() -> None:
    report = run_policy_benchmark(entries=0, decisions=1, command="x")

    assert report.times[0].tier == "none"
