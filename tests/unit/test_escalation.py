from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from handlers.core.answered import Answered
from handlers.core.decision_record import DecisionRecord, PolicyUsed
from handlers.core.errors import StartupError
from handlers.core.events import Decided, Event, PolicyChanged, RecordsFailed, RecordsOpened, RecordsRecovered
from handlers.core.policy_case import Case
from handlers.core.policy_cli import main as policy_command
from handlers.core.policy_model import load_policy
from handlers.core.policy_replay import guidance_used, replay
from handlers.core.records import verify
from handlers.core.schema import InputReport, LabelScore, ModelReport, parse_request
from handlers.core.scores import LabelRule
from handlers.core.settings import Settings
from handlers.core.statements import Statement
from handlers.escalation import DIRECTORY_FILE, POLICY_FILE, Escalation
from tests.unit.core.policies import GUIDANCE, SIGNATURE, policy_bytes

LABELS = ("neutral", "depressed", "anxious", "stressed")
MODEL = ModelReport(
    name="sentiment", version="1.0", checkpoint="c", revision="r", runtime="onnx", precision="fp32", calibration="none"
)
TEXT = "I went to the market with my sister and we bought bread and flowers for the kitchen table."
HOST = datetime(2026, 3, 1, 14, 0, 1, tzinfo=UTC)
NO_READER = "no_crisis_reader"
CHINESE = "今天我觉得非常难过,不知道该怎么办,晚上也睡不着。"


SIGNED_BUNDLE = policy_bytes(
    readers__sentiment__signals=[*LABELS, "suicidal_ideation"],
    readers__sentiment__max_tier="emergency_contact",
    readers__sentiment__signed=SIGNATURE,
    readers__conditions__signals=["depression", "anxiety", "bipolar"],
    readers__conditions__max_tier="professional",
)
"""A policy in which the bundle reads suicidal ideation, signed for its calibration."""


def rules(**thresholds: tuple[float, float]) -> list[LabelRule]:
    return [
        LabelRule(name, *([thresholds[name][0], 1.0, 0.0, thresholds[name][1]] if name in thresholds else []))
        for name in LABELS
    ]


def answered(
    text: str = TEXT,
    scored: int = 20,
    tokens: int = 20,
    request: Any = None,
    statements: tuple[Statement, ...] = (),
    **scores: float,
) -> Answered:
    body = {"text": text, "country": "GB", "context": {"now": "2026-03-01T14:00:00Z"}, **(request or {})}
    labels = tuple(
        LabelScore(name=name, score=scores.get(name, 0.01), threshold=0.5, positive=False) for name in LABELS
    )
    return Answered(
        parse_request(body),
        MODEL,
        statements,
        labels,
        InputReport(tokens=tokens, tokens_scored=scored, windows=(), truncated=scored < tokens),
    )


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def escalation(events: list[Event]) -> Iterator[Escalation]:
    yield Escalation(Settings(), rules(), events.append, now=lambda: HOST)


def test_help_is_offered_with_consent_and_the_policy_is_named(escalation: Escalation, events: list[Event]) -> None:
    found = escalation.decide(answered(depressed=0.72, request={"consent": {"self_help": True}}))
    assert found["tier"] == "self_help"
    assert found["actions"][0]["status"] == "planned" and found["actions"][0]["items"]
    assert found["policy"]["id"] == "default" and len(found["policy"]["sha256"]) == 64
    assert found["active"] == ["depressed"]
    assert "id" not in found and found["decision_id"]
    shown = (("help_link", "planned", ""), ("offer_self_help", "planned", ""))
    assert events == [Decided("self_help", shown, uncertain=False)]
    assert [one["rule"] for one in found["because"]] == ["label_active"]
    assert TEXT not in json.dumps(found)


def test_without_consent_the_offer_is_suppressed(escalation: Escalation) -> None:
    found = escalation.decide(answered(depressed=0.72))
    assert found["actions"][0]["reason"] == "consent_missing"
    assert found["actions"][1]["action"] == "help_link"


def test_a_calibrated_threshold_takes_the_place_of_the_policys(events: list[Event]) -> None:
    escalation = Escalation(Settings(), rules(depressed=(0.4, 0.3)), events.append)
    assert escalation.decide(answered(depressed=0.45))["tier"] == "self_help"
    assert Escalation(Settings(), rules(), events.append).decide(answered(depressed=0.45))["tier"] == "none"


