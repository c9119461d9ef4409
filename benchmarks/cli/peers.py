"""``python -m benchmarks peers``."""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.cli import Commands, add_out, slug
from benchmarks.errors import BenchmarkError
from export.progress import Progress

if TYPE_CHECKING:
    from benchmarks.peers.candidates import Candidate
    from benchmarks.peers.figures import PeersReport
    from benchmarks.peers.run import Outcome, Plan

FOLDER: Final = Path(".lantern/peers")
DEFAULT_PEERS: Final = (
    "torchserve-stock,torchserve-stock-nobatch,litserve,litserve-nobatch,ray,ray-nobatch,infinity,infinity-nobatch"
)
WARM_UP_SEED_OFFSET: Final = 1
INTERRUPTED: Final = 130


def add_command(commands: Commands[Any]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "peers",
        help="the same model and workload behind other servers and behind Lantern, in one run",
        description="Serve one checkpoint behind each server in turn on this machine's cores, send each the same "
        f"mixed texts, and compare. Environments, logs and archives are kept in {FOLDER}; the first run installs them. "
        "Ctrl-C keeps what was measured.",
    )
    parser.add_argument("--checkpoint", default="random:longformer-base", help="as for python -m export")
    parser.add_argument("--peers", default=DEFAULT_PEERS, help=f"names with commas between (default: {DEFAULT_PEERS})")
    parser.add_argument("--lantern", default="fp32,int8", help="precisions, with commas between (default: fp32,int8)")
    parser.add_argument("--texts", type=int, default=12, help="in a round, a multiple of 3 (default: 12)")
    parser.add_argument("--clients", type=int, default=8, help="requests in flight (default: 8)")
    parser.add_argument(
        "--rounds",
        type=int,
        default=4,
        help="at most; those after the first leave out who is far behind; 0 prepares everything and measures nothing "
        "(default: 4)",
    )
    parser.add_argument(
        "--minutes", type=float, default=25.0, help="no further round begins that would end later (default: 25)"
    )
    parser.add_argument("--seed", type=int, default=5, help="of lengths, words and order (default: 5)")
    add_out(parser)
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace, command: str, progress: Progress) -> int:
    from benchmarks.engine.ceilings import gemm_rate
    from benchmarks.peers.agreement import reference_scores
    from benchmarks.peers.candidates import Workplace
    from benchmarks.peers.process import alone
    from benchmarks.peers.report import report_markdown
    from benchmarks.peers.run import Run
    from benchmarks.reports import write_report
    from export.checkpoint import open_checkpoint

    candidates = _candidates(options.peers, options.lantern)
    checkpoint = open_checkpoint(options.checkpoint)
    plan = _plan(options, checkpoint.folder)
    reference = reference_scores(
        checkpoint.folder, checkpoint.revision, (*plan.warm_up, *plan.texts), FOLDER / "reference", progress
    )
    stem = f"peers-{slug(options.checkpoint)}"

    def keep(outcome: Outcome, complete: bool = False) -> PeersReport:
        report = _report(options, command, candidates, outcome, complete)
        write_report(report, report_markdown(report), options.out, stem)
        return report

    run = Run(plan, reference, keep, progress, gemm_rate)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the server is stopped then too
    try:
        with alone(FOLDER):
            run.run_rounds(candidates, Workplace(FOLDER, checkpoint.folder.resolve(), options.checkpoint))
    except KeyboardInterrupt:
        progress.note("stopped; what was measured is kept")
        print(report_markdown(keep(run.outcome)))
        return INTERRUPTED
    if options.rounds:
        print(report_markdown(keep(run.outcome, complete=True)))
    return 0


def _candidates(peer_names: str, precisions: str) -> list[Candidate]:
    from benchmarks.peers import candidates

    known = candidates.peers()
    chosen = []
    for name in _names(peer_names):
        if name not in known:
            raise BenchmarkError(f"--peers {name}: there is no such peer; there are {', '.join(known)}")
        chosen.append(known[name])
    chosen += [candidates.lantern(precision) for precision in _names(precisions)]
    if not chosen:
        raise BenchmarkError("nothing to measure: --peers and --lantern are both empty")
    return chosen


def _plan(options: argparse.Namespace, folder: Path) -> Plan:
    from benchmarks.peers.run import Plan
    from benchmarks.peers.workload import CLASSES, TextWriter, build_workload
    from export.checkpoint import load_tokenizer

    writer = TextWriter(load_tokenizer(folder))
    # One short and one middling text: enough to be warm and to be compared, without a long one's seconds at each start.
    warm_up = build_workload(writer.write, len(CLASSES) - 1, options.seed + WARM_UP_SEED_OFFSET, CLASSES[:-1])
    texts = build_workload(writer.write, options.texts, options.seed)
    return Plan(warm_up, texts, options.clients, options.rounds, options.minutes)


def _report(
    options: argparse.Namespace, command: str, candidates: list[Candidate], outcome: Outcome, complete: bool
) -> PeersReport:
    from benchmarks.machine import describe_machine
    from benchmarks.peers.environments import version_of
    from benchmarks.peers.figures import PeersReport, judge, summarize
    from benchmarks.peers.workload import CLASSES

    settings = {
        one.name: f"{one.settings}; " + ", ".join(f"{package} {version_of(package)}" for package in one.packages)
        for one in candidates
    }
    workload = {
        "texts": options.texts,
        "clients": options.clients,
        "seed": options.seed,
        "tokens": {kind.name: (kind.first, kind.last) for kind in CLASSES},
    }
    summaries = summarize(outcome.rounds)
    machine = describe_machine(os.cpu_count() or 1)
    return PeersReport(
        checkpoint=options.checkpoint,
        command=command,
        machine=machine,
        settings=settings,
        workload=workload,
        summaries=summaries,
        verdicts=judge(summaries),
        rounds=outcome.rounds,
        failures=outcome.failures,
        complete=complete,
    )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
