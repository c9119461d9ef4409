"""``python -m benchmarks settings``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.cli import Commands, add_out, finish, slug
from benchmarks.errors import BenchmarkError
from benchmarks.reports import write_report
from export.progress import Progress

if TYPE_CHECKING:
    from benchmarks.engine.settings import SettingsReport, Visit

LENGTHS: Final = (16, 128, 512, 4096)
EXIT_INTERRUPTED: Final = 130


def add_command(commands: Commands[Any]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("settings", help="threads, arena and other session settings of ONNX Runtime")
    parser.add_argument("--bundle", type=Path, required=True, help="an ONNX bundle")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--mix", type=int, default=30, help="mixed lengths after them, for memory (default: 30)")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--only", nargs="+", metavar="SETTING", help="of the table's first column, beside the served")
    add_out(parser)
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace, command: str, progress: Progress) -> int:
    from benchmarks.engine.settings import SERVED, run_settings_benchmark, settings_markdown, variants
    from handlers.runtime.bundle import read_bundle
    from handlers.runtime.cores import available_cores

    bundle = read_bundle(options.bundle)
    if bundle.manifest.runtime != "onnx":
        raise BenchmarkError(f"{options.bundle} is for {bundle.manifest.runtime}; session settings need an ONNX bundle")
    cores = available_cores()
    chosen = variants(cores)
    if options.only:
        known = [variant.name for variant in chosen]
        if unknown := sorted(set(options.only) - set(known)):
            raise BenchmarkError(f"--only {unknown[0]}: it is none of {', '.join(known)}")
        chosen = [variant for variant in chosen if variant.name in (SERVED, *options.only)]
    lengths = sorted(length for length in options.lengths if length <= bundle.manifest.max_length)
    stem = f"settings-{slug(bundle.manifest.checkpoint)}-{bundle.manifest.precision}"

    def keep(visits: Sequence[Visit]) -> None:
        report = _report(visits, options, command)
        write_report(report, settings_markdown(report), options.out, stem)

    try:
        vocabulary = _vocabulary(options.bundle)
        visits = run_settings_benchmark(
            bundle.graph, lengths, options.mix, options.rounds, chosen, vocabulary, progress.update, keep
        )
    except KeyboardInterrupt:
        progress.note(f"stopped; the rounds that were complete are in {options.out / stem}.md")
        return EXIT_INTERRUPTED
    progress.clear()
    report = _report(visits, options, command)
    return finish(report, settings_markdown(report), options.out, stem)


def _report(visits: Sequence[Visit], options: argparse.Namespace, command: str) -> SettingsReport:
    from benchmarks.engine.settings import SettingsReport, settings_rows
    from benchmarks.machine import describe_machine
    from handlers.runtime.bundle import read_bundle
    from handlers.runtime.cores import available_cores

    manifest = read_bundle(options.bundle).manifest
    return SettingsReport(
        checkpoint=manifest.checkpoint,
        precision=manifest.precision,
        command=command,
        machine=describe_machine(available_cores(), ("onnxruntime",)),
        rounds=max(visit.round for visit in visits),
        mix=options.mix,
        rows=settings_rows(visits),
        visits=tuple(visits),
    )


def _vocabulary(folder: Path) -> int:
    from transformers import LongformerConfig

    return int(LongformerConfig.from_pretrained(folder).vocab_size)