def test_a_text_that_was_not_read_to_its_end_is_uncertain(escalation: Escalation) -> None:
    found = escalation.decide(answered(neutral=0.95, tokens=6000, scored=4096))
    assert found["uncertainty"] == ["truncated"]
    assert found["lines"]


def test_the_scores_of_a_text_in_another_language_are_ignored(escalation: Escalation) -> None:
    found = escalation.decide(answered(CHINESE, neutral=0.99))
    assert "unsupported_language" in found["uncertainty"]
    assert {action["action"] for action in found["actions"]} >= {"show_crisis_lines", "request_human_review"}


def test_a_text_without_scores_is_uncertain_and_shows_lines(escalation: Escalation) -> None:
    request = parse_request({"text": TEXT, "country": "GB", "consent": {"notify_therapist": True}})
    found = escalation.decide(Answered(request, MODEL, faults=("model_timeout",)))
    assert "model_timeout" in found["uncertainty"]
    assert found["lines"]
    assert all(action["status"] != "planned" for action in found["actions"] if action["action"] == "notify_therapist")


STATED = (
    Statement(0, 13, "wish", "en"),
    Statement(20, 24, "intent", "es"),
    Statement(30, 43, "wish", "en"),
)


def test_explicit_statements_are_a_crisis_and_the_caller_is_told_where_they_stand(
    escalation: Escalation, events: list[Event]
) -> None:
    found = escalation.decide(answered(neutral=0.99, statements=STATED))

    assert (found["tier"], found["flags"]) == ("crisis", ["explicit_statement", NO_READER])
    assert found["statements"] == [
        {"start_char": 0, "end_char": 13, "kind": "wish", "language": "en"},
        {"start_char": 20, "end_char": 24, "kind": "intent", "language": "es"},
        {"start_char": 30, "end_char": 43, "kind": "wish", "language": "en"},
    ]
    assert found["lines"]
    (decided,) = events
    assert isinstance(decided, Decided)
    assert (decided.tier, decided.statements) == ("crisis", (("intent", "es"), ("wish", "en")))


def test_no_statement_is_an_empty_list_and_no_end_of_care(escalation: Escalation) -> None:
    found = escalation.decide(answered(neutral=0.99))

    assert (found["statements"], found["care_until"], found["flags"]) == ([], None, [NO_READER])


def test_of_very_many_statements_the_first_places_are_told_and_all_kinds_count(
    escalation: Escalation, events: list[Event]
) -> None:
    many = (*(Statement(n, n + 1, "wish", "en") for n in range(70)), Statement(80, 90, "attempt", "pl"))
    found = escalation.decide(answered(statements=many))

    assert [place["start_char"] for place in found["statements"]] == list(range(64))
    assert [event.statements for event in events if isinstance(event, Decided)] == [(("attempt", "pl"), ("wish", "en"))]


@pytest.mark.parametrize(
    ("now", "until"),
    [("2026-03-01T14:00:00Z", "2026-03-17T09:00:00+00:00"), ("2026-04-01T14:00:00Z", "2026-04-08T14:00:00+00:00")],
    ids=["host later", "caller later"],
)
def test_care_is_counted_from_the_later_clock(events: list[Event], now: str, until: str) -> None:
    host = datetime(2026, 3, 10, 9, tzinfo=UTC)
    escalation = Escalation(Settings(), rules(), events.append, now=lambda: host)
    found = escalation.decide(answered(statements=STATED, request={"context": {"now": now}}))

    assert datetime.fromisoformat(found["care_until"]) == datetime.fromisoformat(until)


def test_until_the_end_of_care_lines_are_shown(events: list[Event]) -> None:
    clock = {"now": datetime(2026, 3, 1, 14, tzinfo=UTC)}
    escalation = Escalation(Settings(), rules(), events.append, now=lambda: clock["now"])
    until = escalation.decide(answered(statements=STATED))["care_until"]
    shown = []
    for day in (7, 9):
        clock["now"] = datetime(2026, 3, day, 14, tzinfo=UTC)
        context = {"now": f"2026-03-0{day}T14:00:00Z", "care_until": until}
        found = escalation.decide(answered(neutral=0.99, request={"context": context}))
        shown.append((found["tier"], found["flags"], bool(found["lines"]), found["care_until"]))

    assert shown == [("none", ["in_care", NO_READER], True, until), ("none", [NO_READER], False, None)]


def test_what_could_not_be_read_is_flagged(escalation: Escalation) -> None:
    past = [{"entry_id": "e", "at": "2026-02-01T14:00:00Z", "scores": {"stressed": 0.1}}] * 1001
    request = {"locale": "english", "context": {"now": "2026-03-01T14:00:00Z", "history": past}}
    found = escalation.decide(answered(neutral=0.99, request=request))

    assert (found["tier"], found["flags"]) == ("none", ["history_cut", "unread_field", NO_READER])


