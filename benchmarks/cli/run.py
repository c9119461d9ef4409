"""``python -m benchmarks run``: load, the capacity search, and its report."""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.cli import Commands
from benchmarks.cli.compare import EXIT_NOTHING, EXIT_WORSE
from benchmarks.errors import BenchmarkError
from export.progress import Progress

if TYPE_CHECKING:
    from benchmarks.load.archives import Variant
    from benchmarks.load.plan import Demand
    from benchmarks.load.results import RunResult, Slo
    from benchmarks.load.session import Request
    from benchmarks.load.timing import Target
    from benchmarks.load.workload import Workload

OUT: Final = Path(".lantern/bench")
BUDGET_S: Final = 330.0
QUICK_S: Final = 80.0
TOKEN_VARIABLE: Final = "LANTERN_TOKEN"

EXIT_CODES: Final = {
    "capacity_found": 0,
    "measured": 0,
    "slo_never_met": 3,
    "server_not_ready": 4,
    "server_died": 5,
    "client_limited": 6,
    "refused": 2,
    "workload_unsatisfiable": 7,
    "out_of_time": 8,
    "above_range": 9,
    "slo_missed": 12,
    "interrupted": 130,
}

_EPILOG: Final = f"""\
what is measured:
  By default archives are served one after another, on free ports of this machine, and each is searched for the highest
  arrival rate that holds the SLO. --url and --grpc measure a server that runs already, such as staging behind its
  gateway; the bearer token, if any, is read from {TOKEN_VARIABLE}. No other machine gets load without --allow-remote.

examples:
  python -m benchmarks run --workload journal --slo p99=800ms
  python -m benchmarks run --quick --archive fp32=a/sentiment.mar --archive int8=b/sentiment.mar
  python -m benchmarks run --set batchSize=8,16 --set lantern.token_budget=4096,8192
  python -m benchmarks run --url https://staging.example --grpc staging.example:443 --tls --allow-remote --workload chat
  python -m benchmarks run --shape soak:rate=5,seconds=3600
  python -m benchmarks run --shape spike:rate=5,peak=20
  python -m benchmarks run --compare .lantern/bench/before/result.json

the report: OUT/NAME/report.html, result.json, windows.csv and requests.csv, rewritten after every configuration, so
  that Ctrl-C leaves what there is.

exit status:
  0 the capacity was found (or the course was measured and held); 3 the SLO is met at no rate; 4 the server was not
  ready; 5 it died; 6 the client was the limit; 7 the workload cannot be satisfied; 8 time was up before the capacity
  was found; 9 --max-rate held, so the capacity is higher; 10 a regression against --compare, 11 nothing in common with
  it; 12 a course missed the SLO; 130 Ctrl-C; 2 an option or a file was refused. Of several configurations the first
  that is not 0 counts.
"""


