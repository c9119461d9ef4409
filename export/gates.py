"""The gates of one bundle: which one vouches for it, and running it."""

from __future__ import annotations

from collections.abc import Callable

from transformers import LongformerForSequenceClassification

from export.manifests import save_manifest
from export.parity import (
    TOLERANCES,
    ParityReport,
    ParityResult,
    compare,
    finite_or_none,
    parity_cases,
    parity_lengths,
    write_report,
)
from export.progress import Progress
from handlers.core.manifest import ParityRecord
from handlers.core.settings import Device, Settings
from handlers.runtime.bundle import Bundle, sha256_file


def compare_with_transformers(
    bundle: Bundle, model: LongformerForSequenceClassification, seeds: int, device: Device, progress: Progress
) -> ParityReport:
    """Run the parity gate on a bundle of any runtime, in fp32 or fp16.

    Args:
        model: the checkpoint that it was made of.
        seeds: draws of random tokens at each length.
        device: that the bundle's own runtime is to use.

    Raises:
        StartupError: the bundle does not load, or the device is not there.
    """
    manifest = bundle.manifest
    tolerance = TOLERANCES[manifest.precision]
    with progress.step(f"loading {bundle.graph}"):
        runtime = bundle.open_runtime(Settings(runtime=manifest.runtime, device=device))
    lengths = parity_lengths([window // 2 for window in manifest.attention_window], manifest.max_length)
    cases = parity_cases(lengths, seeds)
    thresholds = [rule.uncalibrated_threshold for rule in bundle.label_rules()]
    tie = 0.0 if manifest.precision == "fp32" else tolerance
    with progress.step(f"comparing {len(cases)} inputs with transformers"):
        results = compare(model, runtime, thresholds, cases, count_results(progress, len(cases)), tie)
    return ParityReport(manifest.checkpoint, manifest.precision, tolerance, results)


def record_parity(bundle: Bundle, report: ParityReport) -> Bundle:
    """Put the parity report into the bundle and its verdict into the manifest."""
    paths = write_report(report, bundle.folder)
    manifest = bundle.manifest
    record = ParityRecord(
        report=paths[0].name,
        precision=manifest.precision,
        max_abs_delta_logit=finite_or_none(report.max_abs_delta),
        tolerance=report.tolerance,
        threshold_flips=report.flips,
        passed=report.passed,
        graph_sha256=manifest.files[manifest.graph_name],
    )
    files = manifest.files | {path.name: sha256_file(path) for path in paths}
    return save_manifest(bundle.folder, manifest.model_copy(update={"parity": record, "files": files}))


def count_results(progress: Progress, total: int | None = None) -> Callable[[ParityResult], None]:
    """Return what shows how far a comparison has come and the worst difference so far."""
    done, worst = 0, 0.0

    def count(result: ParityResult) -> None:
        nonlocal done, worst
        done, worst = done + 1, max(worst, result.max_abs_delta)
        of = f"/{total}" if total else ""
        progress.update(f"{done}{of} compared, now {result.case.length} tokens, worst {worst:.1e}")

    return count