@pytest.mark.parametrize(
    ("age", "status"), [({}, "proposed"), ({"age_band": "minor"}, "proposed"), ({"age_band": "adult"}, "planned")]
)
def test_a_notice_about_whoever_may_be_a_minor_waits_for_a_confirmation(
    escalation: Escalation, age: dict[str, str], status: str
) -> None:
    consent = {"notify_therapist": True, "human_review": True}
    request = {"consent": consent, "context": {"now": "2026-03-01T14:00:00Z", **age}}
    found = escalation.decide(answered(depressed=0.95, request=request))

    assert found["tier"] == "professional"
    assert {action["action"]: action["status"] for action in found["actions"]}["notify_therapist"] == status


def test_a_clock_of_the_caller_that_is_far_off_tells_nobody_anything(escalation: Escalation) -> None:
    consent = {"notify_therapist": {"granted": True, "expires_at": "2025-01-01T00:00:00Z"}}
    request = {"consent": consent, "context": {"now": "2020-03-01T14:00:00Z", "age_band": "adult"}}
    found = escalation.decide(answered(depressed=0.95, request=request))

    assert found["uncertainty"] == ["clock_skew"]
    assert {one["action"]: one["status"] for one in found["actions"]}["notify_therapist"] == "suppressed"


def test_a_text_whose_language_cannot_be_told_is_read_by_the_writers_locale(escalation: Escalation) -> None:
    spanish = escalation.decide(answered("quiero morir", depressed=0.95, request={"locale": "es-ES"}))
    english = escalation.decide(answered("so tired", depressed=0.72, request={"locale": "en-GB"}))

    assert (spanish["tier"], spanish["uncertainty"]) == ("none", ["unsupported_language"])
    assert spanish["lines"]
    assert (english["tier"], english["uncertainty"]) == ("self_help", [])


def test_a_writer_who_objects_to_scores_gets_lines_and_the_floor(escalation: Escalation) -> None:
    request = {"context": {"now": "2026-03-01T14:00:00Z", "processing": "lines_only"}}
    calm = escalation.decide(answered(scored=0, request=request))
    stated = escalation.decide(answered(scored=0, request=request, statements=STATED))

    assert (calm["tier"], calm["flags"], calm["uncertainty"]) == ("none", ["lines_only", NO_READER], [])
    assert calm["lines"] and calm["because"][0]["rule"] == "lines_only"
    assert stated["tier"] == "crisis"


def test_what_an_operator_should_know_of_the_policy_is_noted(tmp_path: Path, events: list[Event]) -> None:
    clock = {"now": HOST}
    policy = tmp_path / "policy.yaml"
    policy.write_bytes(SIGNED_BUNDLE)
    labels = [*rules(), LabelRule("suicidal_ideation")]
    settings = Settings(policy=str(policy))

    def notes(calibration: str | None) -> list[str]:
        escalation = Escalation(settings, labels, events.append, lambda: clock["now"], calibration)
        return [note.split(":")[0] for note in escalation.notes()]

    assert notes(SIGNATURE["calibration_sha256"]) == ["lines_unverified", "sentences_unreviewed"]
    assert notes("b" * 64)[0] == notes(None)[0] == "unsigned_reader"
    default = Escalation(Settings(), rules(), events.append, lambda: clock["now"])
    clock["now"] = datetime(2031, 1, 1, tzinfo=UTC)
    assert [note.split(":")[0] for note in default.notes()][:2] == ["policy_expired", NO_READER]


def test_a_reader_that_is_signed_for_another_bundle_alerts_nobody(tmp_path: Path, events: list[Event]) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_bytes(SIGNED_BUNDLE)
    found = {}
    for calibration in (SIGNATURE["calibration_sha256"], "b" * 64):
        labels = [*rules(), LabelRule("suicidal_ideation")]
        escalation = Escalation(Settings(policy=str(policy)), labels, events.append, lambda: HOST, calibration)
        one = answered(request={"consent": {"alert_contact": True, "human_review": True}})
        score = LabelScore(name="suicidal_ideation", score=0.95, threshold=0.5, positive=True)
        found[calibration] = escalation.decide(replace(one, labels=(*one.labels, score)))

    signed, other = found.values()
    assert (signed["tier"], "unsigned_reader" in signed["flags"]) == ("emergency_contact", False)
    assert (other["tier"], "unsigned_reader" in other["flags"]) == ("crisis", True)


