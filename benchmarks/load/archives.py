"""Archives to serve: the tokenizer in one, and variants of one with other settings in its ``model-config.yaml``."""

from __future__ import annotations

import itertools
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from benchmarks.errors import BenchmarkError
from benchmarks.load.corpus import Counter
from handlers.core.manifest import parse_manifest
from handlers.runtime.tokenizer import TOKENIZER_NAME, TextTokenizer

CONFIG: Final = "model-config.yaml"
MANIFEST: Final = "bundle/bundle.json"


@dataclass(frozen=True)
class Variant:
    """One archive to measure: its label, its file, and the settings that differ from it."""

    label: str
    archive: Path
    settings: dict[str, Any]


def variants(archives: Sequence[tuple[str, Path]], settings: Mapping[str, Sequence[Any]]) -> list[Variant]:
    """Return every archive with every combination of ``settings`` (dotted keys of ``model-config.yaml``).

    Raises:
        BenchmarkError: an archive cannot be read, or has no such key.
    """
    found = []
    combinations = list(itertools.product(*settings.values()))
    for label, archive in archives:
        config = read_config(archive)
        for key in settings:
            _parent(config, key, archive)
        for values in combinations:
            chosen = dict(zip(settings, values, strict=True))
            parts = [label, *(f"{key.rpartition('.')[2]} {value}" for key, value in chosen.items())]
            found.append(Variant(", ".join(part for part in parts if part), archive, chosen))
    return found


def read_config(archive: Path) -> dict[str, Any]:
    """Return the archive's ``model-config.yaml``.

    Raises:
        BenchmarkError: there is no such archive, or it is none.
    """
    config = yaml.safe_load(_member(archive, CONFIG))
    if not isinstance(config, dict):
        raise BenchmarkError(f"{archive}: its {CONFIG} is not a mapping")
    return config


def _member(archive: Path, name: str) -> bytes:
    try:
        with zipfile.ZipFile(archive) as opened:
            return opened.read(name)
    except FileNotFoundError:
        raise BenchmarkError(f"no archive at {archive}: `make archive` makes one") from None
    except (OSError, KeyError, zipfile.BadZipFile):
        raise BenchmarkError(f"{archive} is no archive of Lantern (no {name} in it)") from None


def write_variant(variant: Variant, folder: Path) -> Path:
    """Return an archive with the variant's settings: the original where it changes none, else a copy in ``folder``."""
    if not variant.settings:
        return variant.archive
    config = read_config(variant.archive)
    for key, value in variant.settings.items():
        parent, name = _parent(config, key, variant.archive)
        parent[name] = value
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / variant.archive.name
    with zipfile.ZipFile(variant.archive) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as copy:
        for entry in source.infolist():
            if entry.filename == CONFIG:
                copy.writestr(entry, yaml.safe_dump(config, sort_keys=False))
            else:
                with source.open(entry) as original, copy.open(entry, "w", force_zip64=True) as written:
                    while chunk := original.read(1 << 20):
                        written.write(chunk)
    return target


def _parent(config: dict[str, Any], key: str, archive: Path) -> tuple[dict[str, Any], str]:
    """Return the mapping that holds a dotted key, and the key's last part."""
    *path, name = key.split(".")
    place: Any = config
    for part in path:
        place = place.get(part) if isinstance(place, dict) else None
    if not isinstance(place, dict) or name not in place:
        known = ", ".join(_keys(config))
        raise BenchmarkError(f"--set {key}: {archive} has no such setting; it has {known}")
    return place, name


def _keys(config: Mapping[str, Any], prefix: str = "") -> list[str]:
    found = []
    for name, value in config.items():
        found += _keys(value, f"{prefix}{name}.") if isinstance(value, dict) else [f"{prefix}{name}"]
    return found


def token_counter(archive: Path) -> Counter:
    """Return a counter with the tokenizer of the bundle in ``archive``."""
    manifest = parse_manifest(_member(archive, MANIFEST), f"{archive}:{MANIFEST}")
    with tempfile.TemporaryDirectory(prefix="lantern-bench-") as folder:
        path = Path(folder) / TOKENIZER_NAME
        path.write_bytes(_member(archive, f"bundle/{TOKENIZER_NAME}"))
        tokenizer = TextTokenizer(path, manifest.special_tokens)
    return lambda text: tokenizer.tokenize(text).tokens
