"""A TensorRT engine as a runtime: which shape runs where, and how its rows lie in the buffers.

Nothing here touches a device: ``handlers.runtime.tensorrt_cuda`` does, as an ``Engine``.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from handlers.core.errors import StartupError
from handlers.core.manifest import EngineRecord, Manifest, ProfileRecord, SpecialTokens
from handlers.core.profiles import (
    Shape,
    choose_graph,
    choose_profile,
    find_uncovered,
    plan_graphs,
    rows_at_once,
)
from handlers.core.settings import Settings
from handlers.runtime import Logits, RuntimeDescription, TokenIds, warm_up

REQUIREMENTS: Final = {"tensorrt": "requirements/tensorrt.txt", "tensorrt_rtx": "requirements/tensorrt-rtx.txt"}
"""What to install for each package that can run or build an engine."""


class EngineFault(RuntimeError):
    """TensorRT could not run a shape; the message is its own, which knows shapes and layers but no tokens."""


@dataclass(frozen=True)
class Gpu:
    """The GPU of this process: its name, and its compute capability such as ``9.0``."""

    name: str
    compute_capability: str


@dataclass(frozen=True)
class HostBuffers:
    """Flat host memory that an engine copies from and to; a shape lies at its start, row by row.

    Attributes:
        input_ids, attention_mask: int64, of ``buffer_tokens`` elements.
        logits: float32, of the largest batch times the labels.
    """

    input_ids: npt.NDArray[np.int64]
    attention_mask: npt.NDArray[np.int64]
    logits: npt.NDArray[np.float32]


class Engine(Protocol):
    """A loaded engine with its contexts and buffers on a device."""

    @property
    def buffers(self) -> HostBuffers:
        """Where inputs are read from and logits are written to."""

    def execute(self, profile: int, shape: Shape) -> None:
        """Run the ``shape`` in the buffers in the context of ``profile``, and wait for its logits."""

    def keep(self, profile: int, shape: Shape) -> None:
        """Keep the run of ``shape`` for ``replay``, as a CUDA graph."""

    def replay(self, shape: Shape) -> None:
        """Run the ``shape`` in the buffers as it was kept, and wait for its logits."""


class TensorRtRuntime:
    """An engine whose sub-batches of any shape are brought into shapes that it was built for.

    Args:
        engine: the loaded engine.
        profiles: of the engine, in its order.
        special: token ids for padding and warm-up.
        labels: columns of the logits.
    """

    def __init__(self, engine: Engine, profiles: Sequence[ProfileRecord], special: SpecialTokens, labels: int) -> None:
        self._engine = engine
        self._profiles = tuple(profiles)
        self._special = special
        self._labels = labels
        self._kept: tuple[Shape, ...] = ()
        self._busy = threading.Lock()  # there is one set of buffers

    def prepare(self, lengths: Sequence[int]) -> None:
        """See ``Runtime.prepare``; the common small shapes are kept as CUDA graphs, every profile runs once.

        Raises:
            StartupError: the GPU does not run a shape, or does not keep it.
        """
        try:
            with self._busy:
                self._keep_graphs()
                self._run_profiles()
            warm_up(self, lengths, self._special.cls)
        except RuntimeError as error:  # so torch reports what CUDA does, and ``EngineFault`` is one
            raise StartupError(f"the engine does not run on this GPU: {_one_line(error)}") from error

    def run(self, input_ids: TokenIds, attention_mask: TokenIds) -> Logits:
        """See ``Runtime.run``; a batch of more rows than the engine takes at its length is run in turns.

        Raises:
            ValueError: no profile takes the length.
        """
        batch, length = input_ids.shape
        rows = rows_at_once(self._profiles, length)
        logits: Logits = np.empty((batch, self._labels), dtype=np.float32)
        with self._busy:
            for start in range(0, batch, rows):
                turn = slice(start, start + rows)
                logits[turn] = self._run(input_ids[turn], attention_mask[turn])
        return logits

    def describe(self) -> RuntimeDescription:
        """See ``Runtime.describe``: the one thread is the caller's, which waits for the GPU."""
        return RuntimeDescription(name="tensorrt", device="cuda", threads=1)

    def _keep_graphs(self) -> None:
        graphs = plan_graphs(self._profiles)
        for shape in graphs:
            self._stage(*self._blank(shape), shape)
            self._engine.keep(choose_profile(self._profiles, shape), shape)
        self._kept = graphs

    def _run_profiles(self) -> None:
        for index, profile in enumerate(self._profiles):
            self._stage(*self._blank(profile.best), profile.best)
            self._engine.execute(index, profile.best)

    def _run(self, input_ids: TokenIds, attention_mask: TokenIds) -> Logits:
        """Run a batch that the engine takes at once; the logits are a view of the buffer."""
        shape = (input_ids.shape[0], input_ids.shape[1])
        kept = choose_graph(self._kept, shape)
        if kept is not None:
            self._stage(input_ids, attention_mask, kept)
            self._engine.replay(kept)
        else:
            self._stage(input_ids, attention_mask, shape)
            self._engine.execute(choose_profile(self._profiles, shape), shape)
        return self._engine.buffers.logits[: shape[0] * self._labels].reshape(shape[0], self._labels)

    def _stage(self, input_ids: TokenIds, attention_mask: TokenIds, shape: Shape) -> None:
        """Lay a batch out in the buffers as ``shape``: rows padded at their end, then rows of ``<s>`` alone."""
        tokens = shape[0] * shape[1]
        ids = self._engine.buffers.input_ids[:tokens].reshape(shape)
        mask = self._engine.buffers.attention_mask[:tokens].reshape(shape)
        batch, length = input_ids.shape
        ids[:batch, :length] = input_ids
        mask[:batch, :length] = attention_mask
        ids[:batch, length:] = self._special.pad
        mask[:batch, length:] = 0
        ids[batch:] = self._special.pad
        mask[batch:] = 0
        # A row without a single token would have nothing to attend to.
        ids[batch:, 0] = self._special.cls
        mask[batch:, 0] = 1

    def _blank(self, shape: Shape) -> tuple[TokenIds, TokenIds]:
        input_ids = np.full(shape, self._special.cls, dtype=np.int64)
        return input_ids, np.ones_like(input_ids)


