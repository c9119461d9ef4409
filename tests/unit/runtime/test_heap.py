"""When free memory is given back, and that giving it back works on the C library of this machine."""

from __future__ import annotations

import pytest

from handlers.runtime.heap import LARGE_BODY, HeapTrimmer


@pytest.fixture
def given_back() -> list[str]:
    return []


@pytest.fixture
def trimmer(given_back: list[str]) -> HeapTrimmer:
    return HeapTrimmer(lambda: given_back.append("all"))


def test_nothing_is_given_back_after_ordinary_bodies(trimmer: HeapTrimmer, given_back: list[str]) -> None:
    trimmer.note(b"a" * (LARGE_BODY - 1))
    trimmer.trim()

    assert given_back == []


def test_memory_is_given_back_once_after_any_number_of_large_bodies(
    trimmer: HeapTrimmer, given_back: list[str]
) -> None:
    for size in (LARGE_BODY, LARGE_BODY + 1, 1):
        trimmer.note(b"a" * size)
    trimmer.trim()
    trimmer.trim()

    assert given_back == ["all"]


def test_a_large_body_after_that_is_another_occasion(trimmer: HeapTrimmer, given_back: list[str]) -> None:
    for _ in range(2):
        trimmer.note(b"a" * LARGE_BODY)
        trimmer.trim()

    assert given_back == ["all", "all"]


def test_a_c_library_without_the_function_is_no_fault() -> None:
    trimmer = HeapTrimmer(None)
    trimmer.note(b"a" * LARGE_BODY)

    trimmer.trim()


def test_the_trimmer_of_this_process_can_be_called() -> None:
    trimmer = HeapTrimmer.of_process()
    trimmer.note(b"a" * LARGE_BODY)

    trimmer.trim()
