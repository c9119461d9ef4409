"""``python -m evaluation``: how good bundles are on labelled texts, as one page and as JSON."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from evaluation.errors import EvaluationError
from export.errors import ExportRefused
from export.manifests import replace_text
from export.progress import Progress
from handlers.core.errors import StartupError

if TYPE_CHECKING:
    from evaluation.report import Report

# scikit-learn and matplotlib take seconds to import: --help does not need them.

EXIT_REFUSED: Final = 1
STOPPED: Final = 130
RESAMPLES: Final = 1000
SEED: Final = 7


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate, write the page and its JSON, and return the exit code: 0, or 1 with one line that says why not."""
    options = _parser().parse_args(arguments)
    progress = Progress()
    try:
        return _run(options, progress)
    except (EvaluationError, ExportRefused, StartupError) as error:
        progress.note(f"error: {error}")
        return EXIT_REFUSED
    except KeyboardInterrupt:
        progress.note("stopped; nothing was written")
        return STOPPED


def _run(options: argparse.Namespace, progress: Progress) -> int:
    suites = _suites(options)
    _check_out(options.out)
    from evaluation.evaluate import Options, evaluate
    from evaluation.page import render_page
    from evaluation.report import Method, report_json
    from evaluation.words import terminal_table

    method = Method(options.resamples, options.seed)
    report = evaluate(options.bundle, suites, Options(method, options.device, options.allow_calibration_data), progress)
    with progress.step("drawing"):
        page, figures = render_page(report), report_json(report)
    json_path = options.out.with_suffix(".json")
    _write({options.out: page, json_path: figures})
    print(terminal_table(report), file=sys.stderr if options.json else sys.stdout)
    _warn(report, progress)
    progress.note(f"written: {options.out} and {json_path}")
    if options.json:
        print(figures, end="")
    return 0


def _suites(options: argparse.Namespace) -> dict[str, Path]:
    if options.data is not None:
        return {options.data.stem: options.data}
    suites: dict[str, Path] = {}
    for stated in options.suite:
        name, separator, path = stated.partition("=")
        if not name.strip() or not separator or not path:
            raise EvaluationError(f"--suite {stated}: write it as NAME=FILE")
        if name in suites:
            raise EvaluationError(f"--suite {name}: there are two of that name")
        suites[name] = Path(path)
    return suites


def _check_out(out: Path) -> None:
    """Refuse a path that cannot be written before any work is done for it."""
    if out.suffix.lower() not in (".html", ".htm"):
        raise EvaluationError(f"--out {out}: the page needs a name that ends in .html")
    if out.is_dir():
        raise EvaluationError(f"--out {out}: this is a folder; name a file")
    there = next(folder for folder in out.absolute().parents if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise EvaluationError(f"--out {out}: cannot write to {there}")


def _write(contents: dict[Path, str]) -> None:
    for path, text in contents.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_text(path, text)
        except OSError as error:
            raise EvaluationError(f"{path}: cannot be written: {error.strerror}") from None


def _warn(report: Report, progress: Progress) -> None:
    for name, suite in report.suites.items():
        if suite.data.is_calibration_data:
            progress.note(f"warning: {name}: a bundle was calibrated on this file; its figures flatter")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m evaluation", description=__doc__)
    parser.add_argument(
        "--bundle",
        type=Path,
        action="append",
        required=True,
        metavar="DIR",
        help="bundle folder; again for more precisions or calibrations of the same checkpoint, the first in detail",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, metavar="FILE", help="labelled texts: .csv, .tsv or .jsonl")
    source.add_argument(
        "--suite",
        action="append",
        metavar="NAME=FILE",
        help="instead of --data, again for each labelled file: one section each",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="page to write; the JSON goes beside it"
    )
    parser.add_argument(
        "--resamples", type=_positive, default=RESAMPLES, help="for the intervals (default: %(default)s)"
    )
    parser.add_argument("--seed", type=_natural, default=SEED, help="of the resamples (default: %(default)s)")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument(
        "--allow-calibration-data",
        action="store_true",
        help="take a file that a bundle was calibrated on; the page then says that its figures flatter",
    )
    parser.add_argument("--json", action="store_true", help="print the JSON to standard output, the table beside it")
    return parser


def _positive(value: str) -> int:
    return _at_least(1, value)


def _natural(value: str) -> int:
    return _at_least(0, value)


def _at_least(least: int, value: str) -> int:
    if not value.isascii() or not value.isdigit() or int(value) < least:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}")
    return int(value)


if __name__ == "__main__":
    sys.exit(main())
