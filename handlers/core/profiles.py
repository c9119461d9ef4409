"""Shapes of a TensorRT engine: which it is built for, which profile serves one, and which are kept as CUDA graphs.

A shape is ``(batch, length)``. A profile is a rectangle of shapes with one best point, at which the
kernels are chosen; it is valid everywhere between its least and its most. One wide profile would be
tuned for one length and slow at the others, so there is one for each regime of lengths.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from handlers.core.manifest import ProfileRecord

Shape = tuple[int, int]
"""Rows and padded tokens of a row."""

FIRST_REGIME: Final = 128
"""Longest length of the first regime. Every later one ends at twice the one before: a profile must hold the
batch of its shortest length at its longest, so this bounds the device memory to twice the token budget."""

FEW_ROWS: Final = 4
"""Rows of the profile for a few short texts, whose best point is one of them: kernels that are best for
thousands of tokens leave most of a GPU idle on so few."""

GRAPH_LENGTHS: Final = (16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
GRAPH_BATCHES: Final = (1, 2, 4, 8)
GRAPH_TOKENS: Final = 1024
"""Padded tokens up to which a shape is kept as a CUDA graph: beyond, kernels take longer than starting them."""

FREE_TOKENS: Final = 128
"""Padded tokens below which a run takes as long as reading the weights does, so that padding costs nothing."""

WORTH_PADDING: Final = 4 / 3
"""How many times a shape's tokens may become when it is padded to a kept one."""


def plan_profiles(max_length: int, token_budget: int, max_batch: int) -> tuple[ProfileRecord, ...]:
    """Return the profiles of an engine, in its order.

    Args:
        max_length: tokens in the longest input.
        token_budget: padded tokens in one sub-batch.
        max_batch: rows in one run; a larger sub-batch, of the shortest texts, is run in turns.

    Returns:
        Profiles that cover every length from 1 to ``max_length`` and, at each, every batch of
        ``token_budget`` padded tokens and ``max_batch`` rows. A longer input than the budget stands alone.

    Raises:
        ValueError: an argument is less than 1.
    """
    if min(max_length, token_budget, max_batch) < 1:
        raise ValueError("max_length, token_budget and max_batch must be at least 1")
    regimes = list(_regimes(max_length))
    profiles = [_profile(least, most, token_budget, max_batch) for least, most in regimes]
    few = min(FEW_ROWS, max_batch)
    if few < profiles[0].most[0]:
        least, most = regimes[0]
        profiles.insert(0, ProfileRecord(name="few", least=(1, least), best=(1, _half(most)), most=(few, most)))
    return tuple(profiles)


def _regimes(max_length: int) -> Iterator[tuple[int, int]]:
    least, most = 1, min(FIRST_REGIME, max_length)
    while least <= max_length:
        yield least, most
        least, most = most + 1, min(2 * most, max_length)


def _profile(least: int, most: int, token_budget: int, max_batch: int) -> ProfileRecord:
    return ProfileRecord(
        name=f"{least}-{most}",
        least=(1, least),
        best=(rows_in_budget(most, token_budget, max_batch), most),
        most=(rows_in_budget(least, token_budget, max_batch), most),
    )


def _half(length: int) -> int:
    return (length + 1) // 2


def rows_in_budget(length: int, token_budget: int, max_batch: int) -> int:
    """Return the rows of ``length`` tokens that one run may hold: at least one."""
    return max(1, min(max_batch, token_budget // length))


def covers(profile: ProfileRecord, shape: Shape) -> bool:
    """Tell whether ``shape`` lies within ``profile``."""
    return all(least <= size <= most for least, size, most in zip(profile.least, shape, profile.most, strict=True))


def choose_profile(profiles: Sequence[ProfileRecord], shape: Shape) -> int:
    """Return the index of the first profile that covers ``shape``.

    Raises:
        ValueError: none does; the message names the shape and what the engine was built for.
    """
    for index, profile in enumerate(profiles):
        if covers(profile, shape):
            return index
    built_for = ", ".join(f"{profile.name} up to {profile.most[0]} x {profile.most[1]}" for profile in profiles)
    raise ValueError(f"{shape[0]} x {shape[1]} (batch x length) is in no profile of the engine: {built_for}")


def rows_at_once(profiles: Sequence[ProfileRecord], length: int) -> int:
    """Return the largest batch that a profile takes at ``length``.

    Raises:
        ValueError: ``length`` is in no profile.
    """
    rows = [profile.most[0] for profile in profiles if covers(profile, (profile.least[0], length))]
    if not rows:
        lengths = [length for profile in profiles for length in (profile.least[1], profile.most[1])]
        raise ValueError(
            f"an input of {length} tokens is in no profile of the engine: it was built for "
            f"{min(lengths)} to {max(lengths)}"
        )
    return max(rows)


def find_uncovered(profiles: Sequence[ProfileRecord], max_length: int, token_budget: int) -> Shape | None:
    """Return a shape that a server of this length and budget may ask for and the engine does not take.

    Rows beyond the largest batch of any profile do not count: those are run in turns, at the rate
    of a batch that fills the device.
    """
    max_batch = max(profile.most[0] for profile in profiles)
    # Between two edges of profiles neither the budget's rows nor the profiles grow, so the edges decide.
    edges = {1, max_length, *(edge for profile in profiles for edge in (profile.least[1], profile.most[1] + 1))}
    for length in sorted(edge for edge in edges if 1 <= edge <= max_length):
        shape = (rows_in_budget(length, token_budget, max_batch), length)
        if not any(covers(profile, shape) for profile in profiles):
            return shape
    return None


def buffer_tokens(profiles: Sequence[ProfileRecord]) -> int:
    """Return the elements of an input buffer that holds the largest shape of every profile."""
    return max(profile.most[0] * profile.most[1] for profile in profiles)


def plan_graphs(profiles: Sequence[ProfileRecord]) -> tuple[Shape, ...]:
    """Return the shapes to keep as CUDA graphs: those of common small sub-batches that the engine takes."""
    shapes = [(batch, length) for batch in GRAPH_BATCHES for length in GRAPH_LENGTHS]
    return tuple(
        (batch, length)
        for batch, length in shapes
        if batch * length <= GRAPH_TOKENS and any(covers(profile, (batch, length)) for profile in profiles)
    )


def choose_graph(kept: Sequence[Shape], shape: Shape) -> Shape | None:
    """Return the smallest of ``kept`` that holds ``shape`` when padded; ``None`` where padding costs too much."""
    fitting = [one for one in kept if one[0] >= shape[0] and one[1] >= shape[1]]
    if not fitting:
        return None
    smallest = min(fitting, key=lambda one: (one[0] * one[1], one))
    affordable = max(FREE_TOKENS, WORTH_PADDING * shape[0] * shape[1])
    return smallest if smallest[0] * smallest[1] <= affordable else None
