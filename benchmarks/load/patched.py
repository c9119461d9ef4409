"""Import this before anything that opens sockets: it makes the standard library and gRPC cooperate with gevent.

Importing ``locust`` patches the standard library; gRPC has its own switch, without which a blocking call would stop
every other greenlet.
"""

from __future__ import annotations

import sys

_EARLY = [name for name in ("ssl", "httpx") if name in sys.modules]

import grpc.experimental.gevent  # type: ignore[import-untyped]  # noqa: E402
import locust  # noqa: E402, F401
from gevent import monkey  # noqa: E402

if _EARLY and not monkey.is_module_patched("ssl"):
    raise RuntimeError(f"{', '.join(_EARLY)} was imported before gevent could patch it")

grpc.experimental.gevent.init_gevent()