def add_command(commands: Commands[Any]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "run",
        help="load a server: how many requests a second hold an SLO, with a report",
        description="Load a server with a workload and find the highest arrival rate that holds an SLO.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_load(parser.add_argument_group("load"))
    _add_search(parser.add_argument_group("search"))
    _add_served(parser.add_argument_group("a server of its own"))
    _add_running(parser.add_argument_group("a server that runs already"))
    _add_report(parser.add_argument_group("report"))
    parser.set_defaults(command=_run)


def _add_load(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--workload",
        default="journal",
        metavar="NAME|FILE",
        help="chat, journal, history, mixed, or a YAML file (default: journal)",
    )
    group.add_argument("--slo", action="append", metavar="p99=800ms", help="and errors=1%%; default: the workload's")
    group.add_argument("--texts", type=Path, metavar="FILE.jsonl", help="take the words from this file's texts")
    group.add_argument("--texts-field", default="text", metavar="NAME", help="field of the text (default: text)")
    group.add_argument("--seed", type=int, help="of lengths, words and arrivals (default: the workload's)")
    group.add_argument("--timeout", type=_positive, default=60.0, metavar="S", help="a request's (default: 60)")
    group.add_argument(
        "--shape", metavar="NAME:rate=R,…", help="soak, spike or step in place of the search: spike:rate=5,peak=20"
    )
    group.add_argument("--callers", type=int, default=0, metavar="N", help="a closed loop of N callers instead")
    group.add_argument("--seconds", type=_positive, default=60.0, metavar="S", help="of the closed loop (default: 60)")


def _add_search(group: argparse._ArgumentGroup) -> None:
    budget = group.add_mutually_exclusive_group()
    budget.add_argument(
        "--budget", type=_positive, default=BUDGET_S, metavar="S", help=f"of load, each (default: {BUDGET_S:.0f})"
    )
    budget.add_argument("--quick", action="store_true", help=f"a budget of {QUICK_S:.0f} s: a rough answer in 90 s")
    group.add_argument(
        "--within", type=_positive, default=0.05, metavar="SHARE", help="precision of the capacity (default: 0.05)"
    )
    group.add_argument("--max-rate", type=_positive, default=float("inf"), metavar="R", help="never more requests/s")


def _add_served(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--archive",
        action="append",
        metavar="[LABEL=]FILE",
        help="archive to serve, may be repeated (default: model_store/sentiment.mar)",
    )
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=V[,V…]",
        help="of model-config.yaml, such as batchSize=8,16: every combination is measured",
    )
    group.add_argument(
        "--run-dir", type=Path, default=OUT / "server", metavar="DIR", help="of the server (default: %(default)s)"
    )
    group.add_argument("--model", default="sentiment", help="the model's name (default: sentiment)")


