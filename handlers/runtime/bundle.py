"""A bundle on disk: the manifest, and the files that must be what it says they are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from handlers.core.calibration import CALIBRATION_NAME, NO_CALIBRATION, Calibration, parse_calibration
from handlers.core.errors import StartupError
from handlers.core.manifest import GRAPH_NAMES, MANIFEST_NAME, Manifest, RuntimeName, parse_manifest
from handlers.core.scores import LabelRule
from handlers.core.settings import Settings
from handlers.runtime import Runtime
from handlers.runtime.tokenizer import TOKENIZER_NAME, TextTokenizer

GRAPH_NAME = GRAPH_NAMES["onnx"]
_AGAIN = "calibrate the bundle again, or export it anew"


@dataclass(frozen=True)
class Bundle:
    """A bundle folder whose files match its manifest."""

    folder: Path
    manifest: Manifest

    @property
    def graph(self) -> Path:
        """The file of the graph."""
        return self.folder / self.manifest.graph_name

    @property
    def graph_sha256(self) -> str:
        """What stands for the logits of a text: a digest of the graph, its weights, the tokenizer and the length."""
        files = self.manifest.files
        sources = sorted(name for name in files if name.startswith(self.manifest.graph_name) or name == TOKENIZER_NAME)
        lines = [*(f"{name} {files[name]}" for name in sources), f"max_length {self.manifest.max_length}"]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def label_rules(self) -> list[LabelRule]:
        """Return how each label is scored and decided, in the order of the logits.

        Raises:
            StartupError: as ``read_calibration``.
        """
        calibration = read_calibration(self)
        if calibration is None:
            return [LabelRule(label, self.manifest.thresholds[label]) for label in self.manifest.labels]
        return [calibration.rule(label) for label in self.manifest.labels]

    def open_tokenizer(self) -> TextTokenizer:
        """Load the tokenizer."""
        return TextTokenizer(self.folder / TOKENIZER_NAME, self.manifest.special_tokens)

    def open_runtime(self, settings: Settings) -> Runtime:
        """Load the graph into the runtime that ``settings`` name.

        Raises:
            StartupError: the bundle was made for another runtime, the device is not there, or what the runtime needs is
                not installed.
        """
        if settings.runtime != self.manifest.runtime:
            raise StartupError(
                f"runtime {settings.runtime} was asked for, but the bundle holds a graph for {self.manifest.runtime}: "
                f"export it with RUNTIME={settings.runtime}, or serve it with RUNTIME={self.manifest.runtime}"
            )
        try:
            return _OPENERS[settings.runtime](self, settings)
        except ModuleNotFoundError as error:
            raise StartupError(
                f"runtime {settings.runtime} needs the package {error.name}, which is not installed: "
                f"pip install -r requirements/{_REQUIREMENTS[settings.runtime]}"
            ) from error


# A server installs the engine that it serves with and no other, so each is imported when it is opened.


def _open_onnx(bundle: Bundle, settings: Settings) -> Runtime:
    from handlers.runtime.onnx import OnnxRuntime

    return OnnxRuntime(bundle.graph, settings.device, settings.threads, bundle.manifest.special_tokens.cls)


def _open_torch(bundle: Bundle, settings: Settings) -> Runtime:
    from handlers.runtime.torch_runtime import TorchRuntime

    manifest = bundle.manifest
    special = manifest.special_tokens.cls
    return TorchRuntime(bundle.graph, settings.device, settings.threads, special, manifest.max_length)


def _open_tensorrt(bundle: Bundle, settings: Settings) -> Runtime:
    from handlers.runtime.tensorrt_cuda import open_tensorrt

    return open_tensorrt(bundle.manifest, bundle.graph, settings)


_OPENERS: dict[RuntimeName, Callable[[Bundle, Settings], Runtime]] = {
    "onnx": _open_onnx,
    "torch": _open_torch,
    "tensorrt": _open_tensorrt,
}
_REQUIREMENTS: dict[RuntimeName, str] = {"onnx": "serve.txt", "torch": "torch.txt", "tensorrt": "tensorrt.txt"}


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle's manifest, without checking the files.

    Raises:
        StartupError: there is no manifest, or it is not valid.
    """
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise StartupError(f"{path} is missing: this is not a bundle; make one with python -m export onnx")
    return Bundle(folder, parse_manifest(path.read_bytes(), str(path)))


def read_calibration(bundle: Bundle) -> Calibration | None:
    """Read the calibration of a bundle; ``None`` where its manifest lists none.

    Raises:
        StartupError: it is not valid, or was made for another graph, precision, labels or thresholds.
    """
    manifest, path = bundle.manifest, bundle.folder / CALIBRATION_NAME
    if CALIBRATION_NAME not in manifest.files:
        if manifest.calibration != NO_CALIBRATION:
            raise StartupError(f"{path} is not listed, but {MANIFEST_NAME} names a calibration: {_AGAIN}")
        return None
    if not path.is_file():
        raise StartupError(f"{path} is missing, but {MANIFEST_NAME} lists it: {_AGAIN}")
    calibration = parse_calibration(path.read_bytes(), str(path))
    thresholds = {label: found.on for label, found in calibration.labels.items()}
    for key, stated, expected in (
        ("name", calibration.name, manifest.calibration),
        ("graph_sha256", calibration.graph_sha256, bundle.graph_sha256),
        ("precision", calibration.precision, manifest.precision),
        ("labels", set(calibration.labels), set(manifest.labels)),
        ("labels (on)", thresholds, manifest.thresholds),
    ):
        if stated != expected:
            raise StartupError(f"{path}: {key} is not that of this bundle: {_AGAIN}")
    return calibration


def verify_bundle(bundle: Bundle) -> None:
    """Check that every file is there and unchanged, that the parity gate has passed this graph, and the calibration.

    Raises:
        StartupError: naming the first file or fact that is wrong.
    """
    verify_graph(bundle)
    if read_calibration(bundle) is None and (bundle.folder / CALIBRATION_NAME).exists():
        raise StartupError(
            f"{bundle.folder / CALIBRATION_NAME} is there, but {MANIFEST_NAME} does not list it: {_AGAIN}"
        )


def verify_graph(bundle: Bundle) -> None:
    """Check what ``verify_bundle`` does, but for the calibration.

    Raises:
        StartupError: naming the first file or fact that is wrong.
    """
    manifest = bundle.manifest
    for name, expected in manifest.files.items():
        path = bundle.folder / name
        if not path.is_file():
            raise StartupError(f"{path} is missing, but {MANIFEST_NAME} lists it: export the bundle again")
        if sha256_file(path) != expected:
            raise StartupError(f"{path} is not the file that {MANIFEST_NAME} lists (sha256 differs): export again")
    gate = manifest.gate
    if gate is None:
        raise StartupError(f"{bundle.folder}: the parity gate has not run on this bundle: python -m export parity")
    if not gate.passed or gate.graph_sha256 != manifest.files.get(manifest.graph_name):
        raise StartupError(f"{bundle.folder}: the parity gate has not passed this graph: python -m export parity")


def has_passed_parity(bundle: Bundle) -> bool:
    """Tell whether the gate has passed the graph and the weights that the bundle holds now."""
    try:
        verify_bundle(bundle)
    except StartupError:
        return False
    return True


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
