"""The parity gate: an exported graph against ``transformers``, logit by logit.

The stock export of a Longformer is silently wrong away from the length it was traced at, so a
graph is served only after it was compared at every kind of length: one token, around one and
two windows of every layer, in the middle of nowhere, and full; alone and in batches whose rows
are padded differently; for several draws of tokens.

A decision that flips is a failure in fp32 wherever it happens. Half precision may move a logit by its
tolerance, so there a logit closer than that to its threshold may end on the other side of it, as a tie may; a
flip is one where the reference is further away.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from transformers import LongformerForSequenceClassification

from export.errors import ExportRefused
from handlers.core.manifest import Precision
from handlers.core.scores import sigmoid
from handlers.runtime import Logits, Runtime, TokenIds

FP32_TOLERANCE: Final = 1e-5
FP16_TOLERANCE: Final = 2e-3
TOLERANCES: Final[dict[Precision, float]] = {"fp32": FP32_TOLERANCE, "fp16": FP16_TOLERANCE}
"""Largest absolute difference of a logit that a graph may show. int8 has none: see ``export.quality``."""

COMMON_LENGTHS: Final = (1, 2, 3, 17, 64, 777, 1024, 2048, 4095, 4096)
MIXED_FRACTIONS: Final = (1.0, 0.5, 0.99, 0.01)
"""Real share of each row of a batch with mixed padding; at least one token."""

LONGEST_MIXED_BATCH: Final = 1100
"""Batches of mixed padding are compared up to this length: longer ones only cost time."""


@dataclass(frozen=True)
class ParityCase:
    """One comparison: the real tokens of each row, padded to ``length``, drawn from ``seed``."""

    length: int
    row_tokens: tuple[int, ...]
    seed: int


@dataclass(frozen=True)
class ParityResult:
    """What one comparison found.

    Attributes:
        case: what was compared.
        max_abs_delta: largest ``|delta logit|`` over rows and labels.
        flips: decisions (score against threshold) that differ, ties left out (see ``compare``).
    """

    case: ParityCase
    max_abs_delta: float
    flips: int


@dataclass(frozen=True)
class ParityReport:
    """The gate's report. It passes where every delta is within ``tolerance`` and nothing flips."""

    subject: str
    precision: str
    tolerance: float
    results: tuple[ParityResult, ...]

    @property
    def max_abs_delta(self) -> float:
        """The largest difference of all; NaN if any logit was not finite."""
        return float(np.max([result.max_abs_delta for result in self.results]))

    @property
    def flips(self) -> int:
        """Decisions that differ, over all cases."""
        return sum(result.flips for result in self.results)

    @property
    def passed(self) -> bool:
        """The verdict. An empty report has compared nothing and does not pass."""
        return bool(self.results) and self.max_abs_delta <= self.tolerance and self.flips == 0


def parity_lengths(one_sided_windows: Iterable[int], max_length: int) -> list[int]:
    """Return the lengths to compare at: the common ones, and those around each window ``w``."""
    around = {length for w in one_sided_windows for length in (w - 1, w, w + 1, 2 * w - 1, 2 * w, 2 * w + 1)}
    lengths = around | set(COMMON_LENGTHS) | {max_length - 1, max_length}
    return sorted(length for length in lengths if 1 <= length <= max_length)


def parity_cases(lengths: Sequence[int], seeds: int) -> list[ParityCase]:
    """Return the comparisons for ``lengths``: each alone, and in a batch of mixed padding."""
    cases = []
    for seed in range(seeds):
        for length in lengths:
            cases.append(ParityCase(length, (length,), seed))
            if length <= LONGEST_MIXED_BATCH:
                rows = tuple(max(1, round(length * fraction)) for fraction in MIXED_FRACTIONS)
                cases.append(ParityCase(length, rows, seed))
    return cases


def compare(
    model: LongformerForSequenceClassification,
    runtime: Runtime,
    thresholds: Sequence[float],
    cases: Sequence[ParityCase],
    progress: Callable[[ParityResult], None] = lambda _: None,
    tie: float = 0.0,
) -> tuple[ParityResult, ...]:
    """Run every case through ``transformers`` in fp32 and through ``runtime``.

    Args:
        thresholds: of ``sigmoid(logit)`` for each label.
        tie: a decision whose reference logit is this close to its threshold is no flip.
    """
    results = []
    for case in cases:
        input_ids, attention_mask = draw_inputs(case, model)
        expected = reference_logits(model, input_ids, attention_mask)
        actual = runtime.run(input_ids, attention_mask)
        flips = _count_flips(expected, actual, thresholds, tie)
        result = ParityResult(case, float(np.abs(actual - expected).max()), flips)
        progress(result)
        results.append(result)
    return tuple(results)


