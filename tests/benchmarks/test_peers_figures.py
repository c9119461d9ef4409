"""What a run of servers shows: ratios within a round, verdicts, and who is run again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.peers.exchange import Sent
from benchmarks.peers.figures import (
    PeersReport,
    ServerFailure,
    ServerRound,
    contenders,
    count_round,
    judge,
    summarize,
)
from benchmarks.peers.report import report_markdown
from benchmarks.peers.run import engine_seconds, fits
from benchmarks.peers.workload import Text

CHAT, HISTORY = Text("chat", 20, "a"), Text("history", 4000, "b")


def measured(
    server: str, number: int, wall_s: float, short_s: float = 1.0, engine_s: float | None = None
) -> ServerRound:
    return ServerRound(
        server=server,
        is_lantern=server.startswith("lantern"),
        round=number,
        texts=12,
        answered=12,
        failures={},
        wall_s=wall_s,
        seconds={"chat": [short_s] * 3, "history": [2 * short_s]},
        worst_difference=1e-7,
        start_s=10.0,
        memory_mb=900.0,
        dense_gflops=150.0,
        engine_s=engine_s,
    )


ROUNDS = [
    measured("padded", 1, wall_s=96.0, short_s=50.0),
    measured("single", 1, wall_s=30.0, short_s=20.0),
    measured("sorted", 1, wall_s=40.0, short_s=8.0),
    measured("lantern-fp32", 1, wall_s=6.0, short_s=0.5, engine_s=5.0),
    measured("single", 2, wall_s=60.0, short_s=40.0),
    measured("sorted", 2, wall_s=48.0, short_s=8.0),
    measured("lantern-fp32", 2, wall_s=12.0, short_s=0.5, engine_s=11.5),
]


def test_a_ratio_is_to_the_best_peer_of_its_own_round() -> None:
    lantern = {one.server: one for one in summarize(ROUNDS)}["lantern-fp32"]

    # 30/6 against "single" in the first round, 48/12 against "sorted" in the second, slower one.
    assert lantern.to_best_peer is not None
    assert (lantern.to_best_peer.median, lantern.to_best_peer.low, lantern.to_best_peer.high) == (4.5, 4.25, 4.75)


def test_short_texts_are_compared_with_the_peer_that_serves_them_fastest() -> None:
    found = {one.server: one for one in summarize(ROUNDS)}

    assert found["lantern-fp32"].short_to_best_peer == 0.5 / 8.0
    assert found["sorted"].short_to_best_peer == 1.0
    assert found["padded"].classes["history"].p50 == 100.0


def test_overhead_is_wall_clock_on_top_of_engine_time() -> None:
    one = measured("lantern-fp32", 1, wall_s=10.8, engine_s=10.0)

    assert one.overhead == pytest.approx(0.08)
    assert measured("single", 1, wall_s=10.0).overhead is None


def test_peers_that_cannot_be_the_best_are_not_run_again() -> None:
    assert contenders(ROUNDS[:4]) == {"single", "sorted", "lantern-fp32"}


def test_goals_are_met_missed_or_open() -> None:
    verdicts = {verdict.goal: verdict for verdict in judge(summarize(ROUNDS))}

    by_start = {goal[:40]: (verdict.value, verdict.met) for goal, verdict in verdicts.items()}
    assert by_start["lantern-fp32: texts a second at least 4."] == (4.5, True)
    assert by_start["lantern-fp32: p50 of short texts beside "] == (0.0625, True)
    overhead, met = by_start["lantern-fp32: server overhead under satu"]
    assert overhead == pytest.approx((0.2 + 0.5 / 11.5) / 2)
    assert met is False
    assert by_start["lantern-int8: texts a second at least 9x"] == (None, None)


def test_a_ratio_just_below_its_goal_is_missed() -> None:
    rounds = [measured("single", 1, wall_s=44.9), measured("lantern-fp32", 1, wall_s=10.0, engine_s=9.9)]

    first = judge(summarize(rounds))[0]

    assert first.value == pytest.approx(4.49)
    assert first.met is False


def test_without_a_peer_there_is_no_ratio_and_no_verdict() -> None:
    (lantern,) = summarize([measured("lantern-fp32", 1, wall_s=6.0, engine_s=5.9)])

    assert lantern.to_best_peer is None
    assert lantern.short_to_best_peer is None
    assert [verdict.met for verdict in judge([lantern])] == [None, None, None, None, True, None]


def test_a_failed_request_is_no_time_and_no_throughput() -> None:
    sent = [
        Sent(CHAT, 10.0, 11.0, {"a": 0.5}),
        Sent(HISTORY, 10.5, 19.0, None, "HTTP 503"),
        Sent(CHAT, 11.0, 20.0, {"a": 0.5}),
    ]

    wall, seconds, failures = count_round(sent)

    assert (wall, seconds, failures) == (10.0, {"chat": [1.0, 9.0]}, {"HTTP 503": 1})
    assert replace(measured("single", 1, wall_s=wall), texts=3, answered=2).throughput == 0.2


def test_no_round_begins_that_would_end_too_late() -> None:
    assert fits([30.0, 30.0], elapsed_s=540.0, minutes=10)
    assert not fits([30.0, 31.0], elapsed_s=540.0, minutes=10)
    assert not fits([], elapsed_s=0.0, minutes=10)


def test_engine_seconds_are_read_from_the_stage_that_runs_the_model() -> None:
    page = (
        "# TYPE lantern_stage_seconds histogram\n"
        'lantern_stage_seconds_sum{stage="tokenize",ModelName="sentiment",Level="Model",} 0.5\n'
        'lantern_stage_seconds_sum{stage="run",ModelName="sentiment",Level="Model",} 12.25\n'
        'lantern_stage_seconds_count{stage="run",ModelName="sentiment",Level="Model",} 7.0\n'
        'lantern_texts_total{ModelName="sentiment",Level="Model",} 14.0\n'
    )

    assert engine_seconds(page) == (12.25, 14)
    assert engine_seconds("") == (0.0, 0)


def test_the_report_says_goals_figures_settings_and_failures() -> None:
    failed = {"HTTP 503": 1}
    rounds = (*ROUNDS[:-1], replace(ROUNDS[-1], answered=11, failures=failed))
    summaries = summarize(rounds)
    report = PeersReport(
        checkpoint="base",
        command="python -m benchmarks peers",
        machine={"cpu": "some processor", "cores": 2},
        settings={"single": "one text at a time; litserve 1.0"},
        workload={"texts": 12, "clients": 8, "seed": 5, "tokens": {"chat": (10, 60)}},
        summaries=summaries,
        verdicts=judge(summaries),
        rounds=rounds,
        failures=(ServerFailure("ray", 1, "not ready within 300 s"),),
        complete=False,
    )

    page = report_markdown(report)

    assert "| lantern-fp32: texts a second at least 4.5x the best peer's | " in page
    assert "| lantern-int8: texts a second at least 9x the best peer's |  | not measured |" in page
    assert "| padded | 1 | 0.125 (0.125-0.125) | 0.31x (0.31-0.31) | 6.25x |" in page
    assert "- ray, round 1: not ready within 300 s" in page
    assert "- lantern-fp32: 1 requests failed: HTTP 503" in page
    assert "- single: one text at a time; litserve 1.0" in page
    assert "cut short" in page
