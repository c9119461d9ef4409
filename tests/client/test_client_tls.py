"""TLS, with a certificate of the server and with one of the client too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from client import LanternClient, Tls, Unavailable

if TYPE_CHECKING:
    from tests.client.conftest import Server

Certificate = tuple[Path, Path]


def test_a_trusted_server_answers(tls_server: Server, certificate: Certificate, response: dict[str, Any]) -> None:
    chain, key = certificate
    tls_server.say({"json": response})
    tls = Tls(ca=chain, certificate=chain, key=key) if tls_server.mutual else Tls(ca=str(chain))

    tls_server.client(tls=tls, token="s3cret").classify("Text.")

    assert tls_server.seen[0].headers["authorization"] == "Bearer s3cret"


def test_an_untrusted_server_is_not_talked_to(tls_server: Server, response: dict[str, Any]) -> None:
    tls_server.say({"json": response})
    with pytest.raises(Unavailable, match="not trusted"):
        tls_server.client(tls=Tls()).classify("Text.")
    assert tls_server.seen == []


def test_tls_needs_https() -> None:
    with pytest.raises(ValueError, match="https"):
        LanternClient.rest("http://127.0.0.1:8080", tls=Tls())


def test_half_a_client_certificate_is_refused(certificate: Certificate) -> None:
    with pytest.raises(ValueError, match="together"):
        Tls(certificate=certificate[0])


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for make, address in ((LanternClient.rest, "https://127.0.0.1:1"), (LanternClient.grpc, "127.0.0.1:1")):
        with pytest.raises(OSError, match="No such file"):
            make(address, tls=Tls(ca=tmp_path / "none.pem"))
