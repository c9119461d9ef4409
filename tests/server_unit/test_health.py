"""What looks at a server come to mean, and what probes are told of it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from server.endpoints import Endpoint
from server.errors import ExitCode, ServerError
from server.health import Answer, Board, Judge, Limits, Look, Status, Verdict
from server.listener import HealthListener
from tests.ports import free_ports

_LIMITS = Limits(hang=10.0, recovery=60.0)


def _look(at: float, **seen: object) -> Look:
    healthy = {"answers": True, "ready": 1, "asked": 1, "workers": (7,)}
    return Look(at, **(healthy | seen))  # type: ignore[arg-type]


def _judge(seconds: float, **seen: object) -> Verdict:
    """Look every half second for ``seconds`` at a server that is as ``seen``, after one look at a healthy one."""
    judge = Judge(_LIMITS)
    verdict = judge.take(_look(0.0))
    for half in range(1, int(seconds * 2) + 1):
        verdict = judge.take(_look(half / 2, **seen))
    return verdict


def test_a_healthy_server_is_ready() -> None:
    assert _judge(100) == Verdict(Status.READY)


@pytest.mark.parametrize(
    ("seen", "status"),
    [
        ({"answers": False}, Status.SERVER_DOWN),
        ({"ready": 0}, Status.WORKER_DOWN),
        ({"workers": ()}, Status.WORKER_DOWN),
        ({"asked": 2}, Status.WORKER_DOWN),
        ({"stopped": (7,)}, Status.WORKER_HUNG),
        ({"stopped": (3,), "answers": False}, Status.WORKER_HUNG),
    ],
)
def test_the_first_look_at_a_fault_ends_readiness(seen: dict[str, object], status: Status) -> None:
    verdict = _judge(0.5, **seen)
    assert verdict.status is status
    assert verdict.reason
    assert not verdict.hung
    assert not verdict.lost


def test_a_process_that_stays_stopped_is_killed_after_the_bound() -> None:
    assert _judge(9.5, stopped=(3,)).hung == ()
    assert _judge(10.5, stopped=(3,)).hung == (3,)


def test_a_worker_with_work_that_uses_no_processor_time_is_hung() -> None:
    assert _judge(4.5, waits=True).status is Status.READY
    assert _judge(5.5, waits=True).status is Status.WORKER_HUNG
    assert _judge(9.5, waits=True).hung == ()
    assert _judge(10.5, waits=True).hung == (7,)


def test_a_worker_that_works_on_a_long_text_is_not_hung() -> None:
    judge = Judge(_LIMITS)
    verdicts = [judge.take(_look(second / 2, waits=True, cpu_s=second * 0.4)) for second in range(400)]
    assert {verdict.status for verdict in verdicts} == {Status.READY}


def test_a_worker_that_loads_from_a_slow_disk_is_not_hung() -> None:
    assert _judge(50, ready=0, waits=True).hung == ()


def test_an_idle_worker_that_does_not_describe_itself_is_not_ready() -> None:
    judge = Judge(_LIMITS)
    verdicts = [judge.take(_look(half / 2, waits=True, unanswered=True, cpu_s=half)) for half in range(20)]
    assert verdicts[9].status is Status.READY
    assert verdicts[-1].status is Status.WORKER_HUNG
    assert not verdicts[-1].hung


def test_a_server_that_does_not_come_back_is_lost() -> None:
    assert not _judge(59.5, ready=0).lost
    assert _judge(60.5, ready=0).lost


def test_getting_ready_again_starts_the_bound_anew() -> None:
    judge = Judge(_LIMITS)
    for half in range(400):
        verdict = judge.take(_look(half / 2, ready=0 if half % 100 else 1))
        assert not verdict.lost


def test_a_machine_that_was_suspended_blames_nobody() -> None:
    judge = Judge(_LIMITS)
    judge.take(_look(0.0, stopped=(7,), waits=True))
    verdict = judge.take(_look(3600.0, stopped=(7,), waits=True))
    assert not verdict.hung
    assert not verdict.lost


class _Scene:
    """A board with a clock and a stop that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.stopping = False
        self.board = Board(lambda: self.stopping, lambda: self.now)


def test_nothing_posted_yet_is_loading_and_alive() -> None:
    board = _Scene().board
    assert board.ready().status is Status.LOADING
    assert not board.ready().good
    assert board.live().good


