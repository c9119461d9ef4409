from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import handlers
from handlers.core.errors import StartupError
from handlers.core.settings import Settings, parse_settings

CONFIG = Path(handlers.__file__).parent / "config" / "model-config.yaml"


def test_the_shipped_configuration_is_the_documented_default() -> None:
    assert parse_settings(yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["lantern"]) == Settings()


def test_the_shipped_deadline_is_under_the_time_after_which_torchserve_kills_the_worker() -> None:
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))

    assert config["lantern"]["deadline_s"] < config["responseTimeout"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("runtime", "openvino"),
        ("device", "tpu"),
        ("threads", -1),
        ("window_overlap", 1.0),
        ("window_overlap", -0.1),
        ("max_windows", 0),
        ("token_budget", -1),
        ("express_tokens", -1),
        ("patience", -1.0),
        ("queue_s", 0),
        ("max_padding", 1.0),
        ("deadline_s", 0),
        ("deadline_s", float("nan")),
        ("warm_up", "maybe"),
        ("batch_size", 8),
    ],
)
def test_a_wrong_or_unknown_key_is_named(key: str, value: Any) -> None:
    with pytest.raises(StartupError, match=rf"^model-config.yaml: lantern\.{key}: "):
        parse_settings({key: value})


def test_a_section_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(StartupError, match=r"^model-config\.yaml: lantern: "):
        parse_settings([1])  # type: ignore[arg-type]


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().threads = 2  # type: ignore[misc]


def test_a_sub_batch_suits_the_device_unless_it_is_set() -> None:
    assert Settings().budget_on("cpu") < Settings().budget_on("cuda")
    assert Settings(token_budget=7).budget_on("cpu") == Settings(token_budget=7).budget_on("cuda") == 7
