"""``python -m deploy openapi``: the OpenAPI document, written or checked."""

from __future__ import annotations

import argparse
import sys

from deploy.cli import Commands
from export.progress import Progress

EXIT_STALE = 1


def add_command(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "openapi",
        help="the OpenAPI document of base.yaml, the models and the table of errors",
        description="Print, write or check deploy/api/openapi.yaml.",
        epilog="exit status: 0 all is well, 1 --check found another document",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--write", action="store_true", help="write the file")
    what.add_argument("--check", action="store_true", help="exit 1 where the file is not what --write would write")
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace, command: str, progress: Progress) -> int:
    from deploy.api import document  # here, as it imports all models

    if options.check:
        if document.is_current():
            return 0
        progress.note(f"{document.DOCUMENT} is not current: python -m deploy openapi --write")
        return EXIT_STALE
    if options.write:
        document.DOCUMENT.write_text(document.render(), encoding="utf-8")
        print(document.DOCUMENT)
        return 0
    sys.stdout.write(document.render())
    return 0
