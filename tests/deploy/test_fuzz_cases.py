from __future__ import annotations

from itertools import islice
from random import Random

import pytest

from client._generated import inference_pb2
from deploy.fuzz.grpc_cases import grpc_cases
from deploy.fuzz.http_cases import http_cases, request
from deploy.fuzz.largest import largest_bodies, largest_grpc_cases, largest_http_cases
from deploy.fuzz.run import make_canary
from deploy.fuzz.words import BODIES

_CANARY = make_canary(3)


def test_the_same_seed_makes_the_same_cases() -> None:
    for cases in (http_cases, grpc_cases):
        first, again, other = (list(islice(cases(Random(seed), _CANARY, "m"), 60)) for seed in (5, 5, 6))
        assert first == again
        assert first != other


def test_every_kind_of_case_comes_soon() -> None:
    assert len({case.name for case in islice(http_cases(Random(1), _CANARY, "m"), 800)}) == len(BODIES) + 15
    assert len({case.name for case in islice(grpc_cases(Random(1), _CANARY, "m"), 800)}) >= len(BODIES) + 10


@pytest.mark.parametrize("kind", [kind for kind in BODIES if kind not in ("empty", "cut", "flipped bytes")])
def test_bodies_hold_the_canary(kind: str) -> None:
    made = [BODIES[kind](Random(seed), _CANARY) for seed in range(40)]
    plain = [body for body in made if _CANARY.encode() in body]
    wide = [body for body in made if _CANARY.encode("utf-16-le") in body]
    assert plain or wide


def test_canaries_are_words_of_their_own() -> None:
    assert make_canary(3) == _CANARY
    assert make_canary(4) != _CANARY
    assert _CANARY.isalpha()


def test_cases_that_have_to_reach_the_model_are_whole_requests() -> None:
    for case in islice(http_cases(Random(2), _CANARY, "m"), 400):
        head, blank, body = case.payload.partition(b"\r\n\r\n")
        if case.reaches:
            assert blank
            assert f"Content-Length: {len(body)}".encode() in head
            assert not case.waits


def test_odd_bodies_come_in_good_messages() -> None:
    for case in islice(grpc_cases(Random(2), _CANARY, "m"), 200):
        if case.name.startswith("body: "):
            assert inference_pb2.PredictionsRequest.FromString(case.message).model_name == "m"


def test_a_request_is_http() -> None:
    assert request(b"/a", b"xy", b"text/plain", more=b"A: b\r\n") == (
        b"POST /a HTTP/1.1\r\nHost: fuzz\r\nConnection: close\r\nContent-Type: text/plain\r\nA: b\r\n"
        b"Content-Length: 2\r\n\r\nxy"
    )


def test_the_largest_bodies_are_let_in_and_hold_the_canary() -> None:
    bodies = largest_bodies(_CANARY)

    assert all(len(body) < 6_553_500 for body in bodies.values())
    assert max(map(len, bodies.values())) > 6_400_000
    assert [name for name, body in bodies.items() if _CANARY.encode() not in body] == ["deep"]
    assert max(len(body) for body in bodies.values()) >= max(
        len(make(Random(seed), _CANARY)) for make in BODIES.values() for seed in range(3)
    )


def test_the_largest_cases_go_over_both_protocols() -> None:
    over_http = {case.name for case in largest_http_cases(_CANARY, "m") if case.reaches}
    over_grpc = {case.name for case in largest_grpc_cases(_CANARY, "m")}

    assert over_http == over_grpc == {f"largest: {name}" for name in largest_bodies(_CANARY)}
