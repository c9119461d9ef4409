"""Torch bundles: made by the command, passed by the gate, read by the pipeline and by ``transformers``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import LongformerForSequenceClassification

from export import torch_command
from export.__main__ import main
from export.errors import ExportRefused
from export.matrix import Shape, random_model
from export.torch_weights import write_weights
from handlers.runtime.bundle import Bundle, read_bundle, verify_bundle
from handlers.runtime.torch_longformer import DEFAULT_BLOCK
from handlers.runtime.torch_runtime import SPEC_KEY
from tests.checkpoints import Tiny
from tests.unit.conftest import open_pipeline


@pytest.fixture(scope="module")
def exported(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("torch") / "bundle"
    checkpoint = ["--checkpoint", str(tiny.checkpoint)]
    assert main(["torch", *checkpoint, "--out", str(folder), "--block-size", "48"]) == 0
    assert main(["parity", *checkpoint, "--bundle", str(folder), "--seeds", "1", "--device", "cpu"]) == 0
    return read_bundle(folder)


def test_the_gate_passes_the_bundles_own_runtime(exported: Bundle) -> None:
    parity = exported.manifest.parity

    verify_bundle(exported)
    assert (exported.manifest.runtime, exported.manifest.precision) == ("torch", "fp32")
    assert parity is not None
    assert parity.passed
    assert parity.tolerance == 1e-5
    assert parity.graph_sha256 == exported.manifest.files["model.safetensors"]


def test_it_is_served_like_any_other(exported: Bundle) -> None:
    model = open_pipeline(exported, runtime="torch").describe()["model"]

    assert (model["runtime"], model["precision"]) == ("torch", "fp32")


def test_options_are_in_the_header_of_the_weights(exported: Bundle) -> None:
    with safe_open(str(exported.graph), framework="pt") as file:
        spec = json.loads(file.metadata()[SPEC_KEY])

    assert (spec["attention"], spec["block_size"], spec["windows"]) == ("blocks", 48, [16, 32])


def test_transformers_loads_the_folder_as_a_checkpoint(tiny: Tiny, exported: Bundle) -> None:
    stock, ours = (
        LongformerForSequenceClassification.from_pretrained(folder).state_dict()
        for folder in (tiny.checkpoint, exported.folder)
    )

    assert set(stock) == set(ours)
    assert all(torch.equal(stock[name], ours[name]) for name in stock)


def test_a_bundle_is_kept_until_something_differs(
    tiny: Tiny, exported: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["torch", "--checkpoint", str(tiny.checkpoint), "--out", str(exported.folder)]
    before = exported.graph.stat().st_mtime_ns

    assert main([*command, "--block-size", "48"]) == 0
    assert "is up to date" in capsys.readouterr().err
    assert exported.graph.stat().st_mtime_ns == before


def test_another_block_size_is_another_bundle(tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["torch", "--checkpoint", str(tiny.checkpoint), "--out", str(tmp_path / "bundle"), "--precision", "fp16"]
    assert main(command) == 0
    assert main([*command, "--attention", "windowed"]) == 0

    assert "is up to date" not in capsys.readouterr().err
    assert read_bundle(tmp_path / "bundle").manifest.tools["attention"] == f"windowed-{DEFAULT_BLOCK}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--attention", "windowed"], "runs in fp16 alone: add --precision fp16"),
        (["--block-size", "0"], "--block-size 0: a block holds at least one query"),
    ],
)
def test_options_that_do_not_fit_are_refused_and_leave_nothing(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    folder = tmp_path / "bundle"

    assert main(["torch", "--checkpoint", str(tiny.checkpoint), "--out", str(folder), *options]) == 2
    assert message in capsys.readouterr().err
    assert not folder.exists()


def test_a_weight_beyond_fp16_is_refused_by_name(tmp_path: Path) -> None:
    model = random_model(Shape(windows=(8,), heads=1, head_size=4, labels=1, max_length=16), seed=0)
    with torch.no_grad():
        model.classifier.dense.weight[0, 0] = 70_000.0

    with pytest.raises(ExportRefused, match=r"classifier\.dense\.weight: a weight does not fit fp16"):
        write_weights(model, tmp_path / "model.safetensors", "fp16")


def test_an_activation_that_the_runtime_does_not_know_is_refused(tmp_path: Path) -> None:
    model = random_model(Shape(windows=(8,), heads=1, head_size=4, labels=1, max_length=16), seed=0)
    model.config.hidden_act = "mish"

    with pytest.raises(ExportRefused, match="hidden_act mish: the torch runtime knows gelu, "):
        write_weights(model, tmp_path / "model.safetensors", "fp32")


def test_the_commands_default_is_the_runtimes() -> None:
    assert torch_command.DEFAULT_BLOCK == DEFAULT_BLOCK
