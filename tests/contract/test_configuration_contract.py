"""What the files in ``handlers/config`` promise TorchServe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import yaml

import handlers
from handlers.metrics import FAMILIES, Family

CONFIG = Path(handlers.__file__).parent / "config"


def test_every_metric_is_declared_to_torchserve_with_its_labels() -> None:
    declared = yaml.safe_load((CONFIG / "metrics.yaml").read_text(encoding="utf-8"))["model_metrics"]
    found = {
        Family(kind, metric["name"], tuple(metric["dimensions"]))
        for kind, metrics in declared.items()
        for metric in metrics
    }

    assert found == {replace(family, labels=(*family.labels, "ModelName", "Level")) for family in FAMILIES}


def test_model_config_sets_only_what_torchserve_or_the_handler_reads() -> None:
    config = yaml.safe_load((CONFIG / "model-config.yaml").read_text(encoding="utf-8"))

    assert set(config) == {
        "minWorkers",
        "maxWorkers",
        "continuousBatching",
        "batchSize",
        "maxBatchDelay",
        "responseTimeout",
        "startupTimeout",
        "lantern",
    }
