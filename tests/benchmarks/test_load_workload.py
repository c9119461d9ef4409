"""Workloads as data, and the calls that are made of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.errors import BenchmarkError
from benchmarks.load.corpus import Call, draw, make_calls, words_counter
from benchmarks.load.shapes import parse_course, stage_at
from benchmarks.load.workload import Workload, WorkloadError, load_workload, names, parse_workload

BASE = {"name": "own", "tokens": [{"first": 5, "last": 50, "share": 1.0}], "slo": {"limit_ms": 100}}
COUNT = words_counter(1.0)


def calls(size: int = 200, **fields: object) -> list[Call]:
    return make_calls(parse_workload(BASE | fields, "test"), COUNT, size)


@pytest.mark.parametrize("name", ["chat", "history", "journal", "mixed"])
def test_the_ready_workloads_can_be_read_and_satisfied(name: str) -> None:
    workload = load_workload(name)

    assert name in names()
    assert len(make_calls(workload, COUNT, 50)) == 50


def test_lengths_follow_the_histogram() -> None:
    found = calls(1000, tokens=[{"first": 10, "last": 20, "share": 3}, {"first": 100, "last": 200, "share": 1}])

    lengths = np.array([call.tokens for call in found])
    assert np.mean(lengths <= 20) == pytest.approx(0.75, abs=0.002)
    assert lengths.min() == 10
    assert lengths.max() == 200
    assert all(len(call.texts[0].split()) == call.tokens for call in found)


def test_shares_of_protocols_entries_errors_and_long_texts() -> None:
    found = calls(
        400,
        protocols={"rest": 3, "grpc": 1},
        entries={1: 0.5, 4: 0.5},
        errors=0.1,
        over_length={"share": 0.2, "first": 500, "last": 600},
    )

    assert sum(call.protocol == "grpc" for call in found) == 100
    assert sum(len(call.texts) == 4 for call in found) == 200
    assert sum(call.wrong for call in found) == 40
    texts = [len(text.split()) for call in found for text in call.texts]
    assert np.mean(np.array(texts) >= 500) == pytest.approx(0.2, abs=0.002)


def test_the_same_seed_makes_the_same_traffic() -> None:
    assert calls(seed=3) == calls(seed=3) != calls(seed=4)
    pool = calls()
    first, second = draw(pool, 5), draw(pool, 5)
    assert [first() for _ in range(50)] == [second() for _ in range(50)]


def test_texts_of_a_file_as_they_are_or_cut_to_length(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text("\n".join(json.dumps({"body": f"entry {n} is here"}) for n in range(5)), encoding="utf-8")
    texts = {"file": str(path), "field": "body"}

    assert {call.tokens for call in calls(texts=texts, tokens=None)} == {4}
    cut = calls(texts=texts)
    assert min(call.tokens for call in cut) == 5
    assert max(call.tokens for call in cut) == 50
    assert "entry" in cut[0].texts[0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tokens": [{"first": 50, "last": 5, "share": 1}]}, "tokens.0: .*first .50. is over last"),
        ({"tokens": None}, "must say how long"),
        ({"tokens": []}, "no bin"),
        ({"protocols": {"smtp": 1}}, "protocols.smtp"),
        ({"protocols": {"rest": 0}}, "no protocol a share"),
        ({"entries": {65: 1}}, "entries.65"),
        ({"errors": 1.5}, "errors"),
        ({"arrivals": "bursty"}, "arrivals"),
        ({"speed": 1}, "speed"),
    ],
)
def test_a_workload_that_cannot_be_is_refused_by_field(fields: dict[str, object], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        parse_workload(BASE | fields, "test")


def test_texts_that_cannot_be_sent_are_refused_without_a_quote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "kept secret"}\n{"other": "secret too"}\n', encoding="utf-8")

    with pytest.raises(WorkloadError, match="line 2") as error:
        calls(texts={"file": str(path)}, tokens=None)
    assert "secret" not in str(error.value)
    with pytest.raises(WorkloadError, match="cannot read the texts"):
        calls(texts={"file": str(tmp_path / "none.jsonl")})
    monkeypatch.setattr("benchmarks.load.corpus.MAX_BODY_BYTES", 5_000)
    with pytest.raises(WorkloadError, match="MB of text"):
        calls(4, entries={64: 1})


def test_a_missing_workload_names_the_ready_ones(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="chat, history, journal, mixed"):
        load_workload("diary")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(WorkloadError, match="not YAML"):
        load_workload(str(tmp_path / "bad.yaml"))


def test_courses() -> None:
    spike = parse_course("spike:rate=5,peak=20,seconds=60")
    steps = parse_course("step:rate=4,peak=8").stages

    assert [stage.rate for stage in spike.stages] == [5, 5, 20, 5, 5, 5]
    assert sum(stage.seconds for stage in spike.stages) == 60
    assert stage_at(spike.stages, 25) == spike.stages[2]
    assert stage_at(spike.stages, 60) is None
    assert steps[0].rate == 4
    assert steps[-1].rate == 8
    assert {stage.rate for stage in parse_course("soak:rate=3").stages} == {3}
    for wrong in ("flood:rate=1", "soak", "spike:rate=x", "spike:speed=1"):
        with pytest.raises(BenchmarkError, match="shape"):
            parse_course(wrong)


def test_the_defaults_of_a_workload_are_those_of_its_page() -> None:
    assert Workload.model_validate(BASE).used_protocols == ("rest",)
