"""``python -m handlers.core.policy`` as its user meets it."""

from __future__ import annotations

import hashlib
import json
import runpy
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from handlers.core.policy import trace
from handlers.core.policy_cli import main
from handlers.core.policy_explain import WIDTH, explain
from handlers.core.policy_model import load_policy, policy_schema
from tests.unit.core.policies import (
    CONFIG,
    DIRECTORY,
    GUIDANCE,
    LABELS,
    POLICY,
    POLICY_FILE,
    TODAY,
    case,
    decision_of,
    policy_bytes,
)

LINES = [
    {"id": "c1", "signals": {"depressed": 0.72}, "consent": {"self_help": True}},
    {"id": "c2", "signals": {"neutral": 0.95}},
    {
        "id": "c3",
        "entry_id": "e9",
        "signals": {"suicidal_ideation": 0.95, "neutral": 0.9, "anxious": None},
        "consent": {"notify_therapist": True, "alert_contact": {"granted": True, "expires_at": "2026-02-01T00:00:00Z"}},
        "context": {
            "now": "2026-03-01T23:30:00Z",
            "country": "GB",
            "age_band": "minor",
            "tokens": 9,
            "subject": "other",
        },
    },
]


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    return write(tmp_path / "cases.jsonl", *LINES)


def write(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("\n\n".join(json.dumps(line) for line in lines) + "\n", encoding="utf-8")
    return path


def run(*arguments: object) -> int:
    return main(["--today", "2026-03-01", *map(str, arguments)])


def test_one_decision_a_line(cases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--policy", POLICY_FILE, "--cases", cases) == 0

    decisions = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["id"], one["tier"]) for one in decisions] == [
        ("c1", "self_help"),
        ("c2", "none"),
        ("c3", "crisis"),
    ]
    assert list(decisions[0]) == [
        *("id", "tier", "actions", "lines", "rules_fired", "uncertainty", "flags", "active", "care_until", "because")
    ]
    assert decisions[0]["actions"] == [
        {
            "action": "offer_self_help",
            "status": "planned",
            "reason": None,
            "not_before": None,
            "not_after": None,
            "items": decisions[0]["actions"][0]["items"],
        },
        {
            "action": "help_link",
            "status": "planned",
            "reason": None,
            "not_before": None,
            "not_after": None,
            "url": "https://findahelpline.com",
        },
    ]
    assert [line["dial"] for line in decisions[2]["lines"]] == ["0800 1111", "116 123", None]


def test_the_files_may_be_named(cases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = [tmp_path / name for name in ("lines.yaml", "help.yaml", "words.yaml")]
    for path, source in zip(named, ("crisis_lines.yaml", "self_help.yaml", "sentences.yaml"), strict=True):
        path.write_bytes((CONFIG / source).read_bytes())

    files = ("--directory", named[0], "--catalogue", named[1], "--sentences", named[2])
    assert run("--cases", cases, *files) == 0
    output = capsys.readouterr().out
    assert run("--cases", cases) == 0
    assert capsys.readouterr().out == output


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels__depressed__off": "0.8"}, "labels.depressed.off: 0.8 is above on 0.7"),
        ({"valid_from": "2026-03-02"}, "valid_from: not in force before 2026-03-02, and today is 2026-03-01"),
    ],
)
def test_a_policy_that_does_not_load_names_the_key(
    cases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], message: str
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_bytes(policy_bytes(**changes))

    assert run("--policy", policy, "--cases", cases) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"policy: {policy}: {message}; ")
    assert captured.err.count("\n") == 1