def _add_running(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--url", help="REST, such as http://127.0.0.1:8080")
    group.add_argument("--grpc", metavar="HOST:PORT", help="gRPC, such as 127.0.0.1:7070")
    group.add_argument("--metrics", metavar="URL", help="its metrics, such as http://127.0.0.1:8082/metrics")
    group.add_argument("--tls", action="store_true", help="TLS over gRPC (a REST URL says it with https)")
    group.add_argument("--tls-ca", metavar="PEM", help="authorities to trust instead of the system's; implies TLS")
    group.add_argument("--allow-remote", action="store_true", help="put load on another machine, whose owner wants it")
    group.add_argument("--ready-timeout", type=_positive, default=30.0, metavar="S", help="(default: 30)")


def _add_report(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--out", type=Path, default=OUT, metavar="DIR", help="(default: %(default)s)")
    group.add_argument("--name", help="of the folder in it (default: the workload and the time)")
    group.add_argument("--compare", type=Path, metavar="A.json", help="a baseline; its rates are measured too")
    group.add_argument(
        "--rate", type=_positive, action="append", metavar="R", help="plan for R requests/s (default: 10, 40 and 100)"
    )
    group.add_argument("--peak-factor", type=_positive, default=2.0, help="the day's peak over it (default: 2)")
    group.add_argument("--spare", type=int, default=1, help="replicas that may be lost (default: 1)")
    group.add_argument("--price", metavar="2.10/h", help="of one replica")
    group.add_argument("--replica", default="", metavar="WORDS", help="what one is, such as 'c7i.large'")


def _run(options: argparse.Namespace, command: str, progress: Progress) -> int:
    from benchmarks.load import patched  # noqa: F401  # first: before anything opens a socket
    from benchmarks.load.session import Session, describe_run
    from benchmarks.load.stopping import StopRequest

    folder = options.out / (options.name or _name(options.workload))
    writer = _Writer(options, folder, progress)
    try:
        request = _request(options)
    except BenchmarkError as error:
        return writer.finish(_refused(options, command, error))
    settings = _settings(options)
    with StopRequest() as stop:
        session = Session(
            request,
            lambda results, partial: describe_run(request, command, settings, results, partial),
            writer.keep,
            progress.update,
            progress.note,
            stop.check,
        )
        run = session.run()
    return writer.finish(run)


def _name(workload: str) -> str:
    return f"{Path(workload).stem}-{datetime.now(UTC).strftime('%Y%m%d-%H%M%S')}"


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return every option as the report shows it; the token is not one."""
    hidden = ("command",)
    return {
        name: value if isinstance(value, (str, int, float, bool, list, type(None))) else str(value)
        for name, value in vars(options).items()
        if name not in hidden
    }


# From options to what is asked for.


def _request(options: argparse.Namespace) -> Request:
    from benchmarks.load.plan import parse_slo
    from benchmarks.load.results import Slo
    from benchmarks.load.search import SearchSettings
    from benchmarks.load.session import Request
    from benchmarks.load.shapes import parse_course

    workload = _workload(options)
    own = Slo(**workload.slo.model_dump())
    target = _target(options, workload)
    return Request(
        workload=workload,
        slo=parse_slo(options.slo, own) if options.slo else own,
        search=SearchSettings(
            budget_s=QUICK_S if options.quick else options.budget,
            precision=options.within,
            max_rate=options.max_rate,
            rates=_baseline_rates(options.compare),
        ),
        target=target,
        variants=() if target is not None else tuple(_variants(options)),
        run_dir=options.run_dir.absolute(),
        model=options.model,
        course=parse_course(options.shape) if options.shape else None,
        callers=options.callers,
        seconds=options.seconds,
        metrics_url=options.metrics,
        ready_s=options.ready_timeout,
        timeout_s=options.timeout,
        replica=options.replica,
    )


def _workload(options: argparse.Namespace) -> Workload:
    from benchmarks.load.workload import load_workload, parse_workload

    workload = load_workload(options.workload)
    changes: dict[str, Any] = {}
    if options.texts is not None:
        changes["texts"] = {"file": options.texts.absolute(), "field": options.texts_field}
    if options.seed is not None:
        changes["seed"] = options.seed
    return parse_workload(workload.model_dump() | changes, options.workload) if changes else workload


def _target(options: argparse.Namespace, workload: Workload) -> Target | None:
    from benchmarks.load.addresses import require_loopback
    from benchmarks.load.timing import Target
    from benchmarks.load.workload import WorkloadError

    addresses = [address for address in (options.url, options.grpc, options.metrics) if address]
    if not addresses:
        return None
    if options.archive or options.set:
        raise BenchmarkError(
            "--archive and --set are of a server of its own, --url and --grpc of one that runs already"
        )
    require_loopback(addresses, options.allow_remote)
    missing = {"rest": options.url, "grpc": options.grpc}
    for protocol in workload.used_protocols:
        if not missing[protocol]:
            option = {"rest": "--url http://HOST:PORT", "grpc": "--grpc HOST:PORT"}[protocol]
            raise WorkloadError(f"workload {workload.name} has {protocol} requests, and there is no {option}")
    return Target(
        options.url,
        options.grpc,
        options.model,
        token=os.environ.get(TOKEN_VARIABLE) or None,
        tls_ca=options.tls_ca,
        tls=options.tls,
        timeout_s=options.timeout,
    )


def _variants(options: argparse.Namespace) -> list[Variant]:
    import yaml

    from benchmarks.load.archives import variants

    archives = []
    for text in options.archive or ["model_store/sentiment.mar"]:
        label, equals, path = text.partition("=")
        archives.append((label, Path(path)) if equals else ("", Path(text)))
    settings = {}
    for text in options.set:
        key, equals, values = text.partition("=")
        if not equals or not values:
            raise BenchmarkError(f"--set {text}: write it as KEY=VALUE[,VALUE…]")
        settings[key] = [yaml.safe_load(value) for value in values.split(",")]
    return variants(archives, settings)


def _baseline_rates(path: Path | None) -> tuple[float, ...]:
    """Return the rates of a baseline that it sustained: a comparison needs latencies at the same rates."""
    from benchmarks.load.curves import levels_of
    from benchmarks.load.results import read_result

    if path is None:
        return ()
    results = read_result(path).results
    levels = levels_of(results[0].open_windows()) if results else []
    sustained = [level.rate for level in levels if level.sustained]
    return tuple(sustained[:: max(1, len(sustained) // 4)])


def _slo_of(options: argparse.Namespace) -> Slo | None:
    from benchmarks.load.plan import parse_slo

    try:
        return parse_slo(options.slo, None) if options.slo else None
    except BenchmarkError:
        return None


def _refused(options: argparse.Namespace, command: str, error: BenchmarkError) -> RunResult:
    """Return a result that says why nothing was measured: scripts find a report in any case."""
    from benchmarks.load import provenance
    from benchmarks.load.results import Configuration, ConfigurationResult, Outcome, RunResult
    from benchmarks.load.workload import WorkloadError

    about_workload = isinstance(error, WorkloadError)
    outcome = Outcome(verdict="workload_unsatisfiable" if about_workload else "refused", reason=str(error))
    return RunResult(
        generated_at=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        commit=provenance.commit(),
        partial=True,
        machine=provenance.describe_machine(),
        versions=provenance.versions(),
        target={},
        workload=None,
        slo=_slo_of(options),
        settings=_settings(options),
        results=(ConfigurationResult(configuration=Configuration(label=""), outcome=outcome),),
    )


# What comes out.


class _Writer:
    """Writes the report after every configuration, and says at the end what was found."""

    def __init__(self, options: argparse.Namespace, folder: Path, progress: Progress) -> None:
        self._options = options
        self._folder = folder
        self._progress = progress

    def keep(self, run: RunResult) -> None:
        """Write the report of what there is."""
        from benchmarks.load.report import render_report, write_report

        page = render_report(run, self._demands(run), self._comparison(run))
        write_report(run, page, self._folder)

    def finish(self, run: RunResult) -> int:
        """Print the summary and return the exit status."""
        self.keep(run)
        self._progress.clear()
        for result in run.results:
            outcome = result.outcome
            capacity = f"{outcome.capacity:.3g} requests/s hold {run.slo}; " if outcome.capacity is not None else ""
            label = f"{result.configuration.label}: " if result.configuration.label else ""
            print(f"{label}{outcome.verdict.replace('_', ' ')}: {capacity}{outcome.reason}")
        self._print_plan(run)
        print(f"report: {self._folder / 'report.html'}")
        status = next((code for code in map(_exit_code, run.results) if code), 0)
        comparison = self._comparison(run)
        if comparison is not None:
            print(comparison.verdict)
            return status or (EXIT_WORSE if comparison.worse else 0 if comparison.differences else EXIT_NOTHING)
        return status

    def _print_plan(self, run: RunResult) -> None:
        from benchmarks.load.plan import plan_rows
        from benchmarks.load.plan_words import sentence

        for demand in self._demands(run):
            best = next((row for row in plan_rows([run], demand) if not row.problem), None)
            if best is not None:
                print(f"plan: {sentence(best, demand)}")

    def _demands(self, run: RunResult) -> list[Demand]:
        from benchmarks.load.plan import Demand, parse_price
        from benchmarks.load.report import PLAN_RATES

        if run.slo is None or not any(result.open_windows() for result in run.results):
            return []
        options = self._options
        price = parse_price(options.price) if options.price else None
        rates = options.rate or PLAN_RATES
        return [Demand(rate, run.slo, options.peak_factor, options.spare, price) for rate in rates]

    def _comparison(self, run: RunResult) -> Any:
        from benchmarks.load.compare import compare
        from benchmarks.load.results import read_result

        if self._options.compare is None or not any(result.windows for result in run.results):
            return None
        return compare(read_result(self._options.compare), run, (str(self._options.compare), "this run"))


def _exit_code(result: Any) -> int:
    return EXIT_CODES[result.outcome.verdict]


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be above 0")
    return value
