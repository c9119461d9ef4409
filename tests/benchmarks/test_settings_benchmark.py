"""Session settings: verdicts beside noise, and the command on the tiny bundle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.__main__ import main
from benchmarks.engine.settings import MIX, NOT_JUDGED, PEAK, SERVED, Visit, judge, settings_rows, variants
from benchmarks.engine.settings_child import SHORTEST, mixed_lengths
from benchmarks.spread import Spread
from handlers.runtime.session_settings import SERVED_SETTINGS, SessionSettings
from tests.checkpoints import Tiny


def visit(variant: str, number: int, seconds: float, peak: int = 100) -> Visit:
    return Visit(variant, number, {"16": seconds, "512": 10 * seconds}, 5 * seconds, 0.5, 50, peak, 80)


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [
        (Spread(1.30, 1.20, 1.40), "more at 16"),
        (Spread(0.80, 0.70, 0.90), "less at 16"),
        (Spread(1.30, 0.95, 1.60), "no difference"),  # noise reaches to the other side
        (Spread(1.01, 1.005, 1.015), "no difference"),  # sure, and nothing
    ],
)
def test_a_difference_is_one_that_noise_does_not_explain(ratio: Spread, verdict: str) -> None:
    assert judge({"16": ratio}, rounds=5) == verdict


def test_a_setting_may_cost_at_one_length_and_gain_at_another() -> None:
    ratios = {"16": Spread(2.0, 1.9, 2.1), "128": Spread(1.2, 1.1, 1.3), PEAK: Spread(0.5, 0.5, 0.5)}

    assert judge(ratios, rounds=3) == f"more at 16, 128; less at {PEAK}"


def test_two_rounds_are_no_verdict() -> None:
    assert judge({"16": Spread(2.0, 1.9, 2.1)}, rounds=2) == NOT_JUDGED


def test_a_variant_is_compared_with_the_served_settings_of_its_own_round() -> None:
    visits = [visit(SERVED, number, 0.1 * number) for number in (1, 2, 3)]
    visits += [visit("arena off", number, 0.2 * number, peak=300) for number in (1, 2, 3)]
    served, off = settings_rows(visits)

    assert (served.variant, served.verdict) == (SERVED, "")
    assert {key: ratio.median for key, ratio in off.ratio.items()} == pytest.approx(
        {"16": 2.0, "512": 2.0, MIX: 2.0, PEAK: 3.0}
    )
    assert off.verdict == f"more at 16, 512, {MIX}, {PEAK}"


@given(cores=st.integers(1, 64))
def test_each_variant_changes_one_thing(cores: int) -> None:
    found = variants(cores)

    assert found[0].session == SERVED_SETTINGS
    assert len({variant.name for variant in found}) == len(found)
    for variant in found[1:]:
        changed = vars(variant.session).items() ^ vars(SERVED_SETTINGS).items()
        assert (variant.threads < cores and not changed) or (variant.threads == cores and len(changed) == 2)


@given(count=st.integers(0, 50), longest=st.integers(SHORTEST, 4096))
def test_mixed_lengths_are_the_same_every_time_and_within_bounds(count: int, longest: int) -> None:
    lengths = mixed_lengths(count, longest)

    assert len(lengths) == count
    assert lengths == mixed_lengths(count, longest)
    assert all(SHORTEST <= length <= longest for length in lengths)


def test_settings_are_words_that_the_runtime_knows() -> None:
    assert SessionSettings(spinning=False).entries()["session.intra_op.allow_spinning"] == "0"
    assert SERVED_SETTINGS.entries()["session.disable_prepacking"] == "0"
    assert SessionSettings(shrink_arena=True).run_entries() == {"memory.enable_memory_arena_shrinkage": "cpu:0"}


def test_the_command_measures_in_fresh_processes(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(
        [
            *("settings", "--bundle", str(tiny.bundle), "--lengths", "16", "64", "--mix", "3", "--rounds", "1"),
            *("--only", "arena shrunk after each run", "--out", str(tmp_path)),
        ]
    )

    assert code == 0
    (path,) = tmp_path.glob("settings-*.json")
    rows = json.loads(path.read_text())["rows"]
    assert [row["variant"] for row in rows] == [SERVED, "arena shrunk after each run"]
    assert all(20e6 < row["peak_bytes"]["median"] < 1e9 for row in rows)
    assert path.with_suffix(".md").read_text() in capsys.readouterr().out


def test_an_unknown_setting_is_refused_with_the_known_ones(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", "--bundle", str(tiny.bundle), "--only", "magic"]) == 2
    assert "--only magic: it is none of as served" in capsys.readouterr().err
