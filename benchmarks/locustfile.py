"""An ordinary Locust file: Lantern's users, in open or closed loop, alone, with the web page, or distributed.

    locust -f benchmarks/locustfile.py --host http://127.0.0.1:8080 --grpc 127.0.0.1:7070 --workload journal
    locust -f benchmarks/locustfile.py … --headless -u 20 -r 20 -t 2m       20 requests a second for two minutes
    locust -f benchmarks/locustfile.py … --loop closed -u 8                 8 callers that wait for each answer
    locust -f benchmarks/locustfile.py … --master    and, elsewhere, --worker --master-host …
    LANTERN_SHAPE=spike:rate=5,peak=20 locust -f benchmarks/locustfile.py …

In the open loop a user is a source of ``--rate-per-user`` requests a second, so the number of users is the arrival
rate, and response times count from when a request was meant to start. The bearer token, if any, is read from
LANTERN_TOKEN. No machine but this one gets load without ``--allow-remote``.
"""

from __future__ import annotations

from benchmarks.load import patched  # first: before anything opens a socket

# isort: split
import os
from collections.abc import Callable, Sequence
from typing import Any

from locust import events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from benchmarks.errors import BenchmarkError
from benchmarks.load.addresses import require_loopback
from benchmarks.load.corpus import WORDS, Call, draw, make_calls, pool_size, words_counter
from benchmarks.load.shapes import course_from_environment, locust_shape
from benchmarks.load.timing import Target
from benchmarks.load.users import GrpcUser, LocustLoad, RestUser, Sender, Traffic
from benchmarks.load.workload import Workload, load_workload
from handlers.core.schema import OverLength

__all__ = ["GrpcUser", "RestUser", "patched"]

_WORKLOAD = load_workload(os.environ.get("LANTERN_WORKLOAD", "journal"))
_COURSE = course_from_environment()
if _COURSE is not None:
    LanternShape = locust_shape(_COURSE, _WORKLOAD.slo.limit_ms)


def add_options(parser: LocustArgumentParser, **_: Any) -> None:
    """Add Lantern's options; they are in the web page too, but for the addresses."""
    parser.add_argument("--workload", default=_WORKLOAD.name, env_var="LANTERN_WORKLOAD", help="name or YAML file")
    parser.add_argument("--grpc", default="", env_var="LANTERN_GRPC", help="gRPC, such as 127.0.0.1:7070")
    parser.add_argument("--loop", default="open", choices=["open", "closed"], help="default: open")
    parser.add_argument(
        "--rate-per-user", type=float, default=1.0, help="arrivals a second of one user in an open loop"
    )
    parser.add_argument("--model-name", default="sentiment", help="of the model (default: sentiment)")
    parser.add_argument("--tls-ca", default="", help="authorities to trust (PEM); implies TLS", include_in_web_ui=False)
    parser.add_argument("--allow-remote", action="store_true", help="put load on another machine, whose owner wants it")


def choose_users(environment: Environment, **_: Any) -> None:
    """Give each protocol the workload's share of the users, and refuse addresses of other machines."""
    options = environment.parsed_options
    if options is None:
        return
    workload = load_workload(options.workload)
    for user in (RestUser, GrpcUser):
        share = sum(weight for name, weight in workload.protocols.items() if name == user.protocol)
        user.weight = round(1000 * share / sum(workload.protocols.values()))
    try:
        require_loopback([each for each in (environment.host, options.grpc) if each], options.allow_remote)
    except BenchmarkError as error:
        raise SystemExit(f"error: {error}") from None


def open_connections(environment: Environment, **_: Any) -> None:
    """Make texts and connections once for all users of this process; a master sends nothing itself."""
    options = environment.parsed_options
    if options is None or type(environment.runner).__name__ == "MasterRunner":
        return
    workload = load_workload(options.workload)
    target = Target(
        environment.host or "http://127.0.0.1:8080",
        options.grpc or None,
        options.model_name,
        token=os.environ.get("LANTERN_TOKEN") or None,
        tls_ca=options.tls_ca or None,
    )
    environment.lantern = LocustLoad(  # type: ignore[attr-defined]
        traffic=_traffic(environment, target, workload),
        closed=options.loop == "closed",
        constant=workload.arrivals == "constant",
        rate_per_user=options.rate_per_user,
        timeout_s=target.timeout_s,
        seed=workload.seed,
    )


def close_connections(environment: Environment, **_: Any) -> None:
    """Close what ``open_connections`` opened."""
    load = getattr(environment, "lantern", None)
    if load is not None:
        load.traffic.close()


def _traffic(environment: Environment, target: Target, workload: Workload) -> Traffic:
    protocol = workload.used_protocols[0]
    sender = Sender(target, protocol, clients=1)
    answered = sender.send(Call(protocol, (" ".join(WORDS),), 0, OverLength.WINDOW))
    sender.close()
    if not answered.tokens:
        raise SystemExit(f"error: {protocol}: a test request was answered with {answered.error}")
    calls = make_calls(workload, words_counter(answered.tokens / len(WORDS)), pool_size(workload))
    return Traffic(environment, target, draw(calls, workload.seed), workload.used_protocols)


_LISTENERS: Sequence[tuple[Any, Callable[..., None]]] = (
    (events.init_command_line_parser, add_options),
    (events.init, choose_users),
    (events.test_start, open_connections),
    (events.quitting, close_connections),
)
for _hook, _listener in _LISTENERS:
    _hook.add_listener(_listener)
