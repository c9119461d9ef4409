"""``python -m benchmarks.engine.child``: one engine in a process of its own, for its memory; JSON in, JSON out.

What a process has had resident at most cannot be taken back, and engines share an allocator; so each
engine and length gets a fresh process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any, Final

from benchmarks.engine.contenders import Contender, open_contender, random_inputs
from benchmarks.errors import BenchmarkError
from benchmarks.machine import peak_bytes, resident_bytes
from handlers.core.errors import LanternError, StartupError

MODULE: Final = "benchmarks.engine.child"
EXIT_REFUSED: Final = 2


@dataclass(frozen=True)
class Footprint:
    """Memory of a process that opened one engine and ran one input.

    Attributes:
        engine, tokens: what ran, batch 1.
        loaded_bytes: resident once it was open, interpreter and libraries included.
        peak_bytes: the most that was resident at once, up to the end of the run.
    """

    engine: str
    tokens: int
    loaded_bytes: int
    peak_bytes: int


def measure_footprint(contender: Contender, tokens: int, vocabulary: int, threads: int, timeout_s: float) -> Footprint:
    """Open ``contender`` in a fresh process and run one input of ``tokens`` tokens.

    Raises:
        BenchmarkError: the child failed, or took more than ``timeout_s`` seconds.
    """
    order = {"contender": asdict(contender), "tokens": tokens, "vocabulary": vocabulary, "threads": threads}
    return Footprint(**ask_child(MODULE, order, timeout_s))


def ask_child(module: str, order: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    """Run ``python -m module`` with ``order`` as JSON on its input and return the JSON on its output.

    Raises:
        BenchmarkError: the child failed, or took more than ``timeout_s`` seconds.
    """
    command = [sys.executable, "-m", module]
    try:
        done = subprocess.run(command, input=json.dumps(order), capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"{module} took more than {timeout_s:.0f} s") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BenchmarkError(f"{module} ended with {done.returncode}: {last}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main() -> int:
    """Measure what standard input asks for."""
    order = json.loads(sys.stdin.read())
    contender = Contender(**order["contender"])
    try:
        run = open_contender(contender, order["threads"])
        loaded = resident_bytes(os.getpid())
        run(*random_inputs(1, order["tokens"], order["vocabulary"]))
        peak = peak_bytes(os.getpid())
    except (BenchmarkError, LanternError, StartupError) as error:
        print(error, file=sys.stderr)
        return EXIT_REFUSED
    print(json.dumps(asdict(Footprint(contender.name, order["tokens"], loaded, peak))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