def test_a_posted_verdict_is_told() -> None:
    board = _Scene().board
    board.post(Verdict(Status.READY))
    assert board.ready() == Answer(True, Status.READY, "")
    board.post(Verdict(Status.WORKER_DOWN, "0 of 1 workers are ready"))
    assert board.ready() == Answer(False, Status.WORKER_DOWN, "0 of 1 workers are ready")
    assert board.live() == Answer(True, Status.ALIVE, "0 of 1 workers are ready")


def test_a_stop_is_told_at_once_and_does_not_end_liveness() -> None:
    scene = _Scene()
    scene.board.post(Verdict(Status.READY))
    scene.stopping = True
    assert scene.board.ready().status is Status.DRAINING
    assert scene.board.live().good


def test_an_old_verdict_is_not_trusted() -> None:
    scene = _Scene()
    scene.board.post(Verdict(Status.READY))
    scene.now = 6.0
    assert scene.board.ready().status is Status.SERVER_DOWN
    assert scene.board.live().good
    scene.now = 100.0
    assert scene.board.live().status is Status.LOST


def test_a_lost_server_is_not_alive() -> None:
    board = _Scene().board
    board.post(Verdict(Status.WORKER_DOWN, "0 of 1 workers are ready", lost=True))
    assert board.live() == Answer(False, Status.LOST, "0 of 1 workers are ready")


@pytest.fixture
def endpoint() -> Endpoint:
    port = free_ports().health
    assert port is not None
    return Endpoint("127.0.0.1", port, "--health-port", "health_address")


@pytest.fixture
def scene(endpoint: Endpoint) -> Iterator[_Scene]:
    scene = _Scene()
    with HealthListener(endpoint, scene.board) as listener:
        listener.serve()
        yield scene


def _get(endpoint: Endpoint, path: str, method: str = "GET") -> httpx.Response:
    with httpx.Client(trust_env=False, timeout=10.0) as client:
        return client.request(method, f"http://{endpoint.authority}{path}")


def test_probes_get_status_and_reason(endpoint: Endpoint, scene: _Scene) -> None:
    loading = _get(endpoint, "/readyz")
    assert (loading.status_code, loading.json()["status"]) == (503, "loading")
    scene.board.post(Verdict(Status.READY))
    ready = _get(endpoint, "/readyz?from=probe")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "reason": ""})
    assert _get(endpoint, "/livez").json()["status"] == "alive"
    scene.board.note(("policy_expired: valid until 2029-12-31",))
    assert _get(endpoint, "/readyz").json()["details"] == ["policy_expired: valid until 2029-12-31"]


def test_head_is_answered_without_a_body(endpoint: Endpoint, scene: _Scene) -> None:
    answer = _get(endpoint, "/readyz", "HEAD")
    assert (answer.status_code, answer.content) == (503, b"")


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/secret", 404), ("POST", "/readyz", 501)])
def test_anything_else_is_refused_and_not_quoted(
    endpoint: Endpoint, scene: _Scene, method: str, path: str, status: int
) -> None:
    answer = _get(endpoint, path, method)
    assert answer.status_code == status
    assert b"secret" not in answer.content
    assert json.loads(answer.content)["status"] == "error"
    assert answer.headers["server"].strip() == "lantern"


def test_callers_who_hold_connections_keep_no_probe_out(
    endpoint: Endpoint, scene: _Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.listener._Handler.timeout", 600.0)
    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_connection((endpoint.host, endpoint.port), 60)) for _ in range(100)]
        assert _get(endpoint, "/livez").status_code == 200
        # The oldest were closed for newer ones, long before they were late with their requests.
        assert [connection.recv(1) for connection in held[:36]] == [b""] * 36
        held[-1].sendall(b"GET /livez HTTP/1.1\r\nHost: probe\r\n\r\n")
        assert held[-1].recv(15) == b"HTTP/1.1 200 OK"


def test_a_taken_port_is_named(endpoint: Endpoint, scene: _Scene) -> None:
    with pytest.raises(ServerError, match=r"--health-port PORT.*health_address") as caught:
        HealthListener(endpoint, scene.board).__enter__()
    assert caught.value.code is ExitCode.PORT_IN_USE
