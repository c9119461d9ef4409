"""The GPU check without a GPU: what it compares, how it keeps going, and what it reports."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import gpu_check
from benchmarks.cli import gpu_check as command
from benchmarks.gpu_check import SUBJECTS, CheckPlan, draw, parity_rows, run_gpu_check
from benchmarks.gpu_report import REFERENCE, GpuReport, Speed, SpeedRow, best_at, compare_anchors, report_markdown
from benchmarks.gpu_worker import Engine, Inputs, Worker, WorkerFailed
from benchmarks.reports import write_report
from benchmarks.spread import Spread
from export.matrix import Shape, random_model
from export.progress import Progress
from handlers.runtime import Logits

CONFIG = random_model(Shape(windows=(8,), heads=1, head_size=4, labels=2, max_length=64), seed=0).config
PLAN = CheckPlan("tiny", ("torch", "onnx", "tensorrt"), (16, 32), (1, 4, 8), 128, 3, Path("unused"))


class FakeWorker:
    """Answers at once; ``error`` fails the shapes of ``fails_at`` tokens, ``delta`` is what logits are off by."""

    def __init__(self, delta: float = 0.0, error: str | None = None, fails_at: int | None = None) -> None:
        self.delta, self.error, self.fails_at = delta, error, fails_at
        self.asked: list[tuple[int, ...]] = []

    def _check(self, inputs: Inputs) -> None:
        self.asked.append(inputs.input_ids.shape)
        if self.error is not None and self.fails_at in (None, inputs.input_ids.shape[1]):
            raise WorkerFailed(self.error)

    def logits(self, inputs: Inputs) -> Logits:
        self._check(inputs)
        return np.full((len(inputs.input_ids), 2), self.delta, dtype=np.float32)

    def seconds(self, inputs: Inputs, repeats: int) -> list[float]:
        self._check(inputs)
        return [inputs.input_ids.size * 1e-6] * repeats

    def dense_rate(self) -> float:
        return 1e12

    def close(self) -> None: ...


def check_with(monkeypatch: pytest.MonkeyPatch, workers: dict[str, FakeWorker], gpu: bool) -> GpuReport:
    """Run a check whose exports succeed and whose engines are ``workers``, by name of the subject."""

    class Checkpoint:
        folder = "tiny"

    class Config:
        @staticmethod
        def from_pretrained(folder: str) -> Any:
            return CONFIG

    def make(engine: Engine | None, log: Path) -> FakeWorker:
        return workers.get(log.stem, FakeWorker())

    monkeypatch.setattr(gpu_check, "open_checkpoint", lambda _: Checkpoint)
    monkeypatch.setattr(gpu_check, "LongformerConfig", Config)
    monkeypatch.setattr(gpu_check, "Worker", make)
    monkeypatch.setattr(gpu_check, "missing_gpu", lambda: None if gpu else "none here")
    monkeypatch.setattr(gpu_check, "describe_device", lambda: {"name": "Some GPU"})
    monkeypatch.setattr(gpu_check, "_export", lambda subject, *_: step(subject.name) if subject.export else None)
    return run_gpu_check(PLAN, "python -m benchmarks gpu-check", Progress())


def step(name: str) -> gpu_check.Step:
    return gpu_check.Step(f"export for {name}", "made", succeeded=True)


def test_every_shape_within_the_budget_is_timed_and_a_failing_one_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    failing = FakeWorker(error="out of memory", fails_at=32)
    report = check_with(monkeypatch, {"torch-fp16": failing, "onnx-fp16": failing}, gpu=True)
    rows = {(row.engine, row.batch, row.tokens): row for row in report.speed}

    assert PLAN.shapes == [(1, 16), (4, 16), (8, 16), (1, 32), (4, 32)]
    assert not report.passed
    assert {row.error for row in report.parity if row.engine in ("torch fp16", "onnx fp16")} == {"out of memory"}
    assert {row.engine for row in report.speed} == {
        "transformers fp32", "transformers fp16", "torch fp32", "onnx fp32", "tensorrt fp16",
    }  # fmt: skip
    speed = rows["onnx fp32", 4, 32].speed
    assert speed is not None
    assert speed.latency_s.median == pytest.approx(128e-6)
    assert speed.texts_per_s == pytest.approx(4 / 128e-6)
    assert speed.share.median == pytest.approx(speed.tflops)  # of a dense rate of 10^12


def test_an_engine_that_fails_while_it_is_timed_loses_that_shape_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(FakeWorker):
        def logits(self, inputs: Inputs) -> Logits:
            return np.zeros((len(inputs.input_ids), 2), dtype=np.float32)

    late = Late(error="CUDA error: an illegal memory access was encountered", fails_at=16)
    report = check_with(monkeypatch, {"torch-fp16": late}, gpu=True)
    rows = [row for row in report.speed if row.engine == "torch fp16"]

    assert report.passed
    assert [(row.tokens, row.speed is None) for row in rows] == [(16, True)] * 3 + [(32, False)] * 2
    assert late.asked.count((1, 16)) == 1  # not again in later rounds
    assert "illegal memory access" in report_markdown(report)


@pytest.mark.parametrize(("delta", "passes"), [(5e-6, True), (1e-4, False), (float("nan"), False)])
def test_logits_are_judged_by_the_precision(monkeypatch: pytest.MonkeyPatch, delta: float, passes: bool) -> None:
    workers = {"onnx-fp32": FakeWorker(delta), "onnx-fp16": FakeWorker(1e-4), "transformers-fp16": FakeWorker(1.0)}
    report = check_with(monkeypatch, workers, gpu=False)

    assert report.passed == passes
    assert {row.engine: row.passed for row in report.parity}["onnx fp16"]


def test_without_a_gpu_nothing_is_timed_and_the_report_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    report = check_with(monkeypatch, {}, gpu=False)
    write_report(report, report_markdown(report), tmp_path, "gpu-check")

    assert report.speed == ()
    assert "tensorrt fp16" not in {row.engine for row in report.parity}
    assert report.not_run == ("tensorrt fp16",)
    assert "**No GPU: none here.** Nothing was timed" in (tmp_path / "gpu-check.md").read_text()
    assert json.loads((tmp_path / "gpu-check.json").read_text())["reason"] == "none here"


def test_the_reference_must_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(gpu_check.BenchmarkError, match="transformers fp32, the reference, does not run: no driver"):
        check_with(monkeypatch, {"transformers-fp32": FakeWorker(error="no driver")}, gpu=False)


def test_tensorrt_is_built_of_the_fp16_graph_once_the_gate_has_passed_it() -> None:
    tensorrt = next(subject for subject in SUBJECTS if subject.runtime == "tensorrt")
    gate, build = PLAN.commands(tensorrt, "cuda")

    assert gate[0] == "parity"
    assert build[0] == "tensorrt"
    assert gate[gate.index("--bundle") + 1] == build[build.index("--bundle") + 1] == "unused/onnx-fp16"
    assert "onnx fp16" in {subject.name for subject in replace(PLAN, runtimes=("tensorrt",)).subjects}


def test_every_subject_can_be_asked_for_by_its_runtime() -> None:
    assert {subject.runtime for subject in SUBJECTS} == {REFERENCE, *command.RUNTIMES}


@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(0, 3))
def test_drawn_texts_begin_with_cls_and_end_in_padding(rows: list[int], seed: int) -> None:
    inputs = draw(rows, CONFIG, seed)
    ids, mask = inputs.input_ids, inputs.attention_mask

    assert mask.sum(axis=1).tolist() == rows
    assert (np.diff(mask, axis=1) <= 0).all()
    assert (ids[:, 0] == CONFIG.bos_token_id).all()
    assert (ids[mask == 0] == CONFIG.pad_token_id).all()
    assert 0 <= ids.min() <= ids.max() < CONFIG.vocab_size


def test_short_lengths_are_compared_with_mixed_padding_too() -> None:
    assert parity_rows([16, 4096]) == [(16,), (4096,), (16, 8, 16, 1)]


def test_anchors_are_compared_per_flops_of_the_device() -> None:
    def row(engine: str, share: float) -> SpeedRow:
        return SpeedRow(engine, 4096, 1, Speed(Spread(2e-3, 2e-3, 2e-3), 500.0, 350.0, Spread(share, share, share)))

    rows = [row("transformers fp16", 0.9), row("onnx fp16", 0.3), row("torch fp16", 0.4)]
    (anchor,) = compare_anchors(rows, {4096: 0.709e12})
    best = best_at(rows, 4096)

    assert best is not None
    assert best[0].engine == anchor.engine == "torch fp16"
    assert anchor.published_share == pytest.approx(0.709e12 / 18.9e-3 / 250e12)
    assert anchor.ratio == pytest.approx(0.4 / anchor.published_share)
    assert compare_anchors(rows, {}) == ()


def test_an_engine_that_does_not_open_tells_why(tmp_path: Path) -> None:
    worker = Worker(Engine("cpu", bundle=tmp_path), tmp_path / "logs" / "engine.log")
    try:
        with pytest.raises(WorkerFailed, match=r"bundle\.json is missing: this is not a bundle"):
            worker.logits(draw([3], CONFIG, seed=0))
    finally:
        worker.close()
