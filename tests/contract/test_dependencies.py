"""DESIGN, section 2: who may import whom. The walk reads the source and runs none of it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("handlers", "export", "client", "server", "training", "benchmarks", "evaluation", "deploy")

CORE, RUNTIME, PIPELINE, GATE = "handlers.core", "handlers.runtime", "handlers.pipeline", "handlers.gate"
RELAY, SCHEDULER = "handlers.relay", "handlers.scheduler"
METRICS, TRACING, SPANS = "handlers.metrics", "handlers.tracing", "handlers.spans"
ESCALATION, POLICY_FILE, RECORDS = "handlers.escalation", "handlers.policy_source", "handlers.records_file"
FLOOR = "handlers.floor"
ENTRY = "handlers.torchserve_entry"
ALLOWED = {
    CORE: {CORE},
    GATE: set[str](),
    RELAY: {CORE},
    METRICS: {CORE},
    SPANS: {CORE},
    TRACING: {CORE, SPANS},
    POLICY_FILE: {CORE},
    RECORDS: {CORE},
    ESCALATION: {CORE, POLICY_FILE, RECORDS},
    FLOOR: {CORE, FLOOR},
    RUNTIME: {CORE, RUNTIME},
    PIPELINE: {CORE, RUNTIME},
    SCHEDULER: {CORE, RUNTIME, PIPELINE},
    ENTRY: {CORE, RUNTIME, PIPELINE, SCHEDULER, GATE, RELAY, ESCALATION, METRICS, TRACING, FLOOR},
    "handlers": set[str](),
    "export": {"export", "handlers", CORE, RUNTIME, PIPELINE, ESCALATION, FLOOR},
    "client": {"client", CORE},
    "server": {"server", GATE},
    "training": {"training", "export", CORE, RUNTIME, PIPELINE},
    "evaluation": {"evaluation", "export", CORE, RUNTIME, PIPELINE, FLOOR},
    "benchmarks": {"benchmarks", "client", "evaluation", "export", CORE, RUNTIME, PIPELINE, SCHEDULER, FLOOR},
    "deploy": {"deploy", "server", "client", "benchmarks", "export", CORE, GATE},
}
"""What each part may import of this repository. ``handlers`` alone is the empty package itself."""

WORKER_PACKAGES = {
    "ahocorasick_rs",
    "numpy",
    "onnxruntime",
    "pydantic",
    "pydantic_core",
    "safetensors",
    "tensorrt",
    "tokenizers",
    "torch",
    "yaml",
}
"""Everything that the archive may need besides the standard library and TorchServe."""

EXTRA_PACKAGES = {SPANS: {"opentelemetry"}}
"""What one module alone may need, which is loaded only where it is asked for."""

IMPURE = {"os", "pathlib", "shutil", "socket", "subprocess", "tempfile", "threading", "time", "urllib"}
"""What pure code has no use for: files, network, clock, processes."""


def sources() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> Iterator[str]:
    """Yield every imported module, in full, at any depth; ``from a import b`` is ``a.b`` where that is a module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base_of(node, path)
            for alias in node.names:
                name = f"{base}.{alias.name}"
                yield name if _is_module(name) else base


def _base_of(node: ast.ImportFrom, path: Path) -> str:
    if not node.level:
        return node.module or ""
    package = path.relative_to(ROOT).parts[: -node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def _is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def part_of(module: str) -> str | None:
    """Return the part of the repository that ``module`` belongs to, the most exact one."""
    parts = [part for part in ALLOWED if module == part or module.startswith(f"{part}.")]
    return max(parts, key=len, default=None)


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_direction_of_the_design(path: Path) -> None:
    own = part_of(module_of(path))
    assert own is not None

    targets = {name: part_of(name) for name in imports_of(path)}

    assert {name for name, part in targets.items() if part is not None and part not in ALLOWED[own]} == set()


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_entry_knows_of_torchserve(path: Path) -> None:
    knows = any(name.split(".")[0] == "ts" for name in imports_of(path))

    assert knows == (module_of(path) == ENTRY)


def test_every_module_of_handlers_belongs_to_a_part() -> None:
    loose = {module_of(path) for path in sources() if part_of(module_of(path)) == "handlers"}

    assert loose == {"handlers"}


def test_the_worker_needs_few_packages() -> None:
    import sys

    found = {
        name.split(".")[0]
        for path in (ROOT / "handlers").rglob("*.py")
        for name in imports_of(path)
        if name.split(".")[0] not in EXTRA_PACKAGES.get(module_of(path), set())
    }

    assert found - WORKER_PACKAGES - sys.stdlib_module_names == {"handlers", "ts"}


@pytest.mark.parametrize("path", sorted((ROOT / "handlers" / "core").rglob("*.py")), ids=lambda path: path.name)
def test_core_is_pure(path: Path) -> None:
    assert IMPURE.isdisjoint(name.split(".")[0] for name in imports_of(path))


def test_the_walk_sees_an_import_of_any_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    package = tmp_path / "handlers" / "core"
    package.mkdir(parents=True)
    (tmp_path / "export").mkdir()
    (package / "other.py").touch()
    (package / "one.py").write_text(
        "import export.parity\nfrom . import other\nfrom ..core import other\nfrom handlers import pipeline\n"
        "def late():\n    from export import x\n    import ts.context as c\n",
        encoding="utf-8",
    )

    assert sorted(set(imports_of(package / "one.py"))) == [
        "export",
        "export.parity",
        "handlers",
        "handlers.core.other",
        "ts.context",
    ]
