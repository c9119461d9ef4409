from __future__ import annotations

import json
from typing import Any

import pytest

from handlers.core.errors import StartupError
from handlers.core.manifest import Manifest, parse_manifest

PARITY = {
    "report": "parity.json",
    "precision": "fp32",
    "max_abs_delta_logit": 1e-6,
    "tolerance": 1e-5,
    "threshold_flips": 0,
    "passed": True,
    "graph_sha256": "a" * 64,
}
MANIFEST: dict[str, Any] = {
    "schema_version": 1,
    "checkpoint": "c",
    "revision": "r",
    "labels": ["neutral", "depressed"],
    "labels_source": "checkpoint (id2label)",
    "max_length": 256,
    "attention_window": [32, 64],
    "special_tokens": {"cls": 0, "sep": 2, "pad": 1},
    "runtime": "onnx",
    "precision": "fp32",
    "thresholds": {"neutral": 0.5, "depressed": 0.5},
    "parity": PARITY,
    "files": {"model.onnx": "a" * 64},
    "tools": {"torch": "2"},
}


def test_a_manifest_survives_being_written_and_read() -> None:
    manifest = parse_manifest(json.dumps(MANIFEST), "bundle.json")

    assert parse_manifest(manifest.model_dump_json(), "bundle.json") == manifest
    assert isinstance(manifest, Manifest)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"schema_version": 2}, "schema_version"),
        ({"colour": "red"}, "colour"),
        ({"labels": []}, "labels"),
        ({"labels": ["neutral", "neutral"]}, "labels"),
        ({"max_length": 2}, "max_length"),
        ({"special_tokens": {"cls": 0, "sep": 2}}, "special_tokens.pad"),
        ({"runtime": "openvino"}, "runtime"),
        ({"precision": "int4"}, "precision"),
        ({"thresholds": {"neutral": 0.5}}, "thresholds"),
        ({"thresholds": {"neutral": 0.5, "depressed": 0.5, "x": 0.5}}, "thresholds"),
        ({"thresholds": {"neutral": 0.5, "depressed": 1.5}}, "thresholds"),
        ({"files": {"model.onnx": "abc"}}, "files.model.onnx"),
        ({"smoke": [{"text": "", "expected": "neutral"}]}, "smoke.0.text"),
        ({"parity": PARITY | {"passed": "perhaps"}}, "parity.passed"),
    ],
)
def test_a_wrong_manifest_is_refused_by_the_name_of_its_key(change: dict[str, Any], key: str) -> None:
    with pytest.raises(StartupError, match=f"^here/bundle.json: {key}: .*export the bundle again$"):
        parse_manifest(json.dumps(MANIFEST | change), "here/bundle.json")


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"\xff"])
def test_a_file_that_is_no_json_object_is_refused_as_a_whole(payload: bytes) -> None:
    with pytest.raises(StartupError, match=r"bundle.json: \(the whole file\)"):
        parse_manifest(payload, "bundle.json")


@pytest.mark.parametrize("key", ["checkpoint", "labels", "thresholds", "files"])
def test_a_key_that_is_missing_is_named(key: str) -> None:
    with pytest.raises(StartupError, match=f": {key}: Field required"):
        parse_manifest(json.dumps({name: value for name, value in MANIFEST.items() if name != key}), "bundle.json")
