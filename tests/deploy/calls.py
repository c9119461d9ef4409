"""Calls through a gateway, whichever it is."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

from client import LanternClient, LanternClientError, Tls
from deploy.gateway.tokens import Token

TOKEN = Token("app", "0aB" * 16)
OTHER_TOKEN = Token("other", "9fE" * 16)
PATH = "/predictions/sentiment"


class Reachable(Protocol):
    """Where a gateway is, and what its clients trust."""

    @property
    def authority(self) -> str: ...

    @property
    def certificate(self) -> Path: ...


def client_of(gateway: Reachable, protocol: str, **options: Any) -> LanternClient:
    """A client with a token and without retries."""
    given: dict[str, Any] = {"token": TOKEN.secret, "tls": Tls(ca=gateway.certificate), "retries": 0, "timeout": 10}
    given |= options
    if protocol == "rest":
        return LanternClient.rest(f"https://{gateway.authority}", **given)
    return LanternClient.grpc(gateway.authority, **given)


def ask(gateway: Reachable, protocol: str, text: str = "Text.", **options: Any) -> Any:
    """The answer for ``text``."""
    with client_of(gateway, protocol, **options) as client:
        return client.classify(text)


def error_of(gateway: Reachable, protocol: str, text: str = "Text.", **options: Any) -> LanternClientError:
    """The error that a call ends with."""
    with pytest.raises(LanternClientError) as caught:
        ask(gateway, protocol, text, **options)
    return caught.value


def post(gateway: Reachable, path: str = PATH, method: str = "POST", **fields: Any) -> httpx.Response:
    """The answer to a bare request with a token."""
    headers = {"authorization": f"Bearer {TOKEN.secret}", "content-type": "application/json"}
    context = ssl.create_default_context(cafile=gateway.certificate)
    with httpx.Client(verify=context, trust_env=False) as client:
        fields = {"content": b'{"text": "Text."}'} | fields
        headers |= fields.pop("headers", {})
        return client.request(method, f"https://{gateway.authority}{path}", headers=headers, **fields)


def until(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Poll ``condition``; fail with ``what`` was waited for when it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.01)
