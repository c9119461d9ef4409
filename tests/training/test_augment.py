from __future__ import annotations

import random

import torch

from training.augment import WordChanger

WORDS = {"sad": 0, "unhappy": 1, "low": 2, "tea": 3, "coffee": 4, "milk": 5, "##ing": 6, "[CLS]": 7}
ROWS = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.8, 0.2], [0.0, 1.0], [0.1, 0.9], [0.2, 0.8], [5.0, 5.0], [5.0, 5.0]])


def a_changer(seed: int = 0) -> WordChanger:
    return WordChanger(WORDS, ROWS, random.Random(seed), related=2)


def test_related_words_point_the_same_way() -> None:
    assert set(a_changer().related("sad")) == {"unhappy", "low"}
    assert set(a_changer().related("coffee")) == {"tea", "milk"}


def test_words_change_and_small_ones_stay() -> None:
    text = "I'm not sad, and there is tea and sad coffee with the tea"
    changed = [a_changer(seed).changed(text) for seed in range(40)]
    assert len(set(changed)) > 20
    assert any("unhappy" in other or "low" in other for other in changed)
    assert sum("not" in other for other in changed) > 35
    assert all("[CLS]" not in other and "##" not in other for other in changed)


def test_the_seed_decides() -> None:
    assert a_changer(3).changed("sad tea, low coffee") == a_changer(3).changed("sad tea, low coffee")
