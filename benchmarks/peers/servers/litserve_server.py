"""LitServe: ``POST /predict`` with ``{"text": …}``."""

from __future__ import annotations

from typing import Any

import litserve  # type: ignore[import-not-found]

from benchmarks.peers.servers.classifier import Classifier, parse_options


class PlainApi(litserve.LitAPI):  # type: ignore[misc]
    """The five steps of LitServe around the classifier; ``predict`` gets a list where batching is on."""

    def __init__(self, folder: str, **batching: Any) -> None:
        super().__init__(**batching)
        self._folder = folder

    def setup(self, device: str) -> None:
        """Load the checkpoint in the worker."""
        self._classifier = Classifier(self._folder)

    def decode_request(self, request: dict[str, str]) -> str:
        """Return the text."""
        return request["text"]

    def predict(self, x: str | list[str]) -> dict[str, float] | list[dict[str, float]]:
        """Score one text, or a batch of them."""
        return self._classifier.classify([x])[0] if isinstance(x, str) else self._classifier.classify(x)

    def encode_response(self, output: dict[str, float]) -> dict[str, float]:
        """Return the scores as they are."""
        return output


if __name__ == "__main__":
    options = parse_options(__doc__ or "")
    batching = {"max_batch_size": options.batch_size, "batch_timeout": options.batch_wait_s}
    api = PlainApi(options.folder, **(batching if options.batch_size > 1 else {}))
    # The default timeout of 30 s would turn away what waits behind a few long texts.
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=False)
    server.run(host="127.0.0.1", port=options.port, generate_client_file=False, log_level="warning")
