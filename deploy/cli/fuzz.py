"""``python -m deploy fuzz``: both protocols, with what no client sends on purpose."""

from __future__ import annotations

import argparse
import json
import os
import secrets
from dataclasses import asdict
from pathlib import Path
from typing import Final

from deploy.cli import Commands, add_archive
from deploy.errors import DeployError
from export.progress import Progress

EXIT_FAILED: Final = 1
OUT: Final = Path(".lantern/fuzz")

_EPILOG: Final = """\
what is sent:
  requests that schemathesis makes of deploy/api/openapi.yaml, kept to it and broken; HTTP as bytes (content types,
  encodings, lengths, chunks, headers, targets, pipelining); gRPC messages with odd input, and frames that are none.
  Without --url the archive is served on free ports, and its memory, its processes and all its files are looked at.

what must hold:
  no 5xx but 503; an error that Lantern answers is its envelope, with the status of its code; the worker and the JVM are
  never restarted and grow by 5 % at most after the warm-up; no file of the server holds what was sent.

exit status: 0 all of it holds, 1 it does not, 2 it could not be run. The report is OUT/fuzz.json and OUT/fuzz.md.
"""


def add_command(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "fuzz",
        help="odd and broken requests on both protocols, on loopback, for a given time",
        description="Send odd and broken requests to a server on this machine and judge what comes back.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=_minutes, default=5.0, metavar="M", help="at most 60 (default: 5)")
    parser.add_argument("--seed", type=int, help="of everything that is sent (default: a new one, which is printed)")
    parser.add_argument("--url", help="REST of a server that runs on this machine, such as http://127.0.0.1:8080")
    parser.add_argument("--grpc", metavar="HOST:PORT", help="its gRPC, such as 127.0.0.1:7070")
    parser.add_argument("--run-dir", type=Path, default=OUT / "server", metavar="DIR", help="(default: %(default)s)")
    parser.add_argument("--out", type=Path, default=OUT, metavar="DIR", help="of the report (default: %(default)s)")
    add_archive(parser)
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace, command: str, progress: Progress) -> int:
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # it tells of every connection that the server ends
    from benchmarks.errors import BenchmarkError
    from deploy.fuzz.report import markdown
    from deploy.fuzz.run import Report, fuzz_own, fuzz_running

    seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    progress.note(f"seed {seed}")
    common = (options.model, seed, options.minutes * 60.0, command, progress.update)
    try:
        _require_both(options)
        report: Report
        if options.url:
            model, *rest = common
            report = fuzz_running(options.url, options.grpc, model, *rest)
        else:
            model, *rest = common
            report = fuzz_own(options.archive, model, options.run_dir.absolute(), *rest)
    except BenchmarkError as error:
        raise DeployError(str(error)) from error
    progress.clear()
    options.out.mkdir(parents=True, exist_ok=True)
    fields = asdict(report) | {"failures": report.failures}
    (options.out / "fuzz.json").write_text(json.dumps(fields, indent=1) + "\n", encoding="utf-8")
    (options.out / "fuzz.md").write_text(markdown(report), encoding="utf-8")
    print(markdown(report))
    return EXIT_FAILED if report.failures else 0


def _require_both(options: argparse.Namespace) -> None:
    from benchmarks.load.addresses import require_loopback

    if bool(options.url) != bool(options.grpc):
        raise DeployError("--url and --grpc are of one server: give both, or neither for a server of its own")
    require_loopback([address for address in (options.url, options.grpc) if address], allow_remote=False)


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of minutes") from None
    if not 0 < minutes <= 60:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0 and at most 60")
    return minutes
