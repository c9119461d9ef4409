"""One archive and one server with the real model for the whole suite, and clients of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from client import LanternClient
from tests.otlp import Collector, collecting
from tests.server.live import Live, Packed, pack, serve


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    """The archive of the embedded checkpoint."""
    return pack(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Where the server sends its traces."""
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="session")
def live(packed: Packed, collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The server that the suite shares, with traces."""
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
            environment.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
            server = stack.enter_context(serve(packed.archive, tmp_path_factory.mktemp("live") / "run"))
        yield server


@pytest.fixture(scope="session")
def rest(live: Live) -> Iterator[LanternClient]:
    """The Python client over REST."""
    with LanternClient.rest(live.url, timeout=60.0) as client:
        yield client


@pytest.fixture(scope="session")
def remote(live: Live) -> Iterator[LanternClient]:
    """The Python client over gRPC."""
    with LanternClient.grpc(live.target, timeout=60.0) as client:
        yield client


@pytest.fixture(params=["rest", "remote"])
def lantern(request: pytest.FixtureRequest) -> LanternClient:
    """The same test over both protocols."""
    client: LanternClient = request.getfixturevalue(request.param)
    return client
