"""``python -m export``: checkpoint in, verified bundle and archive out."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from export import tensorrt_command, torch_command
from export.archive import ArchiveOptions, build_archive
from export.errors import ExportRefused
from export.options import add_checkpoint_options, claims
from export.progress import Progress
from handlers.core.errors import StartupError
from handlers.core.manifest import Precision, RuntimeName
from handlers.core.settings import Device
from handlers.runtime.bundle import Bundle, has_passed_parity, read_bundle

if TYPE_CHECKING:
    from export.bundle import Quantization
    from export.calibrate import Plan
    from export.checkpoint import Checkpoint
    from export.parity import ParityReport

# transformers and torch take seconds to import: only the commands that need them do, so that
# asking for what is already there is quick.

EXIT_REFUSED = 2
EXIT_GATE_FAILED = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 (a gate failed) or 2 (refused)."""
    options = _parser().parse_args(arguments)
    progress = Progress()
    try:
        return int(options.command(options, progress))
    except (ExportRefused, StartupError) as error:
        progress.note(f"error: {error}")
        return EXIT_REFUSED
    except KeyboardInterrupt:
        progress.note("stopped; what was finished is kept, run the same command to go on")
        return 130


def _onnx(options: argparse.Namespace, progress: Progress) -> int:
    from export.bundle import export_bundle
    from export.checkpoint import open_checkpoint

    checkpoint = open_checkpoint(options.checkpoint, claims(options))
    quantization = _quantization(options, options.precision, checkpoint.name)
    bundle = export_bundle(checkpoint, options.out, progress, options.force, options.precision, quantization)
    print(json.dumps({"bundle": str(options.out), **_summary(bundle)}))
    return 0


def _parity(options: argparse.Namespace, progress: Progress) -> int:
    if options.matrix:
        return _parity_matrix(options, progress)
    if options.bundle is None or options.checkpoint is None:
        raise ExportRefused("parity needs --checkpoint and --bundle, or --matrix")
    bundle = read_bundle(options.bundle)
    if has_passed_parity(bundle) and not options.force:
        progress.note(f"{options.bundle} has passed the gate already (--force runs it again)")
        return 0
    if bundle.manifest.precision == "int8":
        return _compare_quality(bundle, options, progress)
    return _compare_logits(bundle, options, progress)


def _compare_logits(bundle: Bundle, options: argparse.Namespace, progress: Progress) -> int:
    from export.checkpoint import load_model
    from export.gates import compare_with_transformers, record_parity

    _quantization(options, bundle.manifest.precision, bundle.manifest.checkpoint)
    checkpoint = _checkpoint_of(bundle, options)
    with progress.step(f"loading {checkpoint.name}"):
        model = load_model(checkpoint)
    report = compare_with_transformers(bundle, model, options.seeds, options.device, progress)
    record_parity(bundle, report)
    _print_report([report], options.json)
    return 0 if report.passed else EXIT_GATE_FAILED


def _compare_quality(bundle: Bundle, options: argparse.Namespace, progress: Progress) -> int:
    from export.bundle import open_gate, reference_bundle
    from export.checkpoint import load_model
    from export.quality import record_quality, report_json, report_table

    manifest = bundle.manifest
    quantization = _quantization(options, manifest.precision, manifest.checkpoint)
    checkpoint = _checkpoint_of(bundle, options)
    with progress.step(f"loading {checkpoint.name}"):
        model = load_model(checkpoint)
    with reference_bundle(checkpoint, model, options.bundle, quantization, progress) as reference:
        gate = open_gate(reference, quantization, progress)
        with progress.step("reading the same texts in int8"):
            report = gate.compare(bundle, manifest.quality.kept_fp32 if manifest.quality else ())
    record_quality(bundle, report)
    print(report_json(report) if options.json else report_table(report))
    return 0 if report.passed else EXIT_GATE_FAILED


def _checkpoint_of(bundle: Bundle, options: argparse.Namespace) -> Checkpoint:
    from export.checkpoint import open_checkpoint

    checkpoint = open_checkpoint(options.checkpoint, claims(options))
    if checkpoint.revision != bundle.manifest.revision:
        raise ExportRefused(f"{options.bundle} was made of another revision of {checkpoint.name}; export it again")
    return checkpoint


def _quantization(options: argparse.Namespace, precision: Precision, checkpoint: str) -> Quantization:
    """Return what ``--reference``, ``--quality-data`` and the limits say; they are for int8 alone."""
    from export.bundle import Quantization
    from export.quality import SHIPPED_TEXTS, Limits, default_limits

    given = [name for name in QUANTIZATION_OPTIONS if getattr(options, name) is not None]
    if given and precision != "int8":
        raise ExportRefused(f"--{given[0].replace('_', '-')} is for int8, but the precision is {precision}")
    usual = default_limits(checkpoint)
    limits = Limits(
        flips=usual.flips if options.flip_limit is None else options.flip_limit,
        macro_f1=usual.macro_f1 if options.f1_limit is None else options.f1_limit,
    )
    return Quantization(options.reference, options.quality_data or SHIPPED_TEXTS, limits)


