"""One run: for each configuration a server, the traffic, the search or a course, and a result whatever happens.

Import ``benchmarks.load.patched`` first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from locust.env import Environment

from benchmarks.load import provenance
from benchmarks.load.addresses import accepts, host_and_port, is_loopback
from benchmarks.load.archives import Variant, token_counter, write_variant
from benchmarks.load.corpus import WORDS, Call, Counter, draw, make_calls, pool_size, words_counter
from benchmarks.load.driver import Conductor, Driver
from benchmarks.load.observe import Observer, listener
from benchmarks.load.results import (
    OK,
    Configuration,
    ConfigurationResult,
    Outcome,
    RunResult,
    Slo,
    Verdict,
    Window,
)
from benchmarks.load.search import Search, SearchSettings, ServerGone
from benchmarks.load.served import NotReady, own_server
from benchmarks.load.shapes import Course
from benchmarks.load.timing import Target
from benchmarks.load.users import Sender, Traffic
from benchmarks.load.windows import judge_windows
from benchmarks.load.workload import Workload, WorkloadError
from handlers.core.schema import OverLength

READY_S: Final = 30.0
READY_POLL_S: Final = 1.0
WARM_UP_S: Final = 5.0
CANARY: Final = "The bus was late, so I walked home and made some tea."


@dataclass(frozen=True)
class Request:
    """What a run was asked for.

    Attributes:
        slo: what has to hold.
        search: bounds of the search; used where ``course`` and ``callers`` are not given.
        course, callers: run a course of load, or a closed loop of so many callers, in place of the search.
        seconds: of the closed loop.
        target: a server that runs already; ``None`` serves ``variants``.
        variants: archives to serve, one after another.
        metrics_url: of a server that runs already.
        ready_s: how long to wait for it.
        replica: what one replica is, for people.
    """

    workload: Workload
    slo: Slo
    search: SearchSettings
    target: Target | None
    variants: tuple[Variant, ...]
    run_dir: Path
    model: str = "sentiment"
    course: Course | None = None
    callers: int = 0
    seconds: float = 60.0
    metrics_url: str | None = None
    ready_s: float = READY_S
    timeout_s: float = 60.0
    replica: str = ""


@dataclass
class Session:
    """Runs a request, keeps what was found so far, and hands every new state to ``keep``.

    ``say`` takes what is being done, ``note`` what was found; ``check`` raises ``KeyboardInterrupt`` to end the run.
    """

    request: Request
    describe: Callable[[Sequence[ConfigurationResult], bool], RunResult]
    keep: Callable[[RunResult], None]
    say: Callable[[str], None]
    note: Callable[[str], None]
    check: Callable[[], None]
    results: list[ConfigurationResult] = field(default_factory=list)

    def run(self) -> RunResult:
        """Measure every configuration; Ctrl-C ends with what there is."""
        for step in self._steps():
            result = step()
            self.results.append(result)
            state = self.describe(self.results, result.outcome.verdict == "interrupted")
            self.keep(state)
            if result.outcome.verdict == "interrupted":
                return state
        return self.describe(self.results, False)

    def _steps(self) -> list[Callable[[], ConfigurationResult]]:
        if self.request.target is not None:
            return [self._measure_running]
        return [lambda variant=variant: self._measure_variant(variant) for variant in self.request.variants]  # type: ignore[misc]

    def _waits(self, line: str) -> None:
        self.check()
        self.say(line)

    def _measure_running(self) -> ConfigurationResult:
        target = self.request.target
        assert target is not None
        configuration = Configuration(label="", replica=self.request.replica)
        return _Measurement(self.request, target, configuration, self.say, self.note, self.check).run()

    def _measure_variant(self, variant: Variant) -> ConfigurationResult:
        request = self.request
        configuration = Configuration(label=variant.label, settings=variant.settings, replica=request.replica)
        try:
            with ExitStack() as stack:
                archive = write_variant(variant, request.run_dir / "store")
                count = token_counter(variant.archive)
                self.say(f"{variant.label or 'the archive'}: starting the server")
                server = stack.enter_context(own_server(archive, request.model, request.run_dir, self._waits))
                target = Target(server.url, server.grpc, request.model, timeout_s=request.timeout_s)
                measurement = _Measurement(request, target, configuration, self.say, self.note, self.check)
                measurement.count = count
                measurement.metrics_url, measurement.root = server.metrics, server.process.pid
                measurement.why_gone = server.why_gone
                return measurement.run()
        except NotReady as error:
            return _without_windows(configuration, "server_not_ready", str(error))
        except KeyboardInterrupt:
            return _without_windows(configuration, "interrupted", "stopped while the server started or ended")


def _without_windows(configuration: Configuration, verdict: Verdict, reason: str) -> ConfigurationResult:
    return ConfigurationResult(configuration=configuration, outcome=Outcome(verdict=verdict, reason=reason))


class _Measurement:
    """One configuration on one server that runs."""

    def __init__(
        self,
        request: Request,
        target: Target,
        configuration: Configuration,
        say: Callable[[str], None],
        note: Callable[[str], None],
        check: Callable[[], None],
    ) -> None:
        self.count: Counter | None = None
        self.metrics_url = request.metrics_url
        self.root: int | None = None
        self.why_gone: Callable[[], str] = self._why_unreachable
        self._request = request
        self._target = target
        self._configuration = configuration
        self._say = say
        self._note = note
        self._check = check

    def run(self) -> ConfigurationResult:
        try:
            self._wait_until_ready()
            calls = self._make_calls()
        except NotReady as error:
            return _without_windows(self._configuration, "server_not_ready", str(error))
        except WorkloadError as error:
            return _without_windows(self._configuration, "workload_unsatisfiable", str(error))
        except KeyboardInterrupt:
            return _without_windows(self._configuration, "interrupted", "stopped before the first request")
        return self._drive(calls)

    def _drive(self, calls: Sequence[Call]) -> ConfigurationResult:
        request = self._request
        environment = Environment(user_classes=[Conductor])
        traffic = Traffic(
            environment, self._target, draw(calls, request.workload.seed), request.workload.used_protocols
        )
        observer = Observer(self.metrics_url, self.root if self.root is not None else self._local_root())
        driver = Driver(
            environment,
            traffic,
            request.slo,
            request.workload.arrivals,
            request.workload.seed,
            observer,
            self.why_gone,
            request.timeout_s,
            self._say,
            self._check,
        )
        driver.start()
        try:
            outcome, windows = self._measure(driver)
        finally:
            driver.stop()
        return ConfigurationResult(configuration=self._described(traffic), outcome=outcome, windows=tuple(windows))

    def _measure(self, driver: Driver) -> tuple[Outcome, list[Window]]:
        request = self._request
        if request.course is not None:
            return _run_course(driver, request.course, request.slo, self._note)
        if request.callers:
            return _run_callers(driver, request.callers, request.seconds, self._note)
        search = Search(driver, request.slo, request.search, self._note)
        try:
            return search.run(), search.windows
        except KeyboardInterrupt:
            return search.outcome(
                "interrupted", "stopped by hand; what was measured until then is here"
            ), search.windows

    def _described(self, traffic: Traffic) -> Configuration:
        model = traffic.model
        known = {name: str(model.get(name, "")) for name in ("precision", "runtime", "checkpoint", "revision")}
        label = self._configuration.label or " ".join(filter(None, (known["runtime"], known["precision"]))) or "server"
        return self._configuration.model_copy(
            update={**known, "model_version": str(model.get("version", "")), "label": label}
        )

    # Readiness and texts.

    def _wait_until_ready(self) -> None:
        """Wait for one good answer on every protocol that the workload uses."""
        deadline = time.monotonic() + self._request.ready_s
        for protocol in self._request.workload.used_protocols:
            self._wait_for_protocol(protocol, deadline)

    def _wait_for_protocol(self, protocol: str, deadline: float) -> None:
        try:
            sender = Sender(self._target, protocol, clients=1)
        except (ValueError, OSError) as error:
            raise WorkloadError(str(error)) from None
        try:
            while True:
                answered = sender.send(Call(protocol, (CANARY,), 0, OverLength.WINDOW))
                if answered.code == OK:
                    return
                retryable = answered.error is not None and answered.error.kind.retryable
                gone = self.why_gone() if self.root is not None else ""
                if gone or not retryable or time.monotonic() > deadline:
                    raise NotReady(gone or f"{protocol}: a test request was answered with {answered.error}")
                self._check()
                self._say(f"waiting for the server ({protocol}: {answered.code})")
                time.sleep(READY_POLL_S)
        finally:
            sender.close()

    def _make_calls(self) -> list[Call]:
        workload = self._request.workload
        self._say("writing texts")
        count = self.count or words_counter(self._tokens_per_word(workload.used_protocols[0]))
        return make_calls(workload, count, pool_size(workload))

    def _tokens_per_word(self, protocol: str) -> float:
        sender = Sender(self._target, protocol, clients=1)
        try:
            answered = sender.send(Call(protocol, (" ".join(WORDS),), 0, OverLength.WINDOW))
        finally:
            sender.close()
        if answered.code != OK or not answered.tokens:
            raise NotReady(f"{protocol}: a text to count words against tokens was answered with {answered.error}")
        return answered.tokens / len(WORDS)

    # What is known of a server that somebody else started.

    def _address(self) -> str:
        address = self._target.url or self._target.grpc
        assert address is not None
        return address

    def _local_root(self) -> int | None:
        host, port = host_and_port(self._address())
        return listener(port) if is_loopback(host) else None

    def _why_unreachable(self) -> str:
        return "" if accepts(self._address()) else f"nobody accepts connections at {self._address()} any more"


def _run_course(driver: Driver, course: Course, slo: Slo, say: Callable[[str], None]) -> tuple[Outcome, list[Window]]:
    windows: list[Window] = []
    began = driver.clock()
    try:
        windows.append(driver.closed_loop(4, min(WARM_UP_S, 0.1 * course.seconds), "warm-up"))
        say(f"{course.name}: {len(course.stages)} stages, {course.seconds:.0f} s")
        windows += driver.course([(stage.rate, stage.seconds) for stage in course.stages], course.stages[0].purpose)
    except ServerGone as gone:
        windows += gone.windows
        return _course_outcome("server_died", str(gone), windows, driver.clock() - began), windows
    except KeyboardInterrupt:
        return _course_outcome("interrupted", "stopped by hand", windows, driver.clock() - began), windows
    missed = [window for window in windows if window.rate is not None and window.judged.judgement == "missed"]
    whole = judge_windows([window for window in windows if window.rate is not None], slo)
    if missed:
        reason = f"{len(missed)} of {len(course.stages)} stages missed {slo}: {', '.join(missed[0].judged.reasons)}"
        return _course_outcome("slo_missed", reason, windows, driver.clock() - began), windows
    reason = f"{100 * whole.late_share:.2g} % over the limit in all, {100 * whole.error_share:.2g} % errors"
    return _course_outcome("measured", reason, windows, driver.clock() - began), windows


def _run_callers(
    driver: Driver, callers: int, seconds: float, say: Callable[[str], None]
) -> tuple[Outcome, list[Window]]:
    began = driver.clock()
    windows: list[Window] = []
    try:
        windows.append(driver.closed_loop(4, min(WARM_UP_S, 0.1 * seconds), "warm-up"))
        say(f"closed loop: {callers} callers for {seconds:.0f} s")
        windows.append(driver.closed_loop(callers, seconds, "closed"))
    except ServerGone as gone:
        windows += gone.windows
        return _course_outcome("server_died", str(gone), windows, driver.clock() - began), windows
    except KeyboardInterrupt:
        return _course_outcome("interrupted", "stopped by hand", windows, driver.clock() - began), windows
    reason = f"{callers} callers that wait for each answer: {windows[-1].throughput:.3g}/s"
    return _course_outcome("measured", reason, windows, driver.clock() - began), windows


def _course_outcome(verdict: Verdict, reason: str, windows: Sequence[Window], seconds: float) -> Outcome:
    best = max((window.throughput for window in windows), default=None)
    return Outcome(verdict=verdict, reason=reason, saturation=best, searched_s=round(seconds, 1))


def describe_run(
    request: Request, command: str, settings: dict[str, Any], results: Sequence[ConfigurationResult], partial: bool
) -> RunResult:
    """Put everything around the results that a reader needs to judge or repeat them."""
    return RunResult(
        generated_at=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        commit=provenance.commit(),
        partial=partial,
        machine=provenance.describe_machine(),
        versions=provenance.versions(),
        target=_target_words(request),
        workload=request.workload,
        slo=request.slo,
        settings=settings,
        results=tuple(results),
    )


def _target_words(request: Request) -> dict[str, Any]:
    if request.target is None:
        return {
            "server": "started by this run, on this machine",
            "archives": [v.archive.name for v in request.variants],
        }
    return {
        "server": "ran already",
        "url": request.target.url,
        "grpc": request.target.grpc,
        "model": request.target.model,
        "token": "given" if request.target.token else "none",
    }
