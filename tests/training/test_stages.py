from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from training.errors import DataError, DeviceError
from training.labels import LABELS, RISK_LABELS, UNKNOWN, targets
from training.model import Shape, new_model
from training.recipe import EMBEDDED, PUBLISHED, LossWeights, Recipe, Stage
from training.rows import EMOTION_CLASSES, Row
from training.stages import Hardware, Run, choose_hardware, logit_count
from training.tokenizer import train_tokenizer

CPU = Hardware(cuda=False, bf16=False)
STAGE = Stage("only", LossWeights(labels=1.0), learning_rate=0.01, weight_decay=0.0, epochs=2, rows=4)


def a_run(work: Path) -> Run:
    torch.manual_seed(0)
    tokenizer = train_tokenizer(["sad days and fine days"] * 5, 300, 64)
    shape = Shape(hidden=16, layers=2, heads=2, intermediate=16, window=8, max_tokens=64, vocab=300, dropout=0.0)
    model = new_model(shape, len(tokenizer), logit_count(0))
    return Run(Recipe((STAGE,)), model, tokenizer, CPU, work)


def test_the_published_recipe_is_as_published() -> None:
    first, second = PUBLISHED.stages
    assert (first.learning_rate, first.weight_decay, first.epochs) == (2e-5, 0.01, 3)
    assert (second.learning_rate, second.weight_decay, second.epochs) == (2e-5, 0.02, 2)
    assert first.weights == LossWeights(emotion=1.0) and second.weights == LossWeights(labels=1.0)
    assert EMBEDDED.stages[0].weights.emotion > 0 and EMBEDDED.stages[1].weights.labels > 0


def test_a_stage_learns_its_labels(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    rows = [Row("sad days", targets(frozenset({"depressed"}))), Row("fine days", targets(frozenset()))] * 40
    before = run.model.classifier.out_proj.weight.detach().clone()
    run.train(STAGE, rows)
    after = run.model.classifier.out_proj.weight
    assert not torch.equal(before[: len(LABELS)], after[: len(LABELS)])
    assert torch.equal(before[len(LABELS) :], after[len(LABELS) :])
    assert run.tokenizer.backend_tokenizer.truncation is None


def test_targets_stand_in_the_order_of_the_logits(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    row = Row("x", targets(frozenset({"anxious"})), emotion="fear", mentions=(0.0, 1.0, 0.0))
    found = run._targets(row)
    assert found == (0.0, 0.0, 1.0, 0.0, *(float(name == "fear") for name in EMOTION_CLASSES), 0.0, 1.0, 0.0)
    unknown = run._targets(Row("x"))
    assert len(unknown) == logit_count(0) == len(LABELS) + len(EMOTION_CLASSES) + len(RISK_LABELS)
    assert all(math.isnan(value) for value in unknown)
    assert math.isnan(UNKNOWN)


def test_a_stage_without_texts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="only: no text"):
        a_run(tmp_path).train(STAGE, [])


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what is refused where there is none")
def test_a_device_that_is_not_there_is_refused() -> None:
    assert choose_hardware("auto", "auto") == CPU
    with pytest.raises(DeviceError, match="--device cpu"):
        choose_hardware("cuda", "auto")
    with pytest.raises(DeviceError, match="--precision fp32"):
        choose_hardware("cpu", "bf16")
