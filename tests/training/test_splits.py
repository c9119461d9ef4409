from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.errors import DataError
from training.labels import targets
from training.rows import Row
from training.sources import certain
from training.splits import (
    NEAR,
    check_disjoint,
    drop_close_copies,
    drop_contradictions,
    near_duplicates,
    split_rows,
)

SHARES = {"train": 0.7, "dev": 0.2, "test": 0.1}
TWO = {"train": 0.5, "dev": 0.5}
WORDS = [f"{start}{end}" for start in "bdfgklmnprst" for end in ("ack", "een", "ill", "oat", "ump")]
SECRET = "my hidden words are long enough"


def sentence(seed: int, length: int = 24) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length))


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Few sentences, some a little longer or shorter, or dressed up: same, near and far texts in one draw."""
    words = sentence(draw(st.integers(0, 2)), draw(st.sampled_from([5, 24, 24]))).split()
    words = words[draw(st.integers(0, 4)) :] + draw(st.lists(st.sampled_from(WORDS[:3]), max_size=2))
    text = " ".join(words)
    return draw(st.sampled_from([text, text, text.upper(), text.replace(" ", "  "), f"{text}!", "", "🙂🙂", "Ünï"]))


rows_of_all_kinds = st.lists(
    st.builds(
        Row,
        text=texts(),
        targets=st.sampled_from([targets(frozenset()), targets(frozenset({"anxious"})), certain(depressed=1)]),
        emotion=st.sampled_from([None, "joy", "fear"]),
        group=st.sampled_from([None, None, None, "a", "b"]),
    ),
    min_size=1,
    max_size=30,
)


def similarity(one: str, other: str) -> float:
    """Written anew for the tests, over plain words."""
    pairs = []
    for text in (one, other):
        words = text.casefold().replace("!", " ").split()
        pairs.append(set(pairwise(words)) if len(words) != 1 else {tuple(words)})
    return len(pairs[0] & pairs[1]) / len(pairs[0] | pairs[1]) if pairs[0] | pairs[1] else 1.0


def divided(rows: list[Row], shares: dict[str, float], seed: int) -> dict[str, list[Row]] | None:
    try:
        return split_rows(rows, shares, seed)
    except DataError:
        return None


@settings(derandomize=True, deadline=None)
@given(rows_of_all_kinds, st.integers(0, 9))
def test_every_row_is_on_exactly_one_side(rows: list[Row], seed: int) -> None:
    sides = divided(rows, TWO, seed)
    if sides is not None:
        assert list(sides) == list(TWO)
        assert all(sides.values())
        assert Counter(map(id, rows)) == Counter(id(row) for its in sides.values() for row in its)


@settings(derandomize=True, deadline=None)
@given(rows_of_all_kinds, st.integers(0, 9))
def test_no_group_and_no_near_duplicate_stands_on_two_sides(rows: list[Row], seed: int) -> None:
    sides = divided(rows, TWO, seed)
    if sides is not None:
        for one in sides["train"]:
            for other in sides["dev"]:
                assert one.group is None or one.group != other.group
                assert similarity(one.text, other.text) < NEAR
        check_disjoint(sides)


@settings(derandomize=True, deadline=None)
@given(rows_of_all_kinds, st.integers(0, 9), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(rows: list[Row], seed: int, rng: random.Random) -> None:
    shuffled = rng.sample(rows, len(rows))
    before, after = divided(rows, TWO, seed), divided(shuffled, TWO, seed)
    assert (before is None) == (after is None)
    if before is not None and after is not None:
        for side in TWO:
            assert Counter(map(id, before[side])) == Counter(map(id, after[side]))


@settings(derandomize=True, deadline=None)
@given(rows_of_all_kinds)
def test_the_links_connect_exactly_what_is_near(rows: list[Row]) -> None:
    """Neither a link that is none, nor a near pair that no chain of links connects."""
    joined = {position: {position} for position in range(len(rows))}
    for link in near_duplicates(rows):
        assert link.first < link.second
        assert link.similarity == pytest.approx(similarity(rows[link.first].text, rows[link.second].text))
        assert link.similarity >= NEAR
        union = joined[link.first] | joined[link.second]
        joined.update(dict.fromkeys(union, union))
    for one, other in combinations(range(len(rows)), 2):
        if similarity(rows[one].text, rows[other].text) >= NEAR:
            assert other in joined[one]


@settings(derandomize=True, deadline=None, max_examples=10)
@given(st.integers(0, 1000), st.integers(150, 250))
def test_many_small_parts_are_divided_by_the_shares(seed: int, count: int) -> None:
    rows = [Row(sentence(number), group=str(number // 2)) for number in range(count)]
    sides = split_rows(rows, SHARES, seed)
    for side, share in SHARES.items():
        assert len(sides[side]) == pytest.approx(share * count, abs=3)


def test_each_label_is_divided_by_the_shares_too() -> None:
    rng = random.Random(5)
    kinds = [frozenset[str](), frozenset({"depressed"}), frozenset({"anxious"}), frozenset({"anxious", "stressed"})]
    chosen = rng.choices(kinds, [50, 10, 5, 1], k=2000)
    rows = [Row(sentence(number), targets(kind)) for number, kind in enumerate(chosen)]
    sides = split_rows(rows, SHARES, seed=3)
    for label in range(4):
        positives = sum(row.targets[label] for row in rows)
        for side, share in SHARES.items():
            assert sum(row.targets[label] for row in sides[side]) == pytest.approx(share * positives, abs=3)


def test_emotions_are_divided_by_the_shares() -> None:
    rows = [Row(sentence(number), emotion="surprise" if number % 50 == 0 else "joy") for number in range(1000)]
    sides = split_rows(rows, SHARES, seed=3)
    assert [sum(row.emotion == "surprise" for row in sides[side]) for side in SHARES] == [14, 4, 2]


def test_a_large_group_goes_where_it_fits() -> None:
    rows = [Row(sentence(number), group="one author" if number < 60 else None) for number in range(100)]
    for seed in range(10):
        sides = split_rows(rows, SHARES, seed)
        assert [len(its) for its in sides.values()] == [70, 20, 10]
        assert sum(row.group is not None for row in sides["train"]) == 60


def test_another_seed_divides_in_another_way() -> None:
    rows = [Row(sentence(number)) for number in range(100)]
    assert split_rows(rows, TWO, 1) == split_rows(rows, TWO, 1) != split_rows(rows, TWO, 2)


def test_a_side_keeps_the_order_of_the_rows() -> None:
    rows = [Row(sentence(number), group=f"{number:03}") for number in range(50)]
    for its in split_rows(rows, TWO, seed=1).values():
        assert [row.group for row in its] == sorted(str(row.group) for row in its)


def test_no_side_goes_without_a_row() -> None:
    rows = [Row(sentence(number)) for number in range(3)]
    for seed in range(20):
        assert all(split_rows(rows, SHARES, seed).values())


def test_fewer_parts_than_sides_are_refused() -> None:
    rows = [Row(sentence(number), group="a") for number in range(9)] + [Row(sentence(10))]
    with pytest.raises(DataError, match=r"^10 rows in 2 parts .* too few for 3 sides \(train, dev, test\)"):
        split_rows(rows, SHARES, seed=1)


@pytest.mark.parametrize(
    "shares", [{}, {"a": 0.5, "b": 0.4}, {"a": 1.0, "b": 0.0}, {"a": 1.5, "b": -0.5}, {"a": float("nan")}]
)
def test_shares_that_are_none_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(DataError, match="above 0 and add up to 1"):
        split_rows([Row("a"), Row("b")], shares, seed=1)


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        ("I'm so tired of it all today", "im so tired — of it ALL, today!", True),
        ("I’m fine", "I'm fine", True),
        ("fine", "Fine.", True),
        ("fine", "not fine", False),
        ("one two three four", "one two three four five", False),
        ("one two three four five", "one two three four five six", True),
        ("🙂", "🙃", False),
        ("🙂", " 🙂 ", True),
        ("", "a", False),
        (sentence(1), sentence(1) + " " + sentence(2, 4), True),
        (sentence(1), sentence(1) + " " + sentence(2, 12), False),
        (f"{sentence(1)} {sentence(2, 4)}", f"{sentence(1)} {sentence(3, 4)}", False),
        (sentence(1), sentence(2), False),
    ],
)
def test_what_is_near(one: str, other: str, near: bool) -> None:
    assert bool(near_duplicates([Row(one), Row(other)])) == near
    kept, dropped = drop_close_copies([Row(other)], of=[one])
    assert (len(kept), dropped) == ((0, 1) if near else (1, 0))


def test_a_cluster_of_copies_has_few_links() -> None:
    rows = [Row(f"{sentence(1)} {WORDS[number % 7]}") for number in range(300)]
    assert len(near_duplicates(rows)) == 299


def test_check_disjoint_names_both_rows_and_their_sides() -> None:
    sides = {
        "train": [Row(sentence(1)), Row(sentence(2)), Row(f"{SECRET} today")],
        "dev": [Row(sentence(3)), Row(f"{SECRET}, TODAY indeed")],
    }
    with pytest.raises(DataError) as caught:
        check_disjoint(sides)
    assert str(caught.value).startswith("row 3 of train and row 2 of dev hold nearly the same text")
    assert SECRET not in str(caught.value)
    check_disjoint(sides | {"dev": sides["dev"][:1]})


def test_check_disjoint_sees_copies_beyond_the_first() -> None:
    one, near = sentence(1), f"{sentence(1)} then"
    with pytest.raises(DataError, match=r"row 3 of a and row 1 of b|row [12] of a and row 1 of b"):
        check_disjoint({"a": [Row(one), Row(one), Row(near)], "b": [Row(near.upper())]})


def test_check_disjoint_refuses_a_group_on_two_sides() -> None:
    sides = {"train": [Row(sentence(1)), Row(sentence(2), group=SECRET)], "dev": [Row(sentence(3), group=SECRET)]}
    with pytest.raises(DataError, match=r"^row 2 of train and row 1 of dev belong to one group") as caught:
        check_disjoint(sides)
    assert SECRET not in str(caught.value)


def test_contradictions_are_dropped_and_counted() -> None:
    calm, low, open_ = (
        Row("So it is", targets(frozenset())),
        Row("so  it IS", certain(depressed=1)),
        Row("Well", certain(anxious=1)),
    )
    happy, afraid = Row("Oh", emotion="joy"), Row("oh", emotion="fear")
    other = replace(open_, targets=certain(stressed=0))
    assert drop_contradictions([calm, open_, low, happy, other, afraid]) == ([open_, other], 4)


def test_close_copies_keep_their_order_and_are_counted() -> None:
    rows = [Row(sentence(number)) for number in range(6)]
    kept, dropped = drop_close_copies(rows, of=[f"{sentence(4)} too", sentence(1).upper(), sentence(9)])
    assert kept == [rows[0], rows[2], rows[3], rows[5]]
    assert dropped == 2
    assert drop_close_copies(rows, of=[]) == (rows, 0)
