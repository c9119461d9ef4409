"""``python -m benchmarks.engine.settings_child``: one session's time and memory in a process of its own."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.engine.contenders import random_inputs
from benchmarks.engine.settings import Visit
from benchmarks.engine.timing import repeated_seconds
from benchmarks.errors import BenchmarkError
from benchmarks.machine import peak_bytes, resident_bytes
from handlers.core.errors import StartupError
from handlers.runtime.onnx import OnnxRuntime
from handlers.runtime.session_settings import SessionSettings

EXIT_REFUSED: Final = 2
SHORTEST: Final = 8


def mixed_lengths(count: int, longest: int) -> list[int]:
    """Return ``count`` lengths up to ``longest``, most of them short (log-uniform); the same every time."""
    drawn = np.exp(np.random.default_rng(0).uniform(np.log(SHORTEST), np.log(longest), count))
    return [round(length) for length in drawn.tolist()]


def visit(order: dict[str, Any]) -> Visit:
    """Open the session, time each length, run the mix, and read the process's memory."""
    variant, vocabulary = order["variant"], order["vocabulary"]
    started = time.perf_counter()
    session = SessionSettings(**variant["session"])
    runtime = OnnxRuntime(Path(order["graph"]), "cpu", variant["threads"], session=session)
    load_s = time.perf_counter() - started
    loaded = resident_bytes(os.getpid())
    seconds = {}
    for length in order["lengths"]:
        inputs = random_inputs(1, length, vocabulary)
        runtime.run(*inputs)
        seconds[str(length)] = repeated_seconds(runtime.run, inputs)
    started = time.perf_counter()
    for length in mixed_lengths(order["mix"], max(order["lengths"])):
        runtime.run(*random_inputs(1, length, vocabulary))
    mix_s = time.perf_counter() - started if order["mix"] else 0.0
    pid = os.getpid()
    return Visit(variant["name"], order["round"], seconds, mix_s, load_s, loaded, peak_bytes(pid), resident_bytes(pid))


def main() -> int:
    """Measure what standard input asks for."""
    try:
        found = visit(json.loads(sys.stdin.read()))
    except (BenchmarkError, StartupError) as error:
        print(error, file=sys.stderr)
        return EXIT_REFUSED
    print(json.dumps(asdict(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
