"""The libraries inside TorchServe's ``model-server.jar``.

The jar is one file of other jars' classes, built without their Maven descriptions, so no tool can tell its contents.
What a library states of itself is read here: a properties file, a text, or a constant of one of its classes. For some
nothing is stated. Their classes bear the date of a release, and their version is concluded from it, with less
confidence; that holds for this very jar, so another one is refused.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.errors import DeployError
from deploy.sbom.inventory import INFERRED, STATED, Entry

SHA256: Final = "ce340411ce54beaacd3dcfa31644a9aa369a83a36ed687172ba1088a13123dfe"
"""Of ``model-server.jar`` in TorchServe 0.12.0."""
NAME: Final = "model-server.jar"
OWN: Final = ("org/pytorch/", "module-info.class")
"""TorchServe's own classes."""
_CONSTANT: Final = re.compile(rb"\x01\x00([\x03-\x20])(\d+\.\d+[\w.]*)", re.DOTALL)
_APACHE: Final = "Apache-2.0"
_EPL1: Final = "EPL-1.0"


@dataclass(frozen=True)
class Text:
    """A file of the jar and the expression that finds the version in it."""

    file: str
    expression: str


@dataclass(frozen=True)
class Constant:
    """A class of the jar that has its version as a constant."""

    file: str


@dataclass(frozen=True)
class Dated:
    """A version concluded from the date of the classes; ``None`` where even that is not possible."""

    version: str | None
    built: str


@dataclass(frozen=True)
class Library:
    """A library, the folders of its classes, what says its version, and its package where that is not its name."""

    group: str
    name: str
    licence: str
    folders: tuple[str, ...]
    version: Text | Constant | Dated
    package: str | None = None


_LOG4J: Final = "META-INF/DEPENDENCIES"

LIBRARIES: Final = (
    Library(
        "io.netty",
        "netty-all",
        _APACHE,
        ("io/netty/",),
        Text("META-INF/io.netty.versions.properties", r"netty-common\.version=(\S+)"),
    ),
    Library("io.grpc", "grpc-netty-shaded", _APACHE, ("io/grpc/",), Constant("io/grpc/internal/GrpcUtil.class")),
    # grpc-netty-shaded carries a netty of its own; grpc 1.50 was released with 4.1.79.
    Library(
        "io.netty",
        "netty-in-grpc-netty-shaded",
        _APACHE,
        ("io/grpc/netty/shaded/",),
        Dated("4.1.79.Final", "2022-07-11"),
        package="netty-all",
    ),
    Library("io.perfmark", "perfmark-api", _APACHE, ("io/perfmark/",), Dated(None, "2022-02-24")),
    Library("io.prometheus", "simpleclient", _APACHE, ("io/prometheus/",), Dated("0.9.0", "2020-05-11")),
    Library(
        "org.apache.logging.log4j",
        "log4j-core",
        _APACHE,
        ("org/apache/logging/log4j/core/",),
        Text(_LOG4J, r"log4j-core:jar:(\S+)"),
    ),
    Library(
        "org.apache.logging.log4j",
        "log4j-api",
        _APACHE,
        ("org/apache/logging/log4j/",),
        Text(_LOG4J, r"log4j-api:jar:(\S+)"),
    ),
    Library(
        "org.apache.logging.log4j",
        "log4j-slf4j-impl",
        _APACHE,
        ("org/apache/logging/slf4j/", "org/slf4j/impl/"),
        Text(_LOG4J, r"log4j-core:jar:(\S+)"),
    ),
    Library("org.slf4j", "slf4j-api", "MIT", ("org/slf4j/",), Dated("1.7.32", "2021-07-20")),
    Library("com.lmax", "disruptor", _APACHE, ("com/lmax/",), Dated("3.4.4", "2021-04-29")),
    Library(
        "com.google.code.gson",
        "gson",
        _APACHE,
        ("com/google/gson/",),
        Constant("com/google/gson/internal/GsonBuildConfig.class"),
    ),
    Library(
        "com.google.protobuf", "protobuf-java", "BSD-3-Clause", ("com/google/protobuf/",), Dated("3.21.7", "2022-09-29")
    ),
    Library(
        "com.google.guava",
        "guava",
        _APACHE,
        ("com/google/common/", "com/google/thirdparty/"),
        Dated("31.1", "2022-02-28"),
    ),
    Library(
        "com.google.api.grpc",
        "proto-google-common-protos",
        _APACHE,
        tuple(f"com/google/{part}/" for part in ("api", "cloud", "geo", "logging", "longrunning", "rpc", "type")),
        Dated("2.9.0", "2022-06-10"),
    ),
    Library(
        "com.google.errorprone",
        "error_prone_annotations",
        _APACHE,
        ("com/google/errorprone/",),
        Dated(None, "2022-05-24"),
    ),
    Library("com.google.j2objc", "j2objc-annotations", _APACHE, ("com/google/j2objc/",), Dated(None, "2017-01-18")),
    Library("com.google.android", "annotations", _APACHE, ("android/",), Dated("4.1.1.4", "2012-08-31")),
    Library("com.google.code.findbugs", "jsr305", _APACHE, ("javax/annotation/",), Dated("3.0.2", "2017-03-31")),
    Library(
        "org.codehaus.mojo", "animal-sniffer-annotations", "MIT", ("org/codehaus/mojo/",), Dated(None, "2022-02-01")
    ),
    Library("org.checkerframework", "checker-qual", "MIT", ("org/checkerframework/",), Dated(None, "2021-04-01")),
    Library("org.yaml", "snakeyaml", _APACHE, ("org/yaml/",), Dated("2.1", "2023-08-04")),
    Library("commons-cli", "commons-cli", _APACHE, ("org/apache/commons/cli/",), Dated("1.3.1", "2015-06-14")),
    Library("commons-io", "commons-io", _APACHE, ("org/apache/commons/io/",), Dated("2.16.1", "2024-04-04")),
    Library(
        "org.apache.commons", "commons-compress", _APACHE, ("org/apache/commons/compress/",), Dated(None, "2023-10-06")
    ),
    # What follows comes with testng and runs in no server; nothing of it is called.
    Library(
        "org.codehaus.groovy",
        "groovy-all",
        _APACHE,
        ("groovy/", "groovyjarjar", "org/codehaus/groovy/", "org/apache/groovy/"),
        Text("META-INF/groovy-release-info.properties", r"ImplementationVersion=(\S+)"),
    ),
    Library("org.testng", "testng", _APACHE, ("org/testng/",), Dated("7.4.0", "2021-02-27")),
    Library("com.beust", "jcommander", _APACHE, ("com/beust/",), Dated("1.78", "2019-08-22")),
    Library("info.picocli", "picocli", _APACHE, ("picocli/",), Constant("picocli/CommandLine.class")),
    Library(
        "org.apache.ant",
        "ant",
        _APACHE,
        ("org/apache/tools/",),
        Text("org/apache/tools/ant/version.txt", r"VERSION=(\S+)"),
    ),
    Library(
        "junit",
        "junit",
        _EPL1,
        ("junit/", *(f"org/junit/{part}" for part in ("internal/", "runner/", "runners/", "rules/", "experimental/"))),
        Constant("junit/runner/Version.class"),
    ),
    Library("org.junit", "junit5", "EPL-2.0", ("org/junit/",), Dated(None, "1980-02-01")),
    Library("org.opentest4j", "opentest4j", _APACHE, ("org/opentest4j/",), Dated(None, "2019-06-06")),
    Library("org.hamcrest", "hamcrest-core", "BSD-3-Clause", ("org/hamcrest/",), Dated("1.3", "2012-07-09")),
    Library("com.github.javaparser", "javaparser-core", _APACHE, ("com/github/",), Dated(None, "2021-08-26")),
    Library("com.thoughtworks.qdox", "qdox", _APACHE, ("com/thoughtworks/",), Dated(None, "2012-11-04")),
    Library("jline", "jline", "BSD-3-Clause", ("jline/",), Dated(None, "2018-03-26")),
    Library("org.fusesource.jansi", "jansi", _APACHE, ("org/fusesource/",), Dated(None, "2018-03-26")),
)


