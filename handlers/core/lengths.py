"""Token lengths: which part of a long text is scored, and which windows share a sub-batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from handlers.core.errors import TOO_LONG, LanternError
from handlers.core.schema import OverLength

TokenSpan = tuple[int, int]
"""Token positions ``[start, end)`` of a text."""


@dataclass(frozen=True)
class LengthLimits:
    """How long things may be, in tokens of the text (``<s>`` and ``</s>`` not counted).

    Attributes:
        window: tokens that one model input holds.
        overlap: tokens that two neighbouring windows share at least.
        max_windows: windows that one text may cost.
    """

    window: int
    overlap: int
    max_windows: int

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < self.window:
            raise ValueError(f"overlap {self.overlap} must be at least 0 and under the window of {self.window} tokens")
        if self.max_windows < 1:
            raise ValueError(f"max_windows {self.max_windows} must be at least 1")


def select_spans(tokens: int, mode: OverLength, limits: LengthLimits) -> list[list[TokenSpan]]:
    """Choose the model inputs for a text of ``tokens`` tokens.

    Returns:
        One list of spans for each model input; the spans of one input are joined.

    Raises:
        LanternError: ``too_long`` under ``reject``, or where ``window`` would need more than
            ``max_windows``.
    """
    if tokens <= limits.window:
        return [[(0, tokens)]]
    if mode is OverLength.HEAD:
        return [[(0, limits.window)]]
    if mode is OverLength.HEAD_TAIL:
        head = (limits.window + 1) // 2
        return [[(0, head), (tokens - (limits.window - head), tokens)]]
    if mode is OverLength.REJECT:
        raise LanternError(
            TOO_LONG, f"the text has {tokens} tokens and the model takes {limits.window}", "options.over_length"
        )
    return [[span] for span in overlapping_windows(tokens, limits)]


def overlapping_windows(tokens: int, limits: LengthLimits) -> list[TokenSpan]:
    """Cover ``tokens`` (more than one window) with the fewest windows that overlap enough.

    Every window is full: the last one is moved back to end with the text.

    Raises:
        LanternError: ``too_long`` where more than ``max_windows`` are needed.
    """
    stride = limits.window - limits.overlap
    count = -(-(tokens - limits.overlap) // stride)
    if count > limits.max_windows:
        longest = limits.max_windows * stride + limits.overlap
        raise LanternError(
            TOO_LONG,
            f"the text has {tokens} tokens and at most {longest} are read in windows; split it into entries",
            "text",
        )
    starts = [min(index * stride, tokens - limits.window) for index in range(count)]
    return [(start, start + limits.window) for start in starts]


def count_covered(spans: Sequence[TokenSpan]) -> int:
    """Count the tokens that at least one of ``spans`` covers."""
    covered, end = 0, 0
    for start, stop in sorted(spans):
        covered += max(0, stop - max(start, end))
        end = max(end, stop)
    return covered


def cut_sub_batches(lengths: Sequence[int], budget: int, max_padding: float) -> list[list[int]]:
    """Group inputs into sub-batches of similar length.

    Inputs are sorted by length and cut where the padded tokens of a sub-batch (its longest
    input times its size) would pass ``budget``, or where more than the share ``max_padding``
    of them would be padding, so that a long text never makes its short neighbours pay.

    Args:
        lengths: tokens of each input.
        budget: padded tokens in one sub-batch; a single longer input stands alone.
        max_padding: share of padding in the padded tokens, 0 to 1.

    Returns:
        Indices into ``lengths``, each exactly once, longest sub-batch first.
    """
    batches: list[list[int]] = []
    real = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        batch = batches[-1] if batches else None
        padded = lengths[batch[0]] * (len(batch) + 1) if batch else 0
        if batch and padded <= budget and padded - real - lengths[index] <= max_padding * padded:
            batch.append(index)
            real += lengths[index]
        else:
            batches.append([index])
            real = lengths[index]
    return batches


def fill_sub_batch(lengths: Sequence[int], first: int, budget: int, max_padding: float) -> list[int]:
    """Choose the company of one input: those nearest to it in length, for as long as a sub-batch allows.

    Args:
        lengths: tokens of each input.
        first: index of the input that the sub-batch is for.
        budget, max_padding: as for ``cut_sub_batches``.

    Returns:
        Indices into ``lengths``, ``first`` at the head.
    """
    batch, real, longest = [first], lengths[first], lengths[first]
    others = (index for index in range(len(lengths)) if index != first)
    for index in sorted(others, key=lambda i: (abs(lengths[i] - lengths[first]), i)):
        tallest = max(longest, lengths[index])
        padded = tallest * (len(batch) + 1)
        if padded <= budget and padded - real - lengths[index] <= max_padding * padded:
            batch.append(index)
            real, longest = real + lengths[index], tallest
    return batch