def test_a_policy_that_does_not_fit_the_labels_stops_the_start() -> None:
    with pytest.raises(StartupError, match=r"policy\.yaml"):
        Escalation(Settings(), [LabelRule("happy")], lambda _: None)


def test_a_changed_policy_is_taken_up_and_a_bad_one_is_not(tmp_path: Path, events: list[Event]) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY_FILE.read_text(encoding="utf-8"), encoding="utf-8")
    escalation = Escalation(Settings(policy=str(policy), policy_reload_s=1e-9), rules(), events.append)
    assert escalation.decide(answered(anxious=0.6))["tier"] == "none"

    stricter = policy.read_text(encoding="utf-8").replace("on: 0.70, off: 0.55", "on: 0.59, off: 0.55")
    policy.write_text(stricter, encoding="utf-8")
    assert escalation.decide(answered(anxious=0.6))["tier"] == "self_help"

    policy.write_text("tiers: nonsense\n", encoding="utf-8")
    assert escalation.decide(answered(anxious=0.6))["tier"] == "self_help"
    changes = [event.outcome for event in events if isinstance(event, PolicyChanged)]
    assert changes == ["reloaded", "refused"]


def test_a_policy_that_expires_while_serving_still_helps_tells_nobody_and_is_reported_once_a_day(
    events: list[Event],
) -> None:
    clock = {"now": datetime(2026, 1, 1, tzinfo=UTC)}
    escalation = Escalation(Settings(), rules(), events.append, now=lambda: clock["now"])
    told = {"consent": {"notify_therapist": True}}
    for day in (1, 1, 2):
        clock["now"] = datetime(2031, 1, day, tzinfo=UTC)
        found = escalation.decide(
            answered(anxious=0.95, request=told | {"context": {"now": f"2031-01-0{day}T14:00:00Z"}})
        )
        assert (found["tier"], "policy_expired" in found["flags"]) == ("professional", True)
        assert found["lines"]
        assert found["actions"][-1]["reason"] == "policy_expired"
    assert [event.outcome for event in events if isinstance(event, PolicyChanged)] == ["expired", "expired"]


