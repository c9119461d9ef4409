"""What the files in ``handlers/config`` promise TorchServe."""

from __future__ import annotations

from pathlib import Path

import yaml

import handlers

CONFIG = Path(handlers.__file__).parent / "config"
SOURCE = (Path(handlers.__file__).parent / "torchserve_entry.py").read_text(encoding="utf-8")


def test_every_metric_that_the_entry_emits_is_declared() -> None:
    import re

    declared = yaml.safe_load((CONFIG / "metrics.yaml").read_text(encoding="utf-8"))["model_metrics"]
    names = {metric["name"] for metrics in declared.values() for metric in metrics}

    emitted = set(re.findall(r'"(lantern_\w+)"', SOURCE))
    assert emitted
    assert emitted <= names


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
