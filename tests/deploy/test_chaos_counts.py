"""How chaos counts what callers get, and when it says that something failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from client import ClassifyResponse
from deploy.__main__ import main
from deploy.chaos.answers import TEXTS, Known, learn, texts
from deploy.chaos.catalogue import SCENARIOS
from deploy.chaos.report import ChaosReport, report_markdown, table
from deploy.chaos.run import Outcome, judge
from deploy.chaos.scenarios import RETRIABLE
from deploy.chaos.tally import Sample, tally
from tests.client.conftest import RESPONSE


def answer(score: float, end: int = 5) -> ClassifyResponse:
    fields: dict[str, Any] = RESPONSE | {
        "labels": [{"name": "neutral", "score": score, "threshold": 0.5, "positive": score >= 0.5}],
        "input": {"tokens": 2, "tokens_scored": 2, "windows": [{"start_char": 0, "end_char": end}], "truncated": False},
    }
    return ClassifyResponse.model_validate(fields)


def samples() -> list[Sample]:
    return [
        Sample("rest", 0.0, 0.5, "answered", retries=1, decision="d1"),
        Sample("grpc", 0.1, 0.7, "answered", decision="d2"),
        Sample("grpc", 0.2, 9.0, "wrong", decision="d2"),
        Sample("rest", 0.3, 20.0, "lost"),
        Sample("rest", 0.4, 0.1, "unavailable", retries=2),
        Sample("rest", 0.5, 0.1, "internal"),
    ]


def test_every_call_is_counted_once() -> None:
    counts = tally(samples())

    assert counts.sent == {"grpc": 2, "rest": 4}
    assert counts.answered + counts.wrong + counts.lost + sum(counts.errors.values()) == counts.total == 6
    assert counts.errors == {"internal": 1, "unavailable": 1}
    assert (counts.duplicated, counts.retried, counts.longest_s) == (1, 2, 0.7)


def test_what_must_not_be_is_named() -> None:
    assert set(judge(tally(samples()), RETRIABLE)) == {
        "1 wrong answers",
        "1 duplicated answers",
        "1 lost calls",
        "1 calls ended with internal",
    }
    assert list(judge(tally(samples()[:2]), frozenset())) == []


def test_nobody_answered_is_a_failure() -> None:
    assert list(judge(tally([]), RETRIABLE)) == ["nobody was answered, so nothing was shown"]


def test_an_answer_is_judged_by_its_scores_and_by_how_much_was_read() -> None:
    known = Known("Text.", (("neutral", 0.25),))

    assert known.is_answered_by(answer(0.25))
    assert known.is_answered_by(answer(0.25009))
    assert not known.is_answered_by(answer(0.2502))
    assert not known.is_answered_by(answer(0.25, end=4))


def test_texts_that_could_be_taken_for_each_other_are_refused() -> None:
    with pytest.raises(Exception, match="same scores"):
        learn(lambda text: answer(0.25, len(text)), ["One.", "Two."])
    assert len(learn(lambda text: answer(0.25 + len(text) / 100, len(text)), ["One.", "Three."])) == 2


def test_texts_are_short_and_long() -> None:
    assert len(set(texts())) == len(TEXTS) + 2
    assert max(map(len, texts())) > 1500


def test_the_report_names_failures_and_reasons_to_skip() -> None:
    outcomes = (
        Outcome(
            "kill-jvm", "kill -9 of a JVM", 12.0, tally=tally(samples()), recovery_s=6.5, failures=("1 lost calls",)
        ),
        Outcome("clock-jump", "a clock", 0.0, skipped="needs libfaketime"),
    )
    report = ChaosReport("python -m deploy chaos", {"cpu": "c", "cores": 2}, 80.0, outcomes)

    for text in (table(outcomes), report_markdown(report)):
        assert "kill-jvm" in text
        assert "6.5 s" in text
        assert "FAILED: 1 lost calls" in text
        assert "skipped: needs libfaketime" in text
    assert not report.passed


def test_the_command_lists_its_scenarios(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chaos", "--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [one.name for one in SCENARIOS]


def test_an_unknown_scenario_or_archive_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chaos", "flod"]) == 2
    assert main(["chaos", "flood", "--archive", str(tmp_path / "none.mar")]) == 2
    assert "no scenario flod" in (said := capsys.readouterr().err)
    assert "make archive" in said


def test_all_scenarios_fit_into_the_time() -> None:
    from deploy.cli.chaos import LIMIT_S

    assert sum(scenario.seconds for scenario in SCENARIOS) < LIMIT_S
