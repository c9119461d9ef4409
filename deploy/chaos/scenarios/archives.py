"""Archives that are not fit to serve, as an upgrade that goes wrong would bring; made from the good one."""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from client import LanternClientError
from deploy.chaos.arena import WARM_CALLS, Arena
from deploy.chaos.scenarios import Result
from deploy.errors import DeployError
from handlers.core.errors import INTERNAL

MANIFEST: Final = "bundle/bundle.json"
GRAPH: Final = "bundle/model.onnx"
WEIGHTS: Final = "bundle/model.onnx.data"
POLICY: Final = "handlers/config/policy.yaml"
CALIBRATION: Final = "calibration.json"
_POISON: Final = "If all of this goes on like that for another week I do not know what becomes of us, "
_POISON_CALLS: Final = 40
_TIMEOUT_S: Final = 60.0
_START_S: Final = 60.0

Change = Callable[[bytes], bytes]


def unfit_archives(arena: Arena) -> Result:
    """Upgrade the last replica to archives that must be refused, with words that name what is wrong."""
    replica = arena.replicas[-1]
    failures = []
    with arena.load() as load:
        load.wait_for(WARM_CALLS, _TIMEOUT_S)
        replica.stop()
        for what, reason in _UNFIT.items():
            replica.archive = _make_unfit(what, arena)
            replica.start()
            arena.until(lambda: replica.ended() is not None or replica.is_ready(), "the start to end", _START_S)
            said = replica.last_line()
            if replica.ended() is None:
                failures.append(f"a replica serves an archive with {what}")
                replica.stop()
            elif reason not in said:
                failures.append(f"the refusal of {what} does not say {reason!r}: {said}")
            arena.note(f"{what}: refused with status {replica.ended()}: {_without_paths(said)}")
        replica.archive = arena.archive
        arena.restart(replica)
        load.wait_for(WARM_CALLS, _TIMEOUT_S)
    return Result(load.samples, None, failures)


_UNFIT: Final = {
    "half of the file": "is not a readable model archive",
    "a changed weight": "sha256 differs",
    "a corrupt policy": "policy.yaml",
    "no calibration": CALIBRATION,
}
"""What is wrong with an archive, and a part of what its refusal has to say."""


