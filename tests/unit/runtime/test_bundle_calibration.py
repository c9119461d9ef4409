from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from handlers.core.calibration import CalibratedLabel, Calibration, CalibrationData, CalibrationOptions
from handlers.core.errors import StartupError
from handlers.core.scores import LabelRule
from handlers.core.wire import RawRequest
from handlers.runtime.bundle import Bundle, read_bundle, read_calibration, sha256_file, verify_bundle
from tests.checkpoints import Tiny
from tests.unit.conftest import copy_folder, open_pipeline

NAME = "platt-max_f1-00000000"


@pytest.fixture
def own(tiny: Tiny, tmp_path: Path) -> Bundle:
    """A bundle of the test's own."""
    return read_bundle(copy_folder(tiny.bundle, tmp_path / "bundle"))


def calibration(bundle: Bundle, **changes: Any) -> Calibration:
    label = CalibratedLabel(scale=2.0, offset=-1.0, on=0.6, off=0.4, objective="max_f1", positives=9, negatives=9)
    fields = {
        "name": NAME,
        "method": "platt",
        "precision": "fp32",
        "graph_sha256": bundle.graph_sha256,
        "seed": 7,
        "data": CalibrationData(file="d.csv", sha256="0" * 64, rows=2, scaling_rows=1, threshold_rows=1),
        "options": CalibrationOptions(bootstrap=100, hysteresis=0.05, minimum=10),
        "labels": dict.fromkeys(bundle.manifest.labels, label),
        "tools": {},
    }
    return Calibration(**{**fields, **changes})


def put(bundle: Bundle, calibration: Calibration, **changes: Any) -> Bundle:
    """Write a calibration and a manifest that lists it, with ``changes``."""
    path = bundle.folder / "calibration.json"
    path.write_text(calibration.model_dump_json(), encoding="utf-8")
    manifest = bundle.manifest.model_dump(mode="json") | {
        "calibration": NAME,
        "thresholds": {label: found.on for label, found in calibration.labels.items()},
        "files": bundle.manifest.files | {path.name: sha256_file(path)},
    }
    (bundle.folder / "bundle.json").write_text(json.dumps(manifest | changes), encoding="utf-8")
    return read_bundle(bundle.folder)


def test_a_bundle_without_a_calibration_scores_as_ever(bundle: Bundle) -> None:
    assert read_calibration(bundle) is None
    assert bundle.label_rules() == [LabelRule(label, 0.5, 1.0, 0.0) for label in bundle.manifest.labels]


def test_a_calibration_is_read_and_served(own: Bundle) -> None:
    bundle = put(own, calibration(own))
    verify_bundle(bundle)

    assert bundle.label_rules() == [LabelRule(label, 0.6, 2.0, -1.0, 0.4) for label in bundle.manifest.labels]
    description = open_pipeline(bundle).describe()
    assert description["model"]["calibration"] == NAME
    assert {label["threshold"] for label in description["labels"]} == {0.6}


def test_smoke_entries_are_held_against_logits_which_a_calibration_does_not_reorder(own: Bundle) -> None:
    (outcome,) = open_pipeline(own).handle([RawRequest(b'{"text": "a"}')])
    scores = {label["name"]: label["score"] for label in json.loads(outcome.body)["labels"]}
    top = max(scores, key=scores.__getitem__)
    found = calibration(own)
    lowered = found.labels | {top: found.labels[top].model_copy(update={"offset": -50.0})}
    smoke = [{"text": "a", "expected": top}]
    bundle = put(own, found.model_copy(update={"labels": lowered}), smoke=smoke)

    (outcome,) = open_pipeline(bundle).handle([RawRequest(b'{"text": "a"}')])
    labels = {label["name"]: label["score"] for label in json.loads(outcome.body)["labels"]}
    assert labels[top] == min(labels.values())
    other = [{"text": "a", "expected": min(scores, key=scores.__getitem__)}]
    with pytest.raises(StartupError, match=f"smoke entry 1 came out as {top} instead of"):
        open_pipeline(put(own, found.model_copy(update={"labels": lowered}), smoke=other))


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"graph_sha256": "0" * 64}, "graph_sha256"),
        ({"precision": "int8"}, "precision"),
        ({"name": "another"}, "name"),
    ],
)
def test_a_calibration_of_something_else_is_refused(own: Bundle, change: dict[str, Any], key: str) -> None:
    bundle = put(own, calibration(own, **change))

    for load in (verify_bundle, open_pipeline):
        with pytest.raises(StartupError, match=rf"calibration\.json: {key} is not that of this bundle: calibrate"):
            load(bundle)


def test_a_calibration_of_other_labels_is_refused(own: Bundle) -> None:
    found = calibration(own)
    fewer = found.model_copy(update={"labels": {"depressed": found.labels["depressed"]}})

    with pytest.raises(StartupError, match="labels is not that of this bundle"):
        verify_bundle(put(own, fewer, thresholds=dict.fromkeys(own.manifest.labels, 0.6)))


def test_thresholds_that_differ_from_the_manifests_are_refused(own: Bundle) -> None:
    bundle = put(own, calibration(own), thresholds=dict.fromkeys(own.manifest.labels, 0.5))

    with pytest.raises(StartupError, match=r"labels \(on\) is not that of this bundle"):
        verify_bundle(bundle)


def test_a_calibration_that_nothing_vouches_for_is_refused(own: Bundle) -> None:
    (own.folder / "calibration.json").write_text(calibration(own).model_dump_json(), encoding="utf-8")

    with pytest.raises(StartupError, match=r"calibration\.json is there, but bundle\.json does not list it"):
        verify_bundle(own)


def test_a_name_without_a_calibration_is_refused(own: Bundle) -> None:
    bundle = put(own, calibration(own), files=own.manifest.files)

    with pytest.raises(StartupError, match=r"is not listed, but bundle\.json names a calibration"):
        verify_bundle(bundle)


def test_a_calibration_that_is_gone_is_named(own: Bundle) -> None:
    bundle = put(own, calibration(own))
    (own.folder / "calibration.json").unlink()

    with pytest.raises(StartupError, match=r"calibration\.json is missing"):
        open_pipeline(bundle)


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data", "tokenizer.json"])
def test_weights_and_tokenizer_are_part_of_what_a_calibration_is_for(bundle: Bundle, name: str) -> None:
    files = bundle.manifest.files | {name: "0" * 64}
    changed = Bundle(bundle.folder, bundle.manifest.model_copy(update={"files": files}))

    assert changed.graph_sha256 != bundle.graph_sha256


def test_reports_are_no_part_of_what_a_calibration_is_for(bundle: Bundle) -> None:
    files = bundle.manifest.files | {"parity.json": "0" * 64}
    changed = Bundle(bundle.folder, bundle.manifest.model_copy(update={"files": files}))

    assert changed.graph_sha256 == bundle.graph_sha256
