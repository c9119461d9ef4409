"""Decisions to record, and chains of them in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from handlers.core.decision_record import (
    GENESIS,
    DecisionFacts,
    HeaderLine,
    chain_decision,
    encode_line,
    line_hash,
    parse_line,
)

CHAIN_ID = "c0" * 16


def facts(number: int = 0, **changes: Any) -> DecisionFacts:
    """Return decision ``number``; ``changes`` replace fields."""
    fields: dict[str, Any] = {
        "decision_id": f"d{number}",
        "time": "2026-03-01T14:00:00Z",
        "policy": {"id": "default", "version": "1.0", "sha256": "a1" * 32},
        "models": [{"name": "sentiment", "revision": "sha256:b2", "calibration": "none"}],
        "subject_hmac": "c3" * 32,
        "key_id": "2026-03",
        "entry_hmac": "d4" * 32,
        "scores": {"neutral": 0.018038244686955505, "depressed": 0.72},
        "truncation": {"tokens": 5300, "tokens_scored": 5300},
        "language": "en",
        "country": "GB",
        "age_band": "adult",
        "history": {"n": 3},
        "consent": {"self_help": "live", "notify_therapist": "expired"},
        "rules_fired": ["active_label"],
        "tier_before": "none",
        "tier": "self_help",
        "uncertainty": [],
        "actions": [{"action": "offer_self_help", "status": "planned", "items": ["box-breathing"]}],
        "lines_shown": ["gb-samaritans"],
    }
    return DecisionFacts.model_validate(fields | changes)


def chain_lines(decisions: Sequence[DecisionFacts], after: Sequence[bytes] = ()) -> list[bytes]:
    """Return the lines, newline included, of a file; ``after`` are those of the file before it."""
    number, prev_hash = 0, GENESIS
    if after:
        before = parse_line(after[0][:-1])
        assert isinstance(before, HeaderLine)
        number, prev_hash = before.file + 1, line_hash(after[-1][:-1])
    lines = [encode_line(HeaderLine(chain_id=CHAIN_ID, file=number, prev_hash=prev_hash))]
    for decision in decisions:
        lines.append(chain_decision(decision, line_hash(lines[-1])))
    return [line + b"\n" for line in lines]
