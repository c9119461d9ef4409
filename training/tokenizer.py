"""A byte-level BPE of our own with RoBERTa's special tokens, saved as Longformer's tokenizer.

Byte-level: any text has a token sequence, emoji, CJK and NUL included; ``<unk>`` never occurs.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tokenizers import ByteLevelBPETokenizer
from transformers import LongformerTokenizerFast

SPECIAL_TOKENS: Final = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
"""In the order of their ids. RoBERTa keeps the first four ids; its ``<mask>`` is the last id instead of 4."""

PADDING_ID: Final = 1
UNKNOWN_ID: Final = 3

_MIN_FREQUENCY: Final = 3


def train_tokenizer(texts: Iterable[str], vocab_size: int, max_tokens: int) -> LongformerTokenizerFast:
    """Learn a vocabulary of at most ``vocab_size`` tokens from ``texts``.

    Like the tokenizer of ``allenai/longformer-base-4096`` it adds no space before the text, so a
    first word has other tokens than the same word later on; the model sees both in training.

    Args:
        texts: what to learn from.
        vocab_size: special tokens and the 256 bytes included.
        max_tokens: longest input of the model, special tokens included.
    """
    bpe = ByteLevelBPETokenizer(add_prefix_space=False)
    bpe.train_from_iterator(texts, vocab_size, _MIN_FREQUENCY, show_progress=False, special_tokens=list(SPECIAL_TOKENS))
    with TemporaryDirectory() as folder:
        vocabulary, merges = bpe.save_model(folder)
        # Given these two files, the class itself adds RoBERTa's `<s> … </s>` frame.
        return LongformerTokenizerFast(vocab_file=vocabulary, merges_file=merges, model_max_length=max_tokens)


def load_tokenizer(folder: Path) -> LongformerTokenizerFast:
    """Load the tokenizer of a checkpoint folder."""
    tokenizer: LongformerTokenizerFast = LongformerTokenizerFast.from_pretrained(folder)
    return tokenizer
