"""Python client of Lantern, over REST and over gRPC.

    with LanternClient.rest("http://127.0.0.1:8080") as lantern:
        answer = lantern.classify("I keep worrying about tomorrow.", locale="en-GB")
        for label in answer.labels:
            print(label.name, label.score, label.positive)

Both transports have the same methods, results and exceptions:

* LanternClientError (a ``handlers.core.errors.LanternError``: ``kind``, ``message``, ``field``)
  * InvalidRequest      400, 415: the request has to change; ``field`` says where
  * Unauthenticated     401: a gateway does not know the credentials
  * NotFound            404: no such model at this address
  * TooLong             413: more text than is taken
  * ServerFault         500: a fault of the server, or an answer that is not one of ours
  * Unavailable         503, 429: overloaded, draining, out of reach or over a rate; retried before it is raised
  * DeadlineExceeded    504: no answer in time

No exception and no log line holds any of the text. REST needs ``httpx`` and gRPC ``grpcio``; each
is imported only where it is used.
"""

from __future__ import annotations

from client._client import Entry, LanternClient, Result
from client._errors import (
    DeadlineExceeded,
    InvalidRequest,
    LanternClientError,
    NotFound,
    ServerFault,
    TooLong,
    Unauthenticated,
    Unavailable,
)
from client._retry import RetryPolicy
from client._transport import Answer, Tls, Transport
from handlers.core.schema import ClassifyRequest, ClassifyResponse

__all__ = [
    "Answer",
    "ClassifyRequest",
    "ClassifyResponse",
    "DeadlineExceeded",
    "Entry",
    "InvalidRequest",
    "LanternClient",
    "LanternClientError",
    "NotFound",
    "Result",
    "RetryPolicy",
    "ServerFault",
    "Tls",
    "TooLong",
    "Transport",
    "Unauthenticated",
    "Unavailable",
]
