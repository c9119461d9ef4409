"""The bundle manifest, ``bundle.json``: what a bundle holds and what vouches for it."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from handlers.core.errors import StartupError

MANIFEST_NAME: Final = "bundle.json"
SCHEMA_VERSION: Final = 1

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Precision = Literal["fp32", "fp16", "int8"]
RuntimeName = Literal["onnx", "tensorrt", "torch"]
GRAPH_NAMES: Final[dict[RuntimeName, str]] = {
    "onnx": "model.onnx",
    "tensorrt": "model.engine",
    "torch": "model.safetensors",
}
"""File of the graph in a bundle for each runtime; its weights may stand beside it, under a longer name."""


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SpecialTokens(_Frozen):
    """Token ids that frame and pad a model input."""

    cls: int
    sep: int
    pad: int


class SmokeEntry(_Frozen):
    """A text whose label is beyond doubt: it shows a wrong label order at export and at start."""

    text: Annotated[str, Field(min_length=1)]
    expected: str


class ParityRecord(_Frozen):
    """The parity gate's verdict on one exported graph (figures in the report itself).

    ``max_abs_delta_logit`` is ``None`` where a logit was not finite.
    """

    report: str
    precision: Precision
    max_abs_delta_logit: float | None
    tolerance: float
    threshold_flips: int
    passed: bool
    graph_sha256: Sha256


class QualityRecord(_Frozen):
    """The quality gate's verdict on a quantized graph, against the fp32 graph on real texts.

    Attributes:
        data: name of the file of texts, and its sha256 beside it.
        texts, decisions: texts read, and label decisions compared.
        flips: decisions that differ; at most ``flip_limit`` of ``decisions``.
        macro_f1_loss: fp32 minus this graph where the texts are labelled; at most ``f1_limit``.
        kept_fp32: weights left as they were, because they hurt.
    """

    report: str
    data: str
    data_sha256: Sha256
    texts: int
    decisions: int
    flips: int
    flip_limit: float
    macro_f1_loss: float | None
    f1_limit: float
    kept_fp32: tuple[str, ...]
    passed: bool
    graph_sha256: Sha256


class ProfileRecord(_Frozen):
    """One optimization profile: ``(batch, length)`` at its least, best and most."""

    name: str
    least: tuple[int, int]
    best: tuple[int, int]
    most: tuple[int, int]


class EngineRecord(_Frozen):
    """What a TensorRT engine is bound to; it runs nowhere else.

    Attributes:
        package: ``tensorrt`` or ``tensorrt_rtx``, as imported.
        version: of that package.
        compute_capability: of the GPU that it was built for, such as ``9.0``; ``None`` where the
            engine is compiled on the GPU at load (TensorRT-RTX built without one).
        gpu: name of that GPU, for people.
        source_sha256: of the ONNX graph that it was built from.
        profiles: in the engine's order.
    """

    package: Literal["tensorrt", "tensorrt_rtx"]
    version: str
    compute_capability: str | None
    gpu: str | None
    source_sha256: Sha256
    profiles: Annotated[tuple[ProfileRecord, ...], Field(min_length=1)]


class Manifest(_Frozen):
    """``bundle.json`` as data.

    Attributes:
        schema_version: of this file.
        checkpoint: the hub id, ``random:…`` or folder name that it was made from.
        revision: commit of the hub, or ``sha256:`` of the checkpoint's weights.
        labels: in the order of the logits.
        labels_source: who says so: the checkpoint's ``id2label``, the operator, or the table of
            known checkpoints.
        max_length: tokens in one model input, ``<s>`` and ``</s>`` included.
        attention_window: tokens of the whole window, one number for each layer.
        special_tokens: ids of ``<s>``, ``</s>`` and padding.
        runtime, precision: what the graph is for.
        fp32_layers: first layers of an fp16 graph that stay in fp32, and the embeddings with them.
        thresholds: decision threshold of each label, on the calibrated score.
        calibration: name of the calibration in ``calibration.json``, ``none`` before there is one.
        smoke: entries that must come out with their label on top.
        parity: verdict of the parity gate, once it ran.
        quality: verdict of the quality gate on a quantized graph, once it ran.
        engine: what a TensorRT engine is bound to.
        files: sha256 of every other file of the bundle, by relative path.
        tools: versions of what made it.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    checkpoint: str
    revision: str
    labels: Annotated[tuple[str, ...], Field(min_length=1)]
    labels_source: str
    max_length: Annotated[int, Field(ge=3)]
    attention_window: tuple[int, ...]
    special_tokens: SpecialTokens
    runtime: RuntimeName
    precision: Precision
    fp32_layers: Annotated[int, Field(ge=0)] = 0
    thresholds: dict[str, float]
    calibration: str = "none"
    smoke: tuple[SmokeEntry, ...] = ()
    parity: ParityRecord | None = None
    quality: QualityRecord | None = None
    engine: EngineRecord | None = None
    files: dict[str, Sha256]
    tools: dict[str, str]

    @property
    def graph_name(self) -> str:
        """The file of the graph."""
        return GRAPH_NAMES[self.runtime]

    @property
    def gate(self) -> ParityRecord | QualityRecord | None:
        """The verdict that a graph of this precision is served by."""
        return self.quality if self.precision == "int8" else self.parity

    @field_validator("labels")
    @classmethod
    def _differ(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(labels)) != len(labels):
            raise ValueError("a label is there twice")
        return labels

    @field_validator("thresholds")
    @classmethod
    def _cover_labels(cls, thresholds: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        if set(thresholds) != set(info.data.get("labels", thresholds)):
            raise ValueError("there must be one threshold for each label")
        if not all(0.0 <= threshold <= 1.0 for threshold in thresholds.values()):
            raise ValueError("a threshold is a score from 0 to 1")
        return thresholds


def parse_manifest(payload: str | bytes, where: str) -> Manifest:
    """Validate the content of ``bundle.json``.

    Raises:
        StartupError: naming ``where`` and the key that is wrong.
    """
    try:
        return Manifest.model_validate_json(payload)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in detail["loc"]) or "(the whole file)"
        raise StartupError(f"{where}: {key}: {detail['msg']}; export the bundle again") from None
