"""Checks before anything is started, each with one line that says what to do."""

from __future__ import annotations

import errno
import socket
import zipfile
from pathlib import Path

from server.endpoints import Endpoint, Endpoints
from server.errors import ExitCode, ServerError


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
            raise _port_error(endpoint, error) from error


def _port_error(endpoint: Endpoint, error: OSError) -> ServerError:
    change = f"choose another with {endpoint.option} PORT, or {endpoint.property_name} in the configuration"
    if error.errno == errno.EADDRINUSE:
        return ServerError(ExitCode.PORT_IN_USE, f"port {endpoint.port} on {endpoint.host} is in use; {change}")
    return ServerError(
        ExitCode.CONFIG_INVALID, f"cannot listen on {endpoint.host} port {endpoint.port}: {error.strerror}; {change}"
    )
