"""The scores that ``transformers`` eager gives, and the refusal of a server that gives others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.errors import BenchmarkError
from benchmarks.peers.exchange import Scores, Sent
from benchmarks.peers.workload import Text
from export.manifests import replace_text
from export.progress import Progress

Reference = dict[str, dict[str, float]]
"""Scores by label, by the digest of a text: no text is written to a file."""


def digest(text: str) -> str:
    """Return what stands for a text in a file."""
    return hashlib.sha256(text.encode()).hexdigest()


def reference_scores(
    checkpoint: Path, revision: str, texts: Sequence[Text], cache: Path, progress: Progress
) -> Reference:
    """Return the eager scores of every text, one text a run; those of an earlier run are read from ``cache``."""
    path = cache / f"{digest(revision)[:16]}.json"
    known: Reference = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    missing = [text for text in texts if digest(text.text) not in known]
    if missing:
        from transformers.utils import logging as transformers_logging

        from benchmarks.peers.servers.classifier import Classifier

        transformers_logging.set_verbosity_error()  # its remarks on padding would break the progress line

        classifier = Classifier(str(checkpoint))
        for number, text in enumerate(missing, start=1):
            progress.update(f"reference scores with transformers: {number}/{len(missing)}")
            known[digest(text.text)] = classifier.classify([text.text])[0]
        cache.mkdir(parents=True, exist_ok=True)
        replace_text(path, json.dumps(known) + "\n")
    return {digest(text.text): known[digest(text.text)] for text in texts}


def check_agreement(sent: Sequence[Sent], reference: Reference, tolerance: float) -> float:
    """Return the largest |Δscore|, over at least one answer.

    Raises:
        BenchmarkError: a request failed, labels differ, or a score is further from eager than ``tolerance``.
    """
    failures = sorted({one.failure for one in sent if one.failure is not None})
    if failures or not sent:
        raise BenchmarkError(f"no answers to compare with transformers: {', '.join(failures) or 'nothing was sent'}")
    worst = _largest_difference(sent, reference)
    if not worst <= tolerance:
        raise BenchmarkError(f"scores differ from transformers by {worst:.1e} (tolerance {tolerance:.0e})")
    return worst


def _largest_difference(sent: Sequence[Sent], reference: Reference) -> float:
    differences = [_difference(one.scores, reference[digest(one.text.text)]) for one in sent if one.scores is not None]
    return float(np.max(differences)) if differences else 0.0  # a NaN stays one, which max() would lose


def _difference(scores: Scores, expected: Scores) -> float:
    if set(scores) != set(expected):
        raise BenchmarkError(f"labels are {', '.join(sorted(scores))}, but the checkpoint's {', '.join(expected)}")
    return float(np.max(np.abs([scores[label] - expected[label] for label in expected])))