def jar_libraries(jar: Path) -> list[Entry]:
    """Return TorchServe's jar itself and the libraries in it.

    Raises:
        DeployError: it is not the jar of TorchServe 0.12.0, or a version is not where it should be.
    """
    digest = hashlib.sha256(jar.read_bytes()).hexdigest()
    if digest != SHA256:
        raise DeployError(
            f"{jar} has sha256 {digest}, not that of TorchServe 0.12.0, the only one whose contents are known"
        )
    own = Entry(
        "generic",
        NAME,
        "0.12.0",
        evidence="its sha256",
        licence=_APACHE,
        sha256=digest,
        within="torchserve",
    )
    with zipfile.ZipFile(jar) as archive:
        return [own, *(_entry(archive, library) for library in LIBRARIES)]


def library_of(path: str) -> Library | None:
    """Return the library that a class belongs to: the one with the longest matching folder."""
    matches = [(len(folder), library) for library in LIBRARIES for folder in library.folders if path.startswith(folder)]
    return max(matches, key=lambda match: match[0])[1] if matches else None


def _entry(archive: zipfile.ZipFile, library: Library) -> Entry:
    version, evidence, confidence = _version(archive, library)
    return Entry(
        "maven",
        library.name,
        version,
        evidence=evidence,
        group=library.group,
        licence=library.licence,
        confidence=confidence,
        within=NAME,
        package=library.package,
    )


def _version(archive: zipfile.ZipFile, library: Library) -> tuple[str | None, str, float]:
    source = library.version
    if isinstance(source, Dated):
        stated = "concluded from" if source.version else "not stated;"
        return source.version, f"{stated} the date of its classes, {source.built}", INFERRED
    content = archive.read(source.file)
    found = _constant(content) if isinstance(source, Constant) else _matched(content, source.expression)
    if found is None:
        raise DeployError(f"{source.file} in {NAME} does not state the version of {library.name}")
    return found, f"{source.file} states it", STATED


def _constant(content: bytes) -> str | None:
    """Return the first string constant of a class that looks like a version."""
    texts = (match[2][: match[1][0]] for match in _CONSTANT.finditer(content) if len(match[2]) >= match[1][0])
    return next((text.decode("ascii") for text in texts if re.fullmatch(rb"\d+(\.\d+)+", text)), None)


def _matched(content: bytes, expression: str) -> str | None:
    match = re.search(expression, content.decode("utf-8"))
    return match[1] if match else None
