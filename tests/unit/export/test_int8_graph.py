from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from transformers import LongformerForSequenceClassification

import export.bundle
from export.__main__ import main
from export.errors import ExportRefused
from export.int8 import Harm, Product, find_products, quantize, rank_harms, search
from export.quality import QualityReport
from handlers.runtime.bundle import GRAPH_NAME, read_bundle
from handlers.runtime.onnx import OnnxRuntime
from tests.checkpoints import Tiny
from tests.unit.conftest import copy_folder
from tests.unit.export.test_quality_gate import report

PER_LAYER = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.self.query_global")
TEXTS = "".join(
    json.dumps({"text": text * 9}) + "\n" for text in ("a calm day ", "no sleep, ", "so much work! ", "ok ")
)


@pytest.fixture(scope="module")
def model(tiny: Tiny) -> LongformerForSequenceClassification:
    return LongformerForSequenceClassification.from_pretrained(tiny.checkpoint).eval()


@pytest.fixture(scope="module")
def products(tiny: Tiny, model: LongformerForSequenceClassification) -> list[Product]:
    return find_products(tiny.bundle / GRAPH_NAME, model)


@pytest.fixture(scope="module")
def quantized(tiny: Tiny, products: list[Product], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny graph with every product quantized but the first."""
    folder = tmp_path_factory.mktemp("quantized")
    quantize(tiny.bundle / GRAPH_NAME, folder, [product.node for product in products[1:]])
    return folder


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.jsonl"
    path.write_text(TEXTS, encoding="utf-8")
    return path


def run_int8(tiny: Tiny, out: Path, texts: Path, *more: str) -> int:
    reference = ("--reference", str(tiny.bundle), "--quality-data", str(texts))
    return main(
        ["onnx", "--checkpoint", str(tiny.checkpoint), "--out", str(out), "--precision", "int8", *reference, *more]
    )


def test_products_are_the_weights_that_the_graph_multiplies_tokens_with(products: list[Product]) -> None:
    layers = [f"longformer.encoder.layer.{number}." for number in (0, 1)]
    first = {f"{layers[0]}{name}.weight" for name in PER_LAYER}

    found = {product.parameter for product in products}
    assert len(found) == len(products)
    assert first <= found
    assert f"{layers[1]}attention.self.query.weight" not in found  # the last layer has no local attention
    assert not any(name.startswith("classifier") or "embeddings" in name for name in found)


def test_only_the_chosen_products_become_integers(quantized: Path, products: list[Product]) -> None:
    graph = onnx.load(quantized / GRAPH_NAME).graph
    kinds = [node.op_type for node in graph.node]
    weights = {tensor.name: tensor for tensor in graph.initializer}
    integers = [weights[node.input[1]] for node in graph.node if node.op_type == "MatMulInteger"]

    assert len(integers) == len(products) - 1
    assert {tensor.data_type for tensor in integers} == {onnx.TensorProto.INT8}
    assert products[0].node in {node.name for node in graph.node if node.op_type == "MatMul"}
    # q, k and v read the same activations: they are quantized once
    assert kinds.count("DynamicQuantizeLinear") < len(integers)
    scales = [weights[node.input[1]].dims for node in graph.node if node.op_type == "Mul" and node.input[1] in weights]
    assert [32] in [list(dims) for dims in scales]  # one for each output channel


def test_onnx_runtime_fuses_what_the_quantizer_writes(quantized: Path, products: list[Product], tmp_path: Path) -> None:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(str(quantized / GRAPH_NAME), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx", load_external_data=False).graph.node]

    assert kinds.count("DynamicQuantizeMatMul") + kinds.count("MatMulIntegerToFloat") == len(products) - 1
    assert "MatMulInteger" not in kinds


def test_logits_stay_close_at_any_length(quantized: Path, model: LongformerForSequenceClassification) -> None:
    runtime = OnnxRuntime(quantized / GRAPH_NAME, "cpu", threads=1)
    for length in (1, 33, 256):
        ids = np.random.default_rng(length).integers(5, 260, (2, length))
        ids[:, 0] = 0
        found = runtime.run(ids, np.ones_like(ids))
        with torch.inference_mode():
            expected = model(torch.from_numpy(ids), torch.ones(2, length, dtype=torch.int64)).logits.numpy()
        assert found.dtype == np.float32
        assert 0 < np.abs(found - expected).max() < 0.5


def test_the_weight_that_hurts_is_found(tiny: Tiny, products: list[Product]) -> None:
    model = LongformerForSequenceClassification.from_pretrained(tiny.checkpoint).eval()
    worst = model.longformer.encoder.layer[0].output.dense
    with torch.no_grad():
        worst.weight[:, 0] *= 2000  # one input channel takes the whole int8 scale of every output channel
        model.longformer.encoder.layer[0].intermediate.dense.weight[0] /= 2000
        model.longformer.encoder.layer[0].intermediate.dense.bias[0] /= 2000
    before = worst.weight.clone()

    harms = rank_harms(model, [p.parameter for p in products], [[0, *range(5, 60), 2], [0, *range(60, 99), 2]])

    assert harms[0].parameter == "longformer.encoder.layer.0.output.dense.weight"
    assert harms[0].error > 2 * harms[1].error
    assert torch.equal(worst.weight, before)
    assert len(harms) == len(products)


class Attempts:
    """A gate that passes once every one of ``hurting`` is kept."""

    def __init__(self, *hurting: str) -> None:
        self.hurting, self.kept = set(hurting), list[tuple[str, ...]]()

    def __call__(self, chosen: Sequence[Product], kept: Sequence[str]) -> QualityReport:
        self.kept.append(tuple(kept))
        assert not {product.parameter for product in chosen} & set(kept)
        found = report(0 if self.hurting <= set(kept) else 100)
        return QualityReport(**(found.__dict__ | {"kept_fp32": tuple(kept)}))


TEN = [Product(f"n{index}", f"w{index}") for index in range(10)]


def harms() -> list[Harm]:
    return [Harm(product.parameter, 1.0 / (index + 1)) for index, product in enumerate(TEN)]


def test_nothing_is_kept_or_ranked_where_the_first_attempt_passes() -> None:
    attempts = Attempts()

    assert search(TEN, attempts, pytest.fail, pytest.fail).kept_fp32 == ()
    assert attempts.kept == [()]


def test_the_worst_are_kept_until_the_gate_passes_and_named() -> None:
    attempts, notes = Attempts("w1"), list[str]()

    assert search(TEN, attempts, harms, notes.append).kept_fp32 == ("w0", "w1", "w2")
    assert attempts.kept == [(), ("w0",), ("w0", "w1", "w2")]
    assert ["w0 (1.0e+00)" in notes[0], "w1 (5.0e-01), w2" in notes[1]] == [True, True]


def test_int8_is_refused_with_the_worst_where_half_in_fp32_is_not_enough() -> None:
    with pytest.raises(ExportRefused, match=r"100 of 1000 decisions flip.* fp32: w0, w1, w2; serve fp32"):
        search(TEN, Attempts("w9"), harms, lambda _: None)


def test_the_command_makes_a_bundle_that_has_passed_and_packs(
    tiny: Tiny, tmp_path: Path, texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "int8"
    assert run_int8(tiny, out, texts, "--flip-limit", "0.5") == 0
    manifest = read_bundle(out).manifest

    assert (manifest.precision, manifest.graph_name, manifest.parity) == ("int8", "model.onnx", None)
    assert manifest.quality is not None
    assert (manifest.quality.data, manifest.quality.texts, manifest.quality.decisions) == ("texts.jsonl", 4, 16)
    assert manifest.quality.flip_limit == 0.5
    assert {"quality.json", "quality.md", "model.onnx.data"} <= set(manifest.files)
    assert {"optimum", "optimum-onnx"} <= set(manifest.tools)
    capsys.readouterr()
    assert run_int8(tiny, out, texts, "--flip-limit", "0.5") == 0
    assert "is up to date" in capsys.readouterr().err
    assert main(["archive", "--bundle", str(out), "--store", str(tmp_path / "store"), "--device", "cpu"]) == 0


def test_a_gate_that_nothing_passes_leaves_no_bundle_and_names_weights(
    tiny: Tiny, tmp_path: Path, texts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(export.bundle.QualityGate, "compare", lambda *_: report(999))
    monkeypatch.setattr(export.bundle, "quantize", _link_reference)

    assert run_int8(tiny, tmp_path / "int8", texts) == 2
    assert "int8 changes too much: 999 of 1000 decisions flip" in capsys.readouterr().err
    assert not (tmp_path / "int8").exists()


def test_options_of_int8_are_refused_for_another_precision(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["onnx", "--checkpoint", str(tiny.checkpoint), "--out", str(tmp_path / "x"), "--f1-limit", "0.1"]

    assert main(arguments) == 2
    assert "--f1-limit is for int8, but the precision is fp32" in capsys.readouterr().err


def test_an_int8_bundle_whose_gate_is_forgotten_is_refused_by_the_archive(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy_folder(tiny.bundle, tmp_path / "int8")
    path = folder / "bundle.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(manifest | {"precision": "int8"}), encoding="utf-8")

    assert main(["archive", "--bundle", str(folder), "--store", str(tmp_path / "store")]) == 2
    assert "gate has not run on this bundle" in capsys.readouterr().err


def _link_reference(graph: Path, folder: Path, nodes: Any) -> None:
    for suffix in ("", ".data"):
        (folder / f"{GRAPH_NAME}{suffix}").write_bytes(Path(f"{graph}{suffix}").read_bytes())
