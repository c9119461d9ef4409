"""Properties, overrides, and what TorchServe is finally given."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server import process, properties
from server.endpoints import PortOverrides, from_properties
from server.errors import ExitCode, ServerError
from server.settings import StartSettings, effective_properties, read_config, write_config

from .conftest import MakeArchive

_TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)


def test_parse_reads_what_java_reads() -> None:
    text = "# comment\n! comment\n\na=1\nb : two words \n c\tthree\nd=x\\\n   y\ne=\\u00e9\\=\\\\\nempty=\na=last\nu=http://h:1\n"
    assert properties.parse(text) == {
        "a": "last",
        "b": "two words",
        "c": "three",
        "d": "xy",
        "e": "é=\\",
        "empty": "",
        "u": "http://h:1",
    }


@given(st.dictionaries(_TEXT.filter(bool), _TEXT.map(str.rstrip), max_size=5))
def test_render_is_read_back(entries: dict[str, str]) -> None:
    rendered = properties.render(entries)
    assert rendered.isascii()
    assert properties.parse(rendered) == entries


def test_options_move_the_port_and_keep_the_host() -> None:
    base = {"inference_address": "http://0.0.0.0:8080", "grpc_inference_port": "7070"}
    changed = PortOverrides(http=9001, grpc=9002).apply(base)
    endpoints = from_properties(changed)
    assert changed["inference_address"] == "http://0.0.0.0:9001"
    assert (endpoints.http.authority, endpoints.grpc.port, endpoints.management.port) == ("127.0.0.1:9001", 9002, 8081)
    assert base["inference_address"] == "http://0.0.0.0:8080"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inference_address": "https://127.0.0.1:8080"}, "TLS ends at the gateway"),
        ({"inference_address": "http://127.0.0.1:none"}, "inference_address needs a port"),
        ({"grpc_inference_port": "99999"}, "grpc_inference_port needs a port"),
        ({"management_address": "http://0.0.0.0:8081"}, "management must stay on loopback"),
        ({"grpc_management_address": "0.0.0.0"}, "management must stay on loopback"),
        ({"metrics_address": "http://127.0.0.1:8080"}, "--http-port or --metrics-port"),
        ({"management_address": "http://127.0.0.1:8080"}, "--http-port or --management-port"),
        ({"health_address": "http://127.0.0.1:7070"}, "--grpc-port or --health-port"),
        ({"inference_address": "unix:/tmp/x"}, "inference_address=unix:/tmp/x is not an address"),
    ],
)
def test_addresses_that_must_not_be_served(change: dict[str, str], words: str) -> None:
    with pytest.raises(ServerError, match=words) as caught:
        from_properties(change)
    assert caught.value.code is ExitCode.CONFIG_INVALID


def test_binding_for_a_container_leaves_management_on_loopback() -> None:
    endpoints = from_properties(PortOverrides(bind="0.0.0.0", metrics=9002).apply({}))
    everywhere = {endpoint.property_name for endpoint in endpoints.all() if endpoint.host == "0.0.0.0"}
    assert everywhere == {"inference_address", "metrics_address", "grpc_inference_port", "health_address"}
    assert (endpoints.management.host, endpoints.grpc_management.host) == ("127.0.0.1", "127.0.0.1")
    assert endpoints.metrics.port == 9002
    assert PortOverrides(bind="::").apply({})["inference_address"] == "http://[::]:8080"


@pytest.mark.parametrize("key", ["enable_model_api", "install_py_dep_per_model", "enable_envvars_config"])
def test_a_configuration_that_lets_other_code_in_is_refused(settings: StartSettings, key: str) -> None:
    with pytest.raises(ServerError, match=f"{key}=True would let") as caught:
        effective_properties({key: "True"}, settings)
    assert caught.value.code is ExitCode.CONFIG_INVALID
    assert effective_properties({}, settings)[key] == "false"


def test_no_url_is_allowed_where_the_configuration_says_nothing(settings: StartSettings) -> None:
    assert effective_properties({}, settings)["allowed_urls"] == "file:///nothing-is-allowed"


def test_the_repository_configuration_stays_on_loopback(settings: StartSettings) -> None:
    effective = effective_properties(read_config(settings.config), settings)
    assert {endpoint.host for endpoint in from_properties(effective).all()} == {"127.0.0.1"}
    assert effective["decode_input_request"] == "false"
    assert effective["enable_model_api"] == "false"
    assert effective["install_py_dep_per_model"] == "false"


def test_metric_declarations_come_out_of_the_archive(settings: StartSettings, make_archive: MakeArchive) -> None:
    settings = dataclasses.replace(settings, archive=make_archive("class Empty: ...", metrics="dimensions: []\n"))
    settings.run_dir.path.mkdir()
    effective = effective_properties({}, settings)
    write_config(settings, effective)
    assert effective["metrics_config"] == str(settings.run_dir.metrics_file)
    assert settings.run_dir.metrics_file.read_text() == "dimensions: []\n"
    assert effective.pop("health_address").endswith(f":{settings.ports.health}")
    assert properties.parse(settings.run_dir.config_file.read_text()) == effective


def test_a_named_metrics_file_is_taken_from_beside_the_configuration(settings: StartSettings, tmp_path: Path) -> None:
    settings = dataclasses.replace(settings, config=tmp_path / "some.properties")
    with pytest.raises(ServerError, match="is no file"):
        effective_properties({"metrics_config": "m.yaml"}, settings)
    (tmp_path / "m.yaml").touch()
    assert effective_properties({"metrics_config": "m.yaml"}, settings)["metrics_config"] == str(tmp_path / "m.yaml")


@pytest.mark.parametrize("name", ["a/b", "", "a=b", "../x", "a b"])
def test_model_names_are_plain(settings: StartSettings, name: str) -> None:
    with pytest.raises(ServerError, match="is not a name"):
        dataclasses.replace(settings, model=name)


def test_workers_get_no_foreign_import_path_or_configuration(settings: StartSettings) -> None:
    inherited = {"PYTHONPATH": "/src", "TS_CONFIG_FILE": "x", "HOME": "/h", "TMPDIR": "/elsewhere"}
    given_on = process.environment(inherited, settings.run_dir)
    assert "PYTHONPATH" not in given_on
    assert "TS_CONFIG_FILE" not in given_on
    assert given_on["HOME"] == "/h"
    assert given_on["TMPDIR"] == str(settings.run_dir.temp)
    assert given_on["LANTERN_RUN_DIR"] == str(settings.run_dir.path)


def test_jvm_options_of_the_configuration_reach_the_command_line(settings: StartSettings) -> None:
    command = process.command(Path("/java"), settings, {"vmargs": "-Xmx99m -Da='b c'"})
    assert command[:3] == ["/java", "-Xmx99m", "-Da=b c"]
    assert command[-1] == "tiny=tiny.mar"
