"""The engine benchmark: what samples come to, what an interrupt leaves, and the command on the tiny bundle."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.__main__ import main
from benchmarks.engine import ceilings, contenders, rounds
from benchmarks.engine.child import Footprint
from benchmarks.engine.contenders import (
    EAGER_NAME,
    Contender,
    Run,
    Unavailable,
    bundle_contender,
    open_contender,
    openvino_contender,
    peer_contenders,
    random_inputs,
)
from benchmarks.engine.measurements import (
    FirstRun,
    Measurements,
    Rate,
    Setup,
    Timing,
    Unmeasured,
    as_json,
    read_measurements,
    resume_or_start,
)
from benchmarks.engine.plot import draw_latency, spread_apart
from benchmarks.engine.report import report_markdown, summarise
from benchmarks.engine.rounds import Limits, run_rounds
from benchmarks.errors import BenchmarkError
from benchmarks.spread import Spread
from export.manifests import replace_text
from handlers.runtime import Logits, TokenIds
from tests.checkpoints import Tiny

EAGER = Contender(EAGER_NAME, "eager", "base", "fp32", 600_000_000)
FP32 = Contender("Lantern fp32", "bundle", "base-fp32", "fp32", 587_000_000)
INT8 = Contender("Lantern int8", "bundle", "base-int8", "int8", 270_000_000)
COMPILED = Contender("torch.compile", "compile", "base", "fp32", 600_000_000)
MACHINE = {"cpu": "some processor", "threads": 2, "versions": {"torch": "2"}}
RATES = {"fp32": {"torch": 100e9, "onnxruntime MatMul": 200e9}, "int8": {"onnxruntime MatMulInteger": 400e9}}
PLENTY = Limits(rounds=3, budget_s=1e9, compile_s=1e9)


def setup_of(*contenders: Contender, **changes: object) -> Setup:
    fields: dict[str, object] = {
        "checkpoint": "base",
        "revision": "r",
        "contenders": contenders,
        "lengths": (16, 64),
        "batches": (1, 2),
        "batch_lengths": (16,),
        "memory_lengths": (16,),
        "machine": MACHINE,
        "flops": (2e9, 8e9),
        "vocabulary": 300,
    }
    return Setup(**(fields | changes))  # type: ignore[arg-type]


def measured() -> Measurements:
    """Two rounds, the second with a machine that is half as fast."""
    measurements = Measurements(setup_of(EAGER, FP32, INT8), "the command", rounds=2, complete=True)
    for number, slow in ((1, 1.0), (2, 2.0)):
        for index, tokens in enumerate((16, 64)):
            for engine, seconds in ((EAGER.name, 1.0), (FP32.name, 0.02), (INT8.name, 0.01)):
                measurements.timings.append(Timing(number, engine, tokens, 1, slow * seconds * 4**index))
            rates = {kind: {name: rate / slow for name, rate in found.items()} for kind, found in RATES.items()}
            measurements.rates.append(Rate(number, tokens, rates))
        measurements.timings.append(Timing(number, FP32.name, 16, 2, 0.03))
    measurements.first_runs.append(FirstRun(EAGER.name, 16, 3.0))
    measurements.footprints.append(Footprint(FP32.name, 16, 500_000_000, 620_000_000))
    measurements.unmeasured.append(Unmeasured("OpenVINO", "latency", None, "not installed"))
    return measurements


def command_of(tiny: Tiny, out: Path) -> list[str]:
    """Return the command over the tiny bundle alone."""
    inputs = ["--checkpoint", str(tiny.checkpoint), "--bundle", str(tiny.bundle)]
    return ["engine", *inputs, "--out", str(out), "--peers"]


class Counted:
    """An engine that answers zeros, and does something else at its ``nth`` call."""

    def __init__(self, nth: int = 0, instead: BaseException | None = None) -> None:
        self.calls, self._nth, self._instead = 0, nth, instead

    def __call__(self, input_ids: TokenIds, attention_mask: TokenIds) -> Logits:
        self.calls += 1
        if self.calls == self._nth and self._instead is not None:
            raise self._instead
        return np.zeros((len(input_ids), 4), dtype=np.float32)


class StillRates:
    def measure(self) -> dict[str, dict[str, float]]:
        return RATES


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Run]], None]:
    """Put given engines in the place of real ones, and leave memory and pauses out."""

    def put(engines: dict[str, Run]) -> None:
        monkeypatch.setattr(rounds, "open_contender", lambda contender, threads: engines[contender.name])
        monkeypatch.setattr(rounds, "measure_footprint", lambda one, tokens, *rest: Footprint(one.name, tokens, 1, 2))
        monkeypatch.setattr(rounds, "SETTLE_S", 0.0)

    return put


def run(
    measurements: Measurements,
    limits: Limits = PLENTY,
    clock: Callable[[], float] = lambda: 0.0,
    save: Callable[[Measurements], None] = lambda _: None,
) -> None:
    run_rounds(measurements, limits, StillRates(), lambda _: None, save, clock)


def test_speed_up_and_share_pair_samples_of_the_same_round() -> None:
    cell = summarise(measured()).cell(FP32.name, 64)

    assert cell is not None
    assert cell.speedup == Spread(50.0, 50.0, 50.0)  # both rounds, although the machine slowed down in between
    assert (cell.share.low, cell.share.median, cell.share.high) == pytest.approx((0.5, 0.5, 0.5))
    assert cell.seconds.median == pytest.approx(0.12)
    assert cell.tokens_per_s == pytest.approx(64 / 0.12)


def test_the_best_library_is_the_ceiling_and_int8_has_its_own() -> None:
    report = summarise(measured())

    assert {one.precision: one.best for one in report.ceilings} == {
        "fp32": "onnxruntime MatMul",
        "int8": "onnxruntime MatMulInteger",
    }
    int8 = report.cell(INT8.name, 16)
    assert int8 is not None
    assert int8.share.median == pytest.approx(2e9 / 0.01 / 400e9)


def test_a_batch_is_reported_by_the_text() -> None:
    batches = {(cell.tokens, cell.batch): cell.seconds_per_text.median for cell in summarise(measured()).batches}

    assert batches[16, 2] == pytest.approx(0.015)


def test_the_page_has_every_table_and_what_is_missing() -> None:
    page = report_markdown(measured(), plot="engine-base.svg")

    assert "| 16 | 1500 (1250-1750) | 30.0 (25.0-35.0), **50.0x** | 15.0 (12.5-17.5), **100.0x** |" in page
    assert "| Lantern fp32 | 587 | 500 | 620 |" in page
    assert "- OpenVINO, latency: not installed" in page
    assert "![Latency over length](engine-base.svg)" in page
    assert "Unfinished" not in page


def test_measurements_survive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "engine.json"
    path.write_text(as_json(measured(), {}), encoding="utf-8")

    assert read_measurements(path) == measured()


def test_a_file_that_is_not_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "engine.json"
    path.write_text("{", encoding="utf-8")

    with pytest.raises(BenchmarkError, match=r"engine\.json is not JSON.*remove it"):
        read_measurements(path)


@pytest.mark.parametrize("text", ["[]", '{"rows": []}'])
def test_a_file_of_another_kind_is_nothing_to_go_on_from(tmp_path: Path, text: str) -> None:
    path = tmp_path / "engine.json"
    path.write_text(text, encoding="utf-8")

    assert read_measurements(path) is None


def test_every_round_holds_every_engine_at_every_shape(pretend: Callable[[dict[str, Run]], None]) -> None:
    pretend({EAGER.name: Counted(), FP32.name: Counted()})
    measurements = Measurements(setup_of(EAGER, FP32), "c")

    run(measurements)

    shapes = {(EAGER.name, 16, 1), (EAGER.name, 64, 1), (FP32.name, 16, 1), (FP32.name, 64, 1), (FP32.name, 16, 2)}
    found = [(one.round, one.engine, one.tokens, one.batch) for one in measurements.timings]
    assert sorted(found) == sorted((number, *shape) for number in (1, 2, 3) for shape in shapes)
    assert measurements.complete
    assert [(one.engine, one.tokens) for one in measurements.footprints] == [(EAGER.name, 16), (FP32.name, 16)]


def test_an_interrupt_leaves_whole_rounds_and_the_same_command_goes_on(
    tmp_path: Path, pretend: Callable[[dict[str, Run]], None]
) -> None:
    path = tmp_path / "engine.json"
    setup = setup_of(FP32, batches=())
    once = Counted()
    pretend({FP32.name: once})
    run(Measurements(setup, "c"), Limits(1, 1e9, 1e9))
    pretend({FP32.name: Counted(nth=once.calls + 1, instead=KeyboardInterrupt())})
    stopped = Measurements(setup, "c")

    with pytest.raises(KeyboardInterrupt):
        run(stopped, save=lambda state: replace_text(path, as_json(state, {})))

    found = read_measurements(path)
    assert found is not None
    assert (found.rounds, found.complete, len(found.timings)) == (1, False, 2)
    assert "Unfinished" in report_markdown(found)
    pretend({FP32.name: Counted()})
    resumed = resume_or_start(found, setup, "again")
    run(resumed)
    assert sorted(one.round for one in resumed.timings) == [1, 1, 2, 2, 3, 3]
    assert len(resumed.footprints) == 1
    assert resumed.complete


@pytest.mark.parametrize("other", [{"revision": "another"}, {"lengths": (16,), "flops": (2e9,)}, {"machine": {}}])
def test_another_setup_starts_anew(other: dict[str, object]) -> None:
    found = measured()
    found.complete = False

    assert resume_or_start(found, setup_of(EAGER, FP32, INT8, **other), "c").timings == []


def test_a_complete_run_is_measured_again_and_a_half_round_is_dropped() -> None:
    found = measured()
    assert resume_or_start(found, found.setup, "c").timings == []
    found.complete = False
    found.timings.append(Timing(3, FP32.name, 16, 1, 9.0))
    assert max(one.round for one in resume_or_start(found, found.setup, "c").timings) == 2


def test_no_round_starts_beyond_the_budget_but_the_first_always_runs(
    pretend: Callable[[dict[str, Run]], None],
) -> None:
    pretend({FP32.name: Counted()})
    ticks = iter(range(0, 100_000, 40))
    measurements = Measurements(setup_of(FP32, batches=()), "c")

    run(measurements, Limits(rounds=50, budget_s=1.0, compile_s=1e9), lambda: float(next(ticks)))

    assert measurements.rounds == 1
    assert measurements.complete


def test_what_does_not_compile_is_a_line_of_the_report(pretend: Callable[[dict[str, Run]], None]) -> None:
    pretend({COMPILED.name: Counted(nth=1, instead=RuntimeError("no C++ compiler\nmore")), FP32.name: Counted()})
    measurements = Measurements(setup_of(COMPILED, FP32), "c")

    run(measurements)

    assert Unmeasured(COMPILED.name, "latency", 16, "RuntimeError: no C++ compiler") in measurements.unmeasured
    assert {one.tokens for one in measurements.timings if one.engine == COMPILED.name} == {64}
    assert not any(one.engine == COMPILED.name for one in measurements.footprints)


def test_compiling_stops_at_its_own_limit(pretend: Callable[[dict[str, Run]], None]) -> None:
    pretend({COMPILED.name: Counted()})
    measurements = Measurements(setup_of(COMPILED), "c")

    run(measurements, Limits(rounds=1, budget_s=1e9, compile_s=-1.0))

    assert [(gap.tokens, gap.what) for gap in measurements.unmeasured[1:]] == [(16, "latency"), (64, "latency")]


def test_an_engine_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tiny: Tiny) -> None:
    monkeypatch.setattr(contenders, "installed_version", lambda _: None)
    with pytest.raises(Unavailable, match=r"requirements/peers-openvino\.txt"):
        open_contender(openvino_contender(tiny.bundle), 1)


def test_every_contender_computes_the_same_logits(tiny: Tiny) -> None:
    inputs = random_inputs(2, 80, 300)
    eager = open_contender(peer_contenders(str(tiny.checkpoint), tiny.checkpoint)[0], 1)(*inputs)
    ours = open_contender(bundle_contender(tiny.bundle), 1)(*inputs)

    np.testing.assert_allclose(ours, eager, atol=1e-5)


def test_all_products_are_timed() -> None:
    rates = ceilings.Ceilings(1, (64, 32, 48)).measure()

    assert {kind: len(found) for kind, found in rates.items()} == {"fp32": 3, "int8": 2}
    assert all(rate > 0 for found in rates.values() for rate in found.values())


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_plot_is_a_picture(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"engine{suffix}"
    draw_latency(measured(), path)

    start = path.read_bytes()[:8]
    assert start.startswith(b"<?xml" if suffix == ".svg" else b"\x89PNG")
    if suffix == ".svg":
        assert all(name in path.read_text() for name in (EAGER.name, FP32.name, INT8.name, "int8 matrix rate"))


@given(heights=st.lists(st.floats(0, 1), min_size=1, max_size=8).map(sorted))
def test_labels_keep_their_order_and_their_distance(heights: Sequence[float]) -> None:
    places = spread_apart(list(heights), 0.05)

    assert len(places) == len(heights)
    assert all(upper - lower >= 0.05 - 1e-9 for lower, upper in itertools.pairwise(places))
    assert sum(places) == pytest.approx(sum(heights), abs=1e-6)  # each crowd stays around its middle


def test_the_command_measures_the_tiny_bundle_with_memory_and_plot(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ceilings, "GEMM_SHAPE", (64, 32, 48))
    code = main(
        [
            *command_of(tiny, tmp_path),
            *("--lengths", "16", "64", "--batches", "1", "2", "--batch-lengths", "16"),
            *("--memory-lengths", "64", "--rounds", "1", "--threads", "1"),
        ]
    )

    assert code == 0
    data = json.loads((tmp_path / "engine-checkpoint.json").read_text())
    assert data["complete"]
    (footprint,) = data["footprints"]
    assert 20e6 < footprint["loaded_bytes"] <= footprint["peak_bytes"] < 1e9
    assert [cell["tokens"] for cell in data["summary"]["cells"]] == [16, 64]
    assert (tmp_path / "engine-checkpoint.svg").stat().st_size > 1000
    tables = (tmp_path / "engine-checkpoint.md").read_text().partition("## Latency")[2]
    assert "| 64 |" in tables and tables in capsys.readouterr().out


def test_the_command_says_where_it_stopped(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rounds, "run_rounds", interrupt)
    code = main([*command_of(tiny, tmp_path), "--lengths", "16"])

    assert code == 130
    assert "the same command goes on from there" in capsys.readouterr().err
