from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from handlers.core.errors import LanternError
from handlers.core.lengths import (
    LengthLimits,
    count_covered,
    cut_sub_batches,
    fill_sub_batch,
    overlapping_windows,
    select_spans,
)
from handlers.core.schema import OverLength

LIMITS = LengthLimits(window=10, overlap=3, max_windows=4)


@st.composite
def long_texts(draw: st.DrawFn) -> tuple[int, LengthLimits]:
    """A text of more than one window, and limits that allow for it."""
    window = draw(st.integers(1, 60))
    limits = LengthLimits(window, draw(st.integers(0, window - 1)), max_windows=10_000)
    return draw(st.integers(window + 1, 600)), limits


@given(long_texts())
def test_windows_cover_every_token(case: tuple[int, LengthLimits]) -> None:
    tokens, limits = case
    windows = overlapping_windows(tokens, limits)

    assert {token for start, end in windows for token in range(start, end)} == set(range(tokens))
    assert count_covered(windows) == tokens


@given(long_texts())
def test_every_window_is_full(case: tuple[int, LengthLimits]) -> None:
    tokens, limits = case

    assert {end - start for start, end in overlapping_windows(tokens, limits)} == {limits.window}


@given(long_texts())
def test_neighbouring_windows_overlap_enough(case: tuple[int, LengthLimits]) -> None:
    tokens, limits = case
    windows = overlapping_windows(tokens, limits)

    for (_, end), (start, _) in pairwise(windows):
        assert end - start >= limits.overlap


@given(long_texts())
def test_no_fewer_windows_would_do(case: tuple[int, LengthLimits]) -> None:
    tokens, limits = case
    count = len(overlapping_windows(tokens, limits))

    longest_with_one_less = limits.window + (count - 2) * (limits.window - limits.overlap)
    assert longest_with_one_less < tokens


@given(long_texts())
def test_a_text_of_too_many_windows_is_refused(case: tuple[int, LengthLimits]) -> None:
    tokens, limits = case
    needed = len(overlapping_windows(tokens, limits))
    few = LengthLimits(limits.window, limits.overlap, max_windows=needed - 1)

    with pytest.raises(LanternError, match="too_long") as caught:
        select_spans(tokens, OverLength.WINDOW, few)
    assert caught.value.kind.http == 413
    assert caught.value.field == "text"


def test_the_refusal_says_how_much_is_read() -> None:
    longest = 3 + 4 * 7

    assert len(overlapping_windows(longest, LIMITS)) == 4
    with pytest.raises(LanternError, match=f"has {longest + 1} tokens and at most {longest} are read"):
        overlapping_windows(longest + 1, LIMITS)


@given(st.integers(0, 10), st.sampled_from(OverLength))
def test_a_text_that_fits_is_one_input_in_every_mode(tokens: int, mode: OverLength) -> None:
    assert select_spans(tokens, mode, LIMITS) == [[(0, tokens)]]


@pytest.mark.parametrize(
    ("mode", "spans"),
    [
        (OverLength.HEAD, [[(0, 10)]]),
        (OverLength.HEAD_TAIL, [[(0, 5), (20, 25)]]),
        (OverLength.WINDOW, [[(0, 10)], [(7, 17)], [(14, 24)], [(15, 25)]]),
    ],
)
def test_a_long_text_is_cut_as_asked(mode: OverLength, spans: list[list[tuple[int, int]]]) -> None:
    assert select_spans(25, mode, LIMITS) == spans


@given(st.integers(1, 60), st.integers(1, 500), st.sampled_from([OverLength.HEAD, OverLength.HEAD_TAIL]))
def test_a_cut_text_fills_one_input_and_counts_each_token_once(window: int, more: int, mode: OverLength) -> None:
    spans = select_spans(window + more, mode, LengthLimits(window, 0, 1))

    assert len(spans) == 1
    assert sum(end - start for start, end in spans[0]) == count_covered(spans[0]) == window


