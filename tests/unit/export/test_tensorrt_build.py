"""The real builder: TensorRT-RTX parses and builds on any machine, with no GPU."""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from export.errors import ExportRefused
from export.progress import Progress
from export.tensorrt import HALF_PRODUCTS, BuildOptions, BuiltEngine, build_engine, plan_manifest
from export.tensorrt_command import add_command
from handlers.core.manifest import Manifest
from handlers.core.profiles import plan_profiles
from handlers.runtime.bundle import Bundle, read_bundle
from tests.checkpoints import Tiny
from tests.unit.export.test_tensorrt_export import Interrupting

tensorrt_rtx = pytest.importorskip(
    "tensorrt_rtx", reason="tensorrt_rtx is not installed (requirements/tensorrt-rtx.txt)", exc_type=ImportError
)

OPTIONS = BuildOptions("tensorrt_rtx", token_budget=600, max_batch=4)


def planned(bundle: Bundle, **changes: Any) -> Manifest:
    return plan_manifest(bundle, tensorrt_rtx, None, OPTIONS).model_copy(update=changes)


def built(graph: Path, manifest: Manifest, progress: Progress | None = None) -> BuiltEngine:
    return build_engine(tensorrt_rtx, graph, manifest, OPTIONS, progress or Progress(io.StringIO()))


def with_profiles(manifest: Manifest, count: int) -> Manifest:
    assert manifest.engine is not None
    return manifest.model_copy(
        update={"engine": manifest.engine.model_copy(update={"profiles": manifest.engine.profiles[:count]})}
    )


def test_the_command_builds_a_bundle_without_a_gpu(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    add_command(parser.add_subparsers())
    line = ["tensorrt", "--bundle", str(tiny.bundle), "--out", str(tmp_path / "engine"), "--package", "tensorrt_rtx"]
    options = parser.parse_args([*line, "--token-budget", "600", "--max-batch", "4"])

    assert options.command(options, Progress(io.StringIO())) == 0
    printed = json.loads(capsys.readouterr().out)
    manifest = read_bundle(tmp_path / "engine").manifest
    assert manifest.engine is not None
    assert manifest.engine.version == tensorrt_rtx.__version__
    assert manifest.engine.profiles == plan_profiles(256, 600, 4)
    assert printed["engine"] == manifest.engine.model_dump(mode="json")
    assert printed["bytes"] == (tmp_path / "engine" / "model.engine").stat().st_size > 1 << 20


def test_every_profile_is_in_the_engine_and_the_precision_is_that_of_the_fp16_graph(bundle: Bundle, half: Path) -> None:
    manifest = planned(bundle, precision="fp16")
    both, first = (built(half, with_profiles(manifest, count)) for count in (2, 1))

    assert both.products["HALF"] == HALF_PRODUCTS * (len(manifest.attention_window) - 1)
    assert both.products["FLOAT"] > 0
    # A profile has kernels of its own, which are most of so small an engine.
    assert memoryview(both.serialized).nbytes > 1.8 * memoryview(first.serialized).nbytes


def test_a_graph_of_another_precision_is_refused_before_it_is_built(bundle: Bundle, half: Path) -> None:
    with pytest.raises(ExportRefused, match=r"the bundle says fp32, but \d+ of \d+ matrix products are fp16"):
        built(half, planned(bundle))
    with pytest.raises(ExportRefused, match=r"the bundle says fp16, but 0 of \d+ matrix products are"):
        built(bundle.graph, planned(bundle, precision="fp16"))


def test_what_the_parser_refuses_is_named_by_node_operator_and_reason(bundle: Bundle, tmp_path: Path) -> None:
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
        for name in ("input_ids", "attention_mask")
    ]
    node = helper.make_node("Wobble", ["input_ids"], ["logits"], name="/layers.0/wobble", domain="odd")
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "odd", inputs, [output])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("odd", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "odd.onnx")

    with pytest.raises(
        ExportRefused, match=r"odd\.onnx: TensorRT's parser refuses it:\n  /layers\.0/wobble \(Wobble\): .+"
    ):
        built(tmp_path / "odd.onnx", planned(bundle))


@pytest.mark.parametrize("content", [None, b"no graph"])
def test_a_file_that_is_no_graph_is_refused(bundle: Bundle, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ExportRefused, match=r"model\.onnx: TensorRT's parser refuses it:\n  \S.+"):
        built(path, planned(bundle))


def test_ctrl_c_ends_a_real_build(bundle: Bundle) -> None:
    with pytest.raises(KeyboardInterrupt):
        built(bundle.graph, planned(bundle), Interrupting(io.StringIO()))
