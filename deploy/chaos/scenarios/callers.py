"""Callers that send too much, too slowly or too large, beside others that must not notice."""

from __future__ import annotations

import socket
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Final

from client import LanternClient, LanternClientError, RetryPolicy, TooLong
from deploy.chaos.arena import WARM_CALLS, Arena
from deploy.chaos.load import Load, LoadSettings
from deploy.chaos.scenarios import Result
from deploy.chaos.tally import ANSWERED, Sample, tally
from handlers.core.errors import OVERLOADED, RATE_LIMITED

_TIMEOUT_S: Final = 60.0
_LIMIT_PER_S: Final = 40
_FLOOD_TIMES: Final = 10
_FLOOD_S: Final = 5.0
_MODEST: Final = 15.0
_HEAVY_CALLERS: Final = 64
_HEAVY_S: Final = 4.0
_SLOW: Final = 60
_OVERSIZE: Final = 10
_LIMITED: Final = frozenset({OVERLOADED.code, RATE_LIMITED.code})


def flood(arena: Arena) -> Result:
    """One client sends ten times what it may; another one, within its rate, must be answered as ever."""
    settings = arena.gateway.settings
    arena.gateway.reconfigure(rate_per_s=_LIMIT_PER_S, burst=_LIMIT_PER_S)
    try:
        with arena.load(settings=replace(arena.settings, rate=_MODEST)) as modest:
            modest.wait_for(WARM_CALLS // 3, _TIMEOUT_S)
            with _flooding(arena) as flooding:
                time.sleep(_FLOOD_S)
            modest.wait_for(WARM_CALLS // 3, _TIMEOUT_S)
    finally:
        arena.gateway.reconfigure(rate_per_s=settings.rate_per_s, burst=settings.burst)
    samples = flooding.samples
    refused = Counter(sample.outcome for sample in samples)
    offered = len(samples) / _FLOOD_S
    arena.note(
        f"the flooding client offered {offered:.0f} a second, {offered / _LIMIT_PER_S:.1f} times its limit: "
        f"{refused[ANSWERED]} answered, {len(samples) - refused[ANSWERED]} refused"
    )
    return Result(modest.samples + _without_decisions_of(samples), None, _unlike_a_limit(samples))


def _unlike_a_limit(samples: list[Sample]) -> list[str]:
    counts = tally(samples)
    failures = [f"a refusal with code {code}" for code in counts.errors if code not in _LIMITED]
    return failures + ([] if counts.errors else ["nobody was refused, so nothing limits the rate"])


def _without_decisions_of(samples: list[Sample]) -> list[Sample]:
    """Keep what the flood shows of answers; that it is refused is what should happen."""
    return [sample for sample in samples if sample.outcome not in _LIMITED]


@contextmanager
def _flooding(arena: Arena) -> Iterator[Load]:
    token = arena.gateway.settings.tokens[1].secret
    never = RetryPolicy(retries=0)
    connect = {
        "rest": lambda policy: arena.gateway.rest(retries=never, token=token),
        "grpc": lambda policy: arena.gateway.grpc(retries=never, token=token),
    }
    with Load(connect, arena.known[:1], LoadSettings(rate=_FLOOD_TIMES * _LIMIT_PER_S, callers=8)) as load:
        yield load


def outwork(arena: Arena) -> Result:
    """Many callers at once send long texts, as fast as they are answered: more work than the replicas can do."""
    heaviest = max(arena.known, key=lambda known: len(known.text))
    unpaced = LoadSettings(rate=100_000.0, callers=_HEAVY_CALLERS)
    with arena.load() as load:
        load.wait_for(WARM_CALLS, _TIMEOUT_S)
        with arena.load([heaviest], unpaced) as heavy:
            time.sleep(_HEAVY_S)
        load.wait_for(WARM_CALLS, _TIMEOUT_S)
    counts = tally(heavy.samples)
    arena.note(
        f"{2 * _HEAVY_CALLERS} callers beside the others, long texts only: {counts.answered} of {counts.total} "
        f"answered, the slowest after {counts.longest_s:.1f} s"
    )
    return Result(load.samples + heavy.samples)


def dawdle(arena: Arena) -> Result:
    """Callers that never finish their headers or their bodies; the gateway has to end them itself."""
    failures = []
    patience_s = 3.0 * arena.gateway.settings.client_timeout_s
    with arena.load() as load, ExitStack() as stack:
        load.wait_for(WARM_CALLS, _TIMEOUT_S)
        slow = [stack.enter_context(_slow_caller(arena, number)) for number in range(_SLOW)]
        began = time.monotonic()
        held = [connection for connection in slow if not _is_ended(connection, began + patience_s)]
        arena.note(f"{_SLOW} slow callers, the last one ended after {time.monotonic() - began:.1f} s")
        load.wait_for(WARM_CALLS, _TIMEOUT_S)
    if held:
        failures.append(f"{len(held)} slow callers still hold a connection after {patience_s:.0f} s")
    return Result(load.samples, None, failures)


@contextmanager
def _slow_caller(arena: Arena, number: int) -> Iterator[ssl.SSLSocket]:
    """Send half of a header, or a whole one and half of a body, and then nothing."""
    gateway = arena.gateway
    host, port = gateway.authority.rsplit(":", 1)
    head = f"POST {gateway.settings.rest_path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    if number % 2:
        head += f"Authorization: Bearer {gateway.token}\r\nContent-Length: 1000\r\n\r\n{{"
    context = ssl.create_default_context(cafile=gateway.certificate)
    with (
        socket.create_connection((host, int(port)), timeout=_TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname=host) as connection,
    ):
        connection.sendall(head.encode("ascii"))
        yield connection


def _is_ended(connection: ssl.SSLSocket, deadline: float) -> bool:
    connection.settimeout(max(0.01, deadline - time.monotonic()))
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def oversize(arena: Arena) -> Result:
    """Bodies over the limit on both protocols, while others call."""
    gateway = arena.gateway
    text = "a" * (gateway.settings.limits.max_body_bytes + 1)
    failures: list[str] = []
    with arena.load() as load, gateway.rest(retries=0) as rest, gateway.grpc(retries=0) as grpc:
        load.wait_for(WARM_CALLS, _TIMEOUT_S)
        for _ in range(_OVERSIZE):
            failures += [said for client in (rest, grpc) if (said := _unlike_too_long(client, text))]
        load.wait_for(WARM_CALLS, _TIMEOUT_S)
    arena.note(f"{2 * _OVERSIZE} bodies of {len(text) / 1e6:.1f} MB, each refused as too_long")
    return Result(load.samples, None, sorted(set(failures)))


def _unlike_too_long(client: LanternClient, text: str) -> str:
    try:
        client.classify(text)
    except TooLong:
        return ""
    except LanternClientError as error:
        return f"a body over the limit was answered {error.kind.code}"
    return "a body over the limit was taken"
