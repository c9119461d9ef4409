"""The archive in a process of its own, loaded by TorchServe's own loader and nothing of this repository around it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import Tiny

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"transformers", "optimum", "onnx", "huggingface_hub", "torch_model_archiver", "export", "training", "client"}

WORKER = """
import json, os, sys
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.model_loader import ModelLoaderFactory

folder = sys.argv[1]
metrics = MetricsCacheYamlImpl(config_file_path=os.path.join(folder, "handlers", "config", "metrics.yaml"))
metrics.initialize_cache()
loader = ModelLoaderFactory.get_model_loader()
service = loader.load("sentiment", folder, "torchserve_entry.py", None, 8, None, True, metrics)
service.set_cl_socket(None)
turns = []
entry = service._entry_point
service._entry_point = lambda rows, context: turns.append(entry(rows, context)) or turns[-1]
sent = {b"host": b"localhost", b"content-type": b"application/json"}
headers = [{"name": name, "value": value} for name, value in sent.items()]


def row(request_id, payload):
    body = {"name": "body", "contentType": "application/json", "value": bytearray(payload)}
    return {"requestId": request_id, "headers": headers, "parameters": [body]}


def answer(request_id, payload):
    # In turns until it is answered, as TorchServe does it.
    while True:
        frame = service.predict([row(request_id, payload)])
        if service.context.request_ids:
            return int.from_bytes(frame[:4], "big"), service.context.get_response_status(0)[0], turns[-1][0]


found = [answer(b"r0", json.dumps({"text": "I am fine."}).encode()), answer(b"r1", b"{")]
import handlers.pipeline

print(json.dumps({
    "codes": [code for code, _, _ in found],
    "statuses": [status for _, status, _ in found],
    "answers": [json.loads(body) for _, _, body in found],
    "modules": sorted({name.split(".")[0] for name in sys.modules}),
    "handlers": handlers.__file__,
    "pipeline": handlers.pipeline.__file__,
}))
"""


@pytest.fixture(scope="module")
def folder(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("worker")
    with zipfile.ZipFile(tiny.archive) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def worker(folder: Path) -> dict[str, Any]:
    """What a worker process reports of itself after two requests."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "LANTERN_RUN_DIR")}
    environment = kept | {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(folder)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_it_answers_each_request(worker: dict[str, Any]) -> None:
    answer, error = worker["answers"]

    assert (worker["codes"], worker["statuses"]) == ([200, 200], [200, 400])
    assert [label["name"] for label in answer["labels"]] == ["neutral", "depressed", "anxious", "stressed"]
    assert error["error"]["code"] == "invalid_json"


def test_it_loads_none_of_the_packages_that_export_needs(worker: dict[str, Any]) -> None:
    assert HEAVY.isdisjoint(worker["modules"])
    assert {"ts", "onnxruntime", "tokenizers"} <= set(worker["modules"])


@pytest.mark.parametrize("module", ["handlers", "pipeline"])
def test_its_code_is_that_of_the_archive(worker: dict[str, Any], folder: Path, module: str) -> None:
    assert Path(worker[module]).is_relative_to(folder)
    assert not Path(worker[module]).is_relative_to(ROOT)
