"""``python -m deploy sbom``: what the server image holds, and what is known to be weak in it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

from deploy.cli import Commands
from deploy.errors import DeployError
from export.progress import Progress

_ROOT: Final = Path(__file__).resolve().parents[2]
_REQUIREMENTS: Final = (_ROOT / "requirements" / "serve.txt", _ROOT / "requirements" / "otel.txt")


def add_command(commands: Commands[Any]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "sbom",
        help="write the inventory of what is served, as CycloneDX 1.6",
        description="Write the Python packages of the server image, the libraries inside TorchServe's jar and the Java "
        "runtime, with versions, licences, what the versions were read from, and the known weaknesses of "
        "deploy/sbom/weaknesses.yaml. Reads what is installed here, and refuses what is not as pinned.",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="such as sbom.cdx.json")
    parser.add_argument(
        "--requirements",
        type=Path,
        action="append",
        metavar="FILE",
        help="once for each file of the image (default: requirements/serve.txt and requirements/otel.txt)",
    )
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace, command: str, progress: Progress) -> int:
    try:
        from deploy.sbom.document import write_document
    except ModuleNotFoundError as error:
        raise DeployError(f"{error.name} is missing; pip install -r requirements/sbom.txt") from None
    from deploy.sbom.served import project_version, served_entries
    from deploy.sbom.weaknesses import known_weaknesses

    entries = served_entries(options.requirements or _REQUIREMENTS)
    weaknesses = known_weaknesses()
    document = write_document("lantern", project_version(_ROOT), entries, weaknesses)
    options.out.write_text(document, encoding="utf-8")
    by_kind = {kind: sum(entry.kind == kind for entry in entries) for kind in ("pypi", "maven")}
    fenced = sum(weakness.state == "exploitable" for weakness in weaknesses)
    progress.note(
        f"{options.out}: {by_kind['pypi']} Python packages, {by_kind['maven']} Java libraries, the Java runtime; "
        f"{len(weaknesses)} known weaknesses, {fenced} of them behind a fence only"
    )
    return 0
