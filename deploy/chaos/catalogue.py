"""Every scenario, in the order in which they are run: planned stops first, then crashes, callers, archives, machine."""

from __future__ import annotations

from typing import Final

from deploy.chaos.scenarios import NOTHING, RETRIABLE, Scenario, archives, callers, machine, processes

SCENARIOS: Final = (
    Scenario("rolling-restart", "SIGTERM of each replica in turn", processes.restart_in_turn, NOTHING, 35),
    Scenario("kill-worker", "kill -9 of a worker", processes.kill_worker, RETRIABLE, 12),
    Scenario("kill-jvm", "kill -9 of a JVM", processes.kill_java, RETRIABLE, 15),
    Scenario("stop-worker", "SIGSTOP of a worker", processes.stop_worker, RETRIABLE, 18),
    Scenario("flood", "ten times one client's rate", callers.flood, NOTHING, 12),
    Scenario("outwork", "more work than the replicas can do", callers.outwork, RETRIABLE, 25),
    Scenario("slow-loris", "callers that never finish", callers.dawdle, NOTHING, 12),
    Scenario("oversize", "bodies over the limit", callers.oversize, NOTHING, 8),
    Scenario("poison", "a text that makes the run fail", archives.poison, NOTHING, 25),
    Scenario(
        "unfit-archive",
        "upgrades: corrupt archive, corrupt policy, no calibration",
        archives.unfit_archives,
        NOTHING,
        35,
    ),
    Scenario("full-disk", "a full disk for logs", machine.full_disk, NOTHING, 25),
    Scenario("clock-jump", "a wall clock that jumps a day", machine.clock_jump, NOTHING, 0),
)
BY_NAME: Final = {scenario.name: scenario for scenario in SCENARIOS}
