"""The embedded checkpoint, through TorchServe: the examples of the reference model's card come out as it says."""

from __future__ import annotations

import pytest

from client import LanternClient
from tests.server.live import Packed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I feel like I'm drowning in stress lately.", "stressed"),
        ("I'm anxious about meeting new people.", "anxious"),
        ("Sometimes I just feel empty and hopeless.", "depressed"),
        ("I'm doing okay today.", "neutral"),
    ],
)
def test_example_of_the_model_card(lantern: LanternClient, packed: Packed, text: str, expected: str) -> None:
    if not packed.embedded:
        pytest.skip("export/checkpoints/small holds no checkpoint: a random one knows no labels")
    answer = lantern.classify(text)
    assert max(answer.labels, key=lambda label: label.score).name == expected
    assert next(label for label in answer.labels if label.name == expected).positive
