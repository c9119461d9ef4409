from __future__ import annotations

import json

import pytest

from export.served import NotServed, served_rows
from handlers.core.wire import RawRequest
from handlers.pipeline import Pipeline
from handlers.runtime.bundle import Bundle
from tests.unit.test_pipeline import CANARY, LONG, POISON, NanBundle, PoisonedBundle

TEXTS = [LONG, "a", "short one", LONG[:100], "a", *(LONG[k : 3 * k] for k in range(1, 80))]


def test_rows_are_what_the_pipeline_answers(bundle: Bundle, pipeline: Pipeline) -> None:
    rows = served_rows(bundle, TEXTS, device="cpu")

    for text, row in zip(TEXTS, rows, strict=True):
        (outcome,) = pipeline.handle(
            [RawRequest(json.dumps({"text": text, "options": {"return_logits": True}}).encode())]
        )
        answer = json.loads(outcome.body)
        assert row.logits == pytest.approx([label["logit"] for label in answer["labels"]], abs=1e-5)
        assert (row.tokens, row.windows) == (len(text), len(answer["input"]["windows"]))
    assert rows[0].windows == 3
    assert rows[1] == rows[4]


def test_the_order_of_texts_changes_no_logit(bundle: Bundle) -> None:
    assert served_rows(bundle, TEXTS[::-1], device="cpu") == served_rows(bundle, TEXTS, device="cpu")[::-1]


def test_progress_counts_distinct_texts(bundle: Bundle) -> None:
    heard: list[tuple[int, int]] = []
    served_rows(bundle, TEXTS, lambda done, total: heard.append((done, total)), device="cpu")

    assert heard == [(64, len(set(TEXTS))), (len(set(TEXTS)), len(set(TEXTS)))]


def test_no_texts_are_no_rows(bundle: Bundle) -> None:
    assert served_rows(bundle, [], device="cpu") == []


@pytest.mark.parametrize(
    ("kind", "reason"), [(PoisonedBundle, "internal"), (NanBundle, "non_finite_scores")], ids=["error", "nan"]
)
def test_a_text_without_an_answer_is_named_by_its_row_and_not_quoted(
    bundle: Bundle, kind: type[PoisonedBundle], reason: str
) -> None:
    texts = ["a", "b", f"{CANARY}{POISON}"]

    with pytest.raises(NotServed, match=f"^row 3: the pipeline has no answer: {reason}: ") as caught:
        served_rows(kind(bundle.folder, bundle.manifest), texts, device="cpu")
    assert CANARY not in str(caught.value)
    with pytest.raises(NotServed, match=f"^d.csv:7: the pipeline has no answer: {reason}: "):
        served_rows(kind(bundle.folder, bundle.manifest), texts, device="cpu", name_row=lambda _: "d.csv:7")
