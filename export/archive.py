"""Bundle to TorchServe archive: ``model_store/NAME.mar``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import yaml

import handlers
from export.errors import ExportRefused
from handlers.core.errors import StartupError
from handlers.core.policy_model import load_policy
from handlers.core.settings import Settings, parse_settings
from handlers.escalation import POLICY_FILE
from handlers.floor.matcher import COMPILED, compile_floor
from handlers.runtime.bundle import Bundle, sha256_file, verify_bundle

ENTRY: Final = "torchserve_entry.py"
CONFIG: Final = Path("config") / "model-config.yaml"


@dataclass(frozen=True)
class ArchiveOptions:
    """How the archive is named and what it changes of ``model-config.yaml``.

    Attributes:
        name, version: what TorchServe calls the model.
        settings: keys of the ``lantern`` section to replace.
    """

    name: str
    version: str
    settings: dict[str, Any]


def build_archive(bundle: Bundle, store: Path, options: ArchiveOptions) -> Path:
    """Pack ``bundle`` and the ``handlers`` package into ``store``.

    The archive appears in the store only when it is complete, and its digest after it, as ``NAME.mar.sha256``.

    Raises:
        ExportRefused: the bundle fails its manifest or the parity gate, a setting is wrong, or
            the archiver fails.
    """
    try:
        verify_bundle(bundle)
    except StartupError as error:
        raise ExportRefused(f"no archive is made: {error}") from error
    store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lantern-archive-", dir=store) as folder:
        work = Path(folder)
        _stage(bundle, work / "files", options)
        _run_archiver(work, options)
        return _publish(work / f"{options.name}.mar", store)


def _publish(built: Path, store: Path) -> Path:
    """Move the archive into the store. There is never the digest of another archive beside one: rather none."""
    digest = f"{sha256_file(built)}  {built.name}\n"
    beside = store / f"{built.name}.sha256"
    beside.unlink(missing_ok=True)
    archive = built.replace(store / built.name)
    unfinished = built.with_name(beside.name)
    unfinished.write_text(digest, encoding="ascii")
    unfinished.replace(beside)
    return archive


def _stage(bundle: Bundle, stage: Path, options: ArchiveOptions) -> None:
    """Lay out the archive's root: the archiver flattens a package that is named itself."""
    package = Path(handlers.__file__).parent
    shutil.copytree(package, stage / package.name, ignore=shutil.ignore_patterns("__pycache__", ENTRY, COMPILED))
    compile_floor(stage / package.name / "floor" / "phrases")
    shutil.copytree(bundle.folder, stage / "bundle", copy_function=_link_or_copy)
    shutil.copy(package / ENTRY, stage.parent / ENTRY)
    config = yaml.safe_load((package / CONFIG).read_text(encoding="utf-8"))
    config["lantern"] |= options.settings
    try:
        _check_policy(bundle, parse_settings(config["lantern"]))
    except StartupError as error:
        raise ExportRefused(str(error)) from error
    (stage.parent / CONFIG.name).write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def _check_policy(bundle: Bundle, settings: Settings) -> None:
    """Refuse a policy that the server would refuse; one that only the serving machine has cannot be read here."""
    path = Path(settings.policy) if settings.policy else POLICY_FILE
    if settings.policy is None or path.is_file():
        load_policy(path, bundle.manifest.labels, date.today())


def _run_archiver(work: Path, options: ArchiveOptions) -> None:
    temporary = work / "tmp"  # the archiver deletes $TMPDIR/<model name> first
    temporary.mkdir()
    command = [
        str(Path(sys.executable).with_name("torch-model-archiver")),
        *("--model-name", options.name, "--version", options.version),
        *("--handler", str(work / ENTRY), "--extra-files", str(work / "files")),
        *("--config-file", str(work / CONFIG.name), "--export-path", str(work)),
        *("--archive-format", "zip-store"),
    ]
    done = subprocess.run(command, env=os.environ | {"TMPDIR": str(temporary)}, capture_output=True, text=True)
    if done.returncode:
        raise ExportRefused(f"torch-model-archiver failed ({done.returncode}): {done.stderr.strip()[-500:]}")


def _link_or_copy(source: str, target: str) -> None:
    """Link a file instead of copying half a gigabyte, where the file system allows it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
