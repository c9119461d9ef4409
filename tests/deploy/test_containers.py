"""The Dockerfiles and the compose file against the server that they start."""

from __future__ import annotations

import ast
import json
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import compose_spec
import pytest
import yaml

from server.__main__ import _parser
from server.endpoints import PortOverrides, from_properties
from server.settings import read_config
from tests.deploy.dockerfiles import CONTAINERS, ROOT, Copy, arguments, stages

SERVERS: Final = ("Dockerfile", "Dockerfile.gpu")
IMAGES: Final = (*SERVERS, "Dockerfile.gateway")
FINAL: Final = {"Dockerfile": "mounted", "Dockerfile.gpu": "mounted", "Dockerfile.gateway": "gateway"}
BUILT: Final = {"model_store/sentiment.mar", "model_store/sentiment.mar.sha256"}
END_SECONDS: Final = 25
"""What a stop may take beyond grace and drain (server/stop.py)."""
ENDPOINTS: Final = from_properties(read_config(ROOT / "config.properties"))


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def copies(name: str) -> list[Copy]:
    return [copy for stage in stages(name).values() for copy in stage.copies if copy.stage is None]


def included(path: str, patterns: list[str]) -> bool:
    """Whether a path passes an ignore file of plain paths and a leading ``*``."""
    passes = True
    for pattern in patterns:
        plain = pattern.removeprefix("!")
        if plain == "*" or path == plain or path.startswith(f"{plain}/"):
            passes = pattern.startswith("!")
    return passes


@pytest.mark.parametrize("name", IMAGES)
def test_hadolint_finds_nothing(name: str) -> None:
    linter = Path(sys.executable).with_name("hadolint")

    checked = subprocess.run([linter, CONTAINERS / name], capture_output=True, text=True, check=False)

    assert (checked.returncode, checked.stdout) == (0, "")


