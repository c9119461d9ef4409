from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.core.manifest import ProfileRecord
from handlers.core.profiles import (
    FREE_TOKENS,
    WORTH_PADDING,
    Shape,
    buffer_tokens,
    choose_graph,
    choose_profile,
    covers,
    find_uncovered,
    plan_graphs,
    plan_profiles,
    rows_at_once,
)

LENGTHS = st.integers(1, 700)
BUDGETS = st.integers(1, 3000)
BATCHES = st.integers(1, 300)
SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 1200))


def wanted_shapes(max_length: int, budget: int, max_batch: int) -> list[Shape]:
    """The fullest sub-batch at every length: what an executor with this budget may ask for."""
    return [(max(1, min(max_batch, budget // length)), length) for length in range(1, max_length + 1)]


def is_taken(profiles: tuple[ProfileRecord, ...], shape: Shape) -> bool:
    return any(covers(profile, shape) for profile in profiles)


@given(LENGTHS, BUDGETS, BATCHES)
def test_every_sub_batch_of_the_budget_is_in_a_profile(max_length: int, budget: int, max_batch: int) -> None:
    profiles = plan_profiles(max_length, budget, max_batch)

    for batch, length in wanted_shapes(max_length, budget, max_batch):
        assert covers(profiles[choose_profile(profiles, (batch, length))], (batch, length))
        assert choose_profile(profiles, (1, length)) <= choose_profile(profiles, (batch, length))
    assert not is_taken(profiles, (1, max_length + 1))


@given(LENGTHS, BUDGETS, BATCHES)
def test_a_profile_is_a_rectangle_with_its_best_point_inside(max_length: int, budget: int, max_batch: int) -> None:
    profiles = plan_profiles(max_length, budget, max_batch)

    assert all(covers(profile, profile.best) for profile in profiles)
    assert len({profile.name for profile in profiles}) == len(profiles)


@given(LENGTHS, BUDGETS, BATCHES)
def test_past_the_first_regime_no_profile_holds_more_than_twice_the_budget(
    max_length: int, budget: int, max_batch: int
) -> None:
    for profile in plan_profiles(max_length, budget, max_batch):
        if profile.least[1] > 1:
            assert profile.most[0] * profile.most[1] <= 2 * max(budget, profile.most[1])


@given(LENGTHS, BUDGETS, BATCHES, LENGTHS, BUDGETS)
def test_what_is_not_covered_is_found_wherever_it_lies(
    max_length: int, budget: int, max_batch: int, served_length: int, served_budget: int
) -> None:
    profiles = plan_profiles(max_length, budget, max_batch)
    largest = max(profile.most[0] for profile in profiles)
    missing = [shape for shape in wanted_shapes(served_length, served_budget, largest) if not is_taken(profiles, shape)]

    found = find_uncovered(profiles, served_length, served_budget)

    assert (found is None) == (not missing)
    assert found is None or found in missing


def test_a_gap_between_profiles_is_found() -> None:
    profiles = [
        ProfileRecord(name="short", least=(1, 1), best=(1, 10), most=(4, 10)),
        ProfileRecord(name="long", least=(1, 20), best=(1, 30), most=(4, 30)),
    ]

    assert find_uncovered(profiles, 30, 1) == (1, 11)


def test_the_profiles_of_a_longformer_on_a_gpu() -> None:
    profiles = plan_profiles(4096, 16384, 256)

    assert [(profile.name, profile.best, profile.most) for profile in profiles] == [
        ("few", (1, 64), (4, 128)),
        ("1-128", (128, 128), (256, 128)),
        ("129-256", (64, 256), (127, 256)),
        ("257-512", (32, 512), (63, 512)),
        ("513-1024", (16, 1024), (31, 1024)),
        ("1025-2048", (8, 2048), (15, 2048)),
        ("2049-4096", (4, 4096), (7, 4096)),
    ]
    assert buffer_tokens(profiles) == 256 * 128


def test_a_few_short_texts_have_a_profile_of_their_own() -> None:
    profiles = plan_profiles(512, 4096, 64)

    assert [profiles[choose_profile(profiles, shape)].name for shape in ((1, 3), (4, 128), (5, 3), (1, 129))] == [
        "few",
        "few",
        "1-128",
        "129-256",
    ]


@pytest.mark.parametrize("shape", [(1, 513), (65, 16), (9, 512)])
def test_a_shape_in_no_profile_is_named_with_what_there_is(shape: Shape) -> None:
    with pytest.raises(ValueError, match=rf"^{shape[0]} x {shape[1]} \(batch x length\) is in no profile .*257-512 up"):
        choose_profile(plan_profiles(512, 2048, 64), shape)


def test_the_rows_of_a_run_are_those_of_the_profile_for_batches() -> None:
    profiles = plan_profiles(512, 2048, 64)

    assert [rows_at_once(profiles, length) for length in (1, 128, 129, 512)] == [64, 64, 15, 7]
    with pytest.raises(
        ValueError, match="an input of 513 tokens is in no profile of the engine: it was built for 1 to 512"
    ):
        rows_at_once(profiles, 513)


@pytest.mark.parametrize("arguments", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_no_profile_is_planned_of_nothing(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        plan_profiles(*arguments)


@given(SHAPES)
def test_a_kept_graph_holds_the_shape_and_costs_little(shape: Shape) -> None:
    kept = plan_graphs(plan_profiles(4096, 16384, 256))
    chosen = choose_graph(kept, shape)
    holding = [one for one in kept if one[0] >= shape[0] and one[1] >= shape[1]]

    if chosen is None:
        limit = max(FREE_TOKENS, WORTH_PADDING * shape[0] * shape[1])
        assert all(batch * length > limit for batch, length in holding)
    else:
        assert chosen in holding
        assert chosen[0] * chosen[1] == min(batch * length for batch, length in holding)


def test_a_kept_shape_is_replayed_as_it_is() -> None:
    kept = plan_graphs(plan_profiles(4096, 16384, 256))

    assert [choose_graph(kept, shape) for shape in kept] == list(kept)


def test_graphs_are_kept_for_shapes_that_the_engine_takes() -> None:
    assert plan_graphs(plan_profiles(40, 60, 3)) == ((1, 16), (1, 32), (2, 16), (2, 32))


def test_without_graphs_none_is_chosen() -> None:
    assert choose_graph((), (1, 16)) is None
