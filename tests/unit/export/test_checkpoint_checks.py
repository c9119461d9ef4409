from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from export.checkpoint import KNOWN_CHECKPOINTS, Checkpoint, Claims, load_model, open_checkpoint
from export.errors import ExportRefused
from tests.checkpoints import LABELS, Tiny, edit_config
from tests.unit.conftest import copy_folder

KNOWN = "Hrishikesh4/mental-health-classifier-longformer"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
GENERIC = {"id2label": {str(i): f"LABEL_{i}" for i in range(4)}, "label2id": {f"LABEL_{i}": i for i in range(4)}}


@pytest.fixture
def own(tiny: Tiny, tmp_path: Path) -> Path:
    """A checkpoint folder of the test's own."""
    return copy_folder(tiny.checkpoint, tmp_path / "checkpoint")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of a hub that cannot be reached."""
    cache = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    return cache


def cache_snapshot(hub: Path, hub_id: str, source: Path) -> Path:
    """Put ``source`` into the cache as the main branch of ``hub_id``."""
    repository = hub / f"models--{hub_id.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT, encoding="utf-8")
    return copy_folder(source, repository / "snapshots" / COMMIT)


def refusal(folder: Path, **claims: Any) -> str:
    with pytest.raises(ExportRefused) as caught:
        open_checkpoint(str(folder), Claims(**claims))
    return str(caught.value)


def test_a_whole_checkpoint_is_taken(tiny: Tiny) -> None:
    checkpoint = open_checkpoint(str(tiny.checkpoint))

    assert isinstance(checkpoint, Checkpoint)
    assert (checkpoint.labels, checkpoint.labels_source) == (LABELS, "checkpoint (id2label)")
    assert (checkpoint.attention_window, checkpoint.max_length) == ((32, 64), 256)
    assert checkpoint.special_tokens.model_dump() == {"cls": 0, "sep": 2, "pad": 1}
    assert checkpoint.revision.startswith("sha256:")
    assert checkpoint.smoke == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architectures": ["RobertaForSequenceClassification"]}, "only LongformerForSequenceClassification"),
        ({"architectures": None}, "architectures is None"),
        ({"model_type": "roberta"}, "only LongformerForSequenceClassification"),
        ({"auto_map": {"AutoModel": "code.Model"}}, "auto_map asks for remote code, which is never run"),
        ({"num_attention_heads": 5}, "hidden_size is not a multiple of num_attention_heads"),
        ({"attention_window": 33}, "attention_window is 33; it must be a positive even number"),
        ({"attention_window": [32, 0]}, "must be a positive even number"),
        ({"attention_window": [32, 64, 64]}, "one for each of the 2 layers"),
        ({"attention_window": [32]}, "one for each of the 2 layers"),
        ({"attention_window": "64"}, "must be a positive even number"),
        ({"vocab_size": 200}, "more than vocab_size in config.json"),
        ({"pad_token_id": 3}, "padding is token 1 in the tokenizer, another in config.json"),
    ],
)
def test_a_configuration_that_cannot_be_exported_is_refused_with_its_reason(
    own: Path, change: dict[str, Any], message: str
) -> None:
    assert message in refusal(edit_config(own, **change))


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_configuration_that_is_no_json_object_is_refused(own: Path, content: str) -> None:
    (own / "config.json").write_text(content, encoding="utf-8")

    assert "config.json: not" in refusal(own)


def test_one_window_for_all_layers_is_given_to_each(own: Path) -> None:
    assert open_checkpoint(str(edit_config(own, attention_window=64))).attention_window == (64, 64)


@pytest.mark.parametrize("layout", ["generic", "none"])
def test_generic_labels_are_refused_until_they_are_named(own: Path, layout: str) -> None:
    edit_config(own, **(GENERIC if layout == "generic" else {"id2label": None, "label2id": None}))

    assert "name the labels in the order of the logits with --labels" in refusal(own)


def test_named_labels_are_taken_and_remembered_as_the_operators(own: Path) -> None:
    checkpoint = open_checkpoint(str(edit_config(own, **GENERIC)), Claims(labels=("a", "b", "c", "d")))

    assert (checkpoint.labels, checkpoint.labels_source) == (("a", "b", "c", "d"), "operator (--labels)")
    assert load_model(checkpoint).config.id2label == {0: "a", 1: "b", 2: "c", 3: "d"}


@pytest.mark.parametrize("labels", [("a", "b"), ("a", "b", "c", "c"), ("a", "b", "c", ""), ("a", "b", "c", "d", "e")])
def test_labels_of_a_wrong_number_or_twice_are_refused(own: Path, labels: tuple[str, ...]) -> None:
    assert "--labels: 4 different names are needed" in refusal(edit_config(own, **GENERIC), labels=labels)


def test_labels_that_contradict_the_checkpoint_are_refused(own: Path) -> None:
    assert "id2label says neutral, depressed" in refusal(own, labels=LABELS[::-1])


def test_labels_that_agree_with_the_checkpoint_are_taken(own: Path) -> None:
    assert open_checkpoint(str(own), Claims(labels=LABELS)).labels == LABELS


def test_a_label2id_of_another_order_is_refused(own: Path) -> None:
    swapped = {label: index for index, label in enumerate(LABELS[::-1])}

    assert "label2id contradicts id2label about neutral" in refusal(edit_config(own, label2id=swapped))


def test_an_id2label_with_a_gap_is_refused(own: Path) -> None:
    assert "id2label has no entry '1'" in refusal(edit_config(own, id2label={"0": "a", "2": "b"}, label2id=None))


@pytest.mark.parametrize(
    ("stated", "claimed", "message"),
    [
        (None, None, "pass --problem-type multi_label_classification"),
        ("single_label_classification", None, "problem_type is single_label_classification"),
        ("single_label_classification", "multi_label_classification", "but --problem-type says multi_label"),
        (None, "regression", "pass --problem-type multi_label_classification"),
        ("multi_label_classification", "regression", "but --problem-type says regression"),
    ],
)
def test_a_problem_type_other_than_sigmoids_is_refused(
    own: Path, stated: str | None, claimed: str | None, message: str
) -> None:
    assert message in refusal(edit_config(own, problem_type=stated), problem_type=claimed)


def test_a_problem_type_that_is_not_stated_can_be_claimed(own: Path) -> None:
    claims = Claims(problem_type="multi_label_classification")

    assert open_checkpoint(str(edit_config(own, problem_type=None)), claims).labels == LABELS


def test_a_pickle_is_never_loaded(own: Path) -> None:
    (own / "model.safetensors").rename(own / "pytorch_model.bin")

    assert "only pytorch_model.bin; weights must be in safetensors" in refusal(own)


def test_a_checkpoint_without_weights_is_refused(own: Path) -> None:
    (own / "model.safetensors").unlink()

    assert "no weights" in refusal(own)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("classifier.dense.bias"), "weights missing .*: classifier.dense.bias; they would"),
        (
            lambda weights: weights.update({"classifier.out_proj.bias": torch.zeros(5)}),
            "of another shape: classifier.out_proj.bias",
        ),
        (lambda weights: weights["classifier.dense.bias"].fill_(float("nan")), "classifier.dense.bias holds NaN"),
        (lambda weights: weights["classifier.dense.bias"].fill_(float("inf")), "holds NaN or infinity"),
    ],
    ids=["missing", "another shape", "nan", "infinity"],
)
def test_weights_that_are_not_whole_are_refused(own: Path, change: Callable[[Any], Any], message: str) -> None:
    weights = load_file(own / "model.safetensors")
    change(weights)
    save_file(weights, own / "model.safetensors", {"format": "pt"})

    with pytest.raises(ExportRefused, match=message):
        load_model(open_checkpoint(str(own)))


def test_a_checkpoint_without_a_tokenizer_is_refused(own: Path) -> None:
    for path in [*own.glob("token*"), *own.glob("vocab*"), *own.glob("merges*"), *own.glob("special*")]:
        path.unlink()

    assert "no tokenizer can be loaded" in refusal(own)


def test_a_tokenizer_that_does_not_frame_a_text_is_refused(own: Path) -> None:
    path = own / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(tokenizer | {"post_processor": None}), encoding="utf-8")
    (own / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "cls_token": "<s>",
                "sep_token": "</s>",
                "pad_token": "<pad>",
            }
        ),
        encoding="utf-8",
    )

    assert "does not frame a text" in refusal(own)


def test_a_tokenizer_without_the_framing_tokens_is_refused(own: Path) -> None:
    (own / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}', encoding="utf-8")
    (own / "special_tokens_map.json").unlink()

    assert "lacks one of the tokens" in refusal(own)


@pytest.mark.parametrize("changed", ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"])
def test_the_revision_of_a_folder_covers_all_that_matters(tiny: Tiny, own: Path, changed: str) -> None:
    before = open_checkpoint(str(tiny.checkpoint)).revision
    assert open_checkpoint(str(own)).revision == before

    if changed == "model.safetensors":
        save_file(load_file(own / changed), own / changed, {"format": "pt", "note": "other bytes"})
    else:
        (own / changed).write_text((own / changed).read_text(encoding="utf-8") + "\n", encoding="utf-8")

    assert open_checkpoint(str(own)).revision != before


@pytest.mark.parametrize("source", ["nowhere", "a/b/c", "./nowhere/at-all", "../nowhere", ""])
def test_what_is_neither_a_folder_nor_a_hub_id_is_refused(source: str) -> None:
    if source == "":
        source = "no such folder"
    with pytest.raises(ExportRefused, match="neither a folder, nor a hub id"):
        open_checkpoint(source)


def test_a_folder_without_a_configuration_is_no_checkpoint(tmp_path: Path) -> None:
    assert "config.json is missing: this is not a checkpoint folder" in refusal(tmp_path)


def test_a_hub_id_that_cannot_be_reached_is_refused_with_what_to_do(hub: Path) -> None:
    with pytest.raises(ExportRefused, match=r"cannot be downloaded from the hub .* download it elsewhere and give its"):
        open_checkpoint("nobody/nothing")
    assert not hub.exists() or not any(hub.glob("models--*/snapshots"))


def test_the_known_checkpoint_gets_its_labels_and_smoke_entries(own: Path, hub: Path) -> None:
    cache_snapshot(hub, KNOWN, edit_config(own, problem_type=None, **GENERIC))
    checkpoint = open_checkpoint(KNOWN)

    assert checkpoint.labels == ("neutral", "depressed", "anxious", "stressed")
    assert checkpoint.labels_source.startswith("known checkpoint: ")
    assert (checkpoint.name, checkpoint.revision) == (KNOWN, COMMIT)
    assert sorted(entry.expected for entry in checkpoint.smoke) == sorted(checkpoint.labels)


def test_the_same_files_under_another_id_are_not_known(own: Path, hub: Path) -> None:
    cache_snapshot(hub, "somebody/else", edit_config(own, **GENERIC))

    with pytest.raises(ExportRefused, match="id2label is generic"):
        open_checkpoint("somebody/else")


def test_a_known_checkpoint_that_says_something_else_is_refused(own: Path, hub: Path) -> None:
    cache_snapshot(hub, KNOWN, edit_config(own, problem_type="single_label_classification", **GENERIC))

    with pytest.raises(ExportRefused, match="problem_type is single_label_classification"):
        open_checkpoint(KNOWN)


@pytest.mark.parametrize("known", KNOWN_CHECKPOINTS.values())
def test_a_known_checkpoint_has_a_smoke_entry_for_every_label(known: Any) -> None:
    assert {entry.expected for entry in known.smoke} == set(known.labels)


def write_smoke(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_smoke_entries_come_from_the_checkpoint(own: Path) -> None:
    write_smoke(
        own / "smoke.jsonl", '{"text": "a\u2028b", "expected": "neutral"}', "", '{"text":"c","expected":"anxious"}'
    )

    entries = open_checkpoint(str(own)).smoke

    assert [(entry.text, entry.expected) for entry in entries] == [("a\u2028b", "neutral"), ("c", "anxious")]


def test_smoke_entries_of_the_operator_come_before_the_checkpoints(own: Path, tmp_path: Path) -> None:
    write_smoke(own / "smoke.jsonl", '{"text": "a", "expected": "neutral"}')
    mine = write_smoke(tmp_path / "mine.jsonl", '{"text": "b", "expected": "anxious"}')

    assert [entry.text for entry in open_checkpoint(str(own), Claims(smoke_file=mine)).smoke] == ["b"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "smoke.jsonl:2: a smoke entry is"),
        ('{"text": "a"}', "smoke.jsonl:2: a smoke entry is"),
        ('{"text": "", "expected": "neutral"}', "smoke.jsonl:2: a smoke entry is"),
        ('{"text": "a", "expected": "neutral", "more": 1}', "smoke.jsonl:2: a smoke entry is"),
        ('{"text": "a", "expected": "happy"}', "smoke.jsonl:2: expected label 'happy' is none of neutral, depressed"),
    ],
)
def test_a_bad_smoke_line_is_named(own: Path, line: str, message: str) -> None:
    write_smoke(own / "smoke.jsonl", '{"text": "a", "expected": "neutral"}', line)

    assert message in refusal(own)


def test_a_smoke_file_that_is_not_utf8_is_refused(own: Path) -> None:
    (own / "smoke.jsonl").write_bytes(b'{"text": "\xff", "expected": "neutral"}')

    assert "smoke.jsonl:1: a smoke entry is" in refusal(own)


def test_a_smoke_file_that_is_not_there_is_refused(own: Path, tmp_path: Path) -> None:
    assert "is not there" in refusal(own, smoke_file=tmp_path / "none.jsonl")
