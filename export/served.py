"""Logits of texts as they are served: through the real pipeline, never a second implementation."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from export.errors import ExportRefused
from handlers.core.settings import Device, Settings
from handlers.core.wire import Outcome, RawRequest
from handlers.pipeline import Pipeline, ServedModel
from handlers.runtime.bundle import Bundle

CALL: Final = 64
"""Texts in one call of the pipeline."""


class NotServed(ExportRefused):
    """The pipeline has no answer for a text; the message names the row."""


@dataclass(frozen=True)
class ServedRow:
    """What serving makes of one text.

    Attributes:
        logits: uncalibrated, combined over windows, in the order of the bundle's labels.
        tokens: of the text, special tokens not counted.
        windows: model inputs that it took.
    """

    logits: tuple[float, ...]
    tokens: int
    windows: int


def served_rows(
    bundle: Bundle,
    texts: Sequence[str],
    progress: Callable[[int, int], None] = lambda done, total: None,
    device: Device = "auto",
    name_row: Callable[[int], str] = lambda index: f"row {index + 1}",
) -> list[ServedRow]:
    """Read every text as the handler does: whole, in windows.

    Each distinct text is read once and texts of similar length together, in an order of their
    own, so that neither the order of ``texts`` nor duplicates change a logit.

    Args:
        bundle: a verified bundle.
        progress: told how many distinct texts were read, and how many there are.
        name_row: names ``texts[index]`` in an error.

    Raises:
        NotServed: a text got an error or a logit that is not finite.
        StartupError: the bundle does not load.
    """
    settings = Settings(device=device, warm_up=False, deadline_s=math.inf)
    pipeline = Pipeline(bundle, settings, ServedModel("offline", "0"), sink=lambda _: None)
    first = {text: index for index, text in reversed(list(enumerate(texts)))}
    distinct = sorted(first, key=lambda text: (len(text), text))
    rows: dict[str, ServedRow] = {}
    for start in range(0, len(distinct), CALL):
        call = distinct[start : start + CALL]
        for text, outcome in zip(call, pipeline.handle([_request(text) for text in call]), strict=True):
            rows[text] = _row(outcome, name_row(first[text]))
        progress(len(rows), len(distinct))
    return [rows[text] for text in texts]


def _request(text: str) -> RawRequest:
    options = {"return_logits": True, "over_length": "window"}
    return RawRequest(json.dumps({"text": text, "options": options}).encode())


def _row(outcome: Outcome, name: str) -> ServedRow:
    body: dict[str, Any] = json.loads(outcome.body)
    if "error" in body:
        raise NotServed(f"{name}: the pipeline has no answer: {body['error']['code']}: {body['error']['message']}")
    report = body["input"]
    return ServedRow(tuple(label["logit"] for label in body["labels"]), report["tokens"], len(report["windows"]))
