"""The plan's arithmetic, and comparisons, on curves that are known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.errors import BenchmarkError
from benchmarks.load.compare import compare, comparison_lines
from benchmarks.load.plan import Demand, checks, parse_price, parse_slo, plan_rows
from benchmarks.load.plan_words import plan_lines
from benchmarks.load.results import ConfigurationResult, Slo, read_result, to_json
from tests.benchmarks.load_results import SLO, result, run, window


def curve(scale: float = 1.0, seed: int = 1, windows: int = 3) -> list[object]:
    """Windows at 10, 20 and 40/s with latencies around 20, 40 and 80 ms."""
    generator = np.random.default_rng(seed)
    return [
        window(rate, (scale * base * generator.gamma(50, 1 / 50, 400)).tolist(), number=number, seconds=400 / rate)
        for rate, base in ((10, 20), (20, 40), (40, 80))
        for number in range(windows)
    ]


def flat(label: str = "onnx fp32", **outcome: object) -> ConfigurationResult:
    """A curve without any spread: 20, 40 and 80 ms at 10, 20 and 40/s."""
    windows = [window(rate, [latency] * 300) for rate, latency in ((10, 20.0), (20, 40.0), (40, 80.0))]
    return result(windows, label, **outcome)


def test_replicas_carry_the_peak_with_one_lost() -> None:
    [row] = plan_rows([run(flat())], Demand(100, SLO, peak=2.0, spare=1, price=2.10))

    assert row.replicas == 6  # 200/s at the peak over 40/s is 5, and one to lose
    average, peak, worst = row.at
    assert (average.replicas, worst.replicas) == (6, 5)
    assert worst.rate_each == pytest.approx(40)
    assert peak.utilization == pytest.approx(200 / 6 / 50)
    assert average.p99_ms == pytest.approx(20 + 20 * (100 / 6 - 10) / 10, abs=0.01)
    assert worst.p99_ms == pytest.approx(80)
    assert row.cost_hour == pytest.approx(12.60)
    assert row.cost_million == pytest.approx(12.60 / (100 * 3600) * 1e6)


def test_a_plan_never_reads_beyond_the_curve() -> None:
    [row] = plan_rows([run(flat())], Demand(4, SLO, peak=1.0, spare=0))

    assert row.replicas == 1
    assert row.at[0].note == "at most: 10/s is the lowest rate measured"
    [tight] = plan_rows([run(flat())], Demand(4, Slo(quantile=0.99, limit_ms=10, error_share=0.01)))
    assert "at 10/s, the lowest rate measured, its p99 is 20 ms" in tight.problem


def test_another_slo_is_read_from_the_curve() -> None:
    [row] = plan_rows([run(flat())], Demand(30, Slo(quantile=0.99, limit_ms=60, error_share=0.01), peak=1.0, spare=0))

    assert row.capacity == pytest.approx(30)
    assert row.replicas == 1
    assert row.capacity_source == "read from the measured curve"


def test_what_never_held_gets_no_plan_and_the_best_comes_first() -> None:
    never = flat("never", verdict="slo_never_met", capacity=None, reason="no rate holds it")
    rows = plan_rows([run(never, flat("small", capacity=10.0), flat("large"))], Demand(40, SLO))

    assert [row.label for row in rows] == ["large", "small", "never"]
    assert rows[2].problem == "no rate holds it"


def test_theory_stands_beside_the_measurement() -> None:
    [first, *_] = checks(flat())

    assert first.rate == 10
    assert first.little == pytest.approx(30 * 0.02)  # 300 requests in 10 s, each 20 ms
    assert first.queue_ms == pytest.approx(20 + 1e3 * (0.2 * 0.02 / 0.8) * 1.25 / 2)  # wait of M/G/1, and one alone


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["p99=800ms"], (0.99, 800, 0.01)),
        (["p95=2s,errors=0.5%"], (0.95, 2000, 0.005)),
        (["p99.9=1s", "errors=0"], (0.999, 1000, 0.0)),
    ],
)
def test_an_slo_as_people_write_it(texts: list[str], expected: tuple[float, float, float]) -> None:
    found = parse_slo(texts, None)

    assert (found.quantile, found.limit_ms, found.error_share) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["p99", "p99=800", "p100=1s", "errors=200%", "latency=1s", "p99=0ms", ""])
def test_an_slo_that_is_none(text: str) -> None:
    with pytest.raises(BenchmarkError, match="SLO"):
        parse_slo([text], None)


def test_prices() -> None:
    assert parse_price("2.10/h") == 2.10
    assert parse_price("1460/month") == 2.0
    with pytest.raises(BenchmarkError, match="price"):
        parse_price("2.10")


def test_the_words_name_the_answer() -> None:
    demand = Demand(100, SLO, price=2.10)
    lines = "\n".join(plan_lines([run(flat())], plan_rows([run(flat())], demand), demand))

    assert lines.startswith("**6 replicas of onnx fp32 for 100 requests/s (200/s at the peak)")
    assert "35.00" in lines


def test_a_result_and_its_like_do_not_differ() -> None:
    first, second = (run(result(curve(seed=seed))) for seed in (1, 2))

    comparison = compare(first, second, ("a", "b"))

    assert not comparison.worse
    assert comparison.verdict.startswith("no regression beyond noise in")


def test_twice_as_slow_is_a_regression_and_twice_as_fast_is_not() -> None:
    first, slower = (
        run(result(curve())),
        run(result(curve(2.0, seed=2), capacity=20.0, capacity_low=19, capacity_high=21)),
    )

    worse = compare(first, slower, ("a", "b"))
    better = compare(slower, first, ("b", "a"))

    assert {"capacity", "p50 at 10/s"} <= {each.figure for each in worse.worse}
    assert "REGRESSION" in comparison_lines(worse)[0]
    assert not better.worse
    assert any(each.change == "better" for each in better.differences)


def test_results_that_measure_different_things_are_compared_with_a_caution() -> None:
    other = run(flat(), slo=Slo(quantile=0.95, limit_ms=100, error_share=0.01))

    assert any("SLOs differ" in caution for caution in compare(run(flat()), other, ("a", "b")).cautions)


def test_a_result_survives_its_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "result.json"
    path.write_text(to_json(run(flat())), encoding="utf-8")

    assert read_result(path) == run(flat())
    path.write_text(path.read_text().replace('"schema":1', '"schema":2'))
    with pytest.raises(BenchmarkError, match="measure again"):
        read_result(path)
    path.write_text("{}")
    with pytest.raises(BenchmarkError, match="is no result"):
        read_result(path)