def test_every_decision_is_put_on_record_without_text_or_plain_identifiers(
    tmp_path: Path, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANTERN_HMAC_KEYS", "k1:" + bytes(range(32)).hex())
    records = tmp_path / "decisions.jsonl"
    escalation = Escalation(Settings(records=str(records)), rules(), events.append, now=lambda: HOST)
    who = {"subject_id": "person-7", "entry_id": "entry-9", "consent": {"self_help": True}}
    for score, statements in ((0.2, STATED), (0.72, ())):
        escalation.decide(answered(depressed=score, request=who, statements=statements))
    assert len(records.read_text(encoding="utf-8").splitlines()) == 1  # the chain's header
    escalation.record()
    written = records.read_text(encoding="utf-8")
    assert len(written.splitlines()) == 3
    assert not any(word in written for word in ("person-7", "entry-9", "market", "flowers"))
    stated, plain = (json.loads(line) for line in written.splitlines()[1:])
    assert (stated["tier"], stated["flags"]) == ("crisis", ["explicit_statement", NO_READER])
    assert stated["statement"] == {"kinds": ["wish", "intent"], "languages": ["en", "es"]}
    assert stated["care_until"]
    assert (plain["tier"], plain["flags"], plain["statement"], plain["care_until"]) == (
        "self_help",
        [NO_READER],
        None,
        None,
    )
    assert verify([(records.name, records.read_bytes().splitlines(keepends=True))]).intact
    assert isinstance(events[0], RecordsOpened) and events[0].keyed


def test_a_recorded_day_is_replayed_byte_for_byte(
    tmp_path: Path, events: list[Event], capsys: pytest.CaptureFixture[str]
) -> None:
    records = tmp_path / "decisions.jsonl"
    calibrated = rules(depressed=(0.4, 0.3))
    escalation = Escalation(Settings(records=str(records)), calibrated, events.append, now=lambda: HOST)
    past = [
        {
            "entry_id": f"e{day}",
            "at": f"2026-02-2{day}T09:00:00+05:45",
            "scores": {"depressed": 0.58},
            "subject": "self",
        }
        for day in range(9)
    ]
    given = {
        "entry_id": "e1",
        "subject_id": "person-7",
        "locale": "fr-CA",
        "country": "UK",
        "consent": {
            "use_history": True,
            "self_help": True,
            "notify_therapist": {"granted": True, "expires_at": "2026-04-01T00:00:00+02:00"},
        },
        "context": {
            "now": "2026-03-01T23:30:00+09:30",
            "history": past,
            "active": ["depressed"],
            "age_band": "adult",
            "confirmation": {
                "entry_id": "e1",
                "action": "notify_therapist",
                "by": "a nurse",
                "at": "2026-03-01T14:00:00Z",
            },
            "last_actions": [{"action": "offer_self_help", "at": "2026-02-01T14:00:00Z", "items": ["one-small-thing"]}],
        },
    }
    for score, statements in ((0.2, STATED), (0.72, ()), (0.95, ()), (0.45, ())):
        escalation.decide(answered(depressed=score, request=given, statements=statements))
    escalation.decide(answered(CHINESE, depressed=0.3, tokens=9))
    escalation.record()

    assert policy_command(["--today", "2026-03-01", "--records", str(records)]) == 0
    assert capsys.readouterr().out == "5 decisions replayed: all the same, byte for byte\n"
    assert not any(word in records.read_text() for word in ("nurse", '"e2"' * 2, "person-7"))


def test_a_record_that_decides_otherwise_is_named(
    tmp_path: Path, events: list[Event], capsys: pytest.CaptureFixture[str]
) -> None:
    records, policy = tmp_path / "decisions.jsonl", tmp_path / "policy.yaml"
    escalation = Escalation(Settings(records=str(records)), rules(), events.append, now=lambda: HOST)
    escalation.decide(answered(depressed=0.72))
    escalation.record()
    (decision,) = (json.loads(line) for line in records.read_text().splitlines()[1:])
    policy.write_bytes(policy_bytes())
    lines = tmp_path / "lines.yaml"
    lines.write_text(DIRECTORY_FILE.read_text().replace('"116 123"', '"116 124"'))

    replay = ["--today", "2026-03-01", "--records", str(records)]
    assert policy_command([*replay, "--policy", str(policy)]) == 3
    other_policy = capsys.readouterr().out
    assert policy_command([*replay, "--directory", str(lines)]) == 3
    other_lines = capsys.readouterr().out

    assert other_policy.startswith(f"{decision['decision_id']}: decided under policy default 2.0.0, ")
    assert other_policy.endswith("1 decision replayed: 1 not the same\n")
    assert "decided with another directory, catalogue or sentences" in other_lines


def test_a_record_that_was_written_otherwise_or_earlier_is_named() -> None:
    loaded = load_policy(POLICY_FILE, LABELS, date(2026, 3, 1))
    used = guidance_used(GUIDANCE)
    case = Case(signals={"depressed": 0.72})
    facts = {
        "policy": PolicyUsed(id="default", version="2.0.0", sha256=loaded.sha256),
        "case": case.model_dump(mode="json", exclude_defaults=True),
        "guidance": used,
        "decision_sha256": "0" * 64,
        "decision_id": "d1",
        "thresholds": {},
    }
    written_otherwise = DecisionRecord.model_construct(**facts)
    earlier = DecisionRecord.model_construct(**(facts | {"case": None}))

    found = [one.why for one in replay([written_otherwise, earlier], loaded, GUIDANCE)]

    assert found == ["it decides otherwise", "recorded before records held what a replay needs"]


def test_a_file_that_holds_no_records_is_not_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = tmp_path / "odd.jsonl"
    odd.write_text('{"text": "a secret"}\n')

    assert policy_command(["--today", "2026-03-01", "--records", str(odd)]) == 2
    captured = capsys.readouterr().err
    assert captured.startswith(f"policy: {odd}: line 1: ") and "secret" not in captured


def test_decisions_that_cannot_be_written_wait_and_are_reported(tmp_path: Path, events: list[Event]) -> None:
    folder = tmp_path / "records"
    folder.mkdir()
    escalation = Escalation(Settings(records=str(folder / "decisions.jsonl")), rules(), events.append)
    moved = folder.rename(tmp_path / "elsewhere")
    escalation.decide(answered(stressed=0.8))
    escalation.record()
    failed = [event for event in events if isinstance(event, RecordsFailed)]
    assert [(event.waiting, event.lost) for event in failed] == [(1, 0)]

    moved.rename(folder)
    escalation.record()
    assert len((folder / "decisions.jsonl").read_text(encoding="utf-8").splitlines()) == 2
    assert len([event for event in events if isinstance(event, RecordsFailed)]) == 1
    assert events[-1] == RecordsRecovered(1)
