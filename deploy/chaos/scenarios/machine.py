"""What the machine under a replica does: a disk that is full, a clock that jumps."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from deploy.chaos.arena import WARM_CALLS, Arena, Skipped
from deploy.chaos.scenarios import Result

_TIMEOUT_S: Final = 60.0
_DISK_BYTES: Final = 160 * 1024 * 1024
_LOGGED_CALLS: Final = 50


def full_disk(arena: Arena) -> Result:
    """The disk of a replica's logs fills up while it serves."""
    replica = arena.replicas[0]
    with arena.load() as load:
        load.wait_for(WARM_CALLS, _TIMEOUT_S)
        replica.stop()
        with _small_disk(replica.run_dir.path) as fill:
            arena.restart(replica)
            fill()
            _make_it_log(replica.replica.rest)
            load.wait_for(3 * WARM_CALLS, _TIMEOUT_S)
            failures = [] if replica.is_ready() else ["the replica is not ready while its disk is full"]
            arena.note(f"{shutil.disk_usage(replica.run_dir.path).free} bytes free while it served")
            if not replica.stop():
                failures.append("the replica had to be killed")
        arena.restart(replica)
        load.wait_for(WARM_CALLS, _TIMEOUT_S)
    return Result(load.samples, None, failures)


@contextmanager
def _small_disk(folder: Path) -> Iterator[Callable[[], None]]:
    """Lay a small disk over ``folder``; gives what fills it."""
    if os.geteuid() != 0:
        raise Skipped("needs root, for a small disk of its own (mount -t tmpfs)")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES},mode=700", "lantern-chaos", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        raise Skipped(f"cannot mount a small disk: {mounted.stderr.strip()}")
    try:
        yield lambda: _fill(folder / "filler")
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            block = bytes(size)
            try:
                while file.write(block) == size:
                    pass
            except OSError:
                continue


def _make_it_log(address: str) -> None:
    """Send what TorchServe logs about: requests for a model that is not there."""
    with httpx.Client(base_url=f"http://{address}", trust_env=False) as client:
        for _ in range(_LOGGED_CALLS):
            client.post("/predictions/nobody", content=b"{}")


def clock_jump(arena: Arena) -> Result:
    """A jump of the wall clock, which only the machine's owner can make.

    libfaketime, which fakes it for one process, breaks Python's own sleep (EINVAL), so what it shows is its own fault.
    ``tests/deploy/test_chaos_clock.py`` holds that nothing waits by the wall clock.
    """
    raise Skipped(
        "the machine's clock is not set here, and libfaketime breaks Python's sleep; waits and deadlines use the "
        "monotonic clock, which tests/deploy/test_chaos_clock.py checks"
    )
