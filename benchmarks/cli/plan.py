"""``python -m benchmarks plan``."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.cli import Commands
from benchmarks.errors import BenchmarkError
from export.progress import Progress

if TYPE_CHECKING:
    from benchmarks.load.results import ConfigurationResult, RunResult

RESULTS: Final = Path(".lantern/bench")
EXIT_NO_PLAN: Final = 3

_END = f"""\
The results are those of `python -m benchmarks run` (or `make bench`): the newest one for each configuration of the
workload, or the files that are named. One replica is the machine that was measured. Latencies are read from the
measured curve and never beyond it.

exit status: 0 there is a plan; {EXIT_NO_PLAN} no configuration can hold the SLO; 2 nothing was measured for the
workload, or an option is wrong.
"""


def add_command(commands: Commands[Any]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "plan",
        help="replicas, latency and cost for a rate and an SLO, from results of `run`",
        description="How many replicas for a rate under an SLO, how busy and slow they will be, and what it costs.",
        epilog=_END,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("results", nargs="*", type=Path, metavar="RESULT.json", help=f"default: newest in {RESULTS}")
    parser.add_argument("--slo", action="append", metavar="p99=800ms", help="default: that of the workload")
    parser.add_argument("--rate", type=float, required=True, help="requests a second, on the day's average")
    parser.add_argument("--workload", default="journal", help="whose results to take (default: journal)")
    parser.add_argument(
        "--peak-factor", type=float, default=2.0, help="the day's peak over the average (default: %(default)s)"
    )
    parser.add_argument(
        "--spare", type=int, default=1, help="replicas that may be lost at the peak (default: %(default)s)"
    )
    parser.add_argument("--price", metavar="2.10/h", help="of one replica: an amount /h or /month")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace, command: str, progress: Progress) -> int:
    from benchmarks.load.plan import Demand, parse_price, parse_slo, plan_rows
    from benchmarks.load.plan_words import plan_lines
    from benchmarks.load.results import Slo, read_result
    from benchmarks.load.workload import load_workload

    slo = parse_slo(options.slo, None) if options.slo else Slo(**load_workload(options.workload).slo.model_dump())
    price = parse_price(options.price) if options.price else None
    demand = Demand(options.rate, slo, options.peak_factor, options.spare, price)
    runs = [read_result(path) for path in options.results] or newest(options.workload)
    rows = plan_rows(runs, demand)
    if options.json:
        print(json.dumps({"demand": asdict(demand) | {"slo": slo.model_dump()}, "plan": [asdict(r) for r in rows]}))
    else:
        print("\n".join(plan_lines(runs, rows, demand)))
    return 0 if any(not row.problem for row in rows) else EXIT_NO_PLAN


def newest(workload: str) -> list[RunResult]:
    """Return the newest result of every configuration of a workload, newest first.

    Raises:
        BenchmarkError: there is none.
    """
    from benchmarks.load.results import read_result

    found: list[RunResult] = []
    seen: set[tuple[str, str, str]] = set()
    for path in sorted(RESULTS.glob("*/result.json"), key=lambda path: path.stat().st_mtime, reverse=True):
        run = read_result(path)
        if run.workload is None or run.workload.name != workload:
            continue
        fresh = tuple(one for one in run.results if one.windows and _identity(one) not in seen)
        seen.update(_identity(one) for one in fresh)
        if fresh:
            found.append(run.model_copy(update={"results": fresh}))
    if not found:
        raise BenchmarkError(f"nothing was measured for {workload} in {RESULTS}: `make bench WORKLOAD={workload}`")
    return found


def _identity(result: ConfigurationResult) -> tuple[str, str, str]:
    configuration = result.configuration
    return configuration.checkpoint, configuration.runtime, configuration.label
