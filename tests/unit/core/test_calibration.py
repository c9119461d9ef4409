from __future__ import annotations

import json
from typing import Any

import pytest

from handlers.core.calibration import Calibration, parse_calibration
from handlers.core.errors import StartupError
from handlers.core.scores import LabelRule

LABEL: dict[str, Any] = {
    "scale": 1.1,
    "offset": -0.2,
    "on": 0.52,
    "off": 0.45,
    "objective": "max_f1",
    "positives": 120,
    "negatives": 800,
    "precision": 0.8,
    "recall": 0.7,
    "f1": 0.746667,
    "intervals": {"on": [0.4, 0.6], "precision": [0.7, 0.9], "recall": [0.6, 0.8], "f1": [0.7, 0.8]},
}
CALIBRATION: dict[str, Any] = {
    "schema_version": 1,
    "name": "platt-max_f1-1a2b3c4d",
    "method": "platt",
    "precision": "fp32",
    "graph_sha256": "a" * 64,
    "seed": 7,
    "data": {"file": "d.csv", "sha256": "b" * 64, "rows": 20, "scaling_rows": 10, "threshold_rows": 10},
    "options": {"bootstrap": 1000, "hysteresis": 0.05, "minimum": 10},
    "labels": {"depressed": LABEL},
    "tools": {"scikit-learn": "1", "numpy": "2"},
}


def parse(**changes: Any) -> Calibration:
    return parse_calibration(json.dumps(CALIBRATION | changes), "here/calibration.json")


def test_a_calibration_survives_being_written_and_read() -> None:
    calibration = parse()

    assert parse_calibration(calibration.model_dump_json(), "x") == calibration
    assert calibration.rule("depressed") == LabelRule("depressed", 0.52, 1.1, -0.2, 0.45)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"scale": 0.0}, "scale"),
        ({"scale": -1.0}, "scale"),
        ({"on": 1.5}, "on"),
        ({"off": 0.53}, "depressed"),
        ({"intervals": {"on": [0.4, 0.6]}}, "intervals.precision"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_label_is_refused_by_the_name_of_its_key(change: dict[str, Any], key: str) -> None:
    with pytest.raises(
        StartupError, match=rf"^here/calibration.json: labels\..*{key}: .*; calibrate the bundle again$"
    ):
        parse(labels={"depressed": LABEL | change})


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"schema_version": 2}, "schema_version"),
        ({"method": "isotonic"}, "method"),
        ({"graph_sha256": "abc"}, "graph_sha256"),
        ({"data": {"file": "d.csv"}}, "data.sha256"),
    ],
)
def test_a_wrong_calibration_is_refused_by_the_name_of_its_key(change: dict[str, Any], key: str) -> None:
    with pytest.raises(StartupError, match=f"^here/calibration.json: {key}: "):
        parse(**change)


@pytest.mark.parametrize("number", ["NaN", "Infinity"])
def test_a_number_that_is_not_finite_is_refused(number: str) -> None:
    payload = json.dumps(CALIBRATION).replace("-0.2", number)

    with pytest.raises(StartupError, match="offset"):
        parse_calibration(payload, "x")