def _parity_matrix(options: argparse.Namespace, progress: Progress) -> int:
    from export.gates import count_results
    from export.matrix import run_matrix

    reports = []
    for report in run_matrix(options.seeds, progress=count_results(progress)):
        progress.note(f"{'PASS' if report.passed else 'FAIL'} {report.max_abs_delta:.1e}  {report.subject}")
        reports.append(report)
    _print_report(reports, options.json)
    return 0 if all(report.passed for report in reports) else EXIT_GATE_FAILED


def _calibrate(options: argparse.Namespace, progress: Progress) -> int:
    try:
        from export.calibrate import calibrate, table
    except ModuleNotFoundError as error:
        raise ExportRefused(f"{error.name} is not installed: pip install -r requirements/evaluate.txt") from None
    bundle = read_bundle(options.bundle)
    calibration = calibrate(bundle, _plan(options, bundle), progress, options.device, options.force)
    print(calibration.model_dump_json() if options.json else table(calibration))
    return 0


def _plan(options: argparse.Namespace, bundle: Bundle) -> Plan:
    from export.calibrate import Plan
    from export.objectives import parse_objectives

    labels = bundle.manifest.labels
    left_alone = frozenset(label.strip() for names in options.labels_left_alone for label in names.split(","))
    for label in sorted(left_alone):
        if label not in labels:
            raise ExportRefused(f"--labels-left-alone {label}: it is none of the labels {', '.join(labels)}")
        if any(text.partition(":")[0].strip() == label for text in options.objective):
            raise ExportRefused(f"--labels-left-alone {label}: it has an --objective, so it is not left alone")
    return Plan(
        data=options.data,
        threshold_data=options.threshold_data,
        method=options.method,
        objectives=parse_objectives(options.objective, labels),
        left_alone=left_alone,
        seed=options.seed,
        bootstrap=options.bootstrap,
        hysteresis=options.hysteresis,
        minimum=options.minimum,
    )


MOUNTED = {
    "policy": "escalation policy in the place of the one in the archive",
    "crisis_lines": "crisis-line directory in the place of the one in the archive",
    "self_help": "self-help catalogue in the place of the one in the archive",
    "sentences": "sentences that tell the person why something is shown, in the place of those in the archive",
    "phrases": "folder of the floor's phrase files in the place of those in the archive",
    "records": "file that decision records are appended to, NAME.jsonl; none are kept without it",
}
"""Settings of the handler that name files of the serving machine: absolute paths."""


def _archive(options: argparse.Namespace, progress: Progress) -> int:
    mounted = {name: getattr(options, name) for name in MOUNTED if getattr(options, name) is not None}
    settings = {"runtime": options.runtime, "device": options.device, **mounted}
    archive_options = ArchiveOptions(options.name, options.version, settings)
    with progress.step(f"packing {options.bundle}"):
        bundle = read_bundle(options.bundle)
        path = build_archive(bundle, options.store, archive_options)
    calibration = bundle.manifest.calibration
    print(json.dumps({"archive": str(path), "bytes": path.stat().st_size, "calibration": calibration}))
    return 0


def _print_report(reports: list[ParityReport], as_json: bool) -> None:
    from export.parity import report_json, report_table

    if as_json:
        print(json.dumps([json.loads(report_json(report)) for report in reports]))
    else:
        print("\n".join(report_table(report) for report in reports))


