from __future__ import annotations

import torch

from training.batches import Example
from training.labels import LABELS, targets
from training.model import LogitGroup, Shape, known_bce, new_model
from training.words import BagOfWords, learn_words

SHAPE = Shape(hidden=16, layers=2, heads=2, intermediate=16, window=8, max_tokens=64, vocab=60, dropout=0.0)
GROUPS = [LogitGroup(len(LABELS), 1.0, known_bce)]
SAD, FINE = 20, 30


def test_words_that_go_with_a_label_become_alike() -> None:
    torch.manual_seed(0)
    model = new_model(SHAPE, SHAPE.vocab, len(LABELS))
    words = model.longformer.embeddings.word_embeddings.weight
    scale = float(words.std().detach())
    sad = [Example((0, SAD + number % 5, 2), targets(frozenset({"depressed"}))) for number in range(300)]
    fine = [Example((0, FINE + number % 5, 2), targets(frozenset())) for number in range(300)]
    learn_words(model, GROUPS, sad + fine, epochs=30, seed=0)
    alike = torch.cosine_similarity(words[SAD : SAD + 1], words[SAD + 1 : SAD + 5]).mean()
    unlike = torch.cosine_similarity(words[SAD : SAD + 1], words[FINE : FINE + 5]).mean()
    assert alike > unlike + 0.3
    assert abs(float(words.std().detach()) / scale - 1) < 0.01


def test_no_epochs_change_nothing() -> None:
    model = new_model(SHAPE, SHAPE.vocab, len(LABELS))
    before = model.longformer.embeddings.word_embeddings.weight.detach().clone()
    learn_words(model, GROUPS, [Example((0, 2), targets(frozenset()))], epochs=0, seed=0)
    assert torch.equal(before, model.longformer.embeddings.word_embeddings.weight)


def test_order_and_padding_play_no_part() -> None:
    bag = BagOfWords(60, 8, 3).eval()
    ids = torch.tensor([[5, 6, 7], [7, 5, 6]])
    first, second = bag(ids, torch.ones_like(ids))
    padded = bag(torch.tensor([[5, 6, 7, 1]]), torch.tensor([[1, 1, 1, 0]]))[0]
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(first, padded)
