"""Finding, checking and loading a checkpoint, before any work is spent on it.

Only what can be checked is served: the architecture, named labels in a known order, sigmoid
outputs, a byte-level tokenizer that frames a text with ``<s>`` and ``</s>``, weights in
safetensors (a pickle can run code), and no weight missing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from transformers import AutoTokenizer, LongformerForSequenceClassification, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from export.errors import ExportRefused
from export.random_base import RANDOM_BASE, TOKENIZER_FILES, materialize_random_base
from handlers.core.manifest import SmokeEntry, SpecialTokens
from handlers.runtime.bundle import sha256_file

ARCHITECTURE: Final = "LongformerForSequenceClassification"
MULTI_LABEL: Final = "multi_label_classification"
SMOKE_NAME: Final = "smoke.jsonl"
HUB_FILES: Final = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.txt")

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_GENERIC_LABEL = re.compile(r"LABEL_\d+")


@dataclass(frozen=True)
class KnownCheckpoint:
    """What is known of a published checkpoint whose own files do not say it.

    Attributes:
        labels: in the order of the logits.
        source: where that order comes from.
        smoke: the examples of its model card, with the label that each must get.
    """

    labels: tuple[str, ...]
    source: str
    smoke: tuple[SmokeEntry, ...]


KNOWN_CHECKPOINTS: Final = {
    "Hrishikesh4/mental-health-classifier-longformer": KnownCheckpoint(
        labels=("neutral", "depressed", "anxious", "stressed"),
        source=(
            "known checkpoint: its public users read the outputs as 0 neutral, 1 depression, 2 anxiety, 3 stress; "
            "the examples of its model card confirm the order at every export and start"
        ),
        smoke=(
            SmokeEntry(text="I feel like I'm drowning in stress lately.", expected="stressed"),
            SmokeEntry(text="I'm anxious about meeting new people.", expected="anxious"),
            SmokeEntry(text="Sometimes I just feel empty and hopeless.", expected="depressed"),
            SmokeEntry(text="I'm doing okay today.", expected="neutral"),
        ),
    ),
}


@dataclass(frozen=True)
class Claims:
    """What the operator says about a checkpoint that its files leave open."""

    labels: tuple[str, ...] | None = None
    problem_type: str | None = None
    smoke_file: Path | None = None
    revision: str | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A checked checkpoint.

    Attributes:
        name: hub id, ``random:…`` or the folder's name.
        folder: where its files are.
        revision: commit of the hub, or ``sha256:`` over weights, configuration and tokenizer.
        labels, labels_source: the order of the logits, and who says so.
        attention_window: tokens of the whole window, for each layer.
        max_length: tokens in one model input, special tokens included.
        special_tokens: ids of ``<s>``, ``</s>`` and padding.
        smoke: entries whose expected label must come out on top.
    """

    name: str
    folder: Path
    revision: str
    labels: tuple[str, ...]
    labels_source: str
    attention_window: tuple[int, ...]
    max_length: int
    special_tokens: SpecialTokens
    smoke: tuple[SmokeEntry, ...]


def open_checkpoint(source: str, claims: Claims = Claims()) -> Checkpoint:
    """Find ``source`` (hub id, folder or ``random:longformer-base``) and check it.

    Raises:
        ExportRefused: naming the file and key that is not fit, and what to do.
    """
    name, folder, commit = _locate(source, claims.revision)
    config = _read_config(folder)
    _check_architecture(config, folder)
    weights = _find_weights(folder)
    known = KNOWN_CHECKPOINTS.get(name)
    _check_problem_type(config, known, claims, folder)
    labels, labels_source = _settle_labels(config, known, claims, folder)
    tokenizer = load_tokenizer(folder)
    special = _check_tokenizer(tokenizer, config, folder)
    return Checkpoint(
        name=name,
        folder=folder,
        revision=commit or _hash_files([folder / "config.json", *weights, *_tokenizer_files(folder)]),
        labels=labels,
        labels_source=labels_source,
        attention_window=_check_windows(config, folder),
        max_length=_max_length(config, tokenizer, special),
        special_tokens=special,
        smoke=_smoke_entries(folder, known, claims, labels),
    )


