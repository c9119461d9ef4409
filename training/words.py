"""Word embeddings to start from: learned as a bag of words, before there is any attention.

From random weights a small transformer stays for long where it only knows how frequent the labels
are: no word means anything yet, so attention has nothing to look for. A bag of words learns what
the words say within a minute (Joulin et al. 2017), and the transformer then starts from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from tqdm import tqdm  # type: ignore[import-untyped]
from transformers import LongformerForSequenceClassification

from training.batches import Example, TokenBudgetSampler, collate
from training.model import LogitGroup, grouped_loss

_LEARNING_RATE: Final = 5e-3
_BUDGET: Final = 8192
_ROWS: Final = 256
_DROPOUT: Final = 0.2
_FIRST_STD: Final = 0.1


class BagOfWords(nn.Module):
    """Logits from the sum of a text's token embeddings over the root of their number; order plays no part.

    Args:
        vocab: size of the vocabulary.
        hidden: width of the embeddings.
        logits: how many.
    """

    def __init__(self, vocab: int, hidden: int, logits: int) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(vocab, hidden)
        nn.init.normal_(self.embeddings.weight, std=_FIRST_STD)
        self.dropout = nn.Dropout(_DROPOUT)
        self.output = nn.Linear(hidden, logits)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Map int64 ``(B, L)`` to float ``(B, logits)``."""
        mask = attention_mask[:, :, None].to(self.embeddings.weight.dtype)
        summed = (self.embeddings(input_ids) * mask).sum(dim=1)
        output: Tensor = self.output(self.dropout(summed / mask.sum(dim=1).sqrt()))
        return output


def learn_words(
    model: LongformerForSequenceClassification,
    groups: Sequence[LogitGroup],
    examples: Sequence[Example],
    epochs: int,
    seed: int,
) -> None:
    """Put embeddings learned as a bag of words in the place of the model's, at the scale that those had.

    Args:
        model: changed in place.
        groups: what to learn.
        examples: from what.
        epochs: passes over the examples; 0 leaves the model as it is.
        seed: of the order.
    """
    if epochs == 0:
        return
    words = model.longformer.embeddings.word_embeddings.weight
    bag = BagOfWords(words.shape[0], words.shape[1], model.num_labels)
    optimizer = torch.optim.Adam(bag.parameters(), lr=_LEARNING_RATE)
    lengths = [len(example.input_ids) for example in examples]
    for epoch in range(epochs):
        sampler = TokenBudgetSampler(lengths, _BUDGET, _ROWS, seed + epoch)
        for batch in tqdm(sampler, desc=f"words {epoch + 1}/{epochs}", unit="batch"):
            inputs = collate([examples[index] for index in batch])
            loss = grouped_loss(bag(inputs["input_ids"], inputs["attention_mask"]), inputs["labels"], groups)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        learned = bag.embeddings.weight
        words.copy_(learned * (words.std() / learned.std()))
