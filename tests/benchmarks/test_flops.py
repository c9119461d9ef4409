"""The operation count behind every share of the GEMM rate."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.flops import ModelShape, keys_in_reach, needed_flops
from export.random_base import base_config


@settings(derandomize=True, deadline=None)
@given(length=st.integers(1, 60), window=st.integers(1, 40))
def test_keys_in_reach_is_the_count_of_pairs_in_the_window_or_with_cls(length: int, window: int) -> None:
    pairs = [(q, k) for q in range(length) for k in range(length) if abs(q - k) <= window or k == 0]
    # CLS attends by its own, counted apart, but its row of the window is what the graph would need for it.
    assert keys_in_reach(length, window) == len(pairs)


def test_the_base_model_needs_about_seven_tenths_of_a_teraflop_at_full_length() -> None:
    shape = ModelShape.of(base_config())
    assert shape.windows == (256,) * 12
    assert 0.70e12 < needed_flops(shape, 4096) < 0.72e12


def test_the_last_layer_costs_next_to_nothing() -> None:
    shape = ModelShape(hidden=64, intermediate=256, heads=4, windows=(32,))
    deeper = ModelShape(hidden=64, intermediate=256, heads=4, windows=(32, 32))
    assert needed_flops(deeper, 1000) > 20 * needed_flops(shape, 1000)
