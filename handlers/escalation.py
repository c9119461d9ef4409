"""From an answer's scores to its ``escalation``: the policy in force, applied and put on record.

The decision itself is ``handlers.core.policy.decide``, which is pure. What surrounds it is here: the clock of the
record, the policy file that the platform may replace, the keys of the environment and the file of records.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from handlers.core.answered import Answered
from handlers.core.decision_record import DecisionFacts
from handlers.core.directory import DIRECTORY_NAME, load_directory
from handlers.core.events import Decided, EventSink, PolicyChanged, RecordsFailed, RecordsOpened, RecordsRecovered
from handlers.core.keyring import KEYS_VARIABLE, Keyring, parse_keyring
from handlers.core.language import check_language
from handlers.core.policy import Guidance, Trace, trace
from handlers.core.policy_case import Case, CaseContext, Fault, StatementFound
from handlers.core.policy_consent import scope_state
from handlers.core.policy_model import POLICY_NAME, SCOPES, LoadedPolicy, Policy, parse_policy
from handlers.core.policy_replay import guidance_used, record_fields
from handlers.core.scores import LabelRule
from handlers.core.selfhelp import CATALOGUE_NAME, load_catalogue
from handlers.core.sentences import SENTENCES_NAME, load_sentences
from handlers.core.settings import Settings
from handlers.core.statements import Statement, kinds_of, languages_of
from handlers.policy_source import PolicyChange, PolicySource
from handlers.records_file import RecordsUnavailable, RecordWriter

CONFIG: Final = Path(__file__).with_name("config")
POLICY_FILE: Final = CONFIG / POLICY_NAME
DIRECTORY_FILE: Final = CONFIG / DIRECTORY_NAME
CATALOGUE_FILE: Final = CONFIG / CATALOGUE_NAME
SENTENCES_FILE: Final = CONFIG / SENTENCES_NAME
_LANGUAGE_FAULTS: Final[dict[bool | None, tuple[Fault, ...]]] = {
    True: (),
    False: ("unsupported_language",),
    None: (),  # a text too short or too mixed to tell is not called foreign
}

MAX_STATEMENTS: Final = 64
"""Places of statements in one answer; the kinds and languages of all of them count."""

MAX_UNWRITTEN: Final = 10_000
"""Decisions kept for the next attempt where they cannot be written; beyond it the oldest are lost, and counted."""


class Escalation:
    """Decides on answers, and records what it decided. For one thread.

    Args:
        settings: where the files are.
        rules: the labels of the bundle; where they are calibrated, their thresholds take the place of the policy's.
        sink: where events go.
        now: the host's clock: the time of a record, and the second clock of a decision beside ``context.now``.
        calibration_sha256: of the bundle's calibration, which a signed policy names; ``None`` where it has none.

    Raises:
        StartupError: a file is not fit, or does not fit the bundle.
    """

    def __init__(
        self,
        settings: Settings,
        rules: Sequence[LabelRule],
        sink: EventSink,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        calibration_sha256: str | None = None,
    ) -> None:
        self._sink, self._now = sink, now
        self._thresholds = {rule.name: (rule.threshold, rule.off) for rule in rules if rule.off is not None}
        self._calibration_sha256 = calibration_sha256
        self._guidance = Guidance(
            load_directory(Path(settings.crisis_lines or DIRECTORY_FILE)),
            load_catalogue(Path(settings.self_help or CATALOGUE_FILE)),
            load_sentences(Path(settings.sentences or SENTENCES_FILE)),
        )
        self._guidance_used = guidance_used(self._guidance)
        self._labels = {rule.name for rule in rules}
        self._source = PolicySource(
            Path(settings.policy or POLICY_FILE), self._parse, self._report_change, settings.policy_reload_s
        )
        self._keys: Keyring = parse_keyring(os.environ.get(KEYS_VARIABLE, ""))
        self._records = RecordWriter(Path(settings.records)) if settings.records else None
        self._unwritten: list[DecisionFacts] = []
        self._records_fail = False
        self._told_on: date | None = None
        if self._records is not None:
            opened = self._records.opened
            sink(RecordsOpened(opened.last_hash, opened.torn_bytes, bool(self._keys.keys)))

    def decide(self, answered: Answered) -> dict[str, Any]:
        """Return the ``escalation`` of an answer, and keep the decision for ``record``."""
        loaded = self._source.current()
        self._tell_of_expiry(loaded)
        case = self._case(answered, loaded)
        traced = trace(case, loaded.policy, self._guidance)
        decision_id = uuid.uuid4().hex
        if self._records is not None:
            self._unwritten.append(self._facts(decision_id, answered, case, traced, loaded))
        self._sink(_event(traced, answered.statements))
        return _fields(traced, loaded, decision_id, answered.statements)

    def notes(self) -> list[str]:
        """Return what an operator should know of the policy in force; shown beside readiness."""
        loaded = self._source.current()
        self._tell_of_expiry(loaded)
        policy, found = loaded.policy, []
        if loaded.is_expired(self._now().date()):
            found.append(f"policy_expired: valid until {policy.valid_until}; nobody is told anything")
        for name in policy.unsigned(self._calibration_sha256):
            found.append(f"unsigned_reader: {name} is signed for another bundle, and reaches crisis at most")
        if not any(policy.labels[signal].kind == "crisis" for signal in policy.expected_signals()):
            found.append("no_crisis_reader: no served model reads suicidal ideation, only explicit statements are seen")
        return [*found, *self._guidance_notes(policy)]

    def _guidance_notes(self, policy: Policy) -> Iterator[str]:
        days = policy.actions.show_crisis_lines.max_age_days
        if unverified := self._guidance.directory.to_dial(self._now().date(), days):
            yield f"lines_unverified: {len(unverified)} numbers (python -m handlers.core.directory to-dial lists them)"
        if unreviewed := self._guidance.sentences.unreviewed():
            yield f"sentences_unreviewed: {', '.join(unreviewed)}"

    def record(self) -> None:
        """Write what was decided since the last call. What cannot be written now is tried again the next time."""
        if self._records is None or not self._unwritten:
            return
        try:
            self._records.append(self._unwritten)
            if self._records_fail:
                self._sink(RecordsRecovered(len(self._unwritten)))
            self._unwritten, self._records_fail = [], False
        except RecordsUnavailable as error:
            kept = error.unwritten[-MAX_UNWRITTEN:]
            self._sink(RecordsFailed(str(error), waiting=len(kept), lost=len(error.unwritten) - len(kept)))
            self._unwritten, self._records_fail = list(kept), True

    def _tell_of_expiry(self, loaded: LoadedPolicy) -> None:
        """Say, once a day, that the policy is out of date: it then helps the person, and tells nobody anything."""
        today, until = self._now().date(), loaded.policy.valid_until
        if loaded.is_expired(today) and self._told_on != today:
            self._told_on = today
            message = f"valid_until: {until} has passed; nobody is told anything until another policy is in its place"
            self._sink(PolicyChanged("expired", loaded.sha256, message))

    def _parse(self, payload: bytes, where: str) -> LoadedPolicy:
        loaded = parse_policy(payload, where, self._labels, self._now().date())
        return loaded.calibrated(self._thresholds, where)

    def _report_change(self, change: PolicyChange) -> None:
        self._told_on = None  # of the new policy nothing has been said yet
        self._sink(PolicyChanged(change.outcome, change.sha256 or "", change.message))

    def _case(self, answered: Answered, loaded: LoadedPolicy) -> Case:
        request = answered.received.request
        verdict = check_language(request.text, loaded.policy.languages)
        given = {name: getattr(request.context, name) for name in type(request.context).model_fields}
        context = CaseContext(
            **given,
            country=request.country,
            language=verdict.language,
            locale=request.locale,
            host_now=self._now(),
            history_cut=answered.received.history_cut,
            unread=tuple(field.field for field in answered.received.unread),
            tokens=None if answered.input is None else answered.input.tokens,
            tokens_scored=None if answered.input is None else answered.input.tokens_scored,
            faults=(*answered.faults, *_LANGUAGE_FAULTS[verdict.supported]),
            unsigned=loaded.policy.unsigned(self._calibration_sha256),
        )
        return Case(
            id=request.entry_id,
            entry_id=request.entry_id,
            signals={label.name: label.score for label in answered.labels},
            expected_signals=loaded.policy.expected_signals(),
            statement=_statement(answered.statements),
            consent=request.consent,
            context=context,
        )

    def _facts(
        self, decision_id: str, answered: Answered, case: Case, traced: Trace, loaded: LoadedPolicy
    ) -> DecisionFacts:
        request, model = answered.received.request, answered.model
        pseudonyms = self._keys.pseudonyms(request.subject_id, request.entry_id)
        decision = traced.decision
        consent = {scope: scope_state(traced.reading, scope) for scope in SCOPES}
        return DecisionFacts.model_validate(
            {
                "decision_id": decision_id,
                "time": self._now(),
                "policy": _policy_fields(loaded),
                "models": [{"name": model.name, "revision": model.revision, "calibration": model.calibration}],
                "subject_hmac": pseudonyms.subject_hmac,
                "key_id": pseudonyms.key_id,
                "entry_hmac": pseudonyms.entry_hmac,
                "scores": dict(case.signals),
                "truncation": {"tokens": case.context.tokens, "tokens_scored": case.context.tokens_scored},
                "language": case.context.language,
                "country": case.context.country,
                "age_band": case.context.age_band,
                "history": {"n": len(case.context.history) if consent["use_history"] == "live" else 0},
                "consent": consent,
                "rules_fired": decision.rules_fired,
                "tier_before": traced.tier_before,
                "tier": decision.tier,
                "uncertainty": decision.uncertainty,
                "flags": decision.flags,
                "statement": None if case.statement is None else case.statement.model_dump(),
                "care_until": decision.care_until,
                "actions": [action.fields() for action in decision.actions],
                "lines_shown": [line.id for line in decision.lines],
                **record_fields(case, decision, loaded, self._guidance, self._guidance_used),
            }
        )


def _policy_fields(loaded: LoadedPolicy) -> dict[str, str]:
    return {"id": loaded.policy.id, "version": loaded.policy.version, "sha256": loaded.sha256}


def _statement(statements: tuple[Statement, ...]) -> StatementFound | None:
    if not statements:
        return None
    return StatementFound(kinds=kinds_of(statements), languages=languages_of(statements))


def _fields(traced: Trace, loaded: LoadedPolicy, decision_id: str, statements: tuple[Statement, ...]) -> dict[str, Any]:
    fields = traced.decision.fields()
    del fields["id"]  # the entry's own, which the caller knows
    places = [asdict(statement) for statement in statements[:MAX_STATEMENTS]]
    return {**fields, "statements": places, "decision_id": decision_id, "policy": _policy_fields(loaded)}


def _event(traced: Trace, statements: tuple[Statement, ...]) -> Decided:
    decision = traced.decision
    actions = {(action.action, action.status, action.reason or "") for action in decision.actions}
    stated = {(statement.kind, statement.language) for statement in statements}
    return Decided(decision.tier, tuple(sorted(actions)), bool(decision.uncertainty), tuple(sorted(stated)))
