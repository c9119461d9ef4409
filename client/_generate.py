"""Generate ``client/_generated`` from ``client/protos`` with grpcio-tools.

The generated code names the protobuf and gRPC versions it was made for and refuses older ones, so
it is generated anew whenever their pins move.
"""

from __future__ import annotations

import re
import zipfile
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

PROTO: Final = Path(__file__).parent / "protos" / "inference.proto"
"""TorchServe's own file, byte for byte."""

GENERATED: Final = Path(__file__).parent / "_generated"

_STATUS = re.compile(r'^import "google/rpc/status\.proto";\n|^ *optional google\.rpc\.Status .*\n', re.MULTILINE)
_BARE_IMPORT = "import inference_pb2 as"
_FIXED_IMPORT = "from client._generated import inference_pb2 as"


class GenerateError(Exception):
    """The stubs cannot be generated; the message says why."""


def take_proto(jar: Path, proto: Path = PROTO) -> None:
    """Copy ``inference.proto`` out of TorchServe's ``model-server.jar``.

    Raises:
        GenerateError: there is no such jar, or no such file in it.
    """
    try:
        with zipfile.ZipFile(jar) as archive:
            proto.write_bytes(archive.read("inference.proto"))
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise GenerateError(f"cannot take inference.proto out of {jar}: {error}") from error


def generate(out: Path = GENERATED, proto: Path = PROTO) -> list[Path]:
    """Write the stubs into ``out`` and return their paths.

    Raises:
        GenerateError: the proto file has changed beyond what is known here, or does not compile.
    """
    with TemporaryDirectory() as folder:
        source = Path(folder) / proto.name
        source.write_text(without_status(proto.read_text(encoding="utf-8")), encoding="utf-8")
        _compile(source, out)
    _fix_import(out / "inference_pb2_grpc.py")
    return sorted(out.glob("inference_pb2*"))


def without_status(proto: str) -> str:
    """Drop the one use of ``google.rpc.Status``.

    Only ``StreamPredictions2``, which the client does not call, fills that field. With it the stubs
    would need another package for one message, and without it the wire format is the same: an
    unknown field is skipped.
    """
    trimmed, dropped = _STATUS.subn("", proto)
    if dropped != 2 or "google.rpc" in trimmed:
        raise GenerateError("inference.proto uses google.rpc.Status in a new way: look at without_status")
    return trimmed


def _compile(source: Path, out: Path) -> None:
    try:
        from grpc_tools import protoc  # here, as only this command needs it
    except ModuleNotFoundError:
        raise GenerateError("generating needs grpcio-tools, which is not installed") from None
    with as_file(files("grpc_tools") / "_proto") as well_known:
        outputs = [f"--{kind}_out={out}" for kind in ("python", "grpc_python", "pyi")]
        status = protoc.main(["protoc", f"-I{source.parent}", f"-I{well_known}", *outputs, source.name])
    if status != 0:
        raise GenerateError(f"protoc failed with status {status}: its reasons are above")


def _fix_import(stub: Path) -> None:
    """Make the import absolute: protoc writes one that works only from inside the folder."""
    code = stub.read_text(encoding="utf-8")
    if code.count(_BARE_IMPORT) != 1:
        raise GenerateError(f"{stub.name} does not import its messages as expected: look at _fix_import")
    stub.write_text(code.replace(_BARE_IMPORT, _FIXED_IMPORT), encoding="utf-8")
