"""Processes that are killed, stopped or told to end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from deploy.chaos.arena import WARM_CALLS, Arena
from deploy.chaos.scenarios import Result
from deploy.gateway.replica_process import ReplicaProcess

_TIMEOUT_S: Final = 60.0
ROLLING_CALLS: Final = 2000
LOAD_SHARE: Final = 0.8


def kill_worker(arena: Arena) -> Result:
    """SIGKILL a worker; TorchServe starts another one."""

    def kill(replica: ReplicaProcess) -> None:
        old = replica.worker()
        old.kill()
        _await_other_worker(arena, replica, old.pid)

    return _recovery(arena, kill)


def kill_java(arena: Arena) -> Result:
    """SIGKILL a JVM; the replica ends, and is started again as an orchestrator would."""

    def kill(replica: ReplicaProcess) -> None:
        broken = time.monotonic()
        replica.java().kill()
        arena.until(lambda: replica.ended() is not None, "the replica to end")
        arena.note(f"the replica ended by itself after {time.monotonic() - broken:.1f} s, and was started again")
        arena.restart(replica)

    return _recovery(arena, kill)


def stop_worker(arena: Arena) -> Result:
    """SIGSTOP a worker, which then holds what it has for ever; the replica kills it after its hang timeout."""

    def stop(replica: ReplicaProcess) -> None:
        old = replica.worker()
        old.suspend()
        arena.note(f"out of the gateway's list after {arena.until_gone(replica):.1f} s")
        _await_other_worker(arena, replica, old.pid)

    return _recovery(arena, stop)


def _recovery(arena: Arena, break_and_mend: Callable[[ReplicaProcess], None]) -> Result:
    """Break one replica under load, and measure until the gateway uses every replica again."""
    with arena.load() as load:
        load.wait_for(WARM_CALLS, _TIMEOUT_S)
        broken = time.monotonic()
        break_and_mend(arena.replicas[0])
        arena.until_whole()
        recovery_s = time.monotonic() - broken
        load.wait_for(WARM_CALLS, _TIMEOUT_S)
    return Result(load.samples, recovery_s)


def _await_other_worker(arena: Arena, replica: ReplicaProcess, old: int) -> None:
    arena.until(lambda: any(process.pid != old for process in replica.workers()), "another worker")
    arena.until(replica.is_ready, "the replica to be ready")


def restart_in_turn(arena: Arena, calls: int = ROLLING_CALLS) -> Result:
    """SIGTERM one replica after the other, each started again before the next: an upgrade, under 80 % of the load."""
    failures = []
    longest_s = 0.0
    capacity = arena.capacity()
    arena.note(f"{LOAD_SHARE * capacity:.0f} calls a second were offered, {LOAD_SHARE:.0%} of what was answered before")
    with arena.load(settings=replace(arena.settings, rate=LOAD_SHARE * capacity, callers=16)) as load:
        load.wait_for(WARM_CALLS, _TIMEOUT_S)
        for replica in arena.replicas:
            began = time.monotonic()
            replica.ask_to_end()
            if not replica.stop():
                failures.append("a replica had to be killed")
            elif replica.ended():
                failures.append(f"a replica ended with status {replica.ended()}: {replica.last_line()}")
            arena.restart(replica)
            longest_s = max(longest_s, time.monotonic() - began)
        load.wait_for(max(WARM_CALLS, calls - len(load.samples)), _TIMEOUT_S)
    arena.note(f"each replica was away for at most {longest_s:.1f} s")
    return Result(load.samples, None, failures)
