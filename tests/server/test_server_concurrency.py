"""Many callers at once, over both protocols: everyone gets the answer that he would get alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from client import LanternClient
from handlers.core.schema import ClassifyResponse
from tests.server.live import Live, Packed, until

_WORDS = ("I", "slept", "badly", "again", "and", "worry", "about", "work", "money", "rain", "but", "tea", "helps")
_LENGTHS = (1, 2, 3, 5, 8, 13, 21, 30, 55, 62, 63, 64, 65, 89, 127, 128, 144, 233, 377, 610, 987)
_TOLERANCE = 1e-5
_CALLERS = 8
_BATCH = 8
_LONG_ONES = 10
_SOME = (3, 12, 20)


@pytest.fixture(scope="module")
def texts(packed: Packed) -> list[str]:
    """Texts of many lengths, two of them longer than a window."""
    draw = random.Random(7)
    short = [" ".join(draw.choices(_WORDS, k=length)) for length in _LENGTHS]
    return [*short, packed.text_of(packed.window + 1), packed.text_of(packed.window * 5 // 4)]


@pytest.fixture(scope="module")
def alone(rest: LanternClient, texts: list[str]) -> list[list[float]]:
    """The scores of each text, asked for one at a time."""
    return [_scores(rest.classify(text)) for text in texts]


def _scores(answer: object) -> list[float]:
    assert isinstance(answer, ClassifyResponse), answer
    return [label.score for label in answer.labels]


def _off(scores: list[float], expected: list[float]) -> float:
    return max(abs(score - other) for score, other in zip(scores, expected, strict=True))


def test_mixed_load_gives_the_answers_of_single_requests(
    rest: LanternClient, remote: LanternClient, texts: list[str], alone: list[list[float]]
) -> None:
    draw = random.Random(11)

    def one(client: LanternClient, place: int) -> Callable[[], float]:
        return lambda: _off(_scores(client.classify(texts[place])), alone[place])

    def many(client: LanternClient, places: list[int]) -> Callable[[], float]:
        def ask() -> float:
            answers = client.classify_entries([texts[place] for place in places])
            return max(_off(_scores(answer), alone[place]) for answer, place in zip(answers, places, strict=True))

        return ask

    places = range(len(texts))
    calls = [one(client, place) for client in (rest, remote) for place in places]
    calls += [many(client, draw.sample(places, 8)) for client in (rest, remote) for _ in range(3)]
    draw.shuffle(calls)
    with ThreadPoolExecutor(_CALLERS) as callers:
        worst = list(callers.map(lambda call: call(), calls))
    assert max(worst) <= _TOLERANCE


def test_a_short_text_does_not_wait_for_the_long_ones_before_it(live: Live, packed: Packed) -> None:
    """Many windows in one request, then a message: its answer comes while the windows are still being read."""
    windows = {"entries": [{"text": packed.text_of(packed.window)}] * _LONG_ONES}
    with ThreadPoolExecutor(1) as callers:
        long = callers.submit(live.post, windows)
        until(live.busy, "the worker to take the long texts")
        short = live.post({"text": "I slept badly again."})
        was_first = not long.done()
        assert {result["status"] for result in long.result().json()["results"]} == {200}
    assert short.status_code == 200
    assert was_first


def test_one_batch_of_both_protocols_with_bad_items_answers_each(
    live: Live,
    packed: Packed,
    rest: LanternClient,
    remote: LanternClient,
    texts: list[str],
    alone: list[list[float]],
) -> None:
    """What waits behind a held worker becomes one batch."""
    with ThreadPoolExecutor(_BATCH + 1) as callers:
        held = live.hold(callers, packed.text_of(packed.window * 3))
        try:
            good = [
                (callers.submit(client.classify, texts[place]), place) for place in _SOME for client in (rest, remote)
            ]
            bad = [callers.submit(live.post, body) for body in (b"{", {"text": ""})]
            until(lambda: live.pending() == _BATCH, "the queue to fill")
        finally:
            held.worker.resume()
        assert held.answer.result().status_code == 200
        assert all(_off(_scores(answer.result()), alone[place]) <= _TOLERANCE for answer, place in good)
        assert [answer.result().json()["error"]["code"] for answer in bad] == ["invalid_json", "invalid_text"]
