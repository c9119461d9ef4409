"""REST: ``POST /predictions/MODEL`` and ``GET /ping``, over httpx."""

from __future__ import annotations

import re
import ssl
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote

import httpx

from client._errors import LanternClientError, client_error
from client._transport import MAX_ANSWER_BYTES, TRACEPARENT, UNTRUSTED, Answer, Tls, bearer
from handlers.core.caller import Caller
from handlers.core.errors import DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE

_JSON = {"content-type": "application/json"}
_REQUEST_ID = "x-request-id"


class RestTransport:
    """Args: as ``LanternClient.rest``."""

    def __init__(self, url: str, *, model: str, token: str | None, tls: Tls | None) -> None:
        address = _address(url)
        if tls is not None and address.scheme != "https":
            raise ValueError("Tls needs an https URL")
        self._path = f"/predictions/{quote(model, safe='')}"
        self._client = httpx.Client(
            base_url=address,
            headers={"accept": "application/json", **bearer(token)},
            verify=_context(tls or Tls()),
            trust_env=False,  # no proxy and no .netrc credentials that the caller did not name
        )

    def predict(self, body: bytes, timeout_s: float, caller: Caller) -> Answer:
        said = {TRACEPARENT: caller.traceparent, _REQUEST_ID: caller.request_id}
        headers = _JSON | {name: value for name, value in said.items() if value}
        return self._send("POST", self._path, timeout_s, body, headers)

    def ping(self, timeout_s: float) -> Answer:
        return self._send("GET", "/ping", timeout_s)

    def close(self) -> None:
        self._client.close()

    def _send(
        self, method: str, path: str, timeout_s: float, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        ends = time.monotonic() + timeout_s
        try:
            with self._client.stream(method, path, content=body, headers=headers, timeout=timeout_s) as response:
                read = _read(response, ends)
                if isinstance(read, bytes):
                    return Answer(response.status_code, read, _retry_after(response.headers.get("retry-after")))
                fault = read
        except httpx.RequestError as error:
            fault = _fault(error)
        raise fault


def _address(url: str) -> httpx.URL:
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL:
        address = httpx.URL()
    if address.scheme not in ("http", "https") or not address.host:
        raise ValueError("the URL must be like http://127.0.0.1:8080")
    return address


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca)
    if tls.certificate is not None:
        context.load_cert_chain(tls.certificate, tls.key)
    return context


def _read(response: httpx.Response, ends: float) -> bytes | LanternClientError:
    """Read the body; httpx bounds each read but not their sum, so the clock is looked at in between."""
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            return client_error(INTERNAL, f"the server's answer is longer than {MAX_ANSWER_BYTES} bytes")
        if time.monotonic() > ends:
            return client_error(DEADLINE_EXCEEDED, "the answer did not end in time")
    return bytes(body)


def _fault(error: httpx.RequestError) -> LanternClientError:
    if isinstance(error, httpx.TimeoutException):
        return client_error(DEADLINE_EXCEEDED, "no answer in time")
    if isinstance(error, httpx.DecodingError):
        return client_error(INTERNAL, "the server's answer is compressed wrongly")
    if isinstance(error, httpx.ConnectError):
        untrusted = "CERTIFICATE_VERIFY_FAILED" in str(error)
        return client_error(UNAVAILABLE, UNTRUSTED if untrusted else "cannot connect to the server")
    return client_error(UNAVAILABLE, "the connection broke before the answer came")


def _retry_after(value: str | None) -> float | None:
    """Read ``Retry-After``: seconds or an HTTP date. One that is neither is no advice."""
    if value is None:
        return None
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())
