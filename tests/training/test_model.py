from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoTokenizer, LongformerForSequenceClassification, LongformerTokenizerFast

from export.longformer import ExportableLongformer
from training.batches import Example, TokenBudgetSampler, collate
from training.labels import LABELS, UNKNOWN
from training.model import (
    LogitGroup,
    Shape,
    TrainingModel,
    average_weights,
    known_bce,
    known_cross_entropy,
    load_model,
    new_model,
    save_half,
    tile_positions,
    without_auxiliary,
)
from training.tokenizer import SPECIAL_TOKENS, UNKNOWN_ID, train_tokenizer

TINY = Shape(hidden=16, layers=2, heads=2, intermediate=32, window=8, max_tokens=64, vocab=300, dropout=0.0)
TEXT = "I went to the market and the market was full of people, and I am fine."


@pytest.fixture(scope="module")
def tokenizer() -> LongformerTokenizerFast:
    return train_tokenizer([TEXT] * 5, vocab_size=300, max_tokens=64)


def tiny(outputs: int = len(LABELS)) -> LongformerForSequenceClassification:
    torch.manual_seed(0)
    return new_model(TINY, TINY.vocab, outputs)


def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = [torch.randint(5, 300, (length,), generator=generator).tolist() for length in (40, 17)]
    return collate(
        [
            Example((0, *ids[0], 2), torch.tensor([1.0, 0.0, 0.0, 0.0])),
            Example((0, *ids[1], 2), torch.tensor([0.0, 0.0, UNKNOWN, 1.0])),
        ]
    )


def spelled(text: str) -> str:
    """As the tokenizer reads it: small letters, plain apostrophes, a space before the first word."""
    small = "".join(letter.lower() for letter in text.replace("\u2019", "'"))
    return small if not small or small[0].isspace() else " " + small


@pytest.mark.parametrize(
    "text",
    ["plain", "", "emoji 😂👩‍👩‍👧", "日本語の日記", "a\x00b", "\n\n tabs\t", "CAFÉ naïve", "<s> </s>", "I’m fine"],
)
def test_tokenizer_round_trip(tokenizer: LongformerTokenizerFast, text: str) -> None:
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == 0 and ids[-1] == 2
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids[1:-1], clean_up_tokenization_spaces=False).lstrip() == spelled(text).lstrip()


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60).filter(lambda text: "<" not in text))
@settings(max_examples=50, deadline=None)
def test_any_text_survives_the_tokenizer(tokenizer: LongformerTokenizerFast, text: str) -> None:
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids[1:-1], clean_up_tokenization_spaces=False).lstrip() == spelled(text).lstrip()


def test_a_word_has_the_same_tokens_first_last_and_in_capitals(tokenizer: LongformerTokenizerFast) -> None:
    assert tokenizer("MARKET")["input_ids"] == tokenizer("market")["input_ids"] == tokenizer(" Market")["input_ids"]
    assert tokenizer("i’m")["input_ids"] == tokenizer("I'm")["input_ids"]


def test_tokenizer_is_saved_as_longformers(tokenizer: LongformerTokenizerFast, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path, model_type="longformer")
    assert loaded("the market")["input_ids"] == tokenizer("the market")["input_ids"]
    assert [loaded.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS] == [0, 1, 2, 3, 4]
    assert loaded.model_max_length == 64
    names = {path.name for path in tmp_path.iterdir()}
    assert names >= {"tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"}


def test_gradients_are_those_of_transformers() -> None:
    """Training through the exportable graph is training of the stock model (dropout 0, longer than its window)."""
    reference, model = tiny(), tiny()
    inputs = batch()
    outputs = reference(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
    known_bce(outputs.logits, inputs["labels"]).backward()
    TrainingModel(ExportableLongformer(model), [LogitGroup(len(LABELS), 1.0, known_bce)])(**inputs)["loss"].backward()

    wanted = {name: parameter.grad for name, parameter in reference.named_parameters()}
    for name, parameter in model.named_parameters():
        expected = wanted[name]
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        expected = torch.zeros_like(parameter) if expected is None else expected
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")


def test_unknown_targets_have_no_part_in_the_loss() -> None:
    logits = torch.tensor([[2.0, -1.0], [0.5, 3.0]])
    known = known_bce(logits, torch.tensor([[1.0, UNKNOWN], [UNKNOWN, UNKNOWN]]))
    torch.testing.assert_close(known, torch.nn.functional.softplus(torch.tensor(-2.0)))
    assert known_bce(logits[:, :0], torch.empty(2, 0)) == 0.0


def test_each_group_of_logits_has_a_loss_of_its_own() -> None:
    inputs = batch()
    inputs["labels"][:, 1:] = UNKNOWN
    model = tiny()
    weighted = TrainingModel(
        ExportableLongformer(model), [LogitGroup(1, 0.5, known_bce), LogitGroup(3, 9.0, known_bce)]
    )(**inputs)
    expected = known_bce(weighted["logits"][:, :1], inputs["labels"][:, :1])
    torch.testing.assert_close(weighted["loss"], 0.5 * expected)


def test_classes_are_learned_by_cross_entropy_where_they_are_known() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.0], [0.5, 3.0, 1.0]])
    found = known_cross_entropy(logits, torch.tensor([[0.0, 1.0, 0.0], [UNKNOWN] * 3]))
    torch.testing.assert_close(found, torch.nn.functional.cross_entropy(logits[:1], torch.tensor([1])))
    assert known_cross_entropy(logits, torch.full((2, 3), UNKNOWN)) == 0.0


