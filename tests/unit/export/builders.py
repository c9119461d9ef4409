"""TensorRT's builder for tests: it remembers what it was told, and its engine is a list of its profiles."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

Shape = tuple[int, int]


class DataType(IntEnum):
    FLOAT = 0
    HALF = 1


class LayerType(IntEnum):
    ACTIVATION = 1
    MATRIX_MULTIPLY = 9


class BuilderFlag(IntEnum):
    TF32 = 7


class MemoryPoolType(IntEnum):
    WORKSPACE = 0


class CreationFlag(IntEnum):
    STRONGLY_TYPED = 1


class ILogger:
    Severity = SimpleNamespace(ERROR="error", INTERNAL_ERROR="internal error")


class IProgressMonitor:
    pass


@dataclass
class Profile:
    shapes: dict[str, tuple[Shape, Shape, Shape]] = field(default_factory=dict)

    def set_shape(self, input: str, min: Shape, opt: Shape, max: Shape) -> None:
        self.shapes[input] = (min, opt, max)


@dataclass
class TimingCache:
    content: bytes

    def serialize(self) -> bytes:
        return self.content + b" more"


class Config:
    """A builder configuration with TF32 on, as TensorRT's is."""

    def __init__(self) -> None:
        self.flags = {BuilderFlag.TF32}
        self.profiles: list[Profile] = []
        self.pools: dict[MemoryPoolType, int] = {}
        self.builder_optimization_level = 3
        self.progress_monitor: Any = None
        self.timing_cache: TimingCache | None = None

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        self.pools[pool] = pool_size

    def add_optimization_profile(self, profile: Profile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1 if set(profile.shapes) == {"input_ids", "attention_mask"} else -1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> TimingCache | None:
        return None if serialized_timing_cache == b"junk" else TimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        self.timing_cache = cache
        return ignore_mismatch or cache.content != b"another GPU"


class FakePackage:
    """``tensorrt`` with what a build needs.

    Attributes:
        configs, creation_flags: of the builds so far.
        types: of the products in the network.
        fails: whether a build ends with an error.
    """

    BuilderFlag = BuilderFlag
    DataType = DataType
    ILogger = ILogger
    IProgressMonitor = IProgressMonitor
    LayerType = LayerType
    MemoryPoolType = MemoryPoolType
    NetworkDefinitionCreationFlag = CreationFlag

    def __init__(self, name: str = "tensorrt", types: tuple[DataType, ...] = (DataType.FLOAT,)) -> None:
        self.__name__ = name
        self.__version__ = "10.13.0.35"
        self.configs: list[Config] = []
        self.creation_flags: list[int] = []
        self.types = types
        self.fails = False

    def Builder(self, logger: Any) -> Any:  # noqa: N802 - the name of a class of TensorRT
        layers = [(LayerType.MATRIX_MULTIPLY, kind) for kind in self.types] + [(LayerType.ACTIVATION, DataType.HALF)]
        network = SimpleNamespace(num_layers=len(layers), get_layer=lambda index: _layer(*layers[index]))

        def create_network(flags: int) -> Any:
            self.creation_flags.append(flags)
            return network

        def create_builder_config() -> Config:
            self.configs.append(Config())
            return self.configs[-1]

        def build_serialized_network(built: Any, config: Config) -> bytes | None:
            assert built is network
            for step in range(2):
                config.progress_monitor.phase_start("Building", None, 2)
                if not config.progress_monitor.step_complete("Building", step):
                    return None
                config.progress_monitor.phase_finish("Building")
            if self.fails:
                logger.log("error", "no kernel\nfits")
                logger.log("info", "else")
                return None
            return json.dumps([profile.shapes for profile in config.profiles]).encode()

        return SimpleNamespace(
            create_network=create_network,
            create_builder_config=create_builder_config,
            create_optimization_profile=Profile,
            build_serialized_network=build_serialized_network,
        )

    def OnnxParser(self, network: Any, logger: Any) -> Any:  # noqa: N802 - the name of a class of TensorRT
        return SimpleNamespace(parse_from_file=lambda model: Path(model).is_file(), num_errors=0)


def _layer(kind: LayerType, output: DataType) -> Any:
    return SimpleNamespace(type=kind, get_output=lambda index: SimpleNamespace(dtype=output))
