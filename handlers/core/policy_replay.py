"""Decisions from their records alone: what a record keeps of a case, and whether it decides to the same bytes again."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from handlers.core.decision_record import DecisionRecord, GuidanceUsed
from handlers.core.policy import Decision, Guidance, decide
from handlers.core.policy_case import Case
from handlers.core.policy_consent import scope_state
from handlers.core.policy_history import reached_labels, recent_span
from handlers.core.policy_model import LoadedPolicy
from handlers.core.policy_reading import Reading, read
from handlers.core.schema import Confirmation, HistoryEntry, LastAction

THIS_ENTRY: Final = "this"
OTHER: Final = "other"
UNKNOWN: Final = "-"
"""Stands for any name that the policy does not know; no label has such a name."""


def recordable(case: Case, loaded: LoadedPolicy, guidance: Guidance) -> Case:
    """Return a case that decides to the same, and holds no identifier and no word of a caller's own.

    Entries are named by their order, labels and items by the policy and the catalogue alone. Of the history there is
    what the rules read: nothing without consent to it; where the time is known, the entries of the days that count,
    with the labels that reach ``off``.
    """
    policy, items = loaded.policy, {item.id for item in guidance.catalogue.items}
    reading = read(case, policy)
    context = case.context.model_copy(
        update={
            "active": tuple(dict.fromkeys(_known(name, policy.labels) for name in case.context.active)),
            "history": tuple(_history(reading)),
            "last_actions": tuple(_last_action(last, items) for last in case.context.last_actions),
            "confirmation": _confirmation(case),
        }
    )
    return Case(
        entry_id=None if case.entry_id is None else THIS_ENTRY,
        signals={
            _known(name, {*policy.labels, *case.expected_signals}): _finite(score)
            for name, score in case.signals.items()
        },
        expected_signals=case.expected_signals,
        statement=case.statement,
        consent=case.consent,
        context=context,
    )


def record_fields(
    case: Case, decision: Decision, loaded: LoadedPolicy, guidance: Guidance, used: GuidanceUsed
) -> dict[str, Any]:
    """Return the fields of a record from which the decision can be made again; ``used`` is that of ``guidance``."""
    return {
        "case": recordable(case, loaded, guidance).model_dump(mode="json", exclude_defaults=True),
        "decision_sha256": decision_digest(decision),
        "guidance": used,
        "thresholds": loaded.thresholds,
    }


def decision_digest(decision: Decision) -> str:
    """Return the SHA-256 of a decision's bytes, without the id of its case."""
    return hashlib.sha256(replace(decision, id=None).encode().encode()).hexdigest()


def guidance_used(guidance: Guidance) -> GuidanceUsed:
    """Return the digests of what a decision may show."""
    return GuidanceUsed(
        directory=_digest(guidance.directory),
        catalogue=_digest(guidance.catalogue),
        sentences=_digest(guidance.sentences),
    )


def _digest(model: Any) -> str:
    return hashlib.sha256(model.model_dump_json().encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of one record: ``why`` it is not the same, or empty where it is, to the byte."""

    decision_id: str
    why: str = ""


def replay(records: Iterable[DecisionRecord], loaded: LoadedPolicy, guidance: Guidance) -> Iterator[Replayed]:
    """Decide every record again, from the record, the policy and the guidance alone."""
    used = guidance_used(guidance)
    for record in records:
        yield Replayed(record.decision_id, _difference(record, loaded, guidance, used))


def _difference(record: DecisionRecord, loaded: LoadedPolicy, guidance: Guidance, used: GuidanceUsed) -> str:
    if record.case is None:
        return "recorded before records held what a replay needs"
    if record.policy.sha256 != loaded.sha256:
        return f"decided under policy {record.policy.id} {record.policy.version}, {record.policy.sha256[:16]}"
    if record.guidance != used:
        return "decided with another directory, catalogue or sentences"
    policy = loaded.policy.calibrated(record.thresholds)
    decision = decide(Case.model_validate_json(json.dumps(record.case)), policy, guidance)
    return "" if decision_digest(decision) == record.decision_sha256 else "it decides otherwise"


def _known(name: str, known: Collection[str]) -> str:
    return name if name in known else UNKNOWN


def _finite(score: float | None) -> float | None:
    return score if score is not None and math.isfinite(score) else None


def _history(reading: Reading) -> Iterator[HistoryEntry]:
    if not reading.is_scored or scope_state(reading, "use_history") != "live":
        return
    case, is_timed = reading.case, reading.now is not None and not reading.is_skewed
    names: dict[str | None, str] = {} if case.entry_id is None else {case.entry_id: THIS_ENTRY}
    spans = [recent_span(reading, clock) for clock in reading.clocks]
    for entry in case.context.history:
        labels = reached_labels(reading, entry.scores)
        counts = bool(labels) and any(first <= entry.at <= last for first, last in spans)
        if counts or not is_timed:  # that there is a history at all matters where the time is not known
            name = names.setdefault(entry.entry_id, f"e{len(names)}")
            scores = {label: entry.scores[label] for label in labels}
            yield entry.model_copy(update={"entry_id": name, "scores": scores})


def _last_action(last: LastAction, known: Collection[str]) -> LastAction:
    return last.model_copy(update={"items": tuple(item for item in last.items if item in known)})


def _confirmation(case: Case) -> Confirmation | None:
    given = case.context.confirmation
    if given is None:
        return None
    is_this = case.entry_id is not None and given.entry_id == case.entry_id
    by = given.by if given.by in ("human", "user") else OTHER
    return given.model_copy(update={"entry_id": THIS_ENTRY if is_this else OTHER, "by": by})
