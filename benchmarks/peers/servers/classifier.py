"""The plain ``transformers`` classifier that every peer serves: tokenize, pad to the longest, run, sigmoid."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer


class Classifier:
    """A checkpoint folder in fp32 on every core.

    Args:
        folder: configuration, safetensors and tokenizer.
        threads: of torch; default: every core.
    """

    def __init__(self, folder: str, threads: int | None = None) -> None:
        torch.set_num_threads(threads or os.cpu_count() or 1)
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, local_files_only=True, torch_dtype=torch.float32
        )
        self._model = model.eval()

    def classify(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """Return each text's sigmoid score by label, in order; what is over the model's length is cut off."""
        encoded = self._tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            scores = torch.sigmoid(self._model(**encoded).logits).tolist()
        labels = [self._model.config.id2label[index] for index in range(self._model.config.num_labels)]
        return [dict(zip(labels, row, strict=True)) for row in scores]


def parse_options(description: str) -> argparse.Namespace:
    """Return the options that every stand-alone server takes: folder, port, batch_size and batch_wait_s."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--folder", required=True, help="checkpoint folder")
    parser.add_argument("--port", type=int, required=True, help="on 127.0.0.1")
    parser.add_argument("--batch-size", type=int, default=1, help="1: no batching (default)")
    parser.add_argument("--batch-wait-s", type=float, default=0.1, help="longest wait for company (default: 0.1)")
    return parser.parse_args()