def check_settings(manifest: Manifest, settings: Settings) -> EngineRecord:
    """Check that the engine is one, and takes every sub-batch that ``settings`` may lead to.

    Raises:
        StartupError: naming what differs, and what to change.
    """
    engine = manifest.engine
    if engine is None:
        raise StartupError("the bundle is for TensorRT, but its manifest has no engine: python -m export tensorrt")
    if settings.device == "cpu":
        raise StartupError(
            "device cpu was asked for, but a TensorRT engine runs on a GPU alone: "
            "set DEVICE=cuda, or serve an ONNX bundle with RUNTIME=onnx"
        )
    budget = settings.budget_on("cuda")
    shape = find_uncovered(engine.profiles, manifest.max_length, budget)
    if shape is not None:
        raise StartupError(
            f"token_budget {budget} and max_length {manifest.max_length} lead to {shape[0]} x {shape[1]} "
            f"(batch x length), which no profile of the engine takes: lower token_budget, "
            f"or build it again: {rebuild_command(engine)} --token-budget {budget}"
        )
    return engine


def load_package(name: str) -> ModuleType:
    """Import ``tensorrt`` or ``tensorrt_rtx``.

    Raises:
        StartupError: it is not installed, or its libraries are not; the message says what to install.
    """
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise StartupError(
            f"{name} cannot be imported ({_one_line(error)}): pip install -r {REQUIREMENTS[name]}"
        ) from error


def check_package(engine: EngineRecord, version: str) -> None:
    """Check that the installed package is of the engine's version: an engine is for that one alone.

    Raises:
        StartupError: naming both versions and the command that builds the engine again.
    """
    if version != engine.version:
        raise StartupError(
            f"the engine was built with {engine.package} {engine.version}, but {version} is installed: "
            f"install {engine.version}, or build it again: {rebuild_command(engine)}"
        )


def check_gpu(engine: EngineRecord, gpu: Gpu) -> None:
    """Check that the GPU is of the architecture that the engine was built for.

    Raises:
        StartupError: naming both GPUs and the command that builds the engine again.
    """
    built_for = engine.compute_capability
    if built_for is not None and built_for != gpu.compute_capability:
        raise StartupError(
            f"the engine was built for {engine.gpu} (compute capability {built_for}), but this GPU is "
            f"{gpu.name} ({gpu.compute_capability}): build it again on this machine: {rebuild_command(engine)}"
        )


def rebuild_command(engine: EngineRecord) -> str:
    """Return the command that builds an engine like this one."""
    return f"python -m export tensorrt --package {engine.package} --bundle ONNX_BUNDLE --out DIR"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
