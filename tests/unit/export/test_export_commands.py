from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from transformers import LongformerForSequenceClassification

import export.bundle
from export.__main__ import main
from handlers.runtime.bundle import GRAPH_NAME, read_bundle, sha256_file
from tests.checkpoints import Tiny, edit_config, make_checkpoint
from tests.unit.conftest import copy_folder


@pytest.fixture
def own(tiny: Tiny, tmp_path: Path) -> Tiny:
    """A checkpoint and its bundle, the test's own."""
    checkpoint = copy_folder(tiny.checkpoint, tmp_path / "checkpoint")
    return Tiny(checkpoint, copy_folder(tiny.bundle, tmp_path / "bundle"), tmp_path / "store" / "sentiment.mar")


@pytest.fixture
def exports(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Graphs that were exported; each is a copy of the tiny one, as an export takes ten seconds."""
    made: list[Path] = []

    def copy_graph(model: Any, path: Path, precision: str, fp32_layers: int) -> None:
        made.append(path)
        for suffix in ("", ".data"):
            shutil.copy(f"{tiny.bundle / GRAPH_NAME}{suffix}", f"{path}{suffix}")

    monkeypatch.setattr(export.bundle, "export_onnx", copy_graph)
    return made


def run_onnx(own: Tiny, *more: str) -> int:
    return main(["onnx", "--checkpoint", str(own.checkpoint), "--out", str(own.bundle), *more])


def run_parity(own: Tiny, *more: str) -> int:
    return main(["parity", "--checkpoint", str(own.checkpoint), "--bundle", str(own.bundle), "--seeds", "1", *more])


def run_archive(own: Tiny, *more: str) -> int:
    return main(["archive", "--bundle", str(own.bundle), "--store", str(own.archive.parent), *more])


def put_other_weights(own: Tiny, tmp_path: Path, value: float | None = None) -> None:
    """Give the graph the weights of another seed, or ``value`` for all of them."""
    other = make_checkpoint(tmp_path / "other", seed=1)
    weights = LongformerForSequenceClassification.from_pretrained(other).state_dict()
    path = own.bundle / GRAPH_NAME
    graph = onnx.load(path)
    replaced = 0
    for initializer in graph.graph.initializer:
        ours = numpy_helper.to_array(initializer)
        for name, weight in weights.items():
            if name.endswith(initializer.name) and tuple(weight.shape) == ours.shape:
                new = weight.numpy() if value is None else np.full_like(ours, value)
                initializer.CopyFrom(numpy_helper.from_array(new, initializer.name))
                replaced += 1
    assert replaced, [initializer.name for initializer in graph.graph.initializer]
    onnx.save(graph, path)


def forget_parity(own: Tiny) -> None:
    """Make the manifest that of a fresh export of what is in the folder now."""
    path = own.bundle / "bundle.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    files = {name: sha256_file(own.bundle / name) for name in manifest["files"]}
    path.write_text(json.dumps(manifest | {"files": files, "parity": None}), encoding="utf-8")


def test_a_bundle_that_is_up_to_date_is_kept(
    own: Tiny, exports: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_onnx(own) == 0

    output = capsys.readouterr()
    assert exports == []
    assert "is up to date" in output.err
    assert json.loads(output.out)["labels"] == ["neutral", "depressed", "anxious", "stressed"]


def test_force_exports_what_is_up_to_date(own: Tiny, exports: list[Path]) -> None:
    assert run_onnx(own, "--force") == 0

    assert len(exports) == 1


@pytest.mark.parametrize("changed", ["weights", "tokenizer_config.json", "smoke"])
def test_a_bundle_of_a_changed_checkpoint_is_made_again_and_has_to_pass_again(
    own: Tiny, exports: list[Path], changed: str
) -> None:
    before = read_bundle(own.bundle).manifest
    if changed == "weights":
        make_checkpoint(own.checkpoint, seed=1)
    elif changed == "smoke":
        top = _top_label(own)
        (own.checkpoint / "smoke.jsonl").write_text(f'{{"text": "a", "expected": "{top}"}}', encoding="utf-8")
    else:
        path = own.checkpoint / changed
        path.write_text(path.read_text(encoding="utf-8").replace('"model_max_length": 256', '"model_max_length": 99'))

    assert run_onnx(own) == 0

    after = read_bundle(own.bundle).manifest
    assert len(exports) == 1
    assert (after.revision, after.max_length, len(after.smoke)) != (before.revision, 256, 0) or changed == "weights"
    assert after.revision != before.revision or changed == "smoke"
    assert after.parity is None


@pytest.mark.parametrize("name", ["model.onnx.data", "tokenizer.json"])
def test_a_damaged_bundle_is_made_again(own: Tiny, exports: list[Path], name: str) -> None:
    (own.bundle / name).write_bytes(b"damaged")

    assert run_onnx(own) == 0
    assert len(exports) == 1


def test_a_bundle_of_another_version_is_made_again(own: Tiny, exports: list[Path]) -> None:
    (own.bundle / "bundle.json").write_text('{"schema_version": 0}', encoding="utf-8")

    assert run_onnx(own) == 0
    assert len(exports) == 1


def test_a_folder_that_is_no_bundle_is_left_alone(own: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    (own.bundle / "bundle.json").unlink()

    assert run_onnx(own, "--force") == 2
    assert "is there and is not a bundle" in capsys.readouterr().err
    assert (own.bundle / "model.onnx").is_file()


def test_a_smoke_entry_that_comes_out_wrong_stops_the_export_and_keeps_the_old_bundle(
    own: Tiny, exports: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    before = (own.bundle / "bundle.json").read_bytes()
    wrong = next(label for label in ("neutral", "stressed") if label != _top_label(own))
    (own.checkpoint / "smoke.jsonl").write_text(f'{{"text": "a", "expected": "{wrong}"}}', encoding="utf-8")

    assert run_onnx(own) == 2
    assert f"instead of {wrong}: the labels are in the wrong order" in capsys.readouterr().err
    assert (own.bundle / "bundle.json").read_bytes() == before


def test_a_manifest_says_what_it_was_made_of(tiny: Tiny) -> None:
    manifest = read_bundle(tiny.bundle).manifest

    assert (manifest.checkpoint, manifest.labels_source) == ("checkpoint", "checkpoint (id2label)")
    assert manifest.tools["torch"] == torch.__version__
    assert manifest.parity is not None
    assert manifest.parity.max_abs_delta_logit is not None
    assert manifest.parity.max_abs_delta_logit <= manifest.parity.tolerance == 1e-5


def test_a_bundle_without_smoke_entries_is_made_with_a_warning(
    own: Tiny, exports: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run_onnx(own, "--force")

    assert "warning: no smoke entries" in capsys.readouterr().err


def test_a_bundle_that_has_passed_is_not_compared_again(own: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_parity(own) == 0

    output = capsys.readouterr()
    assert "has passed the gate already" in output.err
    assert output.out == ""


def test_a_forced_comparison_prints_the_report(own: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_parity(own, "--force", "--json") == 0

    (report,) = json.loads(capsys.readouterr().out)
    assert report["passed"]
    assert {case["case"]["length"] for case in report["cases"]} >= {1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 256}
    assert json.loads((own.bundle / "parity.json").read_text(encoding="utf-8")) == report


@pytest.mark.parametrize("value", [None, float("nan")], ids=["another seed", "nan"])
def test_a_wrong_graph_fails_the_gate_and_is_never_packed(
    own: Tiny, tmp_path: Path, value: float | None, capsys: pytest.CaptureFixture[str]
) -> None:
    put_other_weights(own, tmp_path, value)
    forget_parity(own)

    assert run_parity(own) == 1
    assert "FAIL" in capsys.readouterr().out
    assert run_archive(own) == 2
    assert "the parity gate has not passed this graph" in capsys.readouterr().err
    assert not own.archive.exists()


def test_weights_that_changed_after_the_gate_are_compared_again_and_fail(own: Tiny, tmp_path: Path) -> None:
    put_other_weights(own, tmp_path)

    assert run_parity(own) == 1


def test_another_revision_of_the_checkpoint_is_not_compared(own: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    edit_config(own.checkpoint, note="changed")

    assert run_parity(own, "--force") == 2
    assert "was made of another revision of checkpoint; export it again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["parity"], "parity needs --checkpoint and --bundle, or --matrix"),
        (["onnx", "--checkpoint", "no such", "--out", "x"], "neither a folder, nor a hub id"),
        (["parity", "--checkpoint", "x", "--bundle", "no such"], "is not a bundle"),
        (["archive", "--bundle", "no such"], "is not a bundle"),
    ],
)
def test_what_cannot_be_done_ends_with_2_and_its_reason(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(arguments) == 2
    assert f"error: {message}" in (error := capsys.readouterr().err) or message in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [[], ["onnx"], ["bake"], ["onnx", "--checkpoint", "x", "--precision", "int4"]])
def test_a_command_line_that_is_wrong_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)

    assert caught.value.code == 2
    assert "usage: python -m export" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["onnx", "parity", "calibrate", "archive"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])

    assert caught.value.code == 0
    assert f"usage: python -m export {command}" in capsys.readouterr().out


def test_labels_are_taken_from_the_command_line(
    own: Tiny, exports: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    generic = {str(index): f"LABEL_{index}" for index in range(4)}
    edit_config(own.checkpoint, id2label=generic, label2id=None)

    assert run_onnx(own) == 2
    assert "name the labels" in capsys.readouterr().err
    assert run_onnx(own, "--labels", "calm, low,tense ,strained") == 0
    assert read_bundle(own.bundle).manifest.labels == ("calm", "low", "tense", "strained")


def _top_label(own: Tiny) -> str:
    from handlers.core.wire import RawRequest
    from tests.unit.conftest import open_pipeline

    (outcome,) = open_pipeline(read_bundle(own.bundle)).handle([RawRequest(b'{"text": "a"}')])
    return str(max(json.loads(outcome.body)["labels"], key=lambda label: label["score"])["name"])
