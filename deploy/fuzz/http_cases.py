"""HTTP as bytes on a socket: bodies that are odd, and requests that are hardly HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from deploy.fuzz.words import BODIES, valid

_JSON: Final = b"application/json"


@dataclass(frozen=True)
class HttpCase:
    """Bytes to send on a connection of their own.

    Attributes:
        name: says what is odd; holds nothing of the payload.
        payload: the bytes.
        reaches: it is well-formed, so that Lantern has to answer.
        is_head: its answer has no body.
        waits: it is no whole request, and the server waits for more; nothing needs to come back.
    """

    name: str
    payload: bytes
    reaches: bool = False
    is_head: bool = False
    waits: bool = False


def http_cases(random: Random, canary: str, model: str) -> Iterator[HttpCase]:
    """Yield cases for ever: half of them odd bodies, half odd HTTP."""
    path = f"/predictions/{model}".encode()
    names = list(BODIES)
    odd = list(_ODD)
    while True:
        name = random.choice(names)
        content_type = random.choice((_JSON, _JSON, _JSON, b"text/plain; charset=utf-8"))
        yield HttpCase(f"body: {name}", request(path, BODIES[name](random, canary), content_type), reaches=True)
        yield _ODD[random.choice(odd)](random, canary, path)


def request(
    path: bytes,
    body: bytes,
    content_type: bytes = _JSON,
    *,
    method: bytes = b"POST",
    version: bytes = b"HTTP/1.1",
    more: bytes = b"",
) -> bytes:
    """Return a whole request; ``more`` are header lines with their ends."""
    typed = b"Content-Type: " + content_type + b"\r\n" if content_type else b""
    head = method + b" " + path + b" " + version + b"\r\nHost: fuzz\r\nConnection: close\r\n" + typed + more
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


Odd = Callable[[Random, str, bytes], HttpCase]


def _body(random: Random, canary: str) -> bytes:
    return json.dumps(valid(random, canary)).encode()


def _content_type(random: Random, canary: str, path: bytes) -> HttpCase:
    kinds = (
        *(
            b"",
            b";;;",
            b"application/json; charset=koi8-r",
            b"text/plain; charset=nope",
            b"application/xml",
            b"a" * 4000,
        ),
        *(b"multipart/form-data", b'multipart/form-data; boundary="x', b"multipart/form-data; boundary=x"),
        *(b"application/x-www-form-urlencoded", b"application/x-www-form-urlencoded; charset=x", b"text/html"),
        *(canary.encode(), b"application/json, text/plain", b"application/json;" + b"a=b;" * 500, b"\xff\xfe"),
    )
    mark = canary.encode()
    bodies = (b"text=%zz" + mark, b"--x\r\nContent-Disposition: form-data; name=body\r\n\r\n" + mark, mark, b"")
    return HttpCase("content type", request(path, random.choice(bodies), random.choice(kinds)), reaches=True)


def _content_encoding(random: Random, canary: str, path: bytes) -> HttpCase:
    coding = random.choice((b"gzip", b"br", b"deflate, gzip", b"identity", b"x" * 2000))
    body = random.choice((_body(random, canary), b"\x1f\x8b\x08" + random.randbytes(40)))
    return HttpCase(
        "content encoding", request(path, body, more=b"Content-Encoding: " + coding + b"\r\n"), reaches=True
    )


def _named_like_header(random: Random, canary: str, path: bytes) -> HttpCase:
    name = random.choice(("content-type", "host", "explain", "url_path", "body", "data", "text", "describe", canary))
    query = f"?{name}={random.choice((canary, 'True', '%7B%7D', ''))}&a=%zz".encode()
    return HttpCase("query", request(path + query, _body(random, canary)), reaches=True)


def _method(random: Random, canary: str, path: bytes) -> HttpCase:
    method = random.choice((b"GET", b"HEAD", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"BREW", b"post"))
    body = random.choice((_body(random, canary), b""))
    return HttpCase("method", request(path, body, method=method), reaches=True, is_head=method == b"HEAD")


def _described(random: Random, canary: str, path: bytes) -> HttpCase:
    more = random.choice((b"describe: True\r\n", b"Describe: True\r\n", b"explain: True\r\n", b"url_path: x\r\n"))
    return HttpCase("header of TorchServe's", request(path, _body(random, canary), more=more), reaches=True)


def _headers(random: Random, canary: str, path: bytes) -> HttpCase:
    mark = canary.encode()
    more = random.choice(
        (
            b"X-Note: " + mark * 3000 + b"\r\n",
            b"".join(b"X-%d: %b\r\n" % (place, mark) for place in range(random.choice((100, 2000)))),
            b"no colon " + mark + b"\r\n",
            b": " + mark + b"\r\n",
            b"X-Note: a\0" + mark + b"\r\n",
            b"X-Note: \xff\xfe" + mark + b"\r\n",
            b"X-Note: " + mark + b"\r\n folded\r\n",
            b"traceparent: " + mark + b"\r\nx-request-id: " + mark + b"\r\n",
            b"Content-Type: " + mark + b"\r\n",
            b"Expect: " + mark + b"\r\n",
            b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
        )
    )
    return HttpCase("headers", request(path, _body(random, canary), more=more))


def _length(random: Random, canary: str, path: bytes) -> HttpCase:
    length = random.choice((b"-1", b"99999999999999999999", b"9999999", b"abc", b"0x10", b"1, 2", b"+5", b"5 5", b""))
    head = b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
    return HttpCase("content length", head + length + b"\r\n\r\n" + _body(random, canary), waits=True)


def _chunks(random: Random, canary: str, path: bytes) -> HttpCase:
    mark = canary.encode()
    body = random.choice(
        (
            b"zz\r\n" + mark + b"\r\n0\r\n\r\n",
            b"-1\r\n" + mark + b"\r\n0\r\n\r\n",
            b"ffffffffff\r\n" + mark,
            b"5;" + mark * 2000 + b"\r\n12345\r\n0\r\n\r\n",
            b"5\r\n123456789\r\n0\r\n\r\n",
            b"1\r\na\r\n" * 300 + b"0\r\n\r\n",
            b"5\r\n12345\r\n0\r\nX: " + mark + b"\r\n\r\n",
            b"\r\n\r\n",
            b"5",
        )
    )
    both = random.choice((b"", b"Content-Length: 5\r\n"))
    coding = random.choice((b"chunked", b"chunked", b"gzip, chunked", b"chunked, identity", b"x"))
    head = b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: " + coding
    return HttpCase("chunks", head + b"\r\n" + both + b"\r\n" + body, waits=True)


def _pipelined(random: Random, canary: str, path: bytes) -> HttpCase:
    once = request(path, _body(random, canary)).replace(b"Connection: close\r\n", b"")
    return HttpCase("pipelined", once * random.randrange(2, 6) + random.randbytes(20))


def _too_large(random: Random, canary: str, path: bytes) -> HttpCase:
    return HttpCase("over the size limit", request(path, canary.encode() + b"a" * 6_600_000), waits=True)


def _target(random: Random, canary: str, path: bytes) -> HttpCase:
    mark = canary.encode()
    target = random.choice(
        (
            *(b"*", b"/", b"//", b"fuzz:443", b"http://fuzz" + path, path + b"/" + mark, path + b"/9/9/9", b"/" + mark),
            *(b"/predictions/" + mark, b"/predictions/%zz" + mark, b"/predictions/%00", b"/predictions/" + b"a" * 9000),
            *(b"/models", b"/models?url=file:///etc/passwd", b"/models/sentiment", b"/metrics", b"/workflows"),
            *(b"/wfpredict/" + mark, b"/explanations/" + mark, b"/invocations", b"/v2/models/" + mark + b"/infer"),
            *(
                b"/../../etc/passwd",
                b"/predictions/..%2f..%2fetc",
                b"/api-description",
                b"/ping",
                b"/v1/models/x:predict",
            ),
        )
    )
    method = random.choice((b"POST", b"GET", b"OPTIONS", b"DELETE", b"CONNECT"))
    return HttpCase("target", request(target, _body(random, canary), method=method))


def _version(random: Random, canary: str, path: bytes) -> HttpCase:
    version = random.choice((b"HTTP/9.9", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTX/1.1", b"", canary.encode()))
    return HttpCase("version", request(path, _body(random, canary), version=version), waits=True)


def _garbage(random: Random, canary: str, path: bytes) -> HttpCase:
    hello = b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + random.randbytes(160)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + random.randbytes(18)
    noise = random.randbytes(random.randrange(400)) + canary.encode() + b"\r\n\r\n"
    return HttpCase("no HTTP", random.choice((hello, preface, noise, b"\r\n" * 50, b"")), waits=True)


def _flipped(random: Random, canary: str, path: bytes) -> HttpCase:
    whole = bytearray(request(path, _body(random, canary)))
    for _ in range(random.randrange(1, 6)):
        whole[random.randrange(len(whole))] = random.randrange(256)
    return HttpCase("flipped bytes", bytes(whole), waits=True)


def _cut(random: Random, canary: str, path: bytes) -> HttpCase:
    whole = request(path, _body(random, canary))
    return HttpCase("cut", whole[: random.randrange(len(whole))], waits=True)


_ODD: Final[dict[str, Odd]] = {
    "content type": _content_type,
    "content encoding": _content_encoding,
    "query": _named_like_header,
    "method": _method,
    "header of TorchServe's": _described,
    "headers": _headers,
    "content length": _length,
    "chunks": _chunks,
    "pipelined": _pipelined,
    "over the size limit": _too_large,
    "target": _target,
    "version": _version,
    "no HTTP": _garbage,
    "flipped bytes": _flipped,
    "cut": _cut,
}
