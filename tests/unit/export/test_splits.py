from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from export.splits import split_in_two

LABELS = ("neutral", "depressed")
TARGETS = st.dictionaries(st.sampled_from(LABELS), st.booleans(), min_size=1)
ROWS = st.lists(st.tuples(st.sampled_from("abcdefghijkl"), TARGETS), min_size=1, max_size=40)


def split(rows: list[tuple[str, dict[str, bool]]], seed: int = 7) -> list[bool]:
    return split_in_two([group for group, _ in rows], [targets for _, targets in rows], LABELS, seed)


@given(ROWS)
def test_a_group_is_never_cut(rows: list[tuple[str, dict[str, bool]]]) -> None:
    halves = split(rows)

    for group in {group for group, _ in rows}:
        assert len({half for (name, _), half in zip(rows, halves, strict=True) if name == group}) == 1


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(rows: list[tuple[str, dict[str, bool]]], shuffler: random.Random) -> None:
    places = list(range(len(rows)))
    shuffler.shuffle(places)
    shuffled = split([rows[place] for place in places])

    assert dict(zip(places, shuffled, strict=True)) == dict(enumerate(split(rows)))


@given(st.lists(TARGETS, min_size=2, max_size=60), st.integers(0, 5))
def test_rows_of_their_own_are_shared_out_class_by_class(targets: list[dict[str, bool]], seed: int) -> None:
    halves = split([(f"row {index}", known) for index, known in enumerate(targets)], seed)

    for label in LABELS:
        for value in (True, False):
            second = [half for known, half in zip(targets, halves, strict=True) if known.get(label) is value]
            assert abs(2 * sum(second) - len(second)) <= 4


def test_a_rare_class_is_halved_exactly() -> None:
    rows = [(f"row {index}", {"neutral": index >= 20, "depressed": index < 20}) for index in range(1000)]

    assert sum(split(rows)[:20]) == 10
    assert sum(split(rows)) == 500


def test_another_seed_is_another_split() -> None:
    rows = [(f"row {index}", {"neutral": index % 3 == 0}) for index in range(30)]

    assert split(rows, 1) == split(rows, 1) != split(rows, 2)
