"""The batching benchmark: its simulation against cases that can be counted by hand, and the command as a whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import batching
from benchmarks.__main__ import main
from benchmarks.batching import Arrival, CostCurve, Policy, SingleRun, draw_arrivals, simulate
from benchmarks.load.workload import load_workload
from benchmarks.spread import Spread
from tests.checkpoints import Tiny, share_tiny

CURVE = CostCurve([SingleRun(100, Spread(0.1, 0.1, 0.1)), SingleRun(4000, Spread(4.0, 4.0, 4.0))])
"""A millisecond a token."""
IN_ORDER = Policy("in order", 1, 0.0, patience=0.0, express_tokens=0)
SHORT_FIRST = Policy("short first", 512, 0.1, patience=4.0, express_tokens=0)
EXPRESS = Policy("express", 512, 0.1, patience=4.0, express_tokens=256)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """The tiny bundle of the unit tests."""
    return share_tiny(tmp_path_factory)


def test_the_cost_of_a_run_lies_on_a_line_through_what_was_measured() -> None:
    assert CURVE.seconds(2000) == pytest.approx(2.0)
    assert CURVE.seconds(8000) == pytest.approx(8.0)


def test_in_order_a_short_text_waits_for_all_before_it() -> None:
    arrivals = [Arrival(0.0, 4000), Arrival(0.0, 4000), Arrival(1.0, 100)]
    found = simulate(IN_ORDER, 1.0, [*arrivals[:2], Arrival(1.0, 60)], CURVE)

    assert found.short.p50 == pytest.approx(7.1)
    assert found.long.worst == pytest.approx(8.0)


def test_short_first_it_waits_for_one_run() -> None:
    found = simulate(SHORT_FIRST, 1.0, [Arrival(0.0, 4000), Arrival(0.0, 4000), Arrival(1.0, 60)], CURVE)

    assert found.short.p50 == pytest.approx(3.1)
    assert found.long.worst == pytest.approx(8.1)


def test_on_the_express_lane_it_shares_the_cores_and_the_long_one_pays() -> None:
    found = simulate(EXPRESS, 1.0, [Arrival(0.0, 4000), Arrival(1.0, 60)], CURVE)

    assert found.short.p50 == pytest.approx(0.2)
    assert found.long.worst == pytest.approx(4.1)


def test_equal_texts_share_runs_without_padding() -> None:
    found = simulate(SHORT_FIRST, 1.0, [Arrival(0.0, 64)] * 16, CURVE)

    assert (found.efficiency, found.inputs_a_run) == (1.0, 8.0)


@settings(max_examples=20)
@given(st.sampled_from([*batching.policies(), *batching.other_cuts()]), st.floats(0.1, 2.0), st.integers(0, 100))
def test_every_text_is_answered_and_padding_keeps_its_bound(policy: Policy, load: float, seed: int) -> None:
    workload = load_workload("thirds").model_copy(update={"seed": seed})
    arrivals = draw_arrivals(workload, 4096, load, CURVE)[:200]
    clockwork = batching._Clockwork(policy, CURVE)
    end = clockwork.play(arrivals)

    assert sorted(arrival.at for arrival, _ in clockwork.waits) == [arrival.at for arrival in arrivals]
    assert clockwork.real == sum(arrival.tokens for arrival in arrivals)
    assert clockwork.real / clockwork.padded >= 1 - policy.max_padding
    assert end >= arrivals[-1].at


def test_the_settings_keep_nine_tenths_of_the_tokens_real_on_the_mixed_workload() -> None:
    arrivals = draw_arrivals(load_workload("thirds"), 4096, 1.2, CURVE)
    *_, chosen = batching.policies()

    assert simulate(chosen, 1.2, arrivals, CURVE).efficiency >= 0.9


def test_the_command_measures_simulates_and_writes_both_reports(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(batching, "TEXTS", 60)
    assert main(["batching", "--bundle", str(tiny.bundle), "--rounds", "1", "--out", str(tmp_path)]) == 0

    (report,) = tmp_path.glob("batching-*.json")
    found = json.loads(report.read_text(encoding="utf-8"))
    assert found["command"].startswith("python -m benchmarks batching")
    assert {run["tokens"] for run in found["single_runs"]} == {16, 32, 64, 128, 256}
    assert {one["policy"]["name"] for one in found["simulated"]} >= {"Lantern", "one text at a time, in order"}
    assert report.with_suffix(".md").read_text(encoding="utf-8") == capsys.readouterr().out.rstrip("\n") + "\n"


def test_a_workload_that_is_not_there_is_one_line(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["batching", "--bundle", str(tiny.bundle), "--workload", "nothing"]) == 2
    assert "workload 'nothing'" in capsys.readouterr().err
