from __future__ import annotations

import pytest

from handlers.runtime.gpus import see_one_gpu


@pytest.mark.parametrize(
    ("gpu", "visible", "seen"),
    [(0, None, "0"), (3, None, "3"), (1, "4,6", "6"), (2, "4,6", "4"), (1, "GPU-aa,GPU-bb", "GPU-bb"), (0, "", "0")],
)
def test_a_worker_sees_the_gpu_that_it_was_given(gpu: int, visible: str | None, seen: str) -> None:
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    see_one_gpu(gpu, environment)

    assert environment == {"CUDA_VISIBLE_DEVICES": seen, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def test_an_order_that_was_chosen_stays() -> None:
    environment = {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}
    see_one_gpu(0, environment)

    assert environment["CUDA_DEVICE_ORDER"] == "FASTEST_FIRST"


@pytest.mark.parametrize("gpu", [None, -1])
def test_a_worker_without_a_gpu_changes_nothing(gpu: int | None) -> None:
    environment = {"CUDA_VISIBLE_DEVICES": "1"}
    see_one_gpu(gpu, environment)

    assert environment == {"CUDA_VISIBLE_DEVICES": "1"}