def test_an_expired_policy_is_said_to_be_and_still_helps(
    cases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_bytes(policy_bytes(valid_from="2020-01-01", valid_until="2020-12-31"))

    assert main(["--policy", str(policy), "--cases", str(cases)]) == 0
    captured = capsys.readouterr()
    assert (
        captured.err == f"policy: {policy}: valid_until: 2020-12-31 has passed: it helps, and tells nobody anything\n"
    )
    assert [json.loads(line)["tier"] for line in captured.out.splitlines()] == ["self_help", "none", "crisis"]
    assert "policy_expired" in json.loads(captured.out.splitlines()[2])["flags"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"signals": {"a": 7}, "text": "a secret"}', "line 2: signals.a: a score is a number from 0 to 1"),
        ('{"signals": {}, "context": {"now": "a secret"}}', "line 2: context.now: "),
        ('{"text": "a secret', "line 2: not JSON (column 10)"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_decided(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text('{"signals": {}}\n' + line + "\n", encoding="utf-8")

    assert run("--cases", path) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"policy: {path}: {message}")
    assert "secret" not in captured.err


@pytest.mark.parametrize(
    ("content", "message"), [(b"\n \n", "there is no case in the file"), (b"\xff\n", "not UTF-8 (byte 0)")]
)
def test_a_file_without_cases_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_bytes(content)

    assert run("--cases", path) == 2
    assert capsys.readouterr().err.startswith(f"policy: {path}: {message}")


def test_a_file_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--cases", tmp_path / "none.jsonl") == 2
    assert run("--policy", tmp_path / "none.yaml", "--cases", tmp_path / "none.jsonl") == 2
    lines = capsys.readouterr().err.splitlines()

    assert lines[0] == f"policy: {tmp_path / 'none.jsonl'}: No such file or directory"
    assert lines[1].startswith(f"policy: {tmp_path / 'none.yaml'}: cannot be read (No such file or directory)")


def test_a_decision_is_explained_in_a_terminals_width(cases: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--cases", cases, "--explain", "c3") == 0

    output = capsys.readouterr().out
    assert max(map(len, output.splitlines())) <= WIDTH
    words = " ".join(output.split())
    for part in (
        "case c3, entry e9: crisis",
        "emergency_signal -> crisis, capped from emergency_contact by max_tier suicidal_ideation 0.95 >= acute_on 0.8",
        "WHAT THE PERSON IS TOLD We show this because you wrote about someone",
        "collected 2026-11-21 and never verified",
        "truncated: 0 of 9 tokens were scored",
        "non_finite_signal: not a finite number: anxious",
        "contradiction: neutral 0.9 >= on 0.7, and active: suicidal_ideation",
        "suppressed alert_contact; because of third_party_subject",
        "suppressed request_human_review; because of consent_missing consent: no consent to human_review",
        "Childline (gb-childline) call 0800 1111",
        "child_line_first: gb-childline is for children",
    ):
        assert part in words


def test_a_statement_is_explained_with_what_the_scores_alone_call_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = {
        "entry_id": "e9",
        "signals": {"neutral": 0.9},
        "statement": {"kinds": ["wish"], "languages": ["es"]},
        "consent": {"notify_therapist": True},
        "context": {"now": "2026-03-01T14:00:00Z", "country": "GB", "language": "en", "age_band": "adult"},
    }

    assert run("--cases", write(tmp_path / "one.jsonl", one), "--explain") == 0
    words = " ".join(capsys.readouterr().out.split())
    for part in (
        "EXPLICIT STATEMENT wish; in es called for by the scores alone: none",
        "statement_floor -> crisis the text states wish (es)",
        "crisis lines stay in sight until 2026-03-08T14:00:00Z",
        "explicit_statement: kinds: wish",
        "suppressed notify_therapist; because of floor_only floor_only: no model calls for it",
        "call 116 123",
    ):
        assert part in words


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ({"kinds": ["threat"]}, "statement.kinds[0]"),
        ({"kinds": []}, "statement.kinds"),
        ({"kinds": ["wish"], "languages": ["xx"]}, "statement.languages[0]"),
        ({"kinds": ["wish"], "text": "a"}, "statement.text"),
        (True, "statement"),
    ],
)
def test_a_statement_of_an_unknown_form_is_refused_with_its_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], statement: Any, named: str
) -> None:
    assert run("--cases", write(tmp_path / "one.jsonl", {"signals": {}, "statement": statement})) == 2
    assert f"{named}: " in capsys.readouterr().err


