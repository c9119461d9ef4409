"""ONNX bundle to TensorRT bundle: one builder for ``tensorrt`` 10.x and 11.x and for ``tensorrt_rtx``.

The network is strongly typed, which is all that 11.x knows: a tensor has the type that the graph gives
it, so the precision of the engine is that of the ONNX graph, and there is no flag that could be
forgotten or ignored. ``tensorrt`` times kernels on the GPU that it builds for; ``tensorrt_rtx`` compiles
them when the engine is loaded, and so builds anywhere.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal

from export.bundle import begin_folder, is_intact, present_bundle, put_in_place
from export.errors import ExportRefused
from export.manifests import save_manifest, without_calibration
from export.progress import Progress
from handlers.core.calibration import NO_CALIBRATION
from handlers.core.errors import StartupError
from handlers.core.manifest import EngineRecord, Manifest, Precision, ProfileRecord
from handlers.core.profiles import plan_profiles
from handlers.core.settings import Settings
from handlers.runtime.bundle import Bundle, sha256_file, verify_graph
from handlers.runtime.tensorrt import REQUIREMENTS, Gpu, load_package
from handlers.runtime.tensorrt_cuda import INPUTS, make_log, visible_gpu

PackageName = Literal["tensorrt", "tensorrt_rtx"]

HALF_PRODUCTS: Final = 8
"""Matrix products of a layer over all of its tokens: of queries, keys, values, scores, context and three more."""

MAX_BATCH: Final = 256
"""Rows in one run: of texts of 16 tokens, what a GPU is full with."""


@dataclass(frozen=True)
class BuildOptions:
    """How an engine is built.

    Attributes:
        package: ``auto`` takes ``tensorrt`` where it is installed beside a GPU, else ``tensorrt_rtx``.
        token_budget: padded tokens in one sub-batch, at least those that it will be served with.
        max_batch: rows in one run.
        timing_cache: file of kernel timings to read and write; only ``tensorrt`` has such.
        optimization_level: how long to look for better kernels, 0 to 5; ``None`` is TensorRT's own choice.
        workspace_mib: device memory that a kernel may use for itself; ``None`` is all there is.
    """

    package: PackageName | Literal["auto"] = "auto"
    token_budget: int = Settings().budget_on("cuda")
    max_batch: int = MAX_BATCH
    timing_cache: Path | None = None
    optimization_level: int | None = None
    workspace_mib: int | None = None


@dataclass(frozen=True)
class BuiltEngine:
    """An engine, and in which types its network multiplies matrices: how many products for each, by type."""

    serialized: bytes | memoryview
    products: Counter[str]


def export_tensorrt(
    source: Bundle, folder: Path, options: BuildOptions, progress: Progress, force: bool = False
) -> Bundle:
    """Write the TensorRT bundle of an ONNX bundle to ``folder``.

    A bundle that is there and was built of the same graph by the same builder for the same GPU is
    kept; anything else in its place is replaced only once the new one is complete. The engine has
    logits of its own, so neither the verdict of the gate nor a calibration goes with it.

    Raises:
        ExportRefused: the source has not passed its gate, the package is missing or needs a GPU that is
            not there, the graph does not parse, or ``folder`` holds something that is not a bundle.
    """
    check_source(source)
    if folder.resolve() == source.folder.resolve():
        raise ExportRefused(f"--out {folder}: it is the bundle to build from; give a folder of its own for the engine")
    gpu = visible_gpu()
    package = choose_package(options.package, gpu)
    check_options(package, options)
    manifest = plan_manifest(source, package, gpu, options)
    present = present_bundle(folder)
    if present is not None and not force and _is_current(present, manifest):
        progress.note(f"{folder} is up to date")
        return present
    for line in _warnings(source, package, gpu):
        progress.note(line)
    unfinished = begin_folder(folder)
    with progress.step(f"building the engine with {package.__name__} {package.__version__}"):
        built = build_engine(package, source.graph, manifest, options, progress)
    _report_products(built.products, progress)
    bundle = _write_bundle(source, manifest, built, unfinished)
    return put_in_place(bundle, folder, present, progress)


def _write_bundle(source: Bundle, manifest: Manifest, built: BuiltEngine, folder: Path) -> Bundle:
    (folder / manifest.graph_name).write_bytes(built.serialized)
    for name in _carried_files(source.manifest):
        shutil.copyfile(source.folder / name, folder / name)
    files = {path.name: sha256_file(path) for path in sorted(folder.iterdir())}
    return save_manifest(folder, manifest.model_copy(update={"files": files}))


def check_source(source: Bundle) -> None:
    """Check that an engine can be built of a bundle.

    Raises:
        ExportRefused: it holds no ONNX graph, is quantized for the CPU, or has not passed its gate.
    """
    manifest = source.manifest
    if manifest.runtime != "onnx":
        raise ExportRefused(f"{source.folder} is a bundle for {manifest.runtime}: give the ONNX bundle it was made of")
    if manifest.precision == "int8":
        raise ExportRefused(
            f"{source.folder} is quantized for the CPU: build from the fp16 bundle, made with PRECISION=fp16"
        )
    try:
        verify_graph(source)
    except StartupError as error:
        raise ExportRefused(f"no engine is built: {error}") from error


def choose_package(wanted: PackageName | Literal["auto"], gpu: Gpu | None) -> ModuleType:
    """Import the package to build with.

    Raises:
        ExportRefused: it is not installed, or it is ``tensorrt`` and there is no GPU to build on.
    """
    name = wanted if wanted != "auto" else _best_package(gpu)
    if name == "tensorrt" and gpu is None:
        raise ExportRefused(
            "tensorrt builds on the GPU that it will serve on, and this process sees none: "
            "run this on that machine, or build with --package tensorrt_rtx"
        )
    try:
        return load_package(name)
    except StartupError as error:
        raise ExportRefused(str(error)) from error


def _best_package(gpu: Gpu | None) -> PackageName:
    if gpu is not None and importlib.util.find_spec("tensorrt") is not None:
        return "tensorrt"
    if importlib.util.find_spec("tensorrt_rtx") is not None:
        return "tensorrt_rtx"
    installs = " or ".join(f"pip install -r {file}" for file in REQUIREMENTS.values())
    raise ExportRefused(f"neither tensorrt nor tensorrt_rtx is installed: {installs}")


def check_options(package: ModuleType, options: BuildOptions) -> None:
    """Check that a package can do what is asked of it.

    Raises:
        ExportRefused: naming the option that it has no use for.
    """
    if options.timing_cache is not None and package.__name__ == "tensorrt_rtx":
        raise ExportRefused("--timing-cache: tensorrt_rtx times no kernels, so it has no such file; leave it out")


def plan_manifest(source: Bundle, package: ModuleType, gpu: Gpu | None, options: BuildOptions) -> Manifest:
    """Return the manifest of the bundle to be built, without its files."""
    manifest = without_calibration(source).manifest
    # An engine of TensorRT-RTX is compiled for the GPU that it is loaded on, whichever it is built on.
    target = None if package.__name__ == "tensorrt_rtx" else gpu
    engine = EngineRecord.model_validate(
        {
            "package": package.__name__,
            "version": package.__version__,
            "compute_capability": target.compute_capability if target else None,
            "gpu": target.name if target else None,
            "source_sha256": source.graph_sha256,
            "profiles": plan_profiles(manifest.max_length, options.token_budget, options.max_batch),
        }
    )
    tools = manifest.tools | {package.__name__: package.__version__, "engine": _builder_digest(options)}
    changes = {"runtime": "tensorrt", "parity": None, "quality": None, "engine": engine, "files": {}, "tools": tools}
    return manifest.model_copy(update=changes)


def _builder_digest(options: BuildOptions) -> str:
    """Return what stands for this module and the options that a manifest does not name otherwise."""
    settings = f"{options.optimization_level} {options.workspace_mib}"
    return hashlib.sha256(Path(__file__).read_bytes() + settings.encode()).hexdigest()[:16]


def _is_current(present: Bundle, planned: Manifest) -> bool:
    decided_later = dict.fromkeys(("files", "parity", "quality", "calibration", "thresholds"))
    same = present.manifest.model_copy(update=decided_later) == planned.model_copy(update=decided_later)
    return same and is_intact(present)


def _carried_files(manifest: Manifest) -> list[str]:
    """Return the files of an ONNX bundle that are not its graph, a verdict on it or its calibration."""
    reports = [record.report for record in (manifest.parity, manifest.quality) if record is not None]
    left = (manifest.graph_name, "calibration.", *(f"{Path(report).stem}." for report in reports))
    return [name for name in manifest.files if not name.startswith(left)]


def _warnings(source: Bundle, package: ModuleType, gpu: Gpu | None) -> Iterator[str]:
    if source.manifest.calibration != NO_CALIBRATION:
        yield (
            f"calibration {source.manifest.calibration} stays with {source.folder}: "
            "the engine's logits are its own, so calibrate its bundle once the gate has passed"
        )
    if source.manifest.precision == "fp32":
        yield "the engine will be fp32, as its graph is: build from an fp16 bundle (PRECISION=fp16) for speed"
    covered = getattr(package, "ComputeCapability", None)
    if gpu is not None and covered is not None and f"SM{gpu.compute_capability.replace('.', '')}" not in dir(covered):
        yield f"{package.__name__} does not name {gpu.name} ({gpu.compute_capability}) among its GPUs: use tensorrt"


def _report_products(products: Counter[str], progress: Progress) -> None:
    counts = ", ".join(f"{count} in {name}" for name, count in products.most_common())
    progress.note(f"matrix products of the network: {counts}")


def build_engine(
    package: ModuleType, graph: Path, manifest: Manifest, options: BuildOptions, progress: Progress
) -> BuiltEngine:
    """Parse ``graph`` and build an engine with the profiles of ``manifest``.

    Raises:
        ExportRefused: the graph does not parse, is not of the precision that the manifest says, a timing
            cache is not for this machine, or TensorRT builds nothing.
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    assert manifest.engine is not None  # ``plan_manifest`` has put it in
    log = make_log(package)
    builder = package.Builder(log)
    network = builder.create_network(creation_flags(package))
    parser = package.OnnxParser(network, log)  # the network's weights are the parser's
    if not parser.parse_from_file(str(graph)):
        raise ExportRefused("\n".join([f"{graph}: TensorRT's parser refuses it:", *parser_errors(parser)]))
    products = count_products(package, network)
    half_layers = len(manifest.attention_window) - 1 - manifest.fp32_layers
    check_products(products, manifest.precision, half_layers)
    config = builder.create_builder_config()
    monitor = _make_monitor(package, progress)
    config.progress_monitor = monitor
    _configure(package, config, options)
    _add_profiles(builder, config, manifest.engine.profiles)
    cache = _attach_timing_cache(config, options.timing_cache)
    with _stoppable(monitor):
        serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise ExportRefused(
            f"{graph}: TensorRT builds no engine: {log.errors[-1] if log.errors else 'no reason given'}"
        )
    if cache is not None and options.timing_cache is not None:
        _replace_bytes(options.timing_cache, cache.serialize())
    return BuiltEngine(serialized, products)