def load_model(checkpoint: Checkpoint) -> LongformerForSequenceClassification:
    """Load the weights in fp32, for inference.

    Raises:
        ExportRefused: a weight is missing, unexpected in shape, or not finite.
    """
    transformers_logging.set_verbosity_error()
    model, loading = LongformerForSequenceClassification.from_pretrained(
        checkpoint.folder,
        use_safetensors=True,
        local_files_only=True,
        torch_dtype=torch.float32,
        ignore_mismatched_sizes=True,  # so that they are listed, and refused below
        output_loading_info=True,
    )
    wrong = [*loading["missing_keys"], *loading["mismatched_keys"]]
    if wrong:
        raise ExportRefused(
            f"{checkpoint.folder}: weights missing or of another shape: {', '.join(sorted(wrong)[:5])}; "
            "they would be random, so nothing is exported"
        )
    for key, weight in model.named_parameters():
        if not torch.isfinite(weight).all():
            raise ExportRefused(f"{checkpoint.folder}: {key} holds NaN or infinity")
    model.config.id2label = dict(enumerate(checkpoint.labels))
    model.config.label2id = {label: index for index, label in enumerate(checkpoint.labels)}
    model.config.problem_type = MULTI_LABEL
    return cast(LongformerForSequenceClassification, model.eval())


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Load the fast tokenizer of a folder, without running any of its code.

    Raises:
        ExportRefused: there is none.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, TypeError) as error:
        raise ExportRefused(f"{folder}: no tokenizer can be loaded ({type(error).__name__}: {error})") from error
    if not tokenizer.is_fast:
        raise ExportRefused(f"{folder}: the tokenizer has no fast version (tokenizer.json), which serving needs")
    return cast(PreTrainedTokenizerFast, tokenizer)


def parse_smoke(path: Path, labels: Sequence[str]) -> tuple[SmokeEntry, ...]:
    """Read smoke entries: JSON lines of ``text`` and ``expected``.

    Raises:
        ExportRefused: naming the line.
    """
    entries = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry = SmokeEntry.model_validate_json(line)
        except ValueError:
            raise ExportRefused(f'{path}:{number}: a smoke entry is {{"text": "…", "expected": "label"}}') from None
        if entry.expected not in labels:
            raise ExportRefused(f"{path}:{number}: expected label {entry.expected!r} is none of {', '.join(labels)}")
        entries.append(entry)
    return tuple(entries)


