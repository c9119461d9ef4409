"""A few seconds of ``python -m deploy fuzz`` with a fixed seed, against the server of the suite."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from deploy.fuzz.run import Endpoints, Tally, make_canary, send_grpc, send_http, send_schema
from deploy.fuzz.target import Watched
from tests.server.live import MODEL, Live

_SEED = 7


@pytest.mark.parametrize(("send", "most"), [(send_http, 60), (send_grpc, 60), (send_schema, 1)])
def test_odd_requests_meet_no_fault_and_leave_no_trace(live: Live, send: Callable[..., None], most: int) -> None:
    canary, tally, watched = make_canary(_SEED), Tally(), Watched(live.process.pid)
    endpoints = Endpoints(f"127.0.0.1:{live.ports.http}", live.target, MODEL)

    send(endpoints, _SEED, canary, tally, lambda: False, most)

    assert tally.findings == []
    assert tally.sent.total() >= min(most, 10)
    assert any(answer.endswith(("200", "OK")) for answer in tally.answers)
    assert not watched.restarts()
    assert [path.name for path in live.files() if canary.encode() in path.read_bytes()] == []
