"""A byte-level BPE of our own with RoBERTa's special tokens, saved as Longformer's tokenizer.

Byte-level: any text has a token sequence, emoji, CJK and NUL included; ``<unk>`` never occurs. A small
vocabulary has room for each word once, so capitals are made small, a typographic apostrophe is a plain
one, and the first word has the tokens that it has elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tokenizers import ByteLevelBPETokenizer, normalizers
from transformers import LongformerTokenizerFast, PreTrainedTokenizerFast

SPECIAL_TOKENS: Final = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
"""In the order of their ids. RoBERTa keeps the first four ids; its ``<mask>`` is the last id instead of 4."""

PADDING_ID: Final = 1
UNKNOWN_ID: Final = 3

_MIN_FREQUENCY: Final = 3


def train_tokenizer(texts: Iterable[str], vocab_size: int, max_tokens: int) -> LongformerTokenizerFast:
    """Learn a vocabulary of at most ``vocab_size`` tokens from ``texts``.

    Args:
        texts: what to learn from.
        vocab_size: special tokens and the 256 bytes included.
        max_tokens: longest input of the model, special tokens included.
    """
    spelling = normalizers.Sequence([normalizers.Replace("\u2019", "'"), normalizers.Lowercase()])
    bpe = ByteLevelBPETokenizer(add_prefix_space=True)
    bpe.normalizer = spelling
    bpe.train_from_iterator(texts, vocab_size, _MIN_FREQUENCY, show_progress=False, special_tokens=list(SPECIAL_TOKENS))
    with TemporaryDirectory() as folder:
        vocabulary, merges = bpe.save_model(folder)
        # Given these two files, the class itself adds RoBERTa's `<s> … </s>` frame.
        tokenizer = LongformerTokenizerFast(
            vocab_file=vocabulary, merges_file=merges, model_max_length=max_tokens, add_prefix_space=True
        )
    tokenizer.backend_tokenizer.normalizer = spelling
    return tokenizer


def encode(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], longest: int, merge_dropout: float = 0.0
) -> list[tuple[int, ...]]:
    """Token ids of ``texts``.

    Args:
        tokenizer: left as it is.
        texts: those of more than ``longest`` tokens lose their end.
        longest: special tokens included.
        merge_dropout: share of a BPE's merges left out by chance (BPE-dropout, Provilkov et al. 2020), so that a word
            is seen in several spellings of tokens.
    """
    model = tokenizer.backend_tokenizer.model
    if merge_dropout:
        model.dropout = merge_dropout
    found = tokenizer(list(texts), truncation=True, max_length=longest)["input_ids"]
    if merge_dropout:
        model.dropout = None
    tokenizer.backend_tokenizer.no_truncation()  # else tokenizer.json would keep, and apply, this call's
    return [tuple(ids) for ids in found]


def load_tokenizer(folder: Path) -> LongformerTokenizerFast:
    """Load the tokenizer of a checkpoint folder."""
    tokenizer: LongformerTokenizerFast = LongformerTokenizerFast.from_pretrained(folder)
    return tokenizer
