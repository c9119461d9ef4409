"""A small part of chaos in every test run: real replicas, a real gateway, a killed worker, a planned stop."""

from __future__ import annotations

import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from client import Unauthenticated
from deploy.chaos.arena import WARM_CALLS, Arena
from deploy.chaos.load import LoadSettings
from deploy.chaos.run import judge, open_arena
from deploy.chaos.scenarios import RETRIABLE, archives
from deploy.chaos.scenarios.processes import kill_worker
from deploy.chaos.tally import tally
from tests.server.live import Packed, pack, runs


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return pack(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def arena(nginx_program: None, packed: Packed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """Two replicas behind nginx, and texts whose answers are known."""
    settings = LoadSettings(rate=60.0, callers=4)
    with open_arena(packed.archive, "sentiment", tmp_path_factory.mktemp("run"), settings, lambda _: None) as opened:
        yield opened


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_the_python_client_works_through_the_gateway_with_tls_and_token(arena: Arena, protocol: str) -> None:
    make = arena.gateway.rest if protocol == "rest" else arena.gateway.grpc
    known = arena.known[0]
    with make() as client:
        answer = client.classify(known.text, request_id=uuid.uuid4().hex)
        results = client.classify_entries([known.text, "A quiet day."])
    with make(token="0" * 64) as stranger, pytest.raises(Unauthenticated):
        stranger.classify(known.text)

    assert known.is_answered_by(answer)
    assert len(results) == 2


def test_callers_get_right_answers_while_a_worker_is_killed(arena: Arena) -> None:
    result = kill_worker(arena)

    assert list(judge(tally(result.samples), RETRIABLE)) == []
    assert result.recovery_s is not None


def test_a_planned_stop_loses_nothing_and_leaves_nothing(arena: Arena) -> None:
    replica = arena.replicas[1]
    processes = [replica.java(), replica.worker()]
    with arena.load() as load:
        load.wait_for(WARM_CALLS, 60)
        assert replica.stop()
        load.wait_for(WARM_CALLS, 60)

    assert list(judge(tally(load.samples), frozenset())) == []
    assert replica.ended() == 0
    assert not any(map(runs, processes))


def test_the_poisoned_graph_fails_at_one_length_and_is_the_same_at_others(packed: Packed, tmp_path: Path) -> None:
    bad = archives.rewrite_graph(packed.archive, tmp_path / "bad" / "sentiment.mar", 7)

    assert np.array_equal(logits(packed.archive, tmp_path / "sound", 6), logits(bad, tmp_path / "poisoned", 6))
    with pytest.raises(Exception, match="out of data bounds"):
        logits(bad, tmp_path / "again", 7)


def logits(archive: Path, folder: Path, length: int) -> Any:
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
    session = onnxruntime.InferenceSession(folder / archives.GRAPH, providers=["CPUExecutionProvider"])
    ids = np.full((1, length), 5, dtype=np.int64)
    return session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]