def creation_flags(package: Any) -> int:
    """Return the flags of a strongly typed network: none where there is no other kind.

    Raises:
        ExportRefused: the package only has networks that choose types by themselves (before 10.0).
    """
    strongly_typed = getattr(package.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    if strongly_typed is not None:
        return 1 << int(strongly_typed)
    if hasattr(package.BuilderFlag, "FP16"):
        raise ExportRefused(
            f"{package.__name__} {package.__version__} has no strongly typed networks: "
            f"pip install -r {REQUIREMENTS[package.__name__]}"
        )
    return 0


def parser_errors(parser: Any) -> list[str]:
    """Return one line for each error of an ``OnnxParser``: node, operator and reason."""
    lines = []
    for error in (parser.get_error(index) for index in range(parser.num_errors)):
        reason = " ".join(error.desc().split())
        name = error.node_name() or f"node {error.node()}"
        # Without an operator it is the file that is refused, not a node.
        lines.append(f"  {name} ({error.node_operator()}): {reason}" if error.node_operator() else f"  {reason}")
    return lines


def count_products(package: Any, network: Any) -> Counter[str]:
    """Count the matrix products of a network by the type of what they return, such as ``HALF``."""
    layers = (network.get_layer(index) for index in range(network.num_layers))
    products = (layer for layer in layers if layer.type == package.LayerType.MATRIX_MULTIPLY)
    return Counter(layer.get_output(0).dtype.name for layer in products)


def check_products(products: Counter[str], precision: Precision, half_layers: int) -> None:
    """Check that a network multiplies in the precision that it is said to have.

    Args:
        products: see ``count_products``.
        precision: of the network.
        half_layers: layers of an fp16 network that are in fp16.

    Raises:
        ExportRefused: products of those layers are not in fp16, or one of an fp32 network is.
    """
    half, total = products["HALF"], products.total()
    if precision == "fp16" and half < HALF_PRODUCTS * half_layers:
        raise ExportRefused(f"the bundle says fp16, but {half} of {total} matrix products are: export it again")
    if precision == "fp32" and half:
        raise ExportRefused(f"the bundle says fp32, but {half} of {total} matrix products are fp16: export it again")


def _configure(package: Any, config: Any, options: BuildOptions) -> None:
    # On by default: products of fp32 numbers would keep 10 bits of their mantissa, and the gate could not pass.
    config.clear_flag(package.BuilderFlag.TF32)
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(package.MemoryPoolType.WORKSPACE, options.workspace_mib << 20)


def _add_profiles(builder: Any, config: Any, profiles: Sequence[ProfileRecord]) -> None:
    for record in profiles:
        profile = builder.create_optimization_profile()
        for name in INPUTS:
            profile.set_shape(name, record.least, record.best, record.most)
        if config.add_optimization_profile(profile) < 0:
            raise ExportRefused(f"TensorRT does not take the optimization profile {record.name}: {record}")


def _attach_timing_cache(config: Any, path: Path | None) -> Any:
    if path is None:
        return None
    cache = config.create_timing_cache(path.read_bytes() if path.is_file() else b"")
    if cache is None or not config.set_timing_cache(cache, False):
        raise ExportRefused(f"--timing-cache {path}: it is of another GPU or TensorRT version; give another file")
    return cache


def _replace_bytes(path: Path, content: bytes | memoryview) -> None:
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def _make_monitor(package: Any, progress: Progress) -> Any:
    """Return a progress monitor of TensorRT that reports to ``progress`` and ends the build when ``stopped`` is set."""

    class Monitor(package.IProgressMonitor):  # type: ignore[misc]  # a class of a module that is chosen at run time
        def __init__(self) -> None:
            super().__init__()
            self.stopped = False
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress.update(f"{phase_name}: {step + 1}/{self._steps.get(phase_name, step + 1)}")
            return not self.stopped

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Monitor()


@contextmanager
def _stoppable(monitor: Any) -> Iterator[None]:
    """Let Ctrl-C end the build at its next step: an exception must not pass through TensorRT's own frames."""

    def stop(*_: object) -> None:
        monitor.stopped = True

    previous = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if monitor.stopped:
        raise KeyboardInterrupt