def test_head_tail_gives_the_odd_token_to_the_head() -> None:
    assert select_spans(9, OverLength.HEAD_TAIL, LengthLimits(3, 0, 1)) == [[(0, 2), (8, 9)]]


def test_reject_names_the_option_and_both_counts() -> None:
    with pytest.raises(LanternError, match="has 11 tokens and the model takes 10") as caught:
        select_spans(11, OverLength.REJECT, LIMITS)

    assert caught.value.field == "options.over_length"


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)).map(sorted).map(tuple), max_size=8))
def test_covered_tokens_are_counted_once(spans: list[tuple[int, int]]) -> None:
    assert count_covered(spans) == len({token for start, end in spans for token in range(start, end)})


@pytest.mark.parametrize(("window", "overlap", "most"), [(10, 10, 1), (10, -1, 1), (0, 0, 1), (10, 0, 0)])
def test_limits_that_make_no_sense_are_refused(window: int, overlap: int, most: int) -> None:
    with pytest.raises(ValueError, match=r"overlap|max_windows"):
        LengthLimits(window, overlap, most)


LENGTHS = st.lists(st.integers(1, 300), max_size=40)
BUDGETS = st.integers(1, 1000)
SHARES = st.floats(0.0, 0.9)


@given(LENGTHS, BUDGETS, SHARES)
def test_sub_batches_hold_every_input_once(lengths: list[int], budget: int, share: float) -> None:
    batches = cut_sub_batches(lengths, budget, share)

    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))


@given(LENGTHS, BUDGETS, SHARES)
def test_a_sub_batch_of_several_keeps_budget_and_padding_share(lengths: list[int], budget: int, share: float) -> None:
    for batch in cut_sub_batches(lengths, budget, share):
        members = [lengths[index] for index in batch]
        padded = max(members) * len(members)
        assert len(batch) == 1 or (padded <= budget and padded - sum(members) <= share * padded)


@given(LENGTHS, st.integers(1, 300), SHARES)
def test_an_input_over_the_budget_stands_alone(lengths: list[int], budget: int, share: float) -> None:
    assume(any(length > budget for length in lengths))

    for batch in cut_sub_batches(lengths, budget, share):
        assert len(batch) == 1 or all(lengths[index] <= budget for index in batch)


@given(LENGTHS, BUDGETS, SHARES)
def test_the_longest_sub_batch_comes_first(lengths: list[int], budget: int, share: float) -> None:
    longest = [max(lengths[index] for index in batch) for batch in cut_sub_batches(lengths, budget, share)]

    assert longest == sorted(longest, reverse=True)


def test_inputs_of_one_length_share_a_sub_batch_up_to_the_budget() -> None:
    assert cut_sub_batches([10] * 5, budget=30, max_padding=0.0) == [[0, 1, 2], [3, 4]]


def test_a_short_input_does_not_pay_for_a_long_one() -> None:
    assert cut_sub_batches([5, 100, 95], budget=1000, max_padding=0.1) == [[1, 2], [0]]


@given(
    st.lists(st.integers(1, 4096), min_size=1, max_size=40),
    st.data(),
    st.integers(1, 8192),
    st.floats(0.0, 0.9),
)
def test_the_company_of_an_input_is_near_to_it_in_length(
    lengths: list[int], data: st.DataObject, budget: int, max_padding: float
) -> None:
    first = data.draw(st.integers(0, len(lengths) - 1))
    batch = fill_sub_batch(lengths, first, budget, max_padding)
    padded = max(lengths[index] for index in batch) * len(batch)

    assert batch[0] == first
    assert len(set(batch)) == len(batch)
    assert len(batch) == 1 or padded <= budget
    assert padded - sum(lengths[index] for index in batch) <= max_padding * padded


def test_equal_lengths_fill_the_budget() -> None:
    assert fill_sub_batch([20] * 30, 7, 512, 0.1) == [7, *(index for index in range(25) if index != 7)]
