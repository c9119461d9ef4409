"""``python -m tests.mutation``: change the policy's rules one by one, and say which changes no test notices.

The changes are those of ``mutmut``. Each is tried in a copy of the working tree, first on the table of cases, which
notices most of them in a second, then on the tests of the rules.
"""

from __future__ import annotations

import argparse
import difflib
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
RULES: Final = tuple(f"handlers/core/policy_{name}.py" for name in ("consent", "history", "reading", "rules"))
TESTS: Final = tuple(f"tests/unit/core/test_policy_{name}.py" for name in ("consent", "history", "cases", "rules"))
COPIED: Final = ("handlers", "tests", "pyproject.toml", "export", "server", "client", "benchmarks", "deploy")
QUICK: Final = """
from tests.unit.core import test_policy_cases as cases
assert cases.all_explained() == cases.EXPLAINED.read_text(encoding="utf-8")
for row in cases.ALL_ROWS:
    cases.test_the_default_policy_decides_the_case(row)
"""
LIMIT_S: Final = 120.0


@dataclass(frozen=True)
class Mutant:
    """One change of one file."""

    path: str
    number: int
    source: str
    changed: str

    def diff(self) -> str:
        """Return the lines that were changed."""
        lines = difflib.unified_diff(self.source.splitlines(), self.changed.splitlines(), self.path, self.path, n=0)
        return "\n".join(line for line in lines if line)


def mutants(path: str) -> Iterator[Mutant]:
    """Yield every change of a file."""
    import mutmut

    source = (ROOT / path).read_text(encoding="utf-8")
    places: list[Any] = mutmut.list_mutations(mutmut.Context(source=source, filename=path))
    for number, place in enumerate(places, start=1):
        changed, count = mutmut.mutate(mutmut.Context(source=source, filename=path, mutation_id=place))
        if count and changed != source:
            yield Mutant(path, number, source, changed)


def is_noticed(folder: Path, mutant: Mutant) -> bool:
    """Say whether a test fails in ``folder``, a copy of the tree, with the change in it."""
    file = folder / mutant.path
    file.write_text(mutant.changed, encoding="utf-8")
    try:
        pytest = ("-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider", "-p", "no:schemathesis", *TESTS)
        return not (_passes(folder, "-c", QUICK) and _passes(folder, *pytest))
    finally:
        file.write_text(mutant.source, encoding="utf-8")


def _passes(folder: Path, *arguments: str) -> bool:
    command = [sys.executable, *arguments]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _try_all(waiting: queue.SimpleQueue[Mutant], survived: list[Mutant], total: int) -> None:
    with tempfile.TemporaryDirectory(prefix="lantern-mutation-") as name:
        folder = Path(name)
        for copied in COPIED:
            source = ROOT / copied
            if source.is_dir():
                shutil.copytree(source, folder / copied, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, folder / copied)
        while not waiting.empty():
            try:
                mutant = waiting.get_nowait()
            except queue.Empty:
                return
            if not is_noticed(folder, mutant):
                survived.append(mutant)
                print(f"not noticed:\n{mutant.diff()}", flush=True)
            left = waiting.qsize()
            if left % 50 == 0:
                print(f"{total - left} of {total} tried, {len(survived)} not noticed", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 every change is noticed, 1 some are not."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument(
        "paths", nargs="*", default=RULES, metavar="FILE", help="the files to change; default: the rules"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="changes tried at the same time")
    options = parser.parse_args(arguments)
    waiting: queue.SimpleQueue[Mutant] = queue.SimpleQueue()
    for path in options.paths:
        for mutant in mutants(path):
            waiting.put(mutant)
    total, survived = waiting.qsize(), list[Mutant]()
    threads = [threading.Thread(target=_try_all, args=(waiting, survived, total)) for _ in range(options.jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{total} changes tried: {total - len(survived)} noticed, {len(survived)} not")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
