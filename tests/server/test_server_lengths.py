"""Texts of any length, through TorchServe: one window, several, and each way to treat a text that is too long."""

from __future__ import annotations

import json

import pytest

from client import LanternClient, TooLong
from handlers.core.schema import ClassifyResponse, InputReport
from tests.server.live import ROOT, Live, Packed

_DIARY = ROOT.parent / "shared" / "data" / "pepys_1665_1666.jsonl"
_DIARY_WORDS = 3000
"""More than any one entry of the file has: the longest, on the Great Fire, has 1,874."""
_OVERLAP = 0.0625
_HUGE_BYTES = 200_000


@pytest.fixture(scope="module")
def long_text(packed: Packed) -> str:
    """Two and a half windows."""
    return packed.text_of(packed.window * 5 // 2)


@pytest.fixture(scope="module")
def windowed(rest: LanternClient, long_text: str) -> ClassifyResponse:
    """The answer for it, in windows."""
    return _classify(rest, long_text, "window")


@pytest.fixture(scope="module")
def diary() -> list[str]:
    """The entries of a real diary."""
    if not _DIARY.is_file():
        pytest.skip(f"no {_DIARY.name} beside the repository: no real long text to read")
    return [str(json.loads(line)["text"]) for line in _DIARY.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def longest_entry(diary: list[str]) -> str:
    """The longest entry, which fits into one window."""
    return max(diary, key=len)


@pytest.fixture(scope="module")
def diary_days(diary: list[str], packed: Packed, longest_entry: str) -> str:
    """The longest entry and as many of the next as make over 3,000 words and more than one window."""
    text = longest_entry
    for entry in diary[diary.index(longest_entry) + 1 :]:
        if len(text.split()) > _DIARY_WORDS and len(packed.ids(text)) > packed.window:
            break
        text = f"{text}\n\n{entry}"
    return text


def _classify(client: LanternClient, text: str, mode: str) -> ClassifyResponse:
    return client.classify(text, options={"over_length": mode, "return_logits": True})


def _spans(report: InputReport) -> list[tuple[int, int]]:
    return [(span.start_char, span.end_char) for span in report.windows]


def _covers(report: InputReport, characters: int) -> bool:
    """Whether the windows reach from the first to the last character without a gap."""
    end = 0
    for start, stop in _spans(report):
        if start > end:
            return False
        end = stop
    return end == characters


def test_window_scores_all_of_a_long_text(windowed: ClassifyResponse, packed: Packed, long_text: str) -> None:
    report = windowed.input
    assert report.tokens == report.tokens_scored == len(packed.ids(long_text))
    assert len(report.windows) == 3
    assert _covers(report, len(long_text))
    assert not report.truncated


def test_window_is_the_default_on_both_protocols(
    remote: LanternClient, windowed: ClassifyResponse, long_text: str
) -> None:
    answer = remote.classify(long_text, options={"return_logits": True})
    assert (answer.labels, answer.input) == (windowed.labels, windowed.input)


def test_neighbouring_windows_overlap(windowed: ClassifyResponse, packed: Packed, long_text: str) -> None:
    first, second, third = _spans(windowed.input)
    least = int(packed.window * _OVERLAP)
    assert second[0] < first[1]
    assert third[0] < second[1]
    assert len(packed.ids(long_text[second[0] : first[1]])) == pytest.approx(least, abs=2)


def test_head_scores_the_first_window_alone(lantern: LanternClient, packed: Packed, long_text: str) -> None:
    answer = _classify(lantern, long_text, "head")
    ((start, end),) = _spans(answer.input)
    assert (start, answer.input.tokens, answer.input.tokens_scored) == (0, len(packed.ids(long_text)), packed.window)
    assert answer.input.truncated
    alone = _classify(lantern, long_text[:end], "reject").labels
    assert [label.logit for label in answer.labels] == pytest.approx([label.logit for label in alone], abs=1e-5)


def test_head_tail_scores_both_ends(lantern: LanternClient, packed: Packed, long_text: str) -> None:
    report = _classify(lantern, long_text, "head_tail").input
    head, tail = _spans(report)
    assert (head[0], tail[1], report.tokens_scored) == (0, len(long_text), packed.window)
    assert head[1] < tail[0]
    assert report.truncated


def test_reject_refuses_a_long_text(lantern: LanternClient, long_text: str) -> None:
    with pytest.raises(TooLong) as refused:
        _classify(lantern, long_text, "reject")
    assert (refused.value.kind.code, refused.value.field) == ("too_long", "options.over_length")


def test_reject_is_http_413(live: Live, long_text: str) -> None:
    answer = live.post({"text": long_text, "options": {"over_length": "reject"}})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_long")


@pytest.mark.parametrize("mode", ["window", "head", "head_tail", "reject"])
def test_text_shorter_than_a_window_is_the_same_in_every_mode(lantern: LanternClient, mode: str) -> None:
    short = "I'm doing okay."
    answer = _classify(lantern, short, mode)
    assert _spans(answer.input) == [(0, len(short))]
    assert answer.input.tokens == answer.input.tokens_scored
    assert answer.labels == _classify(lantern, short, "window").labels


def test_windows_take_the_riskiest_scores(rest: LanternClient, windowed: ClassifyResponse, long_text: str) -> None:
    head = _classify(rest, long_text, "head")
    for label, first in zip(windowed.labels, head.labels, strict=True):
        assert label.logit is not None
        assert first.logit is not None
        riskier = first.logit - label.logit if label.name == "neutral" else label.logit - first.logit
        assert riskier >= -1e-5


def test_two_hundred_kilobytes_are_scored_whole(live: Live, packed: Packed) -> None:
    text = packed.text_of(packed.window)
    text = (text * (_HUGE_BYTES // len(text) + 1))[:_HUGE_BYTES]
    report = InputReport.model_validate(live.post({"text": text}).json()["input"])
    assert report.tokens == report.tokens_scored == len(packed.ids(text))
    assert _covers(report, len(text))


def test_text_beyond_the_last_window_is_refused_with_its_limit(live: Live, packed: Packed) -> None:
    text = "\N{SNOWMAN}" * (65 * packed.window)
    error = live.post({"text": text}).json()["error"]
    assert (error["code"], error["field"]) == ("too_long", "text")
    assert "split it into entries" in error["message"]


def test_longest_diary_entry_is_scored_whole(lantern: LanternClient, packed: Packed, longest_entry: str) -> None:
    report = lantern.classify(longest_entry).input
    assert report.tokens == report.tokens_scored == len(packed.ids(longest_entry)) > len(longest_entry.split())
    assert _spans(report) == [(0, len(longest_entry))]


def test_diary_of_over_three_thousand_words_is_scored_whole_in_windows(
    rest: LanternClient, packed: Packed, diary_days: str
) -> None:
    report = rest.classify(diary_days).input
    assert report.tokens == report.tokens_scored == len(packed.ids(diary_days)) > _DIARY_WORDS
    stride = packed.window - int(packed.window * _OVERLAP)
    assert len(report.windows) == 1 + -(-(report.tokens - packed.window) // stride) > 1
    assert _covers(report, len(diary_days))


def test_long_diary_is_the_same_over_both_protocols(
    rest: LanternClient, remote: LanternClient, diary_days: str
) -> None:
    one, other = (_classify(client, diary_days, "window") for client in (rest, remote))
    assert (one.labels, one.input) == (other.labels, other.input)
