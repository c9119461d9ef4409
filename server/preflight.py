"""Checks before anything is started, each with one line that says what to do."""

from __future__ import annotations

import errno
import hashlib
import re
import socket
import zipfile
import zlib
from pathlib import Path
from typing import Final

from server.endpoints import Endpoint, Endpoints
from server.errors import ExitCode, ServerError

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_NOT_VERIFIED: Final = "no digest to compare it with; its checksums are right"


def parse_sha256(text: str) -> str:
    """Return a digest in lower case.

    Raises:
        ValueError: it is not 64 hexadecimal digits.
    """
    if not _SHA256.fullmatch(text.lower()):
        raise ValueError(f"{text[:80]!r} is not a sha256 of 64 hexadecimal digits")
    return text.lower()


def digest_file(archive: Path) -> Path:
    """Return where the digest of an archive lies that ``python -m export archive`` has written, as sha256sum does."""
    return archive.with_name(f"{archive.name}.sha256")


def verify_archive(archive: Path, expected: str | None) -> str:
    """Refuse an archive that is not the one whose digest is known, and return how it was told.

    The digest is ``expected``, or that of the file beside the archive. Without either, as for an archive of another
    make, every file's CRC in the zip is checked, which finds damage but no exchange.

    Raises:
        ServerError: with ``ARCHIVE_DIGEST``, or ``ARCHIVE_INVALID`` for a damaged file.
    """
    if expected is not None:
        _compare(archive, expected, "--archive-sha256")
        return "sha256 as --archive-sha256 says"
    beside = digest_file(archive)
    if beside.is_file():
        _compare(archive, _read_digest(beside), str(beside))
        return f"sha256 as {beside.name} says"
    _check_crc(archive)
    return _NOT_VERIFIED


def _compare(archive: Path, expected: str, source: str) -> None:
    with archive.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != expected:
        raise ServerError(
            ExitCode.ARCHIVE_DIGEST,
            f"{archive} is not the archive that was meant: its sha256 is {found}, and {source} says {expected}; "
            "copy it again, or build it with `make archive`",
        )


def _read_digest(beside: Path) -> str:
    try:
        return parse_sha256(beside.read_text(encoding="ascii").partition(" ")[0].strip())
    except (OSError, ValueError) as error:
        raise ServerError(
            ExitCode.ARCHIVE_DIGEST, f"{beside} holds no digest ({error}); `make archive` writes it anew"
        ) from error


def _check_crc(archive: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as opened:
            damaged = opened.testzip()
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(archive, str(error)) from error
    if damaged is not None:
        raise _damaged(archive, f"the checksum of {damaged} is wrong")


def _damaged(archive: Path, reason: str) -> ServerError:
    return ServerError(
        ExitCode.ARCHIVE_INVALID, f"{archive} is damaged ({reason}); copy it again, or build it with `make archive`"
    )


def check_archive(archive: Path) -> None:
    """Refuse an archive that is missing or is not a readable zip.

    Raises:
        ServerError: with ``ARCHIVE_MISSING`` or ``ARCHIVE_INVALID``.
    """
    if not archive.is_file():
        raise ServerError(
            ExitCode.ARCHIVE_MISSING, f"no model archive at {archive}; `make archive` builds it, `make serve` does both"
        )
    try:
        with zipfile.ZipFile(archive) as opened:
            opened.getinfo("MAR-INF/MANIFEST.json")
    except (OSError, zipfile.BadZipFile) as error:
        raise ServerError(
            ExitCode.ARCHIVE_INVALID,
            f"{archive} is not a readable model archive ({error}); build it with `make archive`",
        ) from error
    except KeyError as error:
        raise ServerError(
            ExitCode.ARCHIVE_INVALID, f"{archive} is a zip but no model archive: it has no MAR-INF/MANIFEST.json"
        ) from error


def check_ports(endpoints: Endpoints) -> None:
    """Refuse to start where a port is taken: TorchServe would end, or serve without that listener.

    Raises:
        ServerError: with ``PORT_IN_USE``, naming the option and the property that move the listener.
    """
    for endpoint in endpoints.all():
        _check_port(endpoint)


def _check_port(endpoint: Endpoint) -> None:
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Without it, connections of an earlier server in TIME_WAIT would look like a listener.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((endpoint.host, endpoint.port))
        except OSError as error:
            raise port_error(endpoint, error) from error


def port_error(endpoint: Endpoint, error: OSError) -> ServerError:
    """Return the error that names the option and the property which move a listener."""
    change = f"choose another with {endpoint.option} PORT, or {endpoint.property_name} in the configuration"
    if error.errno == errno.EADDRINUSE:
        return ServerError(ExitCode.PORT_IN_USE, f"port {endpoint.port} on {endpoint.host} is in use; {change}")
    return ServerError(
        ExitCode.CONFIG_INVALID, f"cannot listen on {endpoint.host} port {endpoint.port}: {error.strerror}; {change}"
    )