def test_a_group_without_weight_is_not_trained() -> None:
    model = tiny()
    TrainingModel(ExportableLongformer(model), [LogitGroup(2, 1.0, known_bce), LogitGroup(2, 0.0, known_bce)])(
        **batch()
    )["loss"].backward()
    gradient = model.classifier.out_proj.weight.grad
    assert gradient is not None and gradient[:2].any() and not gradient[2:].any()


def test_positions_are_tiled() -> None:
    model = tiny()
    before = model.longformer.embeddings.position_embeddings.weight.detach().clone()
    tile_positions(model, 10)
    after = model.longformer.embeddings.position_embeddings.weight
    assert torch.equal(after[:12], before[:12])
    assert torch.equal(after[12:22], before[2:12])
    assert torch.equal(after[62:66], before[2:6])


def test_weights_are_averaged_by_their_share() -> None:
    model = tiny()
    before = {name: torch.zeros_like(weight) for name, weight in model.state_dict().items()}
    after = {name: weight.clone() for name, weight in model.state_dict().items()}
    average_weights(model, before, 0.25)
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weight, 0.25 * after[name])


def test_the_saved_model_is_the_trained_one_without_its_auxiliary_outputs(tmp_path: Path) -> None:
    model = tiny(outputs=7).eval()
    save_half(without_auxiliary(model), tmp_path)
    loaded = load_model(tmp_path)
    inputs = batch()
    arguments = {"input_ids": inputs["input_ids"], "attention_mask": inputs["attention_mask"]}
    found, expected = loaded(**arguments).logits, model(**arguments).logits
    torch.testing.assert_close(found, expected[:, : len(LABELS)], rtol=1e-2, atol=1e-3)
    assert tuple(loaded.config.id2label.values()) == LABELS
    assert loaded.config.problem_type == "multi_label_classification"
    assert loaded.dtype == torch.float32
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "float16"


@given(st.lists(st.integers(1, 300), min_size=1, max_size=200), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_batches_hold_every_text_once_within_the_budget(lengths: list[int], seed: int) -> None:
    batches = list(TokenBudgetSampler(lengths, budget=256, rows=8, seed=seed))
    assert sorted(index for found in batches for index in found) == list(range(len(lengths)))
    for found in batches:
        assert len(found) <= 8
        assert len(found) == 1 or len(found) * max(lengths[index] for index in found) <= 256


def test_hidden_tokens_are_hidden_in_training_alone() -> None:
    inputs = batch()
    model = TrainingModel(ExportableLongformer(tiny()), [LogitGroup(len(LABELS), 1.0, known_bce)], token_dropout=0.5)
    torch.manual_seed(0)
    gaps = model.train()._with_gaps(inputs["input_ids"])
    changed = gaps != inputs["input_ids"]
    assert changed.any() and (gaps[changed] == UNKNOWN_ID).all()
    assert torch.equal(gaps[:, 0], inputs["input_ids"][:, 0])  # <s> is never hidden
    assert torch.equal(model.eval()._with_gaps(inputs["input_ids"]), inputs["input_ids"])


def test_collate_pads_to_the_longest() -> None:
    found = collate([Example((0, 9, 2), torch.tensor([1.0, UNKNOWN])), Example((0, 2), torch.tensor([0.0, 1.0]))])
    assert found["input_ids"].tolist() == [[0, 9, 2], [0, 2, 1]]
    assert found["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert found["labels"][0].isnan().tolist() == [False, True]