def test_the_only_case_needs_no_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    only = write(tmp_path / "one.jsonl", {"signals": {"neutral": 0.95}})

    assert run("--cases", only, "--explain") == 0
    output = capsys.readouterr().out
    assert output.startswith("a case without an id: none\n")
    assert "no rule found a reason for a tier" in output
    assert output.endswith("ACTIONS\n  none\n")


def test_what_is_deferred_and_offered_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    late = {"now": "2029-03-01T23:30:00Z", "country": "US", "active": ["anxious"], "language": "en"}
    late = {**late, "age_band": "adult"}
    given = {"notify_therapist": {"granted": True, "expires_at": "2029-03-02T08:00:00Z"}, "self_help": True}
    one = {"id": "\x1b[31mred", "signals": {"depressed": 0.95, "anxious": 0.6}, "consent": given, "context": late}

    assert run("--cases", write(tmp_path / "one.jsonl", one), "--explain") == 0
    output = capsys.readouterr().out
    words = " ".join(output.split())
    assert "\x1b" not in output
    assert "anxious 0.6 >= off 0.55, and it was active" in words
    assert "deferred notify_therapist; because of quiet_hours; not before 2029-03-02T07:00:00Z" in words
    assert "planned offer_self_help; items " in words
    assert "call 988" in words and "text HOME to 741741" in words and "text 988" in words
    assert "not after 2029-03-02T08:00:00Z" in words
    assert "emergency 911" in words


def test_a_cap_a_link_and_a_carried_label_are_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_bytes(policy_bytes(readers__sentiment__max_tier="self_help"))
    one = write(tmp_path / "one.jsonl", {"signals": {"depressed": 0.95}, "context": {"active": ["anxious"]}})

    assert run("--policy", policy, "--cases", one, "--explain") == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "label_acute -> self_help, capped from professional by max_tier" in words
    assert "anxious was active, and there is no score that clears it" in words
    assert "planned help_link; https://findahelpline.com" in words


@pytest.mark.parametrize(("wanted", "count"), [("c9", "0 cases of this id"), ("", "3 cases")])
def test_a_case_to_explain_must_be_one(
    cases: Path, capsys: pytest.CaptureFixture[str], wanted: str, count: str
) -> None:
    assert run("--cases", cases, *(["--explain", wanted] if wanted else ["--explain"])) == 2
    assert f"and there are {count}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [[], ["--explain", "c1", "--schema"], ["--cases", "a", "--render", "b"], ["--cases", "a", "--today", "monday"]],
)
def test_a_command_that_makes_no_sense_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)

    assert stopped.value.code == 2
    assert "usage: python -m handlers.core.policy" in capsys.readouterr().err


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--schema"]) == 0
    assert json.loads(capsys.readouterr().out) == policy_schema()


def test_the_page_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "out.html"

    assert run("--render", page) == 0
    assert capsys.readouterr().out == f"wrote {page}\n"
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_a_page_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--render", tmp_path / "no" / "out.html") == 2
    assert capsys.readouterr().err == f"policy: {tmp_path / 'no' / 'out.html'}: No such file or directory\n"


def test_the_module_is_the_command(
    cases: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["policy", "--today", "2026-03-01", "--cases", str(cases)])
    monkeypatch.delitem(sys.modules, "handlers.core.policy")

    with pytest.raises(SystemExit) as stopped:
        runpy.run_module("handlers.core.policy", run_name="__main__")

    assert stopped.value.code == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert json.loads(first)["tier"] == decision_of(case({"depressed": 0.72})).tier


SIGN = ("--reader", "conditions", "--by", "A. Reviewer", "--role", "clinical lead", "--on", "2026-02-01")


def sign(policy: Path, out: Path, *arguments: str, read: str | None = None) -> int:
    code = POLICY.digest() if read is None else read
    return main(["sign", "--policy", str(policy), *SIGN, "--read", code, "--out", str(out), *arguments])


