"""Models, lengths and padding at which an implementation must equal ``transformers``."""

from __future__ import annotations

from hypothesis import strategies as st

from export.matrix import Shape


@st.composite
def cases(draw: st.DrawFn) -> tuple[Shape, int, list[int], int]:
    """A model shape, a block size, the real tokens of each row, and the padded length."""
    windows = draw(st.lists(st.sampled_from([4, 8, 16, 32]), min_size=1, max_size=3))
    shape = Shape(tuple(windows), draw(st.integers(1, 3)), draw(st.integers(2, 6)), draw(st.integers(1, 5)), 160)
    length = draw(st.integers(1, 120))
    rows = draw(st.lists(st.integers(1, length), min_size=1, max_size=4))
    return shape, draw(st.sampled_from([1, 3, 16, 256])), rows, length
