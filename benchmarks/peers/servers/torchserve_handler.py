"""A custom TorchServe handler with a class-level entry point.

The checkpoint's folder is the key ``folder`` of the section ``handler`` in the model's YAML.
"""

from __future__ import annotations

from typing import Any

from benchmarks.peers.servers.classifier import Classifier


class PlainHandler:
    """Answers a list of requests with a list of scores by label."""

    def __init__(self) -> None:
        self._classifier: Classifier | None = None

    def initialize(self, context: Any) -> None:
        """Load the checkpoint; TorchServe calls this once."""
        self._classifier = Classifier(context.model_yaml_config["handler"]["folder"])

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[dict[str, float]]:
        """Answer one batch: every row's body is ``{"text": …}``."""
        if self._classifier is None:
            raise RuntimeError("handle was called before initialize")
        return self._classifier.classify([row["body"]["text"] for row in data])
