from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import pytest
import torch
from transformers import LongformerForSequenceClassification, LongformerTokenizerFast

from export.longformer import ExportableLongformer
from training.errors import DataError, DeviceError
from training.labels import LABELS, RISK_LABELS, UNKNOWN, targets
from training.model import Shape, new_model
from training.recipe import EMBEDDED, PUBLISHED, TEACHER, LossWeights, Recipe, Stage
from training.rows import EMOTION_CLASSES, Row
from training.scoring import score_texts
from training.stages import Hardware, Run, blended, choose_hardware, logit_count
from training.tokenizer import encode, train_tokenizer

CPU = Hardware(cuda=False, bf16=False)
STAGE = Stage("only", LossWeights(labels=1.0), learning_rate=0.01, weight_decay=0.0, epochs=2, rows=4)


def a_model(tokenizer: LongformerTokenizerFast) -> LongformerForSequenceClassification:
    torch.manual_seed(0)
    shape = Shape(hidden=16, layers=2, heads=2, intermediate=16, window=8, max_tokens=64, vocab=300, dropout=0.0)
    return new_model(shape, len(tokenizer), logit_count(0))


def a_run(work: Path) -> tuple[Run, LongformerForSequenceClassification, LongformerTokenizerFast]:
    tokenizer = train_tokenizer(["sad days and fine days"] * 5, 300, 64)
    model = a_model(tokenizer)
    return (
        Run(Recipe((STAGE,)), ExportableLongformer(model), partial(encode, tokenizer), 64, CPU, work),
        model,
        tokenizer,
    )


def test_the_published_recipe_is_as_published() -> None:
    first, second = PUBLISHED.stages
    assert (first.learning_rate, first.weight_decay, first.epochs) == (2e-5, 0.01, 3)
    assert (second.learning_rate, second.weight_decay, second.epochs) == (2e-5, 0.02, 2)
    assert first.weights == LossWeights(emotion=1.0) and second.weights == LossWeights(labels=1.0)
    assert TEACHER.stages[0].weights.emotion > 0 and TEACHER.stages[1].weights.labels > 0
    assert all(stage.weights.labels > 0 and stage.weights.embedding > 0 for stage in EMBEDDED.stages)


def test_a_stage_learns_its_labels(tmp_path: Path) -> None:
    run, model, tokenizer = a_run(tmp_path)
    rows = [Row("sad days", targets(frozenset({"depressed"}))), Row("fine days", targets(frozenset()))] * 40
    before = model.classifier.out_proj.weight.detach().clone()
    run.train(STAGE, rows)
    after = model.classifier.out_proj.weight
    assert not torch.equal(before[: len(LABELS)], after[: len(LABELS)])
    assert torch.equal(before[len(LABELS) :], after[len(LABELS) :])
    assert tokenizer.backend_tokenizer.truncation is None


def test_targets_stand_in_the_order_of_the_logits(tmp_path: Path) -> None:
    run, _, _ = a_run(tmp_path)
    row = Row("x", targets(frozenset({"anxious"})), emotion="fear", mentions=(0.0, 1.0, 0.0))
    found = run._targets(row)
    assert found == (0.0, 0.0, 1.0, 0.0, *(float(name == "fear") for name in EMOTION_CLASSES), 0.0, 1.0, 0.0)
    unknown = run._targets(Row("x"))
    assert len(unknown) == logit_count(0) == len(LABELS) + len(EMOTION_CLASSES) + len(RISK_LABELS)
    assert all(math.isnan(value) for value in unknown)
    assert math.isnan(UNKNOWN)


def test_known_and_judged_targets_are_blended_where_both_are_there() -> None:
    known = torch.tensor([1.0, UNKNOWN, 0.0, UNKNOWN])
    judged = torch.tensor([0.5, 0.25, UNKNOWN, UNKNOWN])
    expected = torch.tensor([0.875, 0.25, 0.0, UNKNOWN])
    torch.testing.assert_close(blended(known, judged, 0.75), expected, equal_nan=True)


def test_a_stage_learns_what_is_judged_alone(tmp_path: Path) -> None:
    run, model, _ = a_run(tmp_path)
    judged = torch.full((40, logit_count(0)), UNKNOWN)
    judged[:20, :4], judged[20:, :4] = torch.tensor([0.1, 0.9, 0.1, 0.1]), torch.tensor([0.9, 0.1, 0.1, 0.1])
    run.train(STAGE, [Row("sad days")] * 20 + [Row("fine days")] * 20, judged)
    scores = score_texts(model.eval(), run.encode.args[0], ["sad days", "fine days"])  # type: ignore[attr-defined]
    assert scores[0, 1] > scores[1, 1] and scores[0, 0] < scores[1, 0]


def test_a_stage_without_texts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="only: no text"):
        a_run(tmp_path)[0].train(STAGE, [])


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what is refused where there is none")
def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert choose_hardware("auto", "auto") == Hardware(cuda=False, bf16=True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert choose_hardware("auto", "auto") == CPU
    with pytest.raises(DeviceError, match="--device cpu"):
        choose_hardware("cuda", "auto")
    with pytest.raises(DeviceError, match="--precision fp32"):
        choose_hardware("cpu", "bf16")