def _summary(bundle: Bundle) -> dict[str, Any]:
    return bundle.manifest.model_dump(mode="json", include={"checkpoint", "revision", "labels", "precision"})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m export", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    onnx = commands.add_parser("onnx", help="export a checkpoint to a bundle with one dynamic ONNX graph")
    add_checkpoint_options(onnx, required=True)
    onnx.add_argument("--out", type=Path, required=True, help="bundle folder to write")
    onnx.add_argument("--precision", choices=get_args(Precision), default="fp32", help="of the graph (default: fp32)")
    _add_quantization_options(onnx)
    onnx.add_argument("--force", action="store_true", help="export even if the bundle is up to date")
    onnx.set_defaults(command=_onnx)

    torch_command.add_command(commands)
    tensorrt_command.add_command(commands)

    parity = commands.add_parser(
        "parity", help="compare a bundle with transformers and record the verdict; exit 1 if it fails"
    )
    add_checkpoint_options(parity, required=False)
    parity.add_argument("--bundle", type=Path, help="bundle folder; the report is written into it")
    parity.add_argument("--matrix", action="store_true", help="compare small random models of many shapes instead")
    parity.add_argument("--seeds", type=int, default=2, help="draws of random tokens at each length (default: 2)")
    parity.add_argument("--device", choices=get_args(Device), default="auto", help="of the bundle (default: auto)")
    _add_quantization_options(parity)
    parity.add_argument("--json", action="store_true", help="print the report as JSON")
    parity.add_argument("--force", action="store_true", help="compare even if the bundle has passed")
    parity.set_defaults(command=_parity)

    _add_calibrate(commands.add_parser("calibrate", help="scale a bundle's scores and choose its thresholds"))

    archive = commands.add_parser("archive", help="pack a bundle that has passed the gate for TorchServe")
    archive.add_argument("--bundle", type=Path, required=True, help="bundle folder")
    archive.add_argument("--store", type=Path, default=Path("model_store"), help="default: model_store")
    archive.add_argument("--name", default="sentiment", help="model name in TorchServe (default: sentiment)")
    archive.add_argument("--version", default="1.0", help="model version in TorchServe (default: 1.0)")
    runtimes = get_args(RuntimeName)
    archive.add_argument("--runtime", choices=runtimes, default="onnx", help="of the bundle (default: onnx)")
    archive.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    for name, what in MOUNTED.items():
        archive.add_argument(f"--{name.replace('_', '-')}", metavar="FILE", help=f"{what}, as the server will see it")
    archive.set_defaults(command=_archive)
    return parser


QUANTIZATION_OPTIONS = ("reference", "quality_data", "flip_limit", "f1_limit")


def _add_quantization_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "int8", "An int8 graph is made of the fp32 graph, and passes by what it decides about texts beside it."
    )
    group.add_argument(
        "--reference",
        type=Path,
        metavar="DIR",
        help="fp32 bundle of the same checkpoint, made if it is not there (default: a temporary one)",
    )
    group.add_argument(
        "--quality-data",
        type=Path,
        metavar="FILE",
        help="texts, best labelled: .csv, .tsv or .jsonl as for calibrate, or .txt with one a line "
        "(default: those that come with the project)",
    )
    group.add_argument(
        "--flip-limit",
        type=_number(float, 0.0, 1.0),
        metavar="SHARE",
        help="of the decisions that may differ from fp32 (default: 0.005; random weights: 0.1 at the medians)",
    )
    group.add_argument(
        "--f1-limit",
        type=_number(float, 0.0, 1.0),
        metavar="LOSS",
        help="of macro-F1, where the texts are labelled (default: 0.005)",
    )


def _add_calibrate(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Scale each label's logits to a probability on one half of the labelled texts and choose its threshold on the "
        "other. Texts go through the pipeline that serves them. The outcome, calibration.json, becomes part of the "
        "bundle: the next archive holds it. Among equally good thresholds a risk label takes the lowest and neutral "
        "the highest."
    )
    parser.add_argument("--bundle", type=Path, required=True, help="bundle folder that has passed the gate")
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help=".csv or .tsv (text, a column for each known label, and perhaps group, author or thread) or .jsonl",
    )
    parser.add_argument("--threshold-data", type=Path, help="choose thresholds on this file instead of half of --data")
    parser.add_argument("--method", choices=["platt", "temperature"], default="platt", help="default: platt")
    parser.add_argument(
        "--objective",
        action="append",
        default=[],
        metavar="[LABEL:]OBJECTIVE",
        help="max_f1 (default), recall>=R, precision>=P or cost:fp=A,fn=B; may be repeated",
    )
    parser.add_argument(
        "--labels-left-alone",
        action="append",
        default=[],
        metavar="LABEL[,LABEL]",
        help="labels that keep their uncalibrated score and a threshold of 0.5",
    )
    parser.add_argument(
        "--hysteresis",
        type=_number(float, 0.0, 1.0),
        default=0.05,
        help="recall that the off threshold has more than on; at most half of what on misses (default: 0.05)",
    )
    parser.add_argument(
        "--minimum",
        type=_number(int, 1),
        default=10,
        help="positives and negatives of each label that each half must have (default: 10)",
    )
    parser.add_argument(
        "--bootstrap", type=_number(int, 100), default=1000, help="resamples behind each interval (default: 1000)"
    )
    parser.add_argument("--seed", type=_number(int, 0), default=7, help="of the split and the resamples (default: 7)")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--json", action="store_true", help="print calibration.json instead of a table")
    parser.add_argument("--force", action="store_true", help="calibrate even if the bundle holds the same already")
    parser.set_defaults(command=_calibrate)


def _number(kind: type[int] | type[float], least: float, most: float = math.inf) -> Callable[[str], float]:
    """Return a reader of numbers from ``least`` to ``most`` for the command line."""

    def read(text: str) -> float:
        value = kind(text)
        if not least <= value <= most:
            raise ValueError
        return value

    read.__name__ = f"number of at least {least:g}" if most == math.inf else f"number from {least:g} to {most:g}"
    return read


if __name__ == "__main__":
    sys.exit(main())
