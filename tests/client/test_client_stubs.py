"""The proto file is TorchServe's, and the stubs are what grpcio-tools makes of it."""

from __future__ import annotations

import zipfile
from ast import literal_eval
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from client.__main__ import EXIT_USAGE, main
from client._generate import GENERATED, PROTO, GenerateError, generate, take_proto, without_status
from client._generated import inference_pb2, inference_pb2_grpc


@pytest.fixture(scope="module")
def jar() -> Path:
    spec = find_spec("ts")
    if spec is None or spec.origin is None:
        pytest.skip("torchserve is not installed: no proto file to compare with")
    return Path(spec.origin).parent / "frontend" / "model-server.jar"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed: nothing to generate with")
    folder = tmp_path_factory.mktemp("stubs")
    generate(folder)
    return folder


def test_the_proto_is_the_one_in_the_jar(jar: Path, tmp_path: Path) -> None:
    take_proto(jar, tmp_path / "inference.proto")
    assert PROTO.read_bytes() == (tmp_path / "inference.proto").read_bytes()


def test_the_stubs_are_a_fresh_generation(fresh: Path) -> None:
    if version("grpcio-tools") != inference_pb2_grpc.GRPC_GENERATED_VERSION:
        pytest.skip(
            f"the stubs are of grpcio-tools {inference_pb2_grpc.GRPC_GENERATED_VERSION}, {version('grpcio-tools')} is"
            " installed: run python -m client generate"
        )
    assert {path.name for path in fresh.iterdir()} == {path.name for path in GENERATED.glob("inference*")}
    for path in fresh.iterdir():
        assert path.read_text() == (GENERATED / path.name).read_text(), f"{path.name}: run python -m client generate"


def test_the_stubs_describe_the_proto_whatever_made_them(fresh: Path) -> None:
    """Holds across versions of grpcio-tools, whose output differs in stamps and wording."""
    made = (fresh / "inference_pb2.py").read_text().split("AddSerializedFile(")[1].split("\n")[0]
    assert literal_bytes(made) == inference_pb2.DESCRIPTOR.serialized_pb


def literal_bytes(literal: str) -> bytes:
    content = literal_eval(literal.removesuffix(")"))
    assert isinstance(content, bytes)
    return content


def test_the_service_is_the_one_that_is_called() -> None:
    described = descriptor_pb2.FileDescriptorProto.FromString(inference_pb2.DESCRIPTOR.serialized_pb)
    assert described.package == "org.pytorch.serve.grpc.inference"
    assert {"Ping", "Predictions"} <= {method.name for method in described.service[0].method}
    assert "status" not in inference_pb2.PredictionResponse.DESCRIPTOR.fields_by_name


def test_an_unused_field_of_the_server_is_skipped() -> None:
    status = b"\x1a\x02\x08\x05"  # field 3, a google.rpc.Status with code 5
    assert inference_pb2.PredictionResponse.FromString(b"\x0a\x02{}" + status).prediction == b"{}"


def test_another_use_of_the_status_stops_the_generation() -> None:
    with pytest.raises(GenerateError, match="without_status"):
        without_status(PROTO.read_text() + "message M { google.rpc.Status status = 1; }\n")


def test_a_proto_that_does_not_compile(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    broken = tmp_path / "inference.proto"
    broken.write_text(PROTO.read_text() + "message {\n")
    with pytest.raises(GenerateError, match="protoc"):
        generate(tmp_path, broken)


def test_take_proto_copies_byte_for_byte(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.jar", "w") as archive:
        archive.writestr("inference.proto", b"one\r\ntwo")
    take_proto(tmp_path / "a.jar", tmp_path / "out.proto")
    assert (tmp_path / "out.proto").read_bytes() == b"one\r\ntwo"


def test_a_jar_without_the_proto(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.jar").write_text("no archive")
    for name in ("none.jar", "text.jar"):
        assert main(["generate", "--jar", str(tmp_path / name)]) == EXIT_USAGE
        assert "cannot take inference.proto out of" in capsys.readouterr().err