def _make_unfit(what: str, arena: Arena) -> Path:
    target = arena.folder / what.replace(" ", "-") / arena.archive.name
    if what == "half of the file":
        content = arena.archive.read_bytes()
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content[: len(content) // 2])
        return target
    changes: dict[str, dict[str, Change]] = {
        "a changed weight": {WEIGHTS: _flip_a_byte},
        "a corrupt policy": {POLICY: lambda old: old + b"\n- {"},
        "no calibration": {MANIFEST: _list_calibration},
    }
    return rewrite(arena.archive, target, changes[what])


def poison(arena: Arena) -> Result:
    """A graph that fails at one length: the text of that length gets an error, and nobody else does."""
    text = _POISON * 3
    length = _tokens(arena, text)
    if length in {_tokens(arena, known.text) for known in arena.known}:
        raise DeployError("the poisoned text is as long as another one; change the texts")
    bad = rewrite_graph(arena.archive, arena.folder / "poison" / arena.archive.name, length)
    replica = arena.replicas[0]
    with arena.load() as load:
        load.wait_for(WARM_CALLS, _TIMEOUT_S)
        replica.stop()
        replica.archive = bad
        arena.restart(replica)
        codes = _codes(arena, text)
        load.wait_for(WARM_CALLS, _TIMEOUT_S)
        replica.stop()
        replica.archive = arena.archive
        arena.restart(replica)
    failed = codes.count(INTERNAL.code)
    arena.note(f"{failed} of {len(codes)} poisoned calls failed with {INTERNAL.code}, the others met the good replica")
    failures = [f"a poisoned call ended with {code}" for code in sorted(set(codes) - {INTERNAL.code, ""})]
    return Result(load.samples, None, failures + ([] if failed else ["no run failed, so nothing was shown"]))


def _codes(arena: Arena, text: str) -> list[str]:
    codes = []
    for make in (arena.gateway.rest, arena.gateway.grpc):
        with make(retries=0) as client:
            for _ in range(_POISON_CALLS):
                try:
                    client.classify(text)
                    codes.append("")
                except LanternClientError as error:
                    codes.append(error.kind.code)
    return codes


def _tokens(arena: Arena, text: str) -> int:
    """Return the length of the model's input for ``text``, the two special tokens included."""
    with arena.gateway.rest() as client:
        return client.classify(text).input.tokens + 2


def rewrite(archive: Path, target: Path, changes: dict[str, Change]) -> Path:
    """Copy ``archive`` to ``target`` with the content of some files changed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(target, "w") as new:
        for item in old.infolist():
            content = old.read(item)
            new.writestr(item, changes[item.filename](content) if item.filename in changes else content)
    return target


def rewrite_graph(archive: Path, target: Path, length: int) -> Path:
    """Copy ``archive`` with a graph that fails at inputs of ``length`` tokens, and a manifest that knows it."""
    with zipfile.ZipFile(archive) as opened, tempfile.TemporaryDirectory(prefix="lantern-chaos-") as folder:
        for name in (GRAPH, WEIGHTS):
            (Path(folder) / Path(name).name).write_bytes(opened.read(name))
        graph = _failing_graph(Path(folder) / Path(GRAPH).name, length)
    digest = hashlib.sha256(graph).hexdigest()
    return rewrite(archive, target, {GRAPH: lambda _: graph, MANIFEST: lambda old: _with_graph(old, digest)})


def _failing_graph(path: Path, length: int) -> bytes:
    """Add nothing to the logits, out of a table that has no entry for ``length``."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(str(path), load_external_data=False)
    graph = model.graph
    (output,) = graph.output
    _rename_output(graph, output.name, f"sound_{output.name}")
    constants = {
        "place": ([1], TensorProto.INT64),
        "fatal": ([length], TensorProto.INT64),
        "nil": ([0.0], TensorProto.FLOAT),
    }
    for name, (values, kind) in constants.items():
        graph.initializer.append(helper.make_tensor(f"chaos_{name}", kind, [1], values))
    assert all(numpy_helper.to_array(one).size for one in graph.initializer[-len(constants) :])
    graph.node.extend(
        [
            helper.make_node("Shape", ["input_ids"], ["chaos_shape"]),
            helper.make_node("Gather", ["chaos_shape", "chaos_place"], ["chaos_length"]),
            helper.make_node("Equal", ["chaos_length", "chaos_fatal"], ["chaos_is_fatal"]),
            helper.make_node("Cast", ["chaos_is_fatal"], ["chaos_index"], to=TensorProto.INT64),
            helper.make_node("Gather", ["chaos_nil", "chaos_index"], ["chaos_nothing"]),
            helper.make_node("Add", [f"sound_{output.name}", "chaos_nothing"], [output.name]),
        ]
    )
    return bytes(model.SerializeToString())


def _rename_output(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        for place, name in enumerate(node.output):
            if name == old:
                node.output[place] = new
        for place, name in enumerate(node.input):
            if name == old:
                node.input[place] = new


def _with_graph(manifest: bytes, digest: str) -> bytes:
    fields = json.loads(manifest)
    fields["files"][Path(GRAPH).name] = digest
    fields["parity"]["graph_sha256"] = digest
    return json.dumps(fields).encode()


def _list_calibration(manifest: bytes) -> bytes:
    fields = json.loads(manifest)
    fields["files"][CALIBRATION] = "0" * 64
    fields["calibration"] = "platt"
    return json.dumps(fields).encode()


def _flip_a_byte(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def _without_paths(line: str) -> str:
    return " ".join(Path(word).name if word.startswith("/") else word for word in line.split())