def _locate(source: str, revision: str | None) -> tuple[str, Path, str | None]:
    """Return name, local folder and hub commit (``None`` off the hub)."""
    if source == RANDOM_BASE:
        return source, materialize_random_base(), None
    folder = Path(source)
    if folder.is_dir():
        return folder.resolve().name, folder, None
    if not _HUB_ID.fullmatch(source) or source.startswith(("./", "../")):
        raise ExportRefused(f"{source}: neither a folder, nor a hub id (owner/name), nor {RANDOM_BASE}")
    try:
        snapshot = Path(snapshot_download(source, revision=revision, allow_patterns=list(HUB_FILES)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ExportRefused(
            f"{source}: cannot be downloaded from the hub ({type(error).__name__}); check the id and the network, "
            "or download it elsewhere and give its folder"
        ) from error
    return source, snapshot, snapshot.name


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise ExportRefused(f"{path} is missing: this is not a checkpoint folder")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ExportRefused(f"{path}: not JSON: {error}") from None
    if not isinstance(config, dict):
        raise ExportRefused(f"{path}: not a JSON object")
    return config


def _check_architecture(config: dict[str, Any], folder: Path) -> None:
    architectures = config.get("architectures")
    if config.get("model_type") != "longformer" or architectures != [ARCHITECTURE]:
        raise ExportRefused(
            f"{folder}/config.json: architectures is {architectures}, but only {ARCHITECTURE} can be exported"
        )
    if "auto_map" in config:
        raise ExportRefused(f"{folder}/config.json: auto_map asks for remote code, which is never run")
    if not isinstance(config.get("max_position_embeddings"), int):
        raise ExportRefused(f"{folder}/config.json: max_position_embeddings is missing or no number")
    if config.get("hidden_size", 768) % config.get("num_attention_heads", 12):
        raise ExportRefused(f"{folder}/config.json: hidden_size is not a multiple of num_attention_heads")


def _find_weights(folder: Path) -> list[Path]:
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickles = sorted(path.name for path in folder.glob("*.bin"))
        found = f"only {', '.join(pickles)}" if pickles else "no weights"
        raise ExportRefused(
            f"{folder}: {found}; weights must be in safetensors, because loading a pickle can run code "
            "(convert it where you trust it: model.save_pretrained(folder, safe_serialization=True))"
        )
    return weights


def _tokenizer_files(folder: Path) -> list[Path]:
    return [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]


def _check_problem_type(config: dict[str, Any], known: KnownCheckpoint | None, claims: Claims, folder: Path) -> None:
    stated = config.get("problem_type")
    if stated is None and known is not None:
        return
    if stated is not None and claims.problem_type not in (None, stated):
        raise ExportRefused(
            f"{folder}/config.json: problem_type is {stated}, but --problem-type says {claims.problem_type}"
        )
    if (stated or claims.problem_type) != MULTI_LABEL:
        raise ExportRefused(
            f"{folder}/config.json: problem_type is {stated}, but labels are scored by independent sigmoids: "
            f"if this checkpoint was trained so, pass --problem-type {MULTI_LABEL}"
        )


def _settle_labels(
    config: dict[str, Any], known: KnownCheckpoint | None, claims: Claims, folder: Path
) -> tuple[tuple[str, ...], str]:
    stated = _stated_labels(config, folder)
    named = not any(_GENERIC_LABEL.fullmatch(label) for label in stated)
    if claims.labels is not None:
        labels, source = claims.labels, "operator (--labels)"
    elif named:
        labels, source = stated, "checkpoint (id2label)"
    elif known is not None:
        labels, source = known.labels, known.source
    else:
        raise ExportRefused(
            f"{folder}/config.json: id2label is generic ({', '.join(stated)}): name the labels in the order of the "
            "logits with --labels a,b,c; a wrong order would be silent and could hurt a person"
        )
    if named and labels != stated:
        raise ExportRefused(
            f"{folder}/config.json: id2label says {', '.join(stated)}, but --labels says {', '.join(labels)}"
        )
    if len(labels) != len(stated) or len(set(labels)) != len(labels) or not all(labels):
        raise ExportRefused(f"--labels: {len(stated)} different names are needed, got {', '.join(labels)}")
    return labels, source


def _stated_labels(config: dict[str, Any], folder: Path) -> tuple[str, ...]:
    id2label = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}  # what transformers assumes
    if not isinstance(id2label, dict):
        raise ExportRefused(f"{folder}/config.json: id2label must map indices to names")
    try:
        labels = [str(id2label[str(index)]) for index in range(len(id2label))]
    except KeyError as error:
        raise ExportRefused(f"{folder}/config.json: id2label has no entry {error}") from None
    label2id = config.get("label2id") or {}
    moved = [label for index, label in enumerate(labels) if label2id.get(label, index) != index]
    if moved:
        raise ExportRefused(f"{folder}/config.json: label2id contradicts id2label about {', '.join(moved)}")
    return tuple(labels)


def _check_windows(config: dict[str, Any], folder: Path) -> tuple[int, ...]:
    layers = config.get("num_hidden_layers", 12)
    stated = config.get("attention_window", 512)
    windows = tuple(stated) if isinstance(stated, list) else (stated,) * layers
    if len(windows) != layers or not all(isinstance(w, int) and w > 0 and w % 2 == 0 for w in windows):
        raise ExportRefused(
            f"{folder}/config.json: attention_window is {stated}; it must be a positive even number, or one "
            f"for each of the {layers} layers"
        )
    return windows


def _check_tokenizer(tokenizer: PreTrainedTokenizerFast, config: dict[str, Any], folder: Path) -> SpecialTokens:
    if None in (tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id):
        raise ExportRefused(f"{folder}: the tokenizer lacks one of the tokens <s>, </s> and padding")
    special = SpecialTokens(cls=tokenizer.cls_token_id, sep=tokenizer.sep_token_id, pad=tokenizer.pad_token_id)
    if len(tokenizer) > config.get("vocab_size", 30522):
        raise ExportRefused(f"{folder}: the tokenizer has {len(tokenizer)} tokens, more than vocab_size in config.json")
    if special.pad != config.get("pad_token_id", 1):
        raise ExportRefused(f"{folder}: padding is token {special.pad} in the tokenizer, another in config.json")
    probe = tokenizer("a probe of the framing").input_ids
    if (probe[0], probe[-1]) != (special.cls, special.sep) or special.cls in probe[1:]:
        raise ExportRefused(f"{folder}: the tokenizer does not frame a text as <s> … </s>")
    return special


def _max_length(config: dict[str, Any], tokenizer: PreTrainedTokenizerFast, special: SpecialTokens) -> int:
    positions = int(config["max_position_embeddings"]) - special.pad - 1  # RoBERTa counts from the padding id
    return min(positions, tokenizer.model_max_length)


def _smoke_entries(
    folder: Path, known: KnownCheckpoint | None, claims: Claims, labels: Sequence[str]
) -> tuple[SmokeEntry, ...]:
    path = claims.smoke_file or folder / SMOKE_NAME
    if path.is_file():
        return parse_smoke(path, labels)
    if claims.smoke_file is not None:
        raise ExportRefused(f"--smoke: {path} is not there")
    return known.smoke if known is not None else ()


def _hash_files(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(f"{path.name} {sha256_file(path)}\n".encode())
    return f"sha256:{digest.hexdigest()}"