def test_a_signature_is_written_into_the_policy_and_its_comments_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, calibration = tmp_path / "signed.yaml", tmp_path / "calibration.json"
    calibration.write_bytes(b"{}")

    assert sign(POLICY_FILE, out, "--calibration", str(calibration), read=POLICY.digest()[:12]) == 0
    assert capsys.readouterr().out.startswith(f"wrote {out}: A. Reviewer signs for conditions")
    signed = load_policy(out, LABELS, TODAY).policy.readers["conditions"]
    assert signed.max_tier == "emergency_contact"
    assert signed.signed is not None
    assert signed.signed.model_dump(mode="json") == {
        "by": "A. Reviewer",
        "role": "clinical lead",
        "on": "2026-02-01",
        "calibration_sha256": hashlib.sha256(b"{}").hexdigest(),
        "read_sha256": POLICY.digest(),
    }
    before, after = (path.read_text(encoding="utf-8").splitlines() for path in (POLICY_FILE, out))
    assert [line for line in before if "#" in line] == [line for line in after if "#" in line]
    assert len(after) == len(before) + 1


def test_a_policy_in_one_line_is_signed_as_well(tmp_path: Path) -> None:
    policy, out = tmp_path / "policy.yaml", tmp_path / "signed.yaml"
    policy.write_bytes(policy_bytes())

    assert sign(policy, out, "--calibration-sha256", "a" * 64) == 0
    assert load_policy(out, LABELS, TODAY).policy.caps()["suicidal_ideation"] == "emergency_contact"


@pytest.mark.parametrize(
    ("arguments", "read", "message"),
    [
        ((), "0" * 64, "this is not the policy that was read: render its page, read it, and give the code at its end"),
        ((), POLICY.digest()[:11], "this is not the policy that was read"),
        (("--reader", "sentiment"), None, "readers.sentiment: not a reader of a crisis signal; those are: conditions"),
        (("--reader", "nobody"), None, "readers.nobody: not a reader of a crisis signal; those are: conditions"),
    ],
)
def test_what_was_not_read_or_needs_no_signature_is_not_signed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], read: str | None, message: str
) -> None:
    out = tmp_path / "signed.yaml"

    assert sign(POLICY_FILE, out, "--calibration-sha256", "a" * 64, *arguments, read=read) == 2
    told = capsys.readouterr().err
    assert f"policy: {POLICY_FILE}: {message}" in told
    assert POLICY.digest()[:4] not in told, "the code is for those who have read the page"
    assert not out.exists()


def test_a_signed_policy_is_not_signed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    once, twice = tmp_path / "once.yaml", tmp_path / "twice.yaml"
    sign(POLICY_FILE, once, "--calibration-sha256", "a" * 64)

    assert sign(once, twice, "--calibration-sha256", "b" * 64) == 2
    assert "readers.conditions.signed: by A. Reviewer on 2026-02-01 already" in capsys.readouterr().err


@pytest.mark.parametrize("calibration", [["--calibration-sha256", "abc"], []])
def test_a_signature_without_a_bundle_makes_no_sense(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], calibration: list[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        sign(POLICY_FILE, tmp_path / "out.yaml", *calibration)

    assert stopped.value.code == 2
    assert "usage: python -m handlers.core.policy sign" in capsys.readouterr().err


def test_a_line_that_was_verified_is_explained_with_that_day() -> None:
    verified = {"verified_at": TODAY - timedelta(days=1), "url": None}
    lines = tuple(line.model_copy(update=verified if line.country else {}) for line in DIRECTORY.lines)
    guidance = replace(GUIDANCE, directory=DIRECTORY.model_copy(update={"lines": lines}))
    loaded = load_policy(POLICY_FILE, LABELS, TODAY)

    words = explain(trace(case({"suicidal_ideation": 0.55}), loaded.policy, guidance), loaded)

    assert "verified 2026-02-28" in words
    assert "never verified" not in words and "samaritans.org" not in words
    old = explain(trace(case({"suicidal_ideation": 0.55}, now="2027-03-01T14:00:00Z"), loaded.policy, guidance), loaded)
    assert "verified 2026-02-28, which is too long" in old