@pytest.mark.parametrize("name", IMAGES)
def test_everything_that_is_copied_exists_and_reaches_the_builder(name: str) -> None:
    lines = (CONTAINERS / f"{name}.dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    sources = {source for copy in copies(name) for source in copy.sources}

    assert patterns[0] == "*"
    assert {source for source in sources if not (ROOT / source).exists()} <= BUILT
    assert {source for source in sources if not included(source, patterns)} == set()
    assert not included(".git/config", patterns)
    assert not included("secrets/tls.key", patterns)


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_runs_as_a_numbered_user_and_holds_no_secret(name: str) -> None:
    final = stages(name)[FINAL[name]]

    assert final.last("USER") == "10001:10001"
    assert final.values("ADD") == []
    assert not [key for key in final.environment if re.search("TOKEN|KEY|SECRET|PASSWORD", key)]
    assert re.fullmatch(r"python:3\.\d+-slim-[a-z]+", arguments(name)["PYTHON_IMAGE"])


@pytest.mark.parametrize("name", SERVERS)
def test_the_server_understands_what_the_image_starts(name: str) -> None:
    final = stages(name)["mounted"]
    health = json.loads(final.last("HEALTHCHECK").partition("CMD ")[2])

    started = _parser().parse_args(final.words("CMD"))
    asked = _parser().parse_args(health[3:])

    assert final.words("ENTRYPOINT") == health[:3] == ["/opt/lantern/venv/bin/python", "-m", "server"]
    assert (started.command, started.bind, str(started.archive)) == ("start", "0.0.0.0", "/models/sentiment.mar")
    assert (asked.command, asked.run_dir) == ("ready", started.run_dir)
    assert started.drain_grace > 0


@pytest.mark.parametrize("name", SERVERS)
def test_what_is_exposed_is_what_may_be_reached(name: str) -> None:
    exposed = {int(port) for port in stages(name)["mounted"].last("EXPOSE").split()}
    bound = from_properties(PortOverrides(bind="0.0.0.0").apply(read_config(ROOT / "config.properties")))

    assert exposed == {endpoint.port for endpoint in bound.all() if endpoint.host == "0.0.0.0"}
    assert {bound.management.host, bound.grpc_management.host} == {"127.0.0.1"}


@pytest.mark.parametrize("name", SERVERS)
def test_nothing_of_the_image_calls_home(name: str) -> None:
    assert stages(name)["mounted"].environment["ORT_DISABLE_TELEMETRY"] == "1"


def test_both_images_hold_the_same_code_and_start_it_in_the_same_way() -> None:
    cpu, gpu = (stages(name)["mounted"] for name in SERVERS)

    for instruction in ("COPY", "USER", "EXPOSE", "ENTRYPOINT", "CMD", "HEALTHCHECK", "WORKDIR"):
        assert cpu.values(instruction) == gpu.values(instruction)


@pytest.mark.parametrize("name", SERVERS)
def test_the_image_holds_every_module_that_the_server_imports(name: str) -> None:
    held = {source for copy in copies(name) for source in copy.sources}
    modules = {
        f"handlers/{alias.name}.py" if node.module == "handlers" else f"{(node.module or '').replace('.', '/')}.py"
        for path in (ROOT / "server").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "handlers"
        for alias in node.names
    }

    assert modules
    assert modules | {"handlers/__init__.py"} <= held


def test_the_gateway_image_holds_every_module_that_its_commands_import(tmp_path: Path) -> None:
    for copy in copies("Dockerfile.gateway"):
        target = tmp_path / copy.target
        for source in copy.sources:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
            else:
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, target)
    secret = tmp_path / "secret"
    secret.write_text(f"app {'0aB' * 16}\n", encoding="ascii")
    secret.chmod(stat.S_IRUSR | stat.S_IWUSR)
    render = ["gateway-render", "--out", str(tmp_path / "out"), "--replica", "replica-a", "--tokens", str(secret)]

    done = subprocess.run(
        [sys.executable, "-m", "deploy", *render, "--certificate", str(secret), "--key", str(secret)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "server replica-a:8080" in (tmp_path / "out" / "upstreams.conf").read_text(encoding="utf-8")


# --- compose.yaml --------------------------------------------------------------------------------------------------


def compose() -> dict[str, Any]:
    """The compose file with its variables as they are where none is set."""
    text = (CONTAINERS / "compose.yaml").read_text(encoding="utf-8")
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
    text = re.sub(r"\$\{\w+:\?[^}]*\}", "given", text)
    return dict(yaml.safe_load(text))


SERVICES: Final = tuple(compose()["services"])
REPLICAS: Final = ("replica-a", "replica-b")


def test_the_compose_file_follows_the_specification() -> None:
    compose_spec.PyCompose.from_yaml(yaml.safe_dump(compose())).validate()


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_hardened_and_limited(name: str) -> None:
    service = compose()["services"][name]
    limits = service["deploy"]["resources"]["limits"]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert {"cpus", "memory", "pids"} <= set(limits)
    assert ":latest" not in service["image"] and ":" in service["image"]


def test_only_the_gateway_is_published_and_grafana_on_loopback() -> None:
    published = {name: service["ports"] for name, service in compose()["services"].items() if "ports" in service}

    assert published == {"gateway": ["8443:8443"], "grafana": ["127.0.0.1:3000:3000"]}


def test_replicas_are_reached_by_the_gateway_and_prometheus_alone_and_reach_nothing() -> None:
    document = compose()
    services, networks = document["services"], document["networks"]

    for replica in REPLICAS:
        own = services[replica]["networks"]
        neighbours = {name for name, service in services.items() if set(own) & set(service.get("networks", ()))}
        assert neighbours - set(REPLICAS) == {"gateway", "gateway-watch", "prometheus"}
        assert all(networks[network]["internal"] for network in own)


@pytest.mark.parametrize("name", REPLICAS)
def test_a_replica_has_the_time_for_its_drain(name: str) -> None:
    started = _parser().parse_args(stages("Dockerfile")["mounted"].words("CMD"))

    grace = seconds(compose()["services"][name]["stop_grace_period"])

    assert grace >= started.drain_grace + started.drain_timeout + END_SECONDS


@pytest.mark.parametrize("name", REPLICAS)
def test_a_replica_may_write_to_its_run_folder_and_tmp_alone(name: str) -> None:
    service = compose()["services"][name]
    writable = [volume["target"] for volume in service["volumes"] if not volume.get("read_only")]

    assert writable == ["/run/lantern"]
    assert [mount.partition(":")[0] for mount in service["tmpfs"]] == ["/tmp"]


def test_the_gateway_knows_every_replica_and_prometheus_scrapes_each() -> None:
    services = compose()["services"]
    scrapes = yaml.safe_load((CONTAINERS / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]

    for command in ("gateway-render", "gateway-watch"):
        named = [word.removeprefix("--replica=") for word in services[command]["command"] if "--replica=" in word]
        assert tuple(named) == REPLICAS
    targets = scrapes[0]["static_configs"][0]["targets"]
    assert targets == [f"{replica}:{ENDPOINTS.metrics.port}" for replica in REPLICAS]


def test_gateway_commands_are_ones_that_deploy_has() -> None:
    from deploy.__main__ import _parser as deploy_parser

    for name in ("gateway-render", "gateway-watch"):
        python, *module = compose()["services"][name]["command"][:3]
        assert (python, module) == ("/opt/lantern/venv/bin/python", ["-m", "deploy"])
        deploy_parser().parse_args(compose()["services"][name]["command"][3:])


def test_folders_that_are_mounted_exist() -> None:
    for service in compose()["services"].values():
        for volume in service.get("volumes", ()):
            source = volume["source"] if isinstance(volume, dict) and "source" in volume else str(volume).split(":")[0]
            if source.startswith("."):
                assert (CONTAINERS / source).exists(), source