def report_json(report: ParityReport) -> str:
    """Return the report as JSON, verdict first; a difference that is not finite is ``null``."""
    summary = {
        "subject": report.subject,
        "precision": report.precision,
        "passed": report.passed,
        "max_abs_delta_logit": finite_or_none(report.max_abs_delta),
        "tolerance": report.tolerance,
        "threshold_flips": report.flips,
        "cases": [
            asdict(result) | {"max_abs_delta": finite_or_none(result.max_abs_delta)} for result in report.results
        ],
    }
    return json.dumps(summary, indent=1, allow_nan=False) + "\n"


def finite_or_none(delta: float) -> float | None:
    """Return ``delta`` as JSON can hold it."""
    return delta if math.isfinite(delta) else None


def report_table(report: ParityReport) -> str:
    """Return the report as a Markdown table, one row for each length."""
    verdict = "PASS" if report.passed else "FAIL"
    lines = [
        f"# Parity of {report.subject}, {report.precision}: {verdict}",
        "",
        f"Largest |Δlogit| {report.max_abs_delta:.2e} (tolerance {report.tolerance:.0e}), "
        f"{report.flips} threshold flips, {len(report.results)} comparisons with `transformers` in fp32.",
        "",
        "| tokens | comparisons | largest \\|Δlogit\\| | flips |",
        "|---:|---:|---:|---:|",
    ]
    for length in sorted({result.case.length for result in report.results}):
        rows = [result for result in report.results if result.case.length == length]
        worst = float(np.max([row.max_abs_delta for row in rows]))
        lines.append(f"| {length} | {len(rows)} | {worst:.2e} | {sum(row.flips for row in rows)} |")
    return "\n".join(lines) + "\n"


def write_report(report: ParityReport, folder: Path, stem: str = "parity") -> tuple[Path, Path]:
    """Write the report as ``parity.json`` and ``parity.md`` and return both paths."""
    json_path, table_path = folder / f"{stem}.json", folder / f"{stem}.md"
    json_path.write_text(report_json(report), encoding="utf-8")
    table_path.write_text(report_table(report), encoding="utf-8")
    return json_path, table_path


def draw_inputs(case: ParityCase, model: LongformerForSequenceClassification) -> tuple[TokenIds, TokenIds]:
    """Draw a batch: ``<s>``, random ordinary tokens, then padding; ids and mask ``(rows, length)``."""
    config = model.config
    cls, pad = _token(config.bos_token_id), _token(config.pad_token_id)
    generator = np.random.default_rng([case.seed, case.length, len(case.row_tokens)])
    special = {cls, pad, config.eos_token_id}
    ordinary = np.array([token for token in range(config.vocab_size) if token not in special])
    input_ids = np.full((len(case.row_tokens), case.length), pad, dtype=np.int64)
    attention_mask = np.zeros_like(input_ids)
    for row, tokens in enumerate(case.row_tokens):
        input_ids[row, :tokens] = generator.choice(ordinary, tokens)
        input_ids[row, 0] = cls
        attention_mask[row, :tokens] = 1
    return input_ids, attention_mask


def _token(token: int | None) -> int:
    if token is None:
        raise ExportRefused("config.json: bos_token_id and pad_token_id must be set")
    return token


def reference_logits(
    model: LongformerForSequenceClassification, input_ids: TokenIds, attention_mask: TokenIds
) -> Logits:
    """Return what ``transformers`` computes in fp32."""
    with torch.inference_mode():
        output = model(input_ids=torch.from_numpy(input_ids), attention_mask=torch.from_numpy(attention_mask))
    logits: Logits = output.logits.numpy()
    return logits


def _count_flips(expected: Logits, actual: Logits, thresholds: Sequence[float], tie: float) -> int:
    def flips(before: float, after: float, threshold: float) -> bool:
        decided = sigmoid(before) >= threshold
        is_tie = tie > 0.0 and sigmoid(before - tie) <= threshold <= sigmoid(before + tie)
        return decided != (sigmoid(after) >= threshold) and not is_tie

    return sum(
        flips(float(before), float(after), threshold)
        for one, two in zip(expected, actual, strict=True)
        for before, after, threshold in zip(one, two, thresholds, strict=True)
    )
